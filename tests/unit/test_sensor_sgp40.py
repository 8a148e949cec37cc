"""SGP40 against a model of it, and the VOC index."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu_node.sensing.voc_index import VocIndex
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN
from tests import mpy
from tests import sensor_parts as parts
from tests.sensor_bench import SPECS, Bench, words_of
from tests.sensor_parts import SmallInt


@pytest.mark.parametrize("on", parts.INTERPRETERS)
@pytest.mark.parametrize("check", parts.CHECKS)
def test_common(check: str, on: str) -> None:
    parts.run_check(check, "sgp40", on)


def test_command_of_the_data_sheet() -> None:
    """Without a hygrometer: 0x8000 A2 6666 93; with 50 % and 25 degC the same within a count."""
    bench = Bench(SPECS["sgp40"])
    assert bytes(bench.sensor._measure) == b"\x26\x0f\x80\x00\xa2\x66\x66\x93"
    bench.start()
    assert bench.chip.told == (0x8000, 0x6666)


@given(st.integers(2_332, 3_500), st.integers(0, 200))
def test_compensation_tells_the_air(temp_dk: int, humidity_half: int) -> None:
    """The model refuses a wrong check sum; the ticks are those of table 9."""
    bench = Bench(SPECS["sgp40"])
    bench.sensor.compensate(temp_dk, humidity_half)
    bench.sensor._write(bench.sensor._measure)
    bench.clock.advance(30)
    bench.chip._end_command()
    humidity, temperature = bench.chip.told
    assert abs(humidity / 65_535 * 100 - humidity_half / 2) < 0.01
    assert abs(temperature / 65_535 * 175 - 45 - min(temp_dk / 10 - 273.15, 130)) < 0.01


def test_compensation_takes_the_humidity_out() -> None:
    bench = Bench(SPECS["sgp40"])
    bench.chip.set(rh_pct=90.0)
    bench.sensor.compensate(2982, 180)
    bench.start()
    wet = bench.sensor.raw
    assert abs(wet - 30_000) <= 5


def test_failed_self_test_is_a_fault() -> None:
    bench = Bench(SPECS["sgp40"])
    bench.chip.fails_test = True
    said = bench.run(10_000)
    assert set(words_of(said)) == {"range"}
    assert "range" in said[:4]
    bench.chip.fails_test = False
    assert True in bench.run(65_000)


def test_after_long_good_work_a_short_fault_is_short() -> None:
    """The plate warms up once more, without values; that is warm-up and no fault. At a fault soon after, it is one."""
    bench = Bench(SPECS["sgp40"])
    bench.start()
    bench.run(600_000)
    bench.bus.dip(0x59)
    said = bench.run(60_000)
    assert 1 <= len(words_of(said)) <= 6
    assert True not in said
    assert bench.sensor.warming
    assert True in bench.run(5_000)
    bench.bus.dip(0x59)
    said = bench.run(60_000)
    assert len(words_of(said[4:])) == len(said[4:])


def test_gas_raises_the_index_and_passes() -> None:
    bench = Bench(SPECS["sgp40"])
    bench.start()
    bench.check_values = lambda: None
    bench.run(1_200_000)
    assert abs(bench.sensor.values[0] - 100) <= 3
    bench.chip.set(voc=10.0)
    bench.run(30_000)
    assert bench.sensor.values[0] > 300
    bench.chip.set(voc=1.0)
    bench.run(60_000)
    assert abs(bench.sensor.values[0] - 100) <= 5
    bench.chip.set(voc=0.7)
    bench.run(60_000)
    assert 1 <= bench.sensor.values[0] < 80


# The index


def days(index: VocIndex, ticks: int, seconds: int, noise: int = 8, seed: int = 1) -> None:
    rng = random.Random(seed)
    for _ in range(seconds):
        index.sample(ticks + rng.randint(-noise, noise))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 65_535), st.integers(1, 200)), min_size=1, max_size=12))
def test_index_stays_in_its_range_and_small(parts_of_the_day: list[tuple[int, int]]) -> None:
    index = VocIndex()
    index._deviation = SmallInt(index._deviation)
    for ticks, seconds in parts_of_the_day:
        for _ in range(seconds):
            assert 1 <= index.sample(SmallInt(ticks)) <= 500


@given(st.integers(15_000, 40_000), st.integers(1, 3_000), st.integers(1, 3_000))
def test_index_rises_with_the_gas(usual: int, a: int, b: int) -> None:
    """More gas, less ticks, a higher index; the usual air is 100."""
    readings = []
    for away in (min(a, b), max(a, b)):
        index = VocIndex()
        days(index, usual, 120, noise=0)
        assert index.index == 100
        for _ in range(80):
            index.sample(usual - away)
        readings.append(index.index)
        index = VocIndex()
        days(index, usual, 120, noise=0)
        for _ in range(80):
            index.sample(usual + away)
        assert index.index <= 100
    assert 100 <= readings[0] <= readings[1]


def test_the_usual_air_is_learned_anew_in_days() -> None:
    """A leak is not learned while it is young; another place is, within two days."""
    index = VocIndex()
    days(index, 30_000, 8 * 3_600)
    days(index, 28_500, 3 * 3_600 - 600, seed=2)
    assert index.index > 250
    days(index, 28_500, 48 * 3_600, seed=3)
    assert 90 <= index.index <= 130


def test_slow_drift_is_no_event() -> None:
    index = VocIndex()
    days(index, 30_000, 4 * 3_600)
    highest = 0
    for hour in range(72):
        days(index, 30_000 - 10 * hour, 3_600, seed=hour)
        highest = max(highest, index.index)
    assert highest < 200


def test_both_interpreters_count_alike() -> None:
    program = """
from bongsu_node.sensing.voc_index import VocIndex
index = VocIndex()
x = 1
out = []
for n in range(20000):
    x = (x * 75 + 74) % 65537
    index.sample(25000 + x % 100 + (n // 3000 % 2) * 3000)
    if n % 500 == 0:
        out.append(index.index)
print(out)
"""
    printed: list[str] = []
    exec(program, {"print": lambda out: printed.append(str(out))})
    assert mpy.run(program).strip() == printed[0]


def test_nothing_is_given_while_it_warms() -> None:
    bench = Bench(SPECS["sgp40"])
    bench.run(30_000)
    assert bench.sensor.warming
    assert bench.sensor.values == [UNKNOWN]


def test_it_is_told_the_air_that_the_nodes_other_sensors_measure() -> None:
    class Air:
        values = {kinds.Q_TEMP_DK: 3082, kinds.Q_HUMIDITY_HALF: 0xFFFF}

        def value(self, quantity: int) -> int:
            return self.values[quantity]

    bench = Bench(SPECS["sgp40"])
    bench.sensor.judge = Air()
    bench.start()
    assert bench.chip.told == (0x8000, 0x6666)  # one of the two alone says nothing
    Air.values[kinds.Q_HUMIDITY_HALF] = 180
    while bench.chip.told == (0x8000, 0x6666):
        bench.clock.advance(250)
        bench.sensor.poll(bench.clock.ticks())
    humidity, temperature = bench.chip.told
    assert abs(humidity / 65_535 * 100 - 90) < 0.01 and abs(temperature / 65_535 * 175 - 45 - 35.05) < 0.01
