"""Sensors, filter, probe and watch: right values, supervised failures, and nothing allocated per sample."""

from collections.abc import Callable
from typing import Any

import pytest

from bongsu_node.alarm.state import AlarmState
from bongsu_node.sensing import SensorError
from bongsu_node.sensing.detector import UNKNOWN, Detector
from bongsu_node.sensing.filters import Median3
from bongsu_node.sensing.lm75 import Lm75
from bongsu_node.sensing.probe import Probe
from bongsu_node.sensing.smoke_head import SmokeHead
from bongsu_node.sensing.watch import Watch
from bongsu_wire import kinds
from tests import mpy


def plain_diff(a: int, b: int) -> int:
    return a - b


class Bus:
    """An I2C bus with one register; None does not answer."""

    def __init__(self, raw: int | None) -> None:
        self.raw = raw

    def readfrom_mem_into(self, address: int, register: int, buffer: bytearray) -> None:
        assert (address, register) == (0x48, 0)
        if self.raw is None:
            raise OSError(19)
        buffer[:] = self.raw.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("raw", "dk"),
    [
        # LM75 data sheet, table of temperatures: 9 bits
        (0x7D00, 3982),  # +125 degC
        (0x1900, 2982),  # +25
        (0x0080, 2737),  # +0.5
        (0x0000, 2732),  # 0
        (0xFF80, 2727),  # -0.5
        (0xE700, 2482),  # -25
        (0xC900, 2182),  # -55
        # TMP102 data sheet, table of 12-bit temperatures
        (0x7FF0, 4011),  # +127.9375
        (0x6400, 3732),  # +100
        (0x4B00, 3482),  # +75
        (0x0040, 2734),  # +0.25
        (0xFFC0, 2729),  # -0.25
        (0x3910, 3302),  # 57.0625: at the alarm threshold
        # the undefined bits of an old LM75 weigh less than half a degree
        (0x197F, 2986),
        (0x190F, 2982),
    ],
)
def test_lm75_and_tmp1xx_read_right(raw: int, dk: int) -> None:
    assert Lm75(Bus(raw)).read() == dk


@pytest.mark.parametrize(("raw", "why"), [(None, "nak"), (0xC8F0, "range"), (0x8000, "range")])
def test_thermometer_failures(raw: int | None, why: str) -> None:
    with pytest.raises(SensorError) as e:
        Lm75(Bus(raw)).read()
    assert e.value.why == why


class Adc:
    def __init__(self, mv: float) -> None:
        self.mv = mv

    def read_uv(self) -> int:
        return round(self.mv * 1000)


@pytest.mark.parametrize(
    ("mv", "smoke_e4"), [(400, 0), (250, 0), (401, 1), (1000, 600), (1000.9, 600), (2450, 2050), (3000, 2600)]
)
def test_smoke_head_reads_right(mv: float, smoke_e4: int) -> None:
    assert SmokeHead(Adc(mv), 400, 1000).read() == smoke_e4


def test_dense_smoke_that_drives_the_head_into_its_supply_is_smoke() -> None:
    adc = Adc(400)
    head = SmokeHead(adc, 400, 1000)
    for mv in (400, 450, 600, 1400, 2600):
        adc.mv = mv
        head.read()
    for mv in (3050, 3300, 3300):
        adc.mv = mv
        assert head.read() >= 2600
    adc.mv = 410  # the air clears, and then the wire is shorted
    assert head.read() == 10
    adc.mv = 3300
    with pytest.raises(SensorError) as e:
        head.read()
    assert e.value.why == "short"


@pytest.mark.parametrize(("mv", "why"), [(142, "open"), (0, "open"), (3001, "short"), (3300, "short")])
def test_smoke_head_failures(mv: float, why: str) -> None:
    with pytest.raises(SensorError) as e:
        SmokeHead(Adc(mv), 400, 1000).read()
    assert e.value.why == why


def test_a_sensitive_head_in_dense_smoke_still_says_smoke() -> None:
    assert SmokeHead(Adc(2900), 300, 1).read() == 0xFFFE


def test_the_median_of_three() -> None:
    median = Median3()
    assert [median.update(v) for v in (5, 9, 7, 1, 1, 8, 8)] == [5, 5, 7, 7, 1, 1, 8]


