"""What the judge promises, whatever the sensors say: no alarm below 5 s of evidence, none lost, nothing cancelled.

A track is a list of runs: so many samples of the given values; it is played to the very code of the node.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bongsu_wire import kinds
from tests import mpy, sensing_parts
from tests.sensing_parts import CO, DEAD, GAS, HEAD, PERIOD, RH, SMOKE, TEMP, Rig, play

HOLD = 20  # sample periods of 5 s
ALL = (TEMP, SMOKE, RH, CO, GAS, HEAD)
DEFAULT = sensing_parts.LIMITS

temps = st.one_of(st.integers(2732, 3700), st.sampled_from([2940, 2960, 3000, 3301, 3302, 3400]))
smokes = st.one_of(st.integers(0, 3000), st.sampled_from([0, 149, 150, 299, 599, 600, 700, 65534]))
run = st.fixed_dictionaries(
    {},
    optional={
        "temp": temps | st.just(DEAD),
        "smoke": smokes | st.just(DEAD),
        "rh": st.integers(60, 200) | st.just(DEAD),
        "co": st.integers(0, 5000) | st.just(DEAD),
        "gas": st.integers(50, 1000) | st.just(DEAD),
        "head": st.integers(0, 1) | st.just(DEAD),
    },
)
dts = st.one_of(st.just(250), st.just(250), st.integers(190, 310), st.integers(400, 40_000))
tracks = st.lists(st.tuples(st.integers(1, 60), dts, run), min_size=1, max_size=14)
starts = st.one_of(st.integers(0, PERIOD - 1), st.integers(PERIOD - 40_000, PERIOD - 1))

PROGRAM = (
    Path(sensing_parts.__file__).read_text().replace("from typing import Any\n", "")
    + """
def handle(request):
    return play(*request)
