"""Analogue smoke head, against a model of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sensor_play import chip, field_of, play

pytestmark = pytest.mark.usefixtures("sensor_players")

ENTRY = {"pin": 34, "mv_clean": 400, "uv_per_e4": 1000}
WIRING = {"mv_clean": 400, "uv_per_e4": 1000}


@settings(max_examples=30, deadline=None)
@given(od=st.floats(0, 0.25), mv_clean=st.integers(320, 450), uv_per_e4=st.integers(300, 1000))
def test_it_reads_right_over_its_range(od: float, mv_clean: int, uv_per_e4: int) -> None:
    wiring = {"mv_clean": mv_clean, "uv_per_e4": uv_per_e4}
    got = play("smoke_head", {"pin": 34, **wiring}, 500, chip(0, od_per_m=od), wiring=wiring).firsts()
    assert all(od * 10_000 - 1 - 1000 / uv_per_e4 <= e4 <= od * 10_000 for e4 in got)


@pytest.mark.parametrize("fault", ["open", "short"])
def test_broken_wires(fault: str) -> None:
    got = play("smoke_head", ENTRY, 30_000, chip(5_000, fault=fault), chip(20_000, fault=""), wiring=WIRING)
    got.assert_well(0, 5_000, 250)
    got.assert_fault(5_000, 20_000, fault)
    got.assert_well(20_000, 30_000, 250)


def test_smoke_beyond_its_supply_is_smoke() -> None:
    rise = [chip(n * 250, od_per_m=n * 0.002) for n in range(400)]
    got = play("smoke_head", ENTRY, 110_000, *rise, wiring=WIRING)
    got.assert_well(0, 110_000, 250)
    assert min(got.firsts(60_000)) >= 2_600


def test_a_voltage_that_stands_still_is_stuck() -> None:
    got = play("smoke_head", {**ENTRY, "stuck_h": 1}, 4_000_000, wiring=WIRING, step_ms=10_000)
    got.assert_well(0, 3_590_000, 10_000)
    got.assert_fault(3_610_000, 4_000_000, "stuck")
    never = play("smoke_head", {**ENTRY, "stuck_h": 0}, 4_000_000, wiring=WIRING, step_ms=10_000)
    never.assert_well(0, 4_000_000, 10_000)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"mv_clean": 250}, "mv_clean"), ({"uv_per_e4": 0}, "uv_per_e4"), ({"pin": "34"}, "pin"), ({}, "")],
)
def test_an_entry_is_checked(change: dict[str, Any], field: str) -> None:
    assert field_of("smoke_head", {**ENTRY, **change}, WIRING) == field
