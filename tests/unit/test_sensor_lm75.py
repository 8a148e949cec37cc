"""LM75 and TMP1xx against a model of their registers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.shims.chips import lm75 as chip
from tests import sensor_parts as parts
from tests.sensor_bench import SPECS, Bench, words_of


@pytest.mark.parametrize("on", parts.INTERPRETERS)
@pytest.mark.parametrize("check", parts.CHECKS)
def test_common(check: str, on: str) -> None:
    parts.run_check(check, "lm75", on)


@pytest.mark.parametrize("on", parts.INTERPRETERS)
def test_reads_the_air(on: str) -> None:
    """Within the resolution (LM75B: 0.125 K, cut) over its range, and "hot" beyond it."""
    with parts.measuring(on, "lm75") as measure:

        @settings(max_examples=150, deadline=None)
        @given(st.floats(-55, 600))
        def check(temp_c: float) -> None:
            got = measure(temp_c=temp_c)
            dk = min(temp_c, 127.875) * 10 + 2731.5
            assert got != "range"
            assert dk - 1.25 - 0.6 <= got[0] <= dk + 0.6

        check()


@pytest.mark.parametrize("kind", chip.KINDS)
def test_every_kind_out_of_shutdown(kind: str) -> None:
    """Found in shutdown, it is woken, and what else stands in its configuration stays."""
    bench = Bench(SPECS["lm75"], kind=kind)
    bench.chip.shut_down()
    bench.chip.set(temp_c=31.0)
    bench.spec = Spec31
    said = bench.start()
    assert not words_of(said)
    assert bench.chip._registers[1] == bytearray(chip.KINDS[kind][2])
    # And in mid-run: a fault first, since the register stood still.
    bench.chip.shut_down()
    said = bench.run(2_000)
    assert said[0] == "reset"
    assert said[-1] is True


class Spec31:
    values = (3042,)
    near = (5,)
    first_ms = 1_000
    type = "lm75"


def test_what_cannot_be_woken_is_no_thermometer() -> None:
    bench = Bench(SPECS["lm75"])
    bench.chip.write(b"\x01\x01")
    bench.chip.write = lambda data: setattr(bench.chip, "_pointer", data[0])
    assert words_of(bench.run(1_000)) == ["absent"] * 4


def test_no_value_of_before_the_first_conversion() -> None:
    """The register says 0 degC until then; the slowest takes 300 ms."""
    bench = Bench(SPECS["lm75"], kind="lm75")
    values = []
    for _ in range(20):
        if bench.sensor.poll(bench.clock.ticks()):
            values += bench.sensor.values
        bench.clock.advance(50)
    assert values
    assert min(values) > 2900


def test_below_its_range_is_a_fault() -> None:
    bench = Bench(SPECS["lm75"])
    bench.start()
    bench.chip.read = lambda size: {0: b"\xc8\xe0", 1: b"\x00", 2: b"\x4a\x00"}[bench.chip._pointer][:size]
    assert words_of(bench.run(2_000)) == ["range"] * 8


@pytest.mark.parametrize(("hours", "after_h"), [(12, 12), (0, None)])
def test_stuck_hours_are_a_setting(hours: int, after_h: int | None) -> None:
    bench = Bench(SPECS["lm75"], entry={"stuck_h": hours})
    bench.start()
    begun = bench.clock.now_ms
    while not (words := words_of([bench.poll()])) and bench.clock.now_ms < begun + 60 * 3_600_000:
        bench.clock.advance(300_000)
    assert words == ([] if after_h is None else ["stuck"])
    if after_h is not None:
        assert after_h - 0.5 < (bench.clock.now_ms - begun) / 3_600_000 < after_h + 0.5
