"""Sensors, filter, probe and watch: right values, supervised failures, and nothing allocated per sample."""

from pathlib import Path
from typing import Any

import pytest

from bongsu_node.sensing import SensorError, fit, limits
from bongsu_node.sensing.filters import Median3
from bongsu_node.sensing.means import Means
from bongsu_node.sensing.smoke_head import SmokeHead
from bongsu_wire import kinds, measured
from bongsu_wire.measured import UNKNOWN
from tests import mpy, sensing_parts
from tests.sensing_parts import CO, DEAD, GAS, HEAD, QUIET, RH, SMOKE, TEMP, Rig, state_of


class Adc:
    def __init__(self, mv: float) -> None:
        self.mv = mv

    def read_uv(self) -> int:
        return round(self.mv * 1000)


def head_of(adc: Adc, mv_clean: int = 400, uv_per_e4: int = 1000) -> SmokeHead:
    return SmokeHead(adc, mv_clean, uv_per_e4, sensing_parts.ticks_diff)


def read(head: SmokeHead) -> int:
    assert head.poll(0)
    return head.values[0]


@pytest.mark.parametrize(
    ("mv", "smoke_e4"), [(400, 0), (250, 0), (401, 1), (1000, 600), (1000.9, 600), (2450, 2050), (3000, 2600)]
)
def test_smoke_head_reads_right(mv: float, smoke_e4: int) -> None:
    assert read(head_of(Adc(mv))) == smoke_e4


def test_dense_smoke_that_drives_the_head_into_its_supply_is_smoke() -> None:
    adc = Adc(400)
    head = head_of(adc)
    for mv in (400, 450, 600, 1400, 2600):
        adc.mv = mv
        read(head)
    for mv in (3050, 3300, 3300):
        adc.mv = mv
        assert read(head) >= 2600
    adc.mv = 410  # the air clears, and then the wire is shorted
    assert read(head) == 10
    adc.mv = 3300
    with pytest.raises(SensorError) as e:
        read(head)
    assert e.value.why == "short"


@pytest.mark.parametrize(("mv", "why"), [(142, "open"), (0, "open"), (3001, "short"), (3300, "short")])
def test_smoke_head_failures(mv: float, why: str) -> None:
    with pytest.raises(SensorError) as e:
        read(head_of(Adc(mv)))
    assert e.value.why == why


def test_a_sensitive_head_in_dense_smoke_still_says_smoke() -> None:
    assert read(head_of(Adc(2900), 300, 1)) == 0xFFFE


def test_the_median_of_three() -> None:
    median = Median3()
    assert [median.update(v) for v in (5, 9, 7, 1, 1, 8, 8)] == [5, 5, 7, 7, 1, 1, 8]


def test_a_median_that_restarts_forgets() -> None:
    median = Median3()
    assert [median.update(v) for v in (5, 9)] == [5, 5] and not median.full
    median.update(7)
    assert median.full
    median.restart()
    assert median.update(90) == 90 and not median.full


def faults(rig: Rig) -> list[tuple[int, str]]:
    return [(ms, what) for ms, what, _, _ in rig.calls if what.startswith("fault")]


def test_a_dead_sensor_is_a_fault_after_10_s_and_a_clear_after_10_good_ones() -> None:
    rig = Rig().run(2)
    rig.run(25, temp=DEAD)
    assert faults(rig) == [(2_250 + 10_000, "fault")]
    assert rig.fitted.judge.value(TEMP) == UNKNOWN
    begun_ms = rig.ms
    rig.run(25, temp=2942)
    # four values in a row before it counts as working, and then 10 s of it
    assert faults(rig)[1:] == [(begun_ms + 1_000 + 10_000, "fault_clear")]
    assert rig.fitted.judge.value(TEMP) == 2942


def test_a_bug_in_a_driver_takes_out_its_own_sensor_only() -> None:
    rig = Rig().run(2)

    def poll(now: int) -> bool:
        raise ZeroDivisionError

    rig.sensors[TEMP].poll = poll  # type: ignore[method-assign]
    rig.run(30, smoke=700)
    assert rig.told("fault") == [(kinds.FAULT_HEAT_SENSOR, 0)]
    assert rig.told("alarm") == [(kinds.SMOKE, kinds.CRIT_SMOKE_FIXED)]


