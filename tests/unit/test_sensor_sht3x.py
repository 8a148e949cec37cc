"""SHT3x against a model of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import sensor_parts as parts
from tests.sensor_bench import SPECS, Bench, words_of


@pytest.mark.parametrize("on", parts.INTERPRETERS)
@pytest.mark.parametrize("check", parts.CHECKS)
def test_common(check: str, on: str) -> None:
    parts.run_check(check, "sht3x", on)


@pytest.mark.parametrize("on", parts.INTERPRETERS)
def test_reads_the_air(on: str) -> None:
    """Within half a unit of what is given out, and "hot" beyond the range."""
    with parts.measuring(on, "sht3x") as measure:

        @settings(max_examples=150, deadline=None)
        @given(st.floats(-39.9, 300), st.floats(0, 100))
        def check(temp_c: float, rh_pct: float) -> None:
            got = measure(temp_c=temp_c, rh_pct=rh_pct)
            assert abs(got[0] - (min(temp_c, 130) * 10 + 2731.5)) <= 0.52
            assert abs(got[1] - rh_pct * 2) <= 0.51

        check()
        assert measure(temp_c=-44, rh_pct=20) == "range"


@pytest.mark.parametrize(("status", "word"), [(0x2000, "absent"), (0x0002, "absent"), (0x8010, None)])
def test_status_is_judged(status: int, word: str | None) -> None:
    bench = Bench(SPECS["sht3x"])
    reset = bench.chip._reset
    bench.chip._reset = lambda: (reset(), setattr(bench.chip, "status", status))[0]
    said = bench.run(2_000)
    assert words_of(said)[:1] == ([word] if word else [])


def test_saturated_humidity_is_weather_and_not_stuck() -> None:
    bench = Bench(SPECS["sht3x"])
    bench.check_values = lambda: None
    bench.chip.set(rh_pct=100)
    begun = bench.clock.now_ms
    while bench.clock.now_ms < begun + 60 * 3_600_000:
        bench.chip.set(temp_c=20 + bench.clock.now_ms % 7)
        assert not words_of([bench.poll()])
        bench.clock.advance(300_000)
    assert bench.sensor.values[1] == 200