"""
)


@pytest.fixture(scope="module")
def board() -> Iterator[mpy.Server]:
    with mpy.Server(PROGRAM) as server:
        yield server


@settings(max_examples=80, deadline=None)
@given(start=starts, track=tracks)
def test_decisions_are_bit_for_bit_the_same_on_both(board: mpy.Server, start: int, track: Any) -> None:
    assert board.call([start, list(ALL), track]) == json.loads(json.dumps(play(start, ALL, track)))


class SmallInt(int):
    """An int that fails when arithmetic leaves what a small int of an ESP32 holds."""

    LIMIT = 1 << 30

    @classmethod
    def check(cls, value: Any) -> Any:
        assert -cls.LIMIT <= value < cls.LIMIT, f"{value} is no small int"
        return cls(value)


def _checked(name: str) -> Any:
    plain = getattr(int, name)
    return lambda self, other: SmallInt.check(plain(self, other))


for _name in ("add", "sub", "mul", "radd", "rsub", "rmul", "and", "rand", "rshift", "lshift", "or", "floordiv"):
    setattr(SmallInt, f"__{_name}__", _checked(f"__{_name}__"))


@settings(max_examples=100, deadline=None)
@given(start=starts, track=tracks, extreme=st.sampled_from([0, 0xFFFE]))
def test_all_arithmetic_is_of_small_ints(start: int, track: Any, extreme: int) -> None:
    """Nothing leaves +-2^30, so there is no big int on the chip. (ticks_diff is C code there.)"""

    def chip_diff(a: int, b: int) -> SmallInt:
        return SmallInt(sensing_parts.ticks_diff(int(a), int(b)))

    rig = Rig(ALL, None, start, diff=chip_diff)
    rig.values[:] = [SmallInt(v) for v in rig.values]
    for sensor in rig.sensors.values():
        sensor.next = extreme
    rig.run(70)
    for count, dt, values in track:
        for _ in range(count):
            rig.step(dt, **{k: v if v == DEAD else SmallInt(v) for k, v in values.items()})


# ---- no alarm without its evidence


@settings(max_examples=60, deadline=None)
@given(
    before=st.integers(4, 80),
    high=st.integers(1, HOLD - 1),
    times=st.integers(1, 4),
    temp=st.integers(2940, 3700),
    smoke=st.integers(0, 5000),
)
def test_4_9_s_of_anything_raises_nothing(before: int, high: int, times: int, temp: int, smoke: int) -> None:
    """Of heat, smoke or both: from first to last high sample less than 5.0 s, however often. The median may lengthen
    a condition by no sample."""
    rig = Rig()
    rig.run(60)
    for _ in range(times):
        for _ in range(high):
            rig.step(temp=temp, smoke=smoke)
        # Long enough for every window (20, 30, 120 s) to have forgotten it.
        rig.run(125 + before / 4, temp=2940, smoke=5)
    assert rig.told("alarm") == [] and rig.told("prealarm") == []


@settings(max_examples=100, deadline=None)
@given(
    what=st.sampled_from(
        [
            ({"temp": DEFAULT["heat_alarm_dk"]}, kinds.HEAT, kinds.CRIT_HEAT_FIXED),
            ({"smoke": DEFAULT["smoke_alarm_e4"]}, kinds.SMOKE, kinds.CRIT_SMOKE_FIXED),
            ({"head": 1}, kinds.SMOKE, kinds.CRIT_HEAD),
            ({"gas": DEFAULT["gas_alarm_index"]}, kinds.GAS, kinds.CRIT_GAS),
        ]
    ),
    dead=st.sets(st.sampled_from(["temp", "smoke", "rh", "co", "gas", "head"]), max_size=5),
    start=starts,
)
def test_one_full_threshold_alarms_within_one_sample_of_5_s_whoever_is_dead(
    what: Any, dead: set[str], start: int
) -> None:
    high, bit, criterion = what
    rig = Rig(ALL, None, start)
    rig.run(60)
    for name in dead - set(high):
        rig.step(**{name: DEAD})
    rig.run(40)
    begun_ms = rig.ms + 250
    rig.run(12, **high)
    alarms = [call for call in rig.calls if call[1] == "alarm" and call[2] & bit]
    assert alarms and alarms[0][2] == bit
    assert alarms[0][3] == criterion
    # The median passes a step one sample later.
    assert alarms[0][0] == begun_ms + 250 + 5_000


@settings(max_examples=100, deadline=None)
@given(
    temp=st.integers(2940 + DEFAULT["heat_small_dk"], 2940 + 26),
    smoke=st.integers(10 + DEFAULT["smoke_small_e4"], DEFAULT["smoke_rise_e4"]),
    co=st.integers(DEFAULT["co_small_dppm"], 440),
    pair=st.sampled_from([("temp", "smoke"), ("temp", "co"), ("smoke", "co"), ("temp", "smoke", "co")]),
)
def test_two_small_changes_are_an_alarm_and_one_is_a_prealarm(temp: int, smoke: int, co: int, pair: Any) -> None:
    values = {"temp": temp, "smoke": smoke, "co": co}
    rig = Rig((TEMP, SMOKE, CO))
    rig.run(60)
    rig.run(5.75, **{name: values[name] for name in pair})
    bits = sum({"temp": kinds.HEAT, "smoke": kinds.SMOKE, "co": kinds.CO}[name] for name in pair)
    assert rig.calls == [(65_500, "alarm", bits, kinds.CRIT_FUSION)]
    for name in pair:
        rig = Rig((TEMP, SMOKE, CO))
        rig.run(60)
        rig.run(30, **{name: values[name]})
        assert [(ms, what) for ms, what, _, _ in rig.calls] == [(65_500, "prealarm")]


def test_prealarms_come_once_a_rise_and_once_in_ten_minutes() -> None:
    rig = Rig()
    rig.run(60)
    for _ in range(60):  # every 20 s for 20 minutes
        rig.run(10, smoke=200).run(10, smoke=5)
    times = [ms for ms, what, _, _ in rig.calls if what == "prealarm"]
    assert len(times) == 2 and times[1] - times[0] >= 600_000
    rig = Rig().run(60)
    rig.run(3600, smoke=200)
    assert len(rig.told("prealarm")) == 1 and rig.told("alarm") == []


@pytest.mark.parametrize("peak_dk", [3602, 4100, 4600])
def test_what_a_lighter_left_behind_is_no_evidence(peak_dk: int) -> None:
    """A flame of 3 s, and a thermometer that is above the limit for twice as long (time constant 2.5 s)."""
    rig = Rig((TEMP,), {"heat_rise_dk_min": 0, "heat_alone_dk_min": 0}).run(60)
    rig.run(3, temp=peak_dk)
    hot = 0
    for n in range(1, 120):
        temp = 2940 + int((peak_dk - 2940) * 0.905**n)
        hot += temp >= 3302
        rig.step(temp=temp)
    assert hot > 8 or peak_dk == 3602
    assert rig.told("alarm") == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(3310, 5000), min_size=30, max_size=60))
def test_a_fire_that_flickers_above_the_limit_still_alarms(temps: list[int]) -> None:
    """However wildly: falls freeze the hold, and break nothing. One in four samples at most may be such a fall."""
    rig = Rig((TEMP,)).run(60)
    for temp in temps:
        for _ in range(12):
            rig.step(temp=temp)
    assert rig.told("alarm")


def test_a_warming_morning_is_nothing() -> None:
    """20 K in two hours: less than 2 K in any two minutes, and no rate of rise."""
    rig = Rig()
    rig.run(60)
    for tenth in range(200):
        rig.run(36, temp=2740 + tenth)
    assert rig.calls == []


@pytest.mark.parametrize("gap_s", [31, 300, 7200])
def test_what_warmed_up_while_the_sensor_was_away_has_not_risen_fast(gap_s: int) -> None:
    rig = Rig()
    rig.run(60)
    rig.run(gap_s, temp=DEAD)
    rig.run(60, temp=3140)
    assert rig.told("alarm") == [] and rig.told("prealarm") == []


# ---- steam delays, and never cancels


@settings(max_examples=60, deadline=None)
@given(
    delay_s=st.integers(0, 180),
    rh=st.integers(DEFAULT["steam_rh_half"], 200),
    flicker=st.integers(0, 40),
    both=st.booleans(),
)
@example(delay_s=0, rh=200, flicker=0, both=False)
def test_steam_delays_a_smoke_decision_by_no_more_than_its_limit(
    delay_s: int, rh: int, flicker: int, both: bool
) -> None:
    """However long it stays humid, and however often the signal breaks off for less than a minute."""
    rig = Rig((TEMP, SMOKE, RH), {"steam_delay_s": delay_s, "smoke_rise_e4": 0})
    rig.run(130)
    high = {"smoke": 700, "rh": rh, **({"temp": 2965} if both else {})}
    begun_ms = rig.ms + 500
    # 320 s of smoke, broken off again and again for a while in which the hold must start anew.
    for _ in range(16):
        rig.run(20, **high)
        if flicker:
            rig.run(flicker, smoke=100)
    alarms = [ms for ms, what, bits, _ in rig.calls if what == "alarm" and bits & kinds.SMOKE]
    assert alarms
    # The breaks take their own time and a new hold each; the delay is used up by the smoke alone.
    parts = delay_s // 14 + 1
    assert alarms[0] - begun_ms <= 5_000 + delay_s * 1000 + parts * (flicker + 6) * 1000


def test_steam_does_not_delay_heat_nor_a_certified_head() -> None:
    rig = Rig((TEMP, SMOKE, RH, HEAD)).run(130)
    rig.run(8, rh=200, smoke=700, temp=3400)
    assert rig.told("alarm")[0] == (kinds.HEAT, kinds.CRIT_HEAT_FIXED)
    rig = Rig((TEMP, SMOKE, RH, HEAD)).run(130)
    rig.run(8, rh=200, head=1)
    assert rig.told("alarm") == [(kinds.SMOKE, kinds.CRIT_HEAD)]


def test_a_dead_humidity_sensor_delays_nothing() -> None:
    rig = Rig((TEMP, SMOKE, RH)).run(130, rh=200)
    rig.run(30, rh=DEAD)
    rig.run(6, smoke=700)
    assert rig.told("alarm") == [(kinds.SMOKE, kinds.CRIT_SMOKE_FIXED)]


def test_when_the_steam_is_over_the_alarm_comes_at_once() -> None:
    rig = Rig((TEMP, SMOKE, RH), {"steam_delay_s": 120}).run(130)
    rig.run(30, smoke=700, rh=190)
    assert rig.told("alarm") == []
    rig.run(1, rh=100)
    # its rise within two minutes is still there, so go below both
    rig.run(125, rh=100)
    assert (kinds.SMOKE, kinds.CRIT_SMOKE_FIXED) in rig.told("alarm")


# ---- dead sensors


def test_a_sensor_that_dies_while_it_was_up_keeps_its_half_of_a_fusion() -> None:
    rig = Rig((TEMP, SMOKE)).run(60)
    rig.run(10, smoke=200)
    rig.run(60, smoke=DEAD)
    assert rig.told("alarm") == []
    rig.run(8, temp=2965)
    assert (kinds.HEAT | kinds.SMOKE, kinds.CRIT_FUSION) in rig.told("alarm")


@pytest.mark.parametrize(
    ("dead", "changes", "high", "criterion"),
    [
        ("temp", {"smoke_alone_e4": 400}, {"smoke": 450}, kinds.CRIT_SMOKE_ALONE),
        ("smoke", {"heat_rise_dk_min": 0, "heat_alone_dk_min": 83}, {"temp": 3000}, kinds.CRIT_HEAT_ALONE),
    ],
)
def test_a_dead_partner_lowers_the_limit(dead: str, changes: Any, high: Any, criterion: int) -> None:
    changes = {"smoke_rise_e4": 0, **changes}
    rig = Rig((TEMP, SMOKE), changes).run(60)
    rig.run(8, **high)
    assert rig.told("alarm") == []
    rig = Rig((TEMP, SMOKE), changes).run(60)
    rig.run(60, **{dead: DEAD})
    rig.run(8, **high)
    assert [c for _, c in rig.told("alarm")] == [criterion]


def test_a_fault_never_ends_an_alarm() -> None:
    for dead in ({"temp": DEAD}, {"smoke": DEAD}, {"temp": DEAD, "smoke": DEAD}):
        rig = Rig().run(60)
        rig.run(10, smoke=200, temp=2965)
        rig.run(3600, **dead)
        assert rig.alarms.active & (kinds.HEAT if "temp" in dead else kinds.SMOKE)


# ---- slow sensors


@settings(max_examples=60, deadline=None)
@given(period_ms=st.sampled_from([750, 1000, 2000, 5000]), high_s=st.integers(1, 30), phase=st.integers(0, 20))
def test_a_slow_sensor_needs_5_s_from_its_first_to_its_last_high_value(period_ms: int, high_s: int, phase: int) -> None:
    rig = Rig((TEMP,), {"heat_rise_dk_min": 0, "heat_alone_dk_min": 0}, periods={TEMP: period_ms})
    rig.run(60 + phase / 4)
    values = []
    sensor = rig.sensors[TEMP]
    for i in range(4 * (high_s + 60)):
        rig.step(temp=3400 if i < 4 * high_s else 2940)
        if sensor._wait_ms == sensor.period_ms:
            values.append(sensor.values[0])
    # The median passes one value later and ends one later: as many high ones.
    span_ms = (values.count(3400) - 1) * period_ms
    assert bool(rig.told("alarm")) == (span_ms >= 5_000)


# ---- CO (EN 50291-1)


@pytest.mark.parametrize(
    ("ppm", "never_before_min", "always_before_min"), [(33, 120, None), (55, 60, 90), (110, 10, 40), (330, 0, 3)]
)
@pytest.mark.parametrize("share", [0.9, 1.0, 1.1])
def test_co_alarms_in_the_times_of_the_standard(
    ppm: int, never_before_min: float, always_before_min: float | None, share: float
) -> None:
    """The standard's test gases are 10 % above 30, 50, 100 and 300 ppm, +-10 %."""
    rig = Rig((CO,)).run(10)
    rig.run(60 * (always_before_min or 121), co=round(ppm / 1.1 * share * 10))
    alarms = [ms - 10_000 for ms, what, bits, _ in rig.calls if what == "alarm" and bits == kinds.CO]
    if always_before_min is None:
        assert all(ms >= never_before_min * 60_000 for ms in alarms)
    else:
        assert len(alarms) == 1 and never_before_min * 60_000 <= alarms[0] < always_before_min * 60_000


