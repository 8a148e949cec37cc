"""PMSA003I on I2C, against a model of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sensor_play import field_of, play

pytestmark = pytest.mark.usefixtures("sensor_players")

ADDRESS = 0x12
WARM_MS = 30_000


def bus(at_ms: int, what: str, *args: Any) -> list[Any]:
    return [at_ms, "bus", what, *args]


@settings(max_examples=20, deadline=None)
@given(pm=st.tuples(*[st.integers(0, 0xFFFF)] * 3))
def test_it_reads_right_over_its_range(pm: tuple[int, int, int]) -> None:
    sensed = dict(zip(("pm1", "pm25", "pm10"), pm, strict=True))
    got = play("pmsa003i", {}, 35_000, [0, "chip", "set", sensed])
    got.assert_well(WARM_MS + 1_000, 35_000, 1_000)
    assert all(values == [10 * min(ug, 6_553) for ug in pm] for values in got.values())


def test_warm_up_is_no_fault_and_no_value() -> None:
    got = play("pmsa003i", {}, 35_000)
    assert got.events[0][0] >= WARM_MS
    assert not got.whys()
    assert got.warm_ms == WARM_MS


@pytest.mark.parametrize(("fault", "why"), [("nak", "nak"), ("bit_error", "crc"), ("bus", "bus")])
@pytest.mark.parametrize("at_ms", [0, 10_000, 40_000])
def test_faults_and_back_again(fault: str, why: str, at_ms: int) -> None:
    # A held bus takes the I2C driver's own 50 ms a try.
    script = [bus(at_ms, "fail", fault, ADDRESS), bus(60_000, "heal", ADDRESS)]
    got = play("pmsa003i", {}, 120_000, *script, most_us=50_000 if fault == "bus" else 15_000)
    got.assert_fault(at_ms, 60_000, why)
    assert not got.whys(61_000)
    got.assert_well(60_000 + WARM_MS + 1_000, 120_000, 1_000)


def test_one_missed_answer_is_no_new_warm_up() -> None:
    got = play("pmsa003i", {}, 60_000, bus(40_000, "fail", "nak", ADDRESS), bus(41_000, "heal", ADDRESS))
    got.assert_well(42_000, 60_000, 1_000)


def test_unplugged_and_back_it_warms_up_anew() -> None:
    got = play("pmsa003i", {}, 120_000, bus(40_000, "unplug", ADDRESS), bus(60_000, "plug", ADDRESS))
    got.assert_fault(40_000, 60_000, "nak")
    assert not got.values(60_000, 60_000 + WARM_MS)
    got.assert_well(61_000 + WARM_MS, 120_000, 1_000)


def test_a_frame_that_never_changes_is_stuck() -> None:
    script = [bus(60_000, "fail", "frozen", ADDRESS)]
    got = play("pmsa003i", {"stuck_h": 1}, 4_500_000, *script, step_ms=5_000)
    got.assert_well(60_000, 3_650_000, 5_000)
    got.assert_fault(3_670_000, 4_500_000, "stuck")


def test_an_entry_is_checked() -> None:
    assert field_of("pmsa003i", {"stuck_h": None}) == "stuck_h"
    assert field_of("pmsa003i", {}) == ""
