"""SCD4x against a model of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import sensor_parts as parts
from tests.sensor_bench import SPECS, Bench, words_of


@pytest.mark.parametrize("on", parts.INTERPRETERS)
@pytest.mark.parametrize("check", parts.CHECKS)
def test_common(check: str, on: str) -> None:
    parts.run_check(check, "scd4x", on)


@pytest.mark.parametrize("on", parts.INTERPRETERS)
def test_reads_the_air(on: str) -> None:
    """Within half a unit of what is given out."""
    with parts.measuring(on, "scd4x") as measure:

        @settings(max_examples=80, deadline=None)
        @given(st.integers(1, 40_000), st.floats(-39.9, 130), st.floats(0, 100))
        def check(co2_ppm: int, temp_c: float, rh_pct: float) -> None:
            got = measure(co2_ppm=co2_ppm, temp_c=temp_c, rh_pct=rh_pct)
            assert got[0] == co2_ppm
            assert abs(got[1] - (temp_c * 10 + 2731.5)) <= 0.52
            assert abs(got[2] - rh_pct * 2) <= 0.51

        check()
        assert measure(co2_ppm=0, temp_c=20, rh_pct=20) == "range"


def test_failed_self_test_is_a_fault() -> None:
    bench = Bench(SPECS["scd4x"])
    bench.chip.fails_test = True
    said = bench.run(30_000)
    assert "range" in said
    first = said.index("range")
    assert len(words_of(said[first:])) == len(said[first:])


def test_found_measuring_after_a_restart_of_the_node() -> None:
    """The node restarted, the chip did not: it must be stopped before it names itself."""
    bench = Bench(SPECS["scd4x"])
    bench.clock.advance(1_000)
    bench.chip.write(b"\x21\xb1")
    bench.clock.advance(7_000)
    assert not words_of(bench.start())


def test_idle_chip_is_silent_within_ten_seconds() -> None:
    bench = Bench(SPECS["scd4x"])
    bench.start()
    bench.chip._measuring = False
    said = bench.run(10_000)
    assert "silent" in said
    # And it is set up anew: 0.5 s to stop, 5 s to measure.
    said = bench.run(7_500)
    assert True in said


def test_values_every_five_seconds() -> None:
    bench = Bench(SPECS["scd4x"])
    bench.start()
    assert bench.run(300_000).count(True) >= 58