def test_co_that_flickers_about_a_level_still_alarms_and_a_cigarette_does_not() -> None:
    rig = Rig((CO,)).run(10)
    for _ in range(400):
        rig.run(20, co=1200).run(5, co=800)
    assert rig.told("alarm") == [(kinds.CO, kinds.CRIT_CO)]
    rig = Rig((CO,)).run(10)
    for _ in range(20):
        rig.run(60, co=600).run(240, co=20)
    assert rig.told("alarm") == []


# ---- who keeps whom waiting, and for how long


@pytest.mark.parametrize("period_ms", [5_000, 150_000])
@pytest.mark.parametrize("warming", [False, True])
def test_a_slow_or_warming_co_sensor_keeps_no_fusion_waiting(period_ms: int, warming: bool) -> None:
    rig = Rig((TEMP, SMOKE, CO), periods={CO: period_ms})
    if warming:
        rig.sensors[CO].warming = True
        rig.sensors[CO].poll = lambda now: False  # type: ignore[method-assign]
    rig.run(200).run(5.75, temp=2965, smoke=200)
    assert rig.calls == [(205_500, "alarm", kinds.HEAT | kinds.SMOKE, kinds.CRIT_FUSION)]


def test_a_dead_sensor_lends_its_vote_for_minutes_and_not_for_ever() -> None:
    """Else a little warmth an hour later were a fire."""
    rig = Rig().run(60)
    rig.run(3, smoke=200).run(3600, smoke=DEAD).run(30, temp=2965)
    assert rig.told("alarm") == [] and rig.told("prealarm")[-1] == (kinds.HEAT, kinds.CRIT_SMALL)