class Script:
    """A sensor that follows a list; an exception in it is raised."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def read(self) -> int:
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if isinstance(value, Exception):
            raise value
        assert isinstance(value, int)
        return value


DEAD = SensorError("nak")


def probe_of(sensor: Any, faulty: bool = False) -> Probe:
    detector = Detector(kinds.HEAT, kinds.CRIT_HEAT_FIXED, 3302, 3232, plain_diff)
    return Probe(sensor, detector, kinds.FAULT_HEAT_SENSOR, plain_diff, faulty)


def changes(probe: Probe, samples: int, start: int = 0) -> list[tuple[int, int]]:
    """(ms, kind) of each change over some samples."""
    found = []
    for n in range(start, start + samples):
        probe.sample(n * 250)
        change = probe.supervise(n * 250)
        if change:
            found.append((n * 250, change))
    return found


@pytest.mark.parametrize("error", [DEAD, ValueError("a bug in a driver")])
def test_a_dead_sensor_is_a_fault_after_10_s_and_a_clear_after_10_good_ones(error: Exception) -> None:
    probe = probe_of(Script([2942] * 8 + [error]))
    assert changes(probe, 100) == [(12_000, kinds.FAULT)]
    assert probe.detector.value == UNKNOWN
    probe._sensor = Script([2942])
    assert changes(probe, 60, 100) == [(25_750 + 10_000, kinds.FAULT_CLEAR)]
    assert probe.detector.value == 2942


def test_a_sensor_that_answers_now_and_then_is_a_fault_too() -> None:
    probe = probe_of(Script([DEAD, DEAD, 2942] * 200))
    assert [kind for _, kind in changes(probe, 400)] == [kinds.FAULT]


def test_one_missed_answer_is_none() -> None:
    probe = probe_of(Script(([2942] * 20 + [DEAD]) * 30))
    assert changes(probe, 600) == []


def test_a_fault_that_the_centre_knows_is_not_told_twice_but_its_end_is() -> None:
    assert changes(probe_of(Script([DEAD]), faulty=True), 100) == []
    assert [k for _, k in changes(probe_of(Script([2942]), faulty=True), 100)] == [kinds.FAULT_CLEAR]


def test_a_hold_freezes_with_its_sensor_and_lets_the_link_connect() -> None:
    probe = probe_of(Script([3400] * 12 + [DEAD]))
    for n in range(12):
        assert not probe.sample(n * 250) or not probe.fulfilled
    assert probe.detector.rising
    for n in range(12, 100_000):
        probe.sample(n * 250)
        assert not probe.fulfilled
    assert not probe.detector.rising  # or its fault would never get out
    assert probe.detector.hold.held_ms == 11 * 250
    probe._sensor = Script([3400])
    now = 100_000 * 250
    fulfilled = [probe.sample(now + n * 250) and probe.fulfilled for n in range(12)]
    # 2.75 s before, 0.5 s for the gap, then 1.75 s more.
    assert fulfilled == [False] * 7 + [True] * 5


class Recorder:
    """Stands for the response."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def alarm(self, state: Any, detector: Any) -> None:
        self.calls.append(("alarm", state.bit, detector.hold.held_ms))

    def restored(self, state: Any) -> None:
        self.calls.append(("restored", state.bit))

    def sensor_fault(self, kind: int, probe: Any) -> None:
        self.calls.append(("fault", kind, probe.fault))


def watch_of(heat: Any, smoke: Any, log: Callable[..., None] = lambda *a: None) -> tuple[Watch, Recorder, AlarmState]:
    recorder = Recorder()
    alarms = AlarmState((kinds.HEAT, kinds.SMOKE), plain_diff)
    smoke_detector = Detector(kinds.SMOKE, kinds.CRIT_SMOKE_FIXED, 600, 400, plain_diff)
    probes = [probe_of(heat), Probe(smoke, smoke_detector, kinds.FAULT_SMOKE_SENSOR, plain_diff)]
    return Watch(probes, alarms, recorder, log), recorder, alarms


def test_one_dead_sensor_does_not_keep_the_other_from_alarming() -> None:
    watch, recorder, alarms = watch_of(Script([DEAD]), Script([700]))
    for n in range(60):
        watch.step(n * 250)
    assert recorder.calls == [("alarm", kinds.SMOKE, 5000), ("fault", kinds.FAULT, kinds.FAULT_HEAT_SENSOR)]
    assert alarms.active == kinds.SMOKE


def test_a_sensor_that_dies_high_keeps_its_alarm() -> None:
    watch, recorder, alarms = watch_of(Script([3400] * 40 + [DEAD]), Script([0]))
    for n in range(4 * 600):
        watch.step(n * 250)
    assert [call[0] for call in recorder.calls] == ["alarm", "fault"]
    assert alarms.active == kinds.HEAT


