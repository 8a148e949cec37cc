"""BME280 against a model of it and Bosch's worked example; its arithmetic stays small."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.shims.chips import bme280 as chip
from bongsu_node.sensing import SensorError, bosch
from bongsu_node.sensing.bme280 import Bme280
from bongsu_wire.measured import UNKNOWN
from tests import sensor_parts as parts
from tests.sensor_bench import SPECS, Bench, words_of
from tests.sensor_parts import SmallInt


@pytest.mark.parametrize("on", parts.INTERPRETERS)
@pytest.mark.parametrize("check", parts.CHECKS)
def test_common(check: str, on: str) -> None:
    parts.run_check(check, "bme280", on)


def example() -> bosch.Trim:
    p = chip.P
    return bosch.Trim(chip.T[1:], (*p[1:6], 4 * p[6], *p[7:], 0))


def test_worked_example() -> None:
    """Bosch: 519888 is 25.08 degC, t_fine 128422; 415148 is 100653 Pa. In double precision and in ours."""
    assert round(chip.t_fine(519_888)) in (128_422, 128_423)
    assert abs(chip.pa(415_148, 128_422) - 100_653.27) < 0.5
    fine = example().t_fine(519_888)
    assert abs(fine - 128_422) < 51  # 0.01 K
    assert bosch.temp_dk(fine) == 2982
    assert example().pressure_dhpa(415_148, fine) == 10_065


@pytest.mark.parametrize("on", parts.INTERPRETERS)
def test_reads_the_air(on: str) -> None:
    """0.1 K, 0.5 % and 0.1 hPa as given out, with less than one step of error by the arithmetic."""
    with parts.measuring(on, "bme280") as measure:

        @settings(max_examples=150, deadline=None)
        @given(st.floats(-39.9, 85), st.floats(0, 100), st.floats(300, 1100))
        def check(temp_c: float, rh_pct: float, pressure_hpa: float) -> None:
            got = measure(temp_c=temp_c, rh_pct=rh_pct, pressure_hpa=pressure_hpa)
            assert abs(got[0] - (temp_c * 10 + 2731.5)) <= 1
            assert abs(got[1] - rh_pct * 2) <= 1
            if 301 < pressure_hpa < 1099:
                assert abs(got[2] - pressure_hpa * 10) <= 2

        check()
        hot = measure(temp_c=180, rh_pct=20, pressure_hpa=1000)
        assert abs(hot[0] - 4531) <= 2
        assert measure(temp_c=20, rh_pct=20, pressure_hpa=200)[2] == 0xFFFF
        assert measure(temp_c=-45, rh_pct=20, pressure_hpa=1000) == "range"


S16 = st.integers(-32_768, 32_767)
BYTE = st.integers(-128, 127)


@settings(max_examples=600)
@given(
    st.tuples(st.integers(1, 0xFFFE), st.integers(1, 32_767), S16),
    st.tuples(st.integers(16_384, 0xFFFE), st.integers(-16_384, 16_384), st.integers(-16_384, 16_384)),
    st.tuples(S16, S16, S16.map(lambda p: 4 * p), S16, S16, S16, st.integers(0, 255)),
    st.integers(0, 0xFFFFF) | st.sampled_from([0, 0xFFFFF]),
    st.integers(0, 0xFFFFF) | st.sampled_from([0, 0xFFFFF]),
)
def test_temperature_and_pressure_stay_small(t: tuple, p123: tuple, p: tuple, raw_t: int, raw_p: int) -> None:
    """Of any trimming that passes, with any raw value: nothing leaves +-2^30."""
    trim = bosch.Trim(t, (*p123, *p))
    for name, value in vars(trim).items():
        setattr(trim, name, SmallInt(value))
    try:
        fine = trim.t_fine(SmallInt(raw_t))
    except SensorError:
        return
    assert isinstance(fine, SmallInt)
    bosch.temp_dk(fine)
    assert isinstance(trim.pressure_dhpa(SmallInt(raw_p), fine), int)


@settings(max_examples=600)
@given(
    st.integers(0, 255),
    st.integers(1, 1023),
    st.integers(0, 255),
    st.integers(-2048, 2047),
    st.integers(-2048, 2047),
    BYTE,
    st.integers(0, 0xFFFF),
    st.integers(-204_800, 4_000_000),
)
def test_humidity_stays_small(h1: int, h2: int, h3: int, h4: int, h5: int, h6: int, raw: int, fine: int) -> None:
    driver = Bme280(None, 0x76, None)
    for n, h in enumerate((h1, h2, h3, h4, h5, h6)):
        setattr(driver, f"_h{n + 1}", SmallInt(h))
    assert 0 <= driver._humidity_half(SmallInt(raw), SmallInt(fine)) <= 200


@pytest.mark.parametrize("chip_id", [0x58, 0x61, 0x00, 0xFF])
def test_another_chip_is_absent(chip_id: int) -> None:
    bench = Bench(SPECS["bme280"])
    bench.chip.chip_id = chip_id
    bench.bus.dip(0x76)
    assert words_of(bench.run(2_000)) == ["absent"] * 8


@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_lost_trimming_is_a_fault(fill: int) -> None:
    bench = Bench(SPECS["bme280"])
    power_on = bench.chip.power_on

    def blank() -> None:
        power_on()
        bench.chip.registers[0x88:0xA2] = bytes([fill] * 26)

    bench.chip.power_on = blank
    blank()
    assert "range" in words_of(bench.run(3_000))


@pytest.mark.parametrize("register", [0xF2, 0xF4])
def test_configuration_changed_in_mid_run(register: int) -> None:
    bench = Bench(SPECS["bme280"])
    bench.start()
    bench.clock.advance(200)
    bench.chip.settle()
    bench.chip.registers[register] = 0
    said = [bench.poll(50), *bench.run(2_000)]
    assert said[0] == "reset"
    assert said[-1] is True


def test_a_measurement_that_never_ends_is_silent() -> None:
    bench = Bench(SPECS["bme280"])
    bench.start()
    bench.chip.settle = lambda: bench.chip.registers.__setitem__(0xF3, 0x08)
    said = bench.run(12_000)
    assert "silent" in said
    first = said.index("silent")
    assert first * 250 < 10_000
    assert len(words_of(said[first:])) == len(said[first:])


def test_raw_humidity_that_stands_still_is_stuck() -> None:
    bench = Bench(SPECS["bme280"], 5)
    bench.start()
    bench.check_values = lambda: None
    raw_t, raw_p, raw_h = bench.chip._raws()
    bench.chip._raws = lambda: (raw_t + bench.clock.now_ms // 250 % 16, raw_p, raw_h)
    begun = bench.clock.now_ms
    while not (words := words_of([bench.poll()])):
        if bench.sensor.values[0] != UNKNOWN:
            bench.clock.advance(300_250)
    assert words == ["stuck"]
    assert 47 < (bench.clock.now_ms - begun) / 3_600_000 < 49