def test_sensors_that_die_in_mid_fusion_do_not_keep_the_link_from_connecting() -> None:
    rig = Rig().run(60)
    rig.run(2, smoke=200, temp=2965)
    assert rig.fitted.judge.rising
    rig.run(60, smoke=DEAD, temp=DEAD)
    assert not rig.fitted.judge.rising


def test_steam_does_not_keep_the_link_from_connecting() -> None:
    rig = Rig((TEMP, SMOKE, RH), {"smoke_rise_e4": 0}).run(130)
    rig.run(30, smoke=700, rh=190)
    assert rig.fitted.judge.delayed and not rig.fitted.judge.rising


def test_while_a_decision_waits_for_steam_the_centre_sees_a_prealarm() -> None:
    rig = Rig((TEMP, SMOKE, RH)).run(130)
    rig.run(20, smoke=700, rh=190).run(600, smoke=5, rh=190)
    assert rig.told("alarm") == [] and rig.told("prealarm") == [(kinds.SMOKE, kinds.CRIT_SMALL)]


@settings(max_examples=30, deadline=None)
@given(rh=st.integers(190, 200))
def test_air_that_is_damp_all_day_delays_nothing(rh: int) -> None:
    rig = Rig((TEMP, SMOKE, RH)).run(320, rh=rh)
    rig.run(6, smoke=700)
    assert rig.told("alarm") == [(kinds.SMOKE, kinds.CRIT_SMOKE_FIXED)]