def test_restore_after_60_s_below_and_a_new_rise_is_a_new_alarm() -> None:
    heat = [3400] * 30 + [2942] * 100 + [3250] + [2942] * 260 + [3400] * 40
    watch, recorder, _ = watch_of(Script(heat), Script([0]))
    times = []
    for n in range(len(heat)):
        before = len(recorder.calls)
        watch.step(n * 250)
        times += [n * 250] * (len(recorder.calls) - before)
    assert [call[0] for call in recorder.calls] == ["alarm", "restored", "alarm"]
    # The one value above the hysteresis is filtered out; the first low median is the second low sample.
    assert times[1] == 31 * 250 + 60_000
    assert times[2] == (30 + 100 + 1 + 260 + 1) * 250 + 5_000


def test_after_a_reset_by_hand_only_that_phenomenon_must_hold_anew() -> None:
    watch, recorder, alarms = watch_of(Script([3400] * 30 + [DEAD]), Script([0] * 40 + [700]))
    for n in range(55):
        watch.step(n * 250)
    alarms.of(kinds.HEAT).end()
    watch.end_hold(kinds.HEAT)
    for n in range(55, 80):
        watch.step(n * 250)
    # The smoke had begun to rise before the reset, and alarms 5.0 s after its own first high sample.
    assert [call[1:] for call in recorder.calls if call[0] == "alarm"] == [(kinds.HEAT, 5000), (kinds.SMOKE, 5000)]
    assert alarms.active == kinds.SMOKE


def test_log_lines() -> None:
    lines: list[tuple[str, ...]] = []
    heat = [2942] * 20 + [3400] * 12 + [2942] * 30 + [3400] * 30
    watch, _, _ = watch_of(Script(heat), Script([7]), lambda *a: lines.append(a))
    for n in range(len(heat)):
        watch.step(n * 250)
    assert lines[0] == ("I", "sample", "temp_dk=2942 smoke_e4=7")
    assert [text for _, tag, text in lines if tag == "hold"] == [
        "phen=heat state=start held_ms=0",
        "phen=heat state=broken held_ms=2750",
        "phen=heat state=start held_ms=0",
    ]
    rising = [text for _, tag, text in lines if tag == "sample"]
    assert rising.count("temp_dk=3400 smoke_e4=7") >= 12 + 20


ALLOCATION = """
import gc
from bongsu_node.alarm.state import AlarmState
from bongsu_node.sensing.detector import Detector
from bongsu_node.sensing.lm75 import Lm75
from bongsu_node.sensing.probe import Probe
from bongsu_node.sensing.smoke_head import SmokeHead
from bongsu_node.sensing.watch import Watch

class Bus:
    raw = bytearray(2)
    def readfrom_mem_into(self, address, register, buffer):
        buffer[0] = self.raw[0]
        buffer[1] = self.raw[1]

class Adc:
    uv = 400000
    def read_uv(self):
        return self.uv

class Response:
    def alarm(self, state, detector):
        pass
    def restored(self, state):
        pass

def ticks_diff(a, b):
    return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000

bus = Bus()
adc = Adc()
heat = Detector(1, 1, 3302, 3232, ticks_diff)
smoke = Detector(2, 2, 600, 400, ticks_diff)
probes = [Probe(Lm75(bus), heat, 1, ticks_diff), Probe(SmokeHead(adc, 400, 1000), smoke, 2, ticks_diff)]
watch = Watch(probes, AlarmState((1, 2), ticks_diff), Response(), lambda level, tag, text: None)

def samples(count, now):
    step = watch.step
    watch._until_log = 1000
    gc.disable()
    before = gc.mem_alloc()
    while count:
        step(now)
        now = (now + 250) & 0x3FFFFFFF
        count -= 1
    return gc.mem_alloc() - before

bus.raw[0] = 21
samples(3, 0)
print(samples(0, 0), samples(200, 1000), samples(30, 0x3FFFFFFF - 3000))
# The detectors and the alarm state through hold, alarm, restore: without the log lines of a rise.
def detectors(count, now, dk, e4):
    before = gc.mem_alloc()
    while count:
        heat.sample(now, dk)
        smoke.sample(now, e4)
        watch._pairs[0][1].step(now, heat.hold.done, heat.below)
        now = (now + 250) & 0x3FFFFFFF
        count -= 1
    return gc.mem_alloc() - before
print(detectors(100, 0x3FFFFFFF - 9000, 3400, 700), detectors(300, 20000, 2942, 0), detectors(30, 90000, 3400, 0))
"""


def test_a_sample_allocates_nothing() -> None:
    """From the registers to the alarm state, under MicroPython, in quiet air and through a whole alarm."""
    assert mpy.run(ALLOCATION).split() == ["0"] * 6
