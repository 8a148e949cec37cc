"""NTC thermistor on the ADC, against a model of its divider."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sensor_play import chip, field_of, play

pytestmark = pytest.mark.usefixtures("sensor_players")

ENTRY = {"pin": 35, "r25_ohm": 10_000, "beta": 3950, "divider_ohm": 10_000, "supply_mv": 3300}
WIRING = {"r25_ohm": 10_000, "beta": 3950, "divider_ohm": 10_000, "supply_mv": 3300}


def ohm(c: float, r25_ohm: float, beta: float) -> float:
    return r25_ohm * math.exp(beta / (c + 273.15) - beta / 298.15)


@settings(max_examples=40, deadline=None)
@given(
    c=st.floats(-10, 90),
    r25_ohm=st.sampled_from([5_000, 10_000, 47_000, 100_000]),
    beta=st.integers(3_300, 4_300),
    supply_mv=st.integers(3_000, 3_400),
    to=st.sampled_from(["ground", "supply"]),
)
def test_it_reads_right_over_its_range(c: float, r25_ohm: int, beta: int, supply_mv: int, to: str) -> None:
    parts = {"r25_ohm": r25_ohm, "beta": beta, "divider_ohm": r25_ohm, "supply_mv": supply_mv, "to": to}
    if field_of("ntc", {"pin": 35, **parts}, parts):
        return  # a divider that cannot tell them all is refused: see below
    got = play("ntc", {"pin": 35, **parts}, 500, chip(0, temp_c=c), wiring=parts).firsts()
    mv = [supply_mv / (1 + r25_ohm / ohm(c + d, r25_ohm, beta)) for d in (-0.5, 0.5)]
    k_per_mv = 1 / abs(mv[0] - mv[1])
    # Half a step of the output, 0.1 K of straight lines for curves, one step of the ADC.
    assert all(abs(dk / 10 - (c + 273.15)) <= 0.05 + 0.15 + 1.0 * k_per_mv for dk in got)


def test_a_table_of_the_data_sheet_does_as_well_as_r25_and_beta() -> None:
    table = [[c, round(ohm(c, 10_000, 3950), 1)] for c in (-40, -20, 0, 25, 50, 85, 125)]
    entry = {"pin": 35, "table": table, "divider_ohm": 10_000, "supply_mv": 3300}
    for c in (-15, 3, 21.5, 57, 88):
        one = play("ntc", entry, 250, chip(0, temp_c=c), wiring=WIRING).firsts()
        other = play("ntc", ENTRY, 250, chip(0, temp_c=c), wiring=WIRING).firsts()
        assert abs(one[0] - other[0]) <= 1


@pytest.mark.parametrize("to", ["ground", "supply"])
@pytest.mark.parametrize("fault", ["open", "short"])
def test_broken_wires(fault: str, to: str) -> None:
    wiring = {**WIRING, "to": to}
    script = [chip(5_000, fault=fault), chip(20_000, fault="")]
    got = play("ntc", {**ENTRY, "to": to}, 30_000, *script, wiring=wiring)
    got.assert_well(0, 5_000, 250)
    got.assert_fault(5_000, 20_000, fault)
    got.assert_well(20_000, 30_000, 250)


def test_an_adc_that_the_radio_has_taken() -> None:
    script = [[1_000, "port", "set", {"taken": True}], [3_000, "port", "set", {"taken": False}]]
    got = play("ntc", ENTRY, 5_000, *script, wiring=WIRING)
    got.assert_fault(1_000, 3_000, "nak")
    got.assert_well(3_000, 5_000, 250)


@pytest.mark.parametrize("to", ["ground", "supply"])
def test_a_fire_that_leaves_the_scale_stays_hot(to: str) -> None:
    rise = [chip(n * 250, temp_c=20 + n * 2) for n in range(120)]  # 8 K/s up to 258 degC
    got = play("ntc", {**ENTRY, "to": to}, 40_000, *rise, wiring={**WIRING, "to": to})
    got.assert_well(0, 40_000, 250)
    assert got.firsts() == sorted(got.firsts())
    assert got.firsts()[-1] > 2732 + 900


def test_after_the_fire_a_short_is_a_short_again() -> None:
    script = [chip(1_000, temp_c=100), chip(2_000, temp_c=200), chip(3_000, temp_c=25), chip(4_000, fault="short")]
    got = play("ntc", ENTRY, 6_000, *script, wiring=WIRING)
    got.assert_well(0, 4_000, 250)
    got.assert_fault(4_000, 6_000, "short")


def test_a_voltage_that_stands_still_is_stuck_after_the_entrys_hours() -> None:
    got = play("ntc", {**ENTRY, "stuck_h": 2}, 3 * 3_600_000, wiring=WIRING, step_ms=10_000)
    got.assert_well(0, 7_190_000, 10_000)
    got.assert_fault(7_210_000, 3 * 3_600_000, "stuck")
    moved = chip(7_300_000, temp_c=26)
    got = play("ntc", {**ENTRY, "stuck_h": 2}, 7_400_000, moved, wiring=WIRING, step_ms=10_000)
    got.assert_well(7_300_000, 7_400_000, 10_000)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pin": -1}, "pin"),
        ({"pin": True}, "pin"),
        ({"r25_ohm": 0}, "r25_ohm"),
        ({"r25_ohm": None}, "r25_ohm"),
        ({"beta": "3950"}, "beta"),
        ({"divider_ohm": 0}, "divider_ohm"),
        ({"divider_ohm": 500}, "divider_ohm"),  # 20 degC would read as open
        ({"divider_ohm": 200_000}, "divider_ohm"),  # 60 degC would read as short
        ({"supply_mv": 5_000}, "supply_mv"),  # would harm the pin
        ({"to": "earth"}, "to"),
        ({"stuck_h": -1}, "stuck_h"),
        ({"table": []}, "table"),
        ({"table": 5}, "table"),
        ({"table": [[0, 30_000], [50]]}, "table"),
        ({"table": [[-40, 10_000], [100, 20_000]]}, "table"),
        ({"table": [[100, 900], [-40, 400_000]]}, "table"),
        ({"table": [[0, 32_650], [100, 680]]}, "table"),  # ends above -10 degC
        ({}, ""),
    ],
)
def test_an_entry_is_checked(change: dict[str, Any], field: str) -> None:
    assert field_of("ntc", {**ENTRY, **change}, WIRING) == field