def test_a_sensor_that_answers_now_and_then_is_a_fault_too() -> None:
    rig = Rig().run(2)
    for _ in range(100):
        rig.step(temp=DEAD)
        rig.step()
        rig.step(temp=2942)
    assert [what for _, what in faults(rig)] == ["fault"]


def test_one_missed_answer_is_none() -> None:
    rig = Rig()
    for _ in range(30):
        rig.run(5, temp=2942)
        rig.step(temp=DEAD)
    assert rig.calls == []


def test_a_fault_that_the_centre_knows_is_not_told_twice_but_its_end_is() -> None:
    def known(start: int) -> Rig:
        rig = Rig((TEMP,))
        rig.fitted.probes[0].faulty = True
        return rig.run(30, temp=start)

    assert known(DEAD).calls == []
    assert [what for _, what in faults(known(2942))] == ["fault_clear"]


@pytest.mark.parametrize("period_ms", [250, 1_000, 5_000])
def test_a_sensor_that_falls_silent_is_a_fault_in_less_than_60_s(period_ms: int) -> None:
    """It neither fails nor has anything new."""
    rig = Rig((TEMP,), periods={TEMP: period_ms}).run(30)
    rig.sensors[TEMP].poll = lambda now: False  # type: ignore[method-assign]
    begun_ms = rig.ms
    rig.run(60)
    ((ms, what),) = faults(rig)
    assert what == "fault" and ms - begun_ms < 30_000


def test_warming_up_is_no_fault_and_no_value() -> None:
    rig = Rig((GAS, TEMP))
    rig.sensors[GAS].warming = True
    rig.sensors[GAS].poll = lambda now: False  # type: ignore[method-assign]
    rig.run(600, gas=5000)
    assert rig.calls == [] and rig.fitted.judge.value(GAS) == UNKNOWN


def test_two_sensors_of_one_kind_share_a_fault_that_ends_with_the_last() -> None:
    rig = Rig((TEMP, SMOKE, HEAD)).run(2)
    rig.run(20, smoke=DEAD).run(20, head=DEAD).run(20, smoke=5).run(20, head=0)
    assert [what for _, what in faults(rig)] == ["fault", "fault", "fault", "fault_clear"]


def test_an_entry_that_cannot_be_made_is_a_fault_of_its_kind_and_no_more() -> None:
    class Hardware:
        def i2c(self) -> Any:
            raise ValueError("invalid pin")

        def adc(self, pin: int) -> Any:
            return Adc(400)

    made = []
    for entry in ({"type": "lm75"}, {"type": "smoke_head", "pin": 34}, {"type": "geiger"}):
        made.append((entry, fit.sensor(entry, Hardware())))
    fitted = fit.Outfit(made, list(sensing_parts.limits.DEFAULTS), sensing_parts.ticks_diff)
    assert [probe.fault for probe in fitted.probes] == [
        kinds.FAULT_HEAT_SENSOR,
        kinds.FAULT_SMOKE_SENSOR,
        kinds.FAULT_AIR_SENSOR,
    ]
    for n in range(60):
        for probe in fitted.probes:
            probe.sample(n * 250)
            probe.supervise(n * 250)
    assert [probe.faulty for probe in fitted.probes] == [True] * 3
    assert "invalid pin" in fitted.probes[0].why and "mv_clean" in fitted.probes[1].why


def test_a_hold_freezes_with_its_sensor_and_lets_the_link_connect() -> None:
    rig = Rig((TEMP,), {"heat_rise_dk_min": 0, "heat_alone_dk_min": 0}).run(2)
    rig.run(3, temp=3400)
    assert rig.fitted.judge.rising
    rig.run(3600, temp=DEAD)
    assert not rig.fitted.judge.rising  # or its fault would never get out
    assert rig.told("alarm") == []
    assert rig.fitted.judge.channels[0].held_ms == 10 * 250
    begun_ms = rig.ms
    rig.run(5, temp=3400)
    # 2.5 s before; three values for the median; 0.5 s for the gap, then 2 s more.
    assert [ms - begun_ms for ms, what, _, _ in rig.calls if what == "alarm"] == [750 + 2_000]


