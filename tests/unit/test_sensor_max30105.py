"""MAX30105 as optical smoke on I2C, against a model of its registers."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sensor_play import field_of, play

pytestmark = pytest.mark.usefixtures("sensor_players")

ADDRESS = 0x57
ENTRY = {"clean_counts": 8_000, "counts_per_e4": 20}


def bus(at_ms: int, what: str, *args: Any) -> list[Any]:
    return [at_ms, "bus", what, *args]


def air(at_ms: int, **sensed: Any) -> list[Any]:
    return [at_ms, "chip", "set", sensed]


def chip(at_ms: int, what: str, *args: Any) -> list[Any]:
    return [at_ms, "chip", what, *args]


@settings(max_examples=25, deadline=None)
@given(
    smoke_e4=st.integers(0, 3_000),
    led=st.sampled_from([("ir", 1.0), ("red", 0.9), ("green", 0.6)]),
    clean=st.integers(1_000, 20_000),
    per_e4=st.integers(5, 60),
)
def test_it_reads_right_over_its_range(smoke_e4: int, led: tuple[str, float], clean: int, per_e4: int) -> None:
    name, share = led
    # Calibrated as an installer does: what this LED shows in clean air, and what a density adds to it.
    entry = {"led": name, "clean_counts": round(clean * share), "counts_per_e4": max(1, round(per_e4 * share))}
    got = play("max30105", entry, 3_000, air(0, clean=clean, per_e4=per_e4, smoke_e4=smoke_e4))
    got.assert_well(1_000, 3_000, 250)
    true = smoke_e4 * per_e4 * share / entry["counts_per_e4"]
    assert all(abs(e4 - true) <= 2 for e4 in got.firsts())


def test_its_first_value_comes_within_a_second() -> None:
    assert play("max30105", ENTRY, 1_000).firsts()


@pytest.mark.parametrize(("fault", "why"), [("nak", "nak"), ("bus", "bus")])
@pytest.mark.parametrize("at_ms", [0, 250, 500, 5_000])
def test_faults_of_the_bus_and_back_again(fault: str, why: str, at_ms: int) -> None:
    script = [bus(at_ms, "fail", fault, ADDRESS), bus(20_000, "heal", ADDRESS)]
    # A held bus takes the I2C driver's own 50 ms a try.
    got = play("max30105", ENTRY, 30_000, *script, most_us=50_000 if fault == "bus" else 15_000)
    got.assert_fault(at_ms, 20_000, why)
    got.assert_well(21_500, 30_000, 250)


def test_unplugged_and_back() -> None:
    got = play("max30105", ENTRY, 30_000, bus(5_000, "unplug", ADDRESS), bus(20_000, "plug", ADDRESS))
    got.assert_fault(5_000, 20_000, "nak")
    got.assert_well(21_500, 30_000, 250)


@settings(max_examples=20, deadline=None)
@given(at_ms=st.integers(0, 9_000))
def test_a_supply_that_dips_is_set_up_again(at_ms: int) -> None:
    got = play("max30105", ENTRY, 20_000, air(0, smoke_e4=300), bus(at_ms, "dip", ADDRESS))
    assert set(got.whys()) == {"reset"} if at_ms > 1_000 else set(got.whys()) <= {"reset", "silent"}
    assert set(got.firsts()) == {300}  # and its registers of after power-on never passed for a value
    got.assert_well(at_ms + 4_000, 20_000, 250)


def test_another_part_at_the_address() -> None:
    got = play("max30105", ENTRY, 5_000, chip(0, "set_part", 0x11))
    got.assert_fault(0, 5_000, "absent")


def test_a_chip_whose_samples_stop() -> None:
    got = play("max30105", ENTRY, 20_000, chip(5_000, "stop", True), chip(12_000, "stop", False))
    got.assert_fault(5_500, 12_000, "silent")
    got.assert_well(14_000, 20_000, 250)


def test_a_dead_led() -> None:
    got = play("max30105", ENTRY, 20_000, air(5_000, dead_led="ir"), air(12_000, dead_led=""))
    got.assert_fault(5_250, 12_000, "open")
    got.assert_well(12_500, 20_000, 500)


def test_more_light_than_it_can_subtract() -> None:
    got = play("max30105", ENTRY, 20_000, air(5_000, ambient=True), air(12_000, ambient=False))
    got.assert_fault(5_000, 12_000, "range")
    got.assert_well(12_500, 20_000, 500)


def test_a_hand_before_it_is_no_smoke_and_a_fire_beyond_its_scale_is() -> None:
    got = play("max30105", ENTRY, 20_000, air(5_000, smoke_e4=50_000), air(12_000, smoke_e4=0))
    got.assert_fault(5_250, 12_000, "range")
    rise = [air(n * 250, smoke_e4=n * 200) for n in range(100)]
    got = play("max30105", ENTRY, 40_000, *rise)
    got.assert_well(1_000, 40_000, 250)
    assert got.firsts()[-1] == (0x3FFFF - 8_000) // 20


def test_a_loop_that_was_blocked_reads_what_is_now() -> None:
    """Its FIFO has run over meanwhile."""
    got = play("max30105", ENTRY, 80_000, air(30_000, smoke_e4=500), step_ms=10_000)
    assert set(got.firsts(40_000)) == {500}
    assert not got.whys()


def test_counts_that_stand_still_are_stuck() -> None:
    got = play("max30105", {**ENTRY, "stuck_h": 1}, 4_500_000, step_ms=4_000)
    got.assert_well(20_000, 3_590_000, 4_000)
    got.assert_fault(3_630_000, 4_500_000, "stuck")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"led": "blue"}, "led"),
        ({"current_ua": 100}, "current_ua"),
        ({"clean_counts": None}, "clean_counts"),
        ({"counts_per_e4": 0}, "counts_per_e4"),
        ({"counts_per_e4": 200}, "counts_per_e4"),  # full scale at 0.127/m
        ({}, ""),
    ],
)
def test_an_entry_is_checked(change: dict[str, Any], field: str) -> None:
    assert field_of("max30105", {**ENTRY, **change}) == field