def test_prealarms_that_keep_coming_become_rare() -> None:
    rig = Rig().run(60)
    for _ in range(6 * 120):  # every 30 s for 6 hours
        rig.run(10, smoke=200).run(20, smoke=5)
    times = [ms for ms, what, _, _ in rig.calls if what == "prealarm"]
    assert 2 <= len(times) <= 8
    assert all(later - earlier >= 600_000 for earlier, later in zip(times, times[1:], strict=False))


# ---- smoke that stays, and fire that flickers

LONG = {"smoke_long_e4": 500, "smoke_long_s": 120, "smoke_alarm_e4": 1500, "smoke_alone_e4": 0, "smoke_rise_e4": 0}


def test_smoke_that_stays_alarms_though_it_dips_and_a_spray_does_not() -> None:
    rig = Rig((SMOKE,), LONG).run(60)
    for _ in range(20):
        rig.run(14, smoke=600).run(1, smoke=450)
    assert rig.told("alarm") == [(kinds.SMOKE, kinds.CRIT_SMOKE_LONG)]
    rig = Rig((SMOKE,), LONG).run(60)
    for _ in range(20):
        rig.run(30, smoke=600).run(60, smoke=5)
    assert rig.told("alarm") == []


def test_heat_that_swirls_while_it_rises_fast_alarms() -> None:
    """30 K/min with a degree up and down."""
    rig = Rig((TEMP,), {"heat_alarm_dk": 3632}).run(60)
    for n in range(60):
        rig.run(1, temp=2940 + 5 * n + (10 if n % 4 < 2 else -10))
    assert rig.told("alarm")


def test_slow_heat_with_a_little_smoke_is_a_fusion() -> None:
    """A wood fire as TF1 of EN 54: 15 K in five minutes."""
    rig = Rig(changes={"smoke_rise_e4": 0}).run(60)
    for n in range(150):
        rig.run(2, temp=2940 + n, smoke=200)
    assert rig.told("alarm") == [(kinds.HEAT | kinds.SMOKE, kinds.CRIT_FUSION)]