def test_a_criterion_that_was_off_begins_at_nothing_when_another_profile_has_it() -> None:
    """And counts nothing meanwhile, which after 12 days would be no small int any more."""
    rig = Rig((SMOKE,), {"smoke_long_e4": 0}).run(120)
    rig.values[limits.NAMES.index("smoke_long_e4")] = 200
    rig.fitted.judge.apply()
    assert rig.run(30).told("alarm") == []


def test_smoke_that_was_counted_for_a_lower_limit_counts_for_no_higher_one() -> None:
    """A profile for dirtier air must not alarm by what it was chosen to let pass; one for cleaner air takes it all."""
    rig = Rig((SMOKE,), {"smoke_long_e4": 200, "smoke_long_s": 120, "smoke_alarm_e4": 900, "smoke_small_e4": 900})
    rig.run(10).run(100, smoke=250)
    rig.values[limits.NAMES.index("smoke_long_e4")] = 400
    rig.fitted.judge.apply()
    assert rig.run(115, smoke=450).told("alarm") == []
    rig.values[limits.NAMES.index("smoke_long_e4")] = 300
    rig.fitted.judge.apply()
    assert rig.run(10).told("alarm") == [(kinds.SMOKE, kinds.CRIT_SMOKE_LONG)]


@pytest.mark.parametrize(
    ("quantities", "changes", "seconds", "track"),
    [
        ((CO,), {}, 60, {"co": 500}),  # a dose of hours
        ((SMOKE,), {"smoke_long_e4": 200, "smoke_alarm_e4": 900, "smoke_small_e4": 900}, 30, {"smoke": 250}),
        ((TEMP, SMOKE), {}, 5, {"temp": 2965}),  # warmed up lately
        ((SMOKE, RH), {}, 8, {"smoke": 700, "rh": 190}),  # has held, and waits for steam
    ],
)
def test_what_a_restart_would_lose_is_no_quiet_moment(quantities: Any, changes: Any, seconds: int, track: Any) -> None:
    """A restart for a new key would begin the counting anew; smoke that is only there is seen again."""
    rig = Rig(quantities, {"smoke_rise_e4": 0, "heat_rise_dk_min": 0, "heat_alone_dk_min": 0, **changes}).run(10)
    judge = rig.fitted.judge
    assert judge.quiet
    rig.run(seconds, **track)
    assert not judge.rising and not rig.alarms.active and not judge.quiet
    rig.run(400, **{name: QUIET[sensing_parts.NAMES[name]] for name in track})
    assert judge.quiet


@pytest.mark.parametrize(
    ("quantities", "changes", "seconds", "name", "value"),
    [
        ((TEMP, SMOKE), {}, 4, "temp", 3400),
        ((CO, TEMP), {}, 60, "co", 500),
        ((SMOKE, TEMP), {"smoke_long_e4": 200, "smoke_alarm_e4": 900, "smoke_small_e4": 900}, 30, "smoke", 250),
    ],
)
def test_a_dead_sensor_that_saw_something_is_waited_for_no_longer_than_its_vote_counts(
    quantities: Any, changes: Any, seconds: int, name: str, value: int
) -> None:
    """What it counted stays as it was, and never runs down: a next key would wait until somebody cuts the power."""
    rig = Rig(quantities, {"smoke_rise_e4": 0, "heat_rise_dk_min": 0, "heat_alone_dk_min": 0, **changes}).run(10)
    rig.run(seconds, **{name: value}).run(200, **{name: DEAD})
    assert not rig.fitted.judge.rising and not rig.fitted.judge.quiet
    rig.run(150)
    assert rig.fitted.judge.quiet and not rig.alarms.active


