"""A certified detector head by its relay loop, against a model of the loop."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sensor_play import chip, field_of, play

pytestmark = pytest.mark.usefixtures("sensor_players")

WIRING = {"supply_mv": 3300, "series_ohm": 4_700, "eol_ohm": 10_000, "alarm_ohm": 2_200}
ENTRY = {"pin": 35, **WIRING}


@settings(max_examples=40, deadline=None)
@given(
    supply_mv=st.sampled_from([3300, 12_000, 24_000]),
    series_ohm=st.integers(1_000, 10_000),
    eol_ohm=st.integers(1_000, 30_000),
    alarm_ohm=st.integers(200, 10_000),
    off=st.lists(st.floats(0.95, 1.05), min_size=3, max_size=3),
)
def test_resistors_of_5_percent_tell_all_four_states(
    supply_mv: int, series_ohm: int, eol_ohm: int, alarm_ohm: int, off: list[float]
) -> None:
    entry = {
        "pin": 35,
        "supply_mv": supply_mv,
        "series_ohm": series_ohm,
        "eol_ohm": eol_ohm,
        "alarm_ohm": alarm_ohm,
        "adc_permille": 3_300_000 // supply_mv // 1000 if supply_mv > 3300 else 1000,
    }
    wiring = {
        "supply_mv": supply_mv,
        "series_ohm": series_ohm * off[0],
        "eol_ohm": eol_ohm * off[1],
        "alarm_ohm": alarm_ohm * off[2],
        "adc_permille": entry["adc_permille"],
    }
    if field_of("head", entry, wiring):
        return  # resistors too close to each other are refused
    script = [chip(2_000, alarm=True), chip(4_000, alarm=False), chip(6_000, fault="open"), chip(8_000, fault="")]
    script += [chip(10_000, fault="short"), chip(12_000, fault="")]
    got = play("head", entry, 14_000, *script, wiring=wiring)
    assert set(got.firsts(0, 2_000)) == {0}
    assert set(got.firsts(2_000, 4_000)) == {1}
    assert set(got.firsts(4_000, 6_000)) == {0}
    got.assert_fault(6_000, 8_000, "open")
    got.assert_well(8_000, 10_000, 250)
    got.assert_fault(10_000, 12_000, "short")
    got.assert_well(12_000, 14_000, 250)


def test_an_alarm_whose_cable_burns_to_a_short_stays_an_alarm() -> None:
    script = [chip(2_000, alarm=True), chip(5_000, fault="short"), chip(65_000, fault="", alarm=False)]
    got = play("head", ENTRY, 70_000, *script, wiring=WIRING)
    got.assert_well(0, 70_000, 250)
    assert set(got.firsts(2_000, 65_000)) == {1}
    assert set(got.firsts(65_000)) == {0}


def test_and_after_the_loop_was_normal_a_short_is_a_fault_again() -> None:
    script = [chip(1_000, alarm=True), chip(3_000, alarm=False), chip(4_000, fault="short")]
    got = play("head", ENTRY, 8_000, *script, wiring=WIRING)
    got.assert_fault(4_000, 8_000, "short")


@pytest.mark.parametrize("through_ms", [250, 500, 750])
def test_a_short_that_passes_the_alarm_band_is_no_alarm(through_ms: int) -> None:
    # A leak as large as alarm_ohm looks like the closed contact.
    script = [chip(2_000, leak_ohm=2_200), chip(2_000 + through_ms, fault="short")]
    got = play("head", ENTRY, 8_000, *script, wiring=WIRING)
    got.assert_fault(2_000 + through_ms, 8_000, "short")


@settings(max_examples=25, deadline=None)
@given(leak_ohm=st.floats(100, 200_000), alarm=st.booleans())
def test_a_line_between_two_states_keeps_its_state_and_is_a_fault_within_10_s(leak_ohm: float, alarm: bool) -> None:
    got = play("head", ENTRY, 20_000, chip(0, alarm=alarm), chip(3_000, leak_ohm=leak_ohm), wiring=WIRING)
    assert set(got.firsts(0, 3_000)) == {int(alarm)}
    end = got.events[-1][1]
    if end == "range":
        assert set(got.firsts(3_000)) <= {int(alarm)}  # nothing new was made of it
        got.assert_fault(3_000, 20_000, "range")
    else:
        got.assert_well(3_000, 20_000, 250) if not isinstance(end, str) else got.assert_fault(3_000, 20_000, "short")


def test_corrosion_in_the_loop_is_a_fault_before_it_is_open() -> None:
    joints = [chip(5_000 + n * 10_000, joint_ohm=n * 2_000) for n in range(40)]
    got = play("head", ENTRY, 400_000, *joints, wiring=WIRING)
    assert {"range"} <= set(got.whys()) <= {"range", "open"}
    assert set(got.firsts()) == {0}


@pytest.mark.parametrize("alarm", [False, True])
def test_between_two_states_for_long_is_a_fault(alarm: bool) -> None:
    joint_ohm = 3_000 if alarm else 10_000
    got = play("head", ENTRY, 20_000, chip(0, alarm=alarm), chip(3_000, joint_ohm=joint_ohm), wiring=WIRING)
    got.assert_fault(3_000, 20_000, "range")
    assert set(got.firsts(0, 8_000)) == {int(alarm)}


def test_in_between_from_the_start() -> None:
    got = play("head", ENTRY, 5_000, chip(0, joint_ohm=10_000), wiring=WIRING)
    got.assert_fault(0, 5_000, "range")


def test_a_loop_that_stands_still_for_a_week_is_well() -> None:
    got = play("head", ENTRY, 7 * 86_400_000, wiring=WIRING, step_ms=600_000)
    got.assert_well(0, 7 * 86_400_000, 600_000)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pin": None}, "pin"),
        ({"supply_mv": 24_000}, "adc_permille"),
        ({"series_ohm": 0}, "series_ohm"),
        ({"eol_ohm": 100_000}, "eol_ohm"),  # normal too close to open
        ({"alarm_ohm": 100}, "alarm_ohm"),  # alarm too close to short
        ({"alarm_ohm": 100_000}, "alarm_ohm"),  # alarm too close to normal
        ({}, ""),
    ],
)
def test_an_entry_is_checked(change: dict[str, Any], field: str) -> None:
    assert field_of("head", {**ENTRY, **change}, WIRING) == field
