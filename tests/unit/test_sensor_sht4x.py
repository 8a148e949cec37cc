"""SHT4x against a model of it, and Sensirion's check sum."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.shims.chips import sensirion
from bongsu_node.sensing import SensorError
from bongsu_node.sensing.crc8 import check, crc8
from tests import sensor_parts as parts
from tests.sensor_bench import SPECS, Bench


@pytest.mark.parametrize("on", parts.INTERPRETERS)
@pytest.mark.parametrize("name", parts.CHECKS)
def test_common(name: str, on: str) -> None:
    parts.run_check(name, "sht4x", on)


@pytest.mark.parametrize("on", parts.INTERPRETERS)
def test_reads_the_air(on: str) -> None:
    """Within half a unit of what is given out, and "hot" beyond the range."""
    with parts.measuring(on, "sht4x") as measure:

        @settings(max_examples=150, deadline=None)
        @given(st.floats(-39.9, 300), st.floats(-6, 119))
        def check(temp_c: float, rh_pct: float) -> None:
            got = measure(temp_c=temp_c, rh_pct=rh_pct)
            assert abs(got[0] - (min(temp_c, 130) * 10 + 2731.5)) <= 0.52
            assert abs(got[1] - min(max(rh_pct, 0), 100) * 2) <= 0.51

        check()
        assert measure(temp_c=-44, rh_pct=20) == "range"


def test_serial_number_is_read() -> None:
    bench = Bench(SPECS["sht4x"])
    assert bench.sensor.serial is None
    bench.start()
    assert bench.sensor.serial == b"\x0f\x4a\x5c\x21"


def test_check_sum_of_the_data_sheets() -> None:
    assert crc8(b"\xbe\xef", 0) == 0x92
    assert sensirion.crc8(b"\xbe\xef") == 0x92
    assert crc8(b"\x00\x80\x00", 1) == 0xA2
    assert crc8(b"\x66\x66", 0) == 0x93


@given(st.binary(min_size=2, max_size=2), st.binary(min_size=2, max_size=2), st.integers(0, 47))
def test_every_wrong_bit_is_found(first: bytes, second: bytes, bit: int) -> None:
    """Driver and model compute it in different ways."""
    sent = bytearray(sensirion.words(first[0] << 8 | first[1], second[0] << 8 | second[1]))
    check(sent)
    sent[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises(SensorError, match="crc"):
        check(sent)