def test_one_dead_sensor_does_not_keep_the_other_from_alarming() -> None:
    rig = Rig()
    rig.run(15, temp=DEAD, smoke=700)
    assert rig.told("alarm") == [(kinds.SMOKE, kinds.CRIT_SMOKE_FIXED)]
    assert rig.told("fault") == [(kinds.FAULT_HEAT_SENSOR, 0)]
    assert rig.alarms.active == kinds.SMOKE


def test_restore_after_60_s_below_and_a_new_rise_is_a_new_alarm() -> None:
    rig = Rig((TEMP,)).run(2)
    rig.run(8, temp=3400)
    rig.run(180, temp=2942)
    assert [what for _, what, _, _ in rig.calls] == ["alarm", "restore"]
    begun_ms = rig.ms
    rig.run(8, temp=3400)
    assert rig.calls[-1] == (begun_ms + 250 + 250 + 5_000, "alarm", kinds.HEAT, kinds.CRIT_HEAT_FIXED)


def test_the_hysteresis_keeps_an_alarm() -> None:
    rig = Rig((SMOKE,)).run(2)
    rig.run(10, smoke=700).run(300, smoke=310)
    assert [what for _, what, _, _ in rig.calls] == ["alarm"]
    rig.run(62, smoke=5)
    assert [what for _, what, _, _ in rig.calls] == ["alarm", "restore"]


def test_a_dead_thermometer_beside_a_living_one_does_not_keep_an_alarm_for_ever() -> None:
    """It would hide the next fire."""
    rig = Rig((TEMP,), {"heat_small_dk": 200, "heat_rise_dk_min": 0})
    dead = sensing_parts.Scripted(TEMP)
    rig.refit([({"type": "lm75"}, rig.sensors[TEMP]), ({"type": "ntc"}, dead)])
    rig.run(5)
    dead.next = DEAD
    rig.run(30).run(10, temp=3400).run(200, temp=2940).run(10, temp=3400)
    assert [what for _, what, _, _ in rig.calls] == ["fault", "alarm", "restore", "alarm"]


def test_a_sensor_that_gives_no_value_and_says_so_by_0xffff_is_not_hot() -> None:
    rig = Rig().run(5)
    rig.run(30, temp=UNKNOWN)
    assert rig.told("alarm") == [] and rig.told("prealarm") == []
    assert rig.told("fault") == [(kinds.FAULT_HEAT_SENSOR, 0)]


@pytest.mark.parametrize("period_ms", [250, 1_000, 5_000, 150_000])
def test_one_bad_answer_is_no_fault_however_slow_the_sensor(period_ms: int) -> None:
    rig = Rig((TEMP,), periods={TEMP: period_ms}).run(2 * period_ms / 1000 + 5)
    good = rig.sensors[TEMP].next
    rig.step(temp=DEAD)
    rig.run(3 * period_ms / 1000 + 20, temp=good)
    assert rig.calls == []


def test_a_link_that_cannot_take_a_reading_does_not_stop_the_sensing() -> None:
    """NVS has no counter to give: that is the link's trouble."""
    rig = Rig()
    lines: list[tuple[str, ...]] = []

    class Due:
        def step(self, now: int) -> bool:
            return True

        def reading(self) -> bytes:
            return b"reading"

    def refuse(data: bytes) -> None:
        raise OSError(5)

    rig.watch._means = Due()
    rig.watch._log = lambda *a: lines.append(a)
    rig.watch.on_reading = refuse
    rig.run(5).run(8, smoke=700)
    assert rig.told("alarm") and any(tag == "reading" for _, tag, _ in lines)


def test_a_sensor_that_needs_the_air_around_it_is_handed_the_judge() -> None:
    rig = Rig()
    gas = sensing_parts.Scripted(GAS)
    gas.judge = None
    rig.refit([({"type": "lm75"}, rig.sensors[TEMP]), ({"type": "sgp40"}, gas)])
    rig.run(5)
    assert gas.judge is rig.fitted.judge and gas.judge.value(TEMP) == 2940


