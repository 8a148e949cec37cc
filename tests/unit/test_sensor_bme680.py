"""BME680 against a model of it; its arithmetic stays small."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.shims.chips import bme680 as chip
from bongsu_node.sensing import bme680, bosch
from bongsu_node.sensing.bme680 import Bme680
from bongsu_wire.measured import UNKNOWN
from tests import sensor_parts as parts
from tests.sensor_bench import SPECS, Bench, words_of
from tests.sensor_parts import SmallInt


@pytest.mark.parametrize("on", parts.INTERPRETERS)
@pytest.mark.parametrize("check", parts.CHECKS)
def test_common(check: str, on: str) -> None:
    parts.run_check(check, "bme680", on)


@pytest.mark.parametrize("on", parts.INTERPRETERS)
def test_reads_the_air(on: str) -> None:
    """0.1 K, 0.5 %, 0.1 hPa and 100 ohm as given out, with less than one step of error by the arithmetic."""
    with parts.measuring(on, "bme680") as measure:

        @settings(max_examples=120, deadline=None)
        @given(st.floats(-39.9, 85), st.floats(0, 100), st.floats(300, 1100), st.floats(1, 6_000))
        def check(temp_c: float, rh_pct: float, pressure_hpa: float, gas_kohm: float) -> None:
            got = measure(temp_c=temp_c, rh_pct=rh_pct, pressure_hpa=pressure_hpa, gas_kohm=gas_kohm)
            assert abs(got[0] - (temp_c * 10 + 2731.5)) <= 1
            assert abs(got[1] - rh_pct * 2) <= 1
            if 301 < pressure_hpa < 1099:
                assert abs(got[2] - pressure_hpa * 10) <= 2
            # The ADC has ten bits: a step is up to 1/800.
            assert abs(got[3] - gas_kohm * 10) <= 1.1 + gas_kohm * 10 / 800

        check()
        assert abs(measure(temp_c=150, rh_pct=20, pressure_hpa=1000, gas_kohm=50)[0] - 4231) <= 2
        assert measure(temp_c=20, rh_pct=20, pressure_hpa=200, gas_kohm=9_000)[2:] == [UNKNOWN, UNKNOWN - 1]
        assert measure(temp_c=-45, rh_pct=20, pressure_hpa=1000, gas_kohm=50) == "range"


def s16() -> st.SearchStrategy[int]:
    return st.integers(-32_768, 32_767)


def s8(scale: int = 1) -> st.SearchStrategy[int]:
    return st.integers(-128, 127).map(lambda v: v * scale)


@settings(max_examples=600)
@given(
    st.tuples(st.integers(1, 0xFFFE), st.integers(1, 32_767), s8(16)),
    st.tuples(st.integers(16_384, 0xFFFE), st.integers(-16_384, 16_384), s8(32)),
    st.tuples(s16(), s16(), s8(), s8(128), s16(), s16(), st.integers(0, 255)),
    st.tuples(st.integers(0, 4095), st.integers(1, 4094), s8(), s8(), s8(), st.integers(0, 255), s8()),
    st.tuples(st.integers(0, 0xFFFFF), st.integers(0, 0xFFFFF), st.integers(0, 0xFFFF)),
)
def test_everything_stays_small(t: tuple, p123: tuple, p: tuple, h: tuple, raw: tuple) -> None:
    """Of any trimming that passes, with any raw value: nothing leaves +-2^30."""
    trim = bosch.Trim(t, (*p123, *p))
    for name, value in vars(trim).items():
        setattr(trim, name, SmallInt(value))
    driver = Bme680(None, 0x76, None)
    for n, value in enumerate(h):
        setattr(driver, f"_h{n + 1}", SmallInt(value))
    try:
        fine = trim.t_fine(SmallInt(raw[0]))
    except bosch.SensorError:
        return
    trim.pressure_dhpa(SmallInt(raw[1]), fine)
    assert 0 <= driver._humidity_half(SmallInt(raw[2]), fine) <= 200


@given(st.integers(-8, 7), st.integers(0, 1023), st.integers(0, 15))
def test_gas_stays_small_and_right(error: int, adc: int, gas_range: int) -> None:
    """Against 3.4.1 of the data sheet in double precision, over every range and switching error."""
    driver = Bme680(None, 0x76, lambda a, b: a - b)
    driver._byte[0] = error << 4 & 0xF0
    driver._read_register = lambda register, byte: None
    driver._read_gas_trim(-30, -5969, 18)
    driver._offsets = [SmallInt(v) for v in driver._offsets]
    driver._scales = [SmallInt(v) for v in driver._scales]
    driver._warm_ms = 300_000
    got = int(driver._gas_hohm(SmallInt(0), SmallInt(adc), SmallInt(0x30 | gas_range)))
    ohm = chip.gas_ohm(adc, gas_range, error)
    assert abs(got - min(ohm / 100, UNKNOWN - 1)) <= 1 + ohm / 100 * 2e-4


@given(st.integers(200, 400), st.integers(-40, 60))
def test_set_point_of_the_plate(plate_c: int, air_c: int) -> None:
    """What the model, by the data sheet's formula, makes of the driver's set point."""
    g = chip.G
    point = bme680.res_heat(plate_c, air_c, g[1], g[2], g[3], chip.HEAT_RANGE, chip.HEAT_VALUE)
    if 0 < point < 255:
        assert abs(chip.plate_c(point, air_c) - plate_c) < 5


def test_gas_is_unknown_for_five_minutes_and_without_heat() -> None:
    bench = Bench(SPECS["bme680"])
    bench.start()
    begun = bench.clock.now_ms
    while bench.sensor.values[3] == UNKNOWN:
        assert not words_of([bench.poll()])
    assert 300_000 <= bench.clock.now_ms - begun <= 306_000
    assert abs(bench.sensor.values[3] - 1000) <= 3
    bench.chip.broken_heater = True
    assert not words_of(bench.run(7_000))
    assert bench.sensor.values[3] == UNKNOWN
    assert abs(bench.sensor.values[0] - 2932) <= 1


@pytest.mark.parametrize(("chip_id", "variant"), [(0x60, 0), (0x61, 1), (0x00, 0), (0xFF, 0)])
def test_another_chip_is_absent(chip_id: int, variant: int) -> None:
    bench = Bench(SPECS["bme680"])
    bench.chip.chip_id = chip_id
    bench.chip.variant = variant
    bench.bus.dip(0x76)
    assert words_of(bench.run(2_000)) == ["absent"] * 8


@pytest.mark.parametrize("register", [0x71, 0x72, 0x74])
def test_configuration_changed_in_mid_run(register: int) -> None:
    bench = Bench(SPECS["bme680"])
    bench.start()
    bench.run(1_000)
    bench.chip.registers[register] = 0
    said = bench.run(3_000)
    assert said[0] == "reset"
    assert True in said


def test_a_measurement_that_never_ends_is_silent() -> None:
    bench = Bench(SPECS["bme680"])
    bench.start()
    bench.chip.settle = lambda: None
    said = bench.run(12_000)
    assert said.index("silent") * 250 < 10_000


def test_raw_humidity_that_stands_still_is_stuck() -> None:
    bench = Bench(SPECS["bme680"], 5)
    bench.start()
    bench.check_values = lambda: None
    raw_t, raw_p, raw_h = bench.chip._raws()
    bench.chip._raws = lambda: (raw_t + bench.clock.now_ms // 250 % 16, raw_p, raw_h)
    begun = bench.clock.now_ms
    while not (words := words_of([bench.poll()])):
        bench.chip.set(gas_kohm=100.0 + bench.clock.now_ms // 250 % 16)
        if bench.sensor.values[0] != UNKNOWN:
            bench.clock.advance(300_250)
    assert words == ["stuck"]
    assert 47 < (bench.clock.now_ms - begun) / 3_600_000 < 49