@pytest.mark.parametrize("sensors", [1, 3])
def test_means_of_an_hour_of_the_highest_values_stay_small_ints(sensors: int) -> None:
    means = Means(3600, (SMOKE,), sensing_parts.ticks_diff)
    for n in range(4 * 3600):
        for _ in range(sensors):
            means.take(SMOKE, 0xFFFE)
        assert means.step(n * 250) == (n == 4 * 3600 - 1) or n == 4 * 3600 - 1
        assert means._sums[0] < 1 << 30
    assert measured.decode_reading(means.reading() or measured.encode_reading(measured.Reading(0, 1, {}))).values == {
        SMOKE: 0xFFFE
    }


def test_after_a_reset_by_hand_only_that_phenomenon_must_hold_anew() -> None:
    rig = Rig().run(2)
    rig.run(6, temp=3400)
    rig.run(3, temp=DEAD, smoke=700)
    state_of(rig.alarms, kinds.HEAT).end()
    rig.fitted.judge.end_hold(kinds.HEAT)
    rig.run(8)
    alarms = [(ms, bits) for ms, what, bits, _ in rig.calls if what == "alarm"]
    # The smoke had begun to rise before the reset, and alarms 5.0 s after its own first high sample.
    assert alarms == [(2_500 + 5_000, kinds.HEAT), (8_500 + 5_000, kinds.SMOKE)]
    assert rig.alarms.active == kinds.SMOKE


def test_log_lines() -> None:
    rig = Rig(changes={"heat_rise_dk_min": 0, "heat_small_dk": 200})
    lines: list[tuple[str, ...]] = []
    rig.watch._log = lambda *a: lines.append(a)
    rig.run(5, temp=2942, smoke=7).run(3, temp=3140).run(3, temp=3400).run(8, temp=2942).run(8, temp=3400)
    assert lines[0] == ("I", "sample", "temp_dk=2942 smoke_e4=7")
    assert [text for _, tag, text in lines if tag == "hold"] == [
        "phen=heat state=start held_ms=0",
        "phen=heat state=broken held_ms=2750",
        "phen=heat state=start held_ms=0",
    ]
    rising = [text for _, tag, text in lines if tag == "sample"]
    assert rising.count("temp_dk=3400 smoke_e4=7") >= 11 + 19


ALLOCATION = (
    Path(sensing_parts.__file__).read_text().replace("from typing import Any\n", "")
    + """
import gc
from bongsu_node.sensing.smoke_head import SmokeHead

class Adc:
    uv = 400000
    def read_uv(self):
        return self.uv

ALL = (TEMP, RH, CO, GAS, HEAD)
adc = Adc()
rig = Rig(ALL)
fitted = [({"type": "smoke_head"}, SmokeHead(adc, 400, 1000, ticks_diff))]
fitted += [({"type": TYPES[q]}, rig.sensors[q]) for q in ALL]
outfit = fit.Outfit(fitted, rig.values, ticks_diff, interval_s=3600)
watch = Watch(outfit.probes, outfit.judge, rig.alarms, rig, outfit.history, outfit.means, lambda level, tag, text: None)

def samples(count, now):
    step = watch.step
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    while count:
        watch._until_log = 1000
        step(now)
        now = (now + 250) & 0x3FFFFFFF
        count -= 1
    return gc.mem_alloc() - before

samples(3, 0)
print(samples(0, 0), samples(2000, 1000), samples(400, 0x3FFFFFFF - 3000))
# Up to the alarm, and after it: only the decision itself (its event, its history, its log line) may allocate.
rig.alarm = rig.restored = rig.prealarm = lambda *a: None
watch._tell = lambda now: None
adc.uv = 700000
rig.sensors[TEMP].next = 3130
print(samples(18, 200000))
samples(22, 204500)
print(samples(400, 210000))
"""
)


def test_a_sample_allocates_nothing() -> None:
    """All phenomena, from the registers to the alarm state, under MicroPython, in quiet air and while it burns."""
    assert mpy.run(ALLOCATION).split() == ["0"] * 5
