"""DS18B20 on a 1-Wire line, against a bit-by-bit model of line and chip."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.shims.chips import onewire
from tests.sensor_play import chip, field_of, play

pytestmark = pytest.mark.usefixtures("sensor_players")

ENTRY = {"pin": 4}
POWER_ON_DK = 3582  # 85.0 degC = 358.15 K


def line(at_ms: int, fault: str) -> list[Any]:
    return [at_ms, "port", "set", {"fault": fault}]


def rom_text(serial: int) -> str:
    return bytes(onewire.Ds18b20(lambda: 0, serial).rom).hex()


@settings(max_examples=40, deadline=None)
@given(c=st.floats(-55, 125), clone=st.booleans())
def test_it_reads_right_over_its_range(c: float, clone: bool) -> None:
    got = play("ds18b20", ENTRY, 4_000, chip(0, temp_c=c), wiring={"clone": clone})
    got.assert_well(0, 4_000, 1_250)
    # The chip rounds down to 1/16 K, the value rounds to 0.1 K.
    assert all(c + 273.15 - 1 / 16 - 0.051 <= dk / 10 <= c + 273.15 + 0.051 for dk in got.firsts())


@pytest.mark.parametrize(
    # DS18B20 data sheet, table 1
    ("c", "dk"),
    [(125, 3982), (85, 3582), (25.0625, 2982), (10.125, 2833), (0, 2732), (-10.125, 2630), (-55, 2182)],
)
def test_the_data_sheets_temperatures(c: float, dk: int) -> None:
    assert set(play("ds18b20", ENTRY, 3_000, chip(0, temp_c=c)).firsts()) == {dk}


@settings(max_examples=40, deadline=None)
@given(dips=st.lists(st.integers(0, 19_999), min_size=1, max_size=6), c=st.floats(-20, 70), clone=st.booleans())
def test_a_supply_that_dips_never_makes_85_degrees(dips: list[int], c: float, clone: bool) -> None:
    script = [chip(0, temp_c=c), *([at, "chip", "power_on"] for at in dips)]
    got = play("ds18b20", ENTRY, 24_000, *script, wiring={"clone": clone})
    assert POWER_ON_DK not in got.firsts()
    assert set(got.whys()) <= {"reset"}
    got.assert_well(22_000, 24_000, 1_250)


@settings(max_examples=40, deadline=None)
@given(
    before=st.floats(15, 84),
    stays_ms=st.integers(1_500, 10_000),
    after=st.floats(86, 120),
    at=st.integers(0, 6_000),
    clone=st.booleans(),
)
def test_a_fire_that_passes_through_85_degrees_is_not_thrown_away(
    before: float, stays_ms: int, after: float, at: int, clone: bool
) -> None:
    """Whatever came before, and be it the very first value after power-on."""
    script = [chip(0, temp_c=before), chip(at, temp_c=85.0), chip(at + stays_ms, temp_c=after)]
    got = play("ds18b20", ENTRY, 20_000, *script, wiring={"clone": clone})
    got.assert_well(0, 20_000, 1_250)
    assert (POWER_ON_DK in got.firsts()) == (stays_ms >= 2_000 or POWER_ON_DK in got.firsts())


def test_a_dip_in_air_of_85_degrees_is_85_degrees() -> None:
    got = play("ds18b20", ENTRY, 20_000, chip(0, temp_c=83.0), [7_100, "chip", "power_on"])
    got.assert_well(0, 20_000, 1_250)


def test_a_broken_supply_wire() -> None:
    """It lives on the data line, and each conversion starves it."""
    got = play("ds18b20", ENTRY, 40_000, chip(10_000, parasite=True), chip(30_000, parasite=False))
    got.assert_well(0, 10_000, 1_250)
    got.assert_fault(10_000, 30_000, "reset")
    got.assert_well(32_000, 40_000, 1_250)


@pytest.mark.parametrize("clone", [False, True])
def test_a_chip_that_starts_without_a_supply_wire(clone: bool) -> None:
    got = play("ds18b20", ENTRY, 20_000, chip(0, parasite=True), wiring={"clone": clone})
    got.assert_fault(0, 20_000, "reset")


@pytest.mark.parametrize(("fault", "why"), [("short", "short"), ("high", "absent"), ("bit_error", "crc")])
@pytest.mark.parametrize("at_ms", [0, 9_750, 10_000, 10_250, 10_500])
def test_faults_of_the_line(fault: str, why: str, at_ms: int) -> None:
    got = play("ds18b20", ENTRY, 40_000, line(at_ms, fault), line(30_000, ""))
    # A conversion that was under way is lost with it: then its first word may be "reset".
    got.assert_fault(at_ms, 30_000, why, *(["range", "reset"] if fault == "bit_error" else []))
    got.assert_well(32_000, 40_000, 1_250)


def test_unplugged_and_back() -> None:
    script = [chip(10_000, present=False), [30_000, "chip", "power_on"], chip(30_000, present=True)]
    got = play("ds18b20", ENTRY, 40_000, *script)
    got.assert_fault(10_000, 30_000, "absent")
    got.assert_well(32_000, 40_000, 1_250)


def test_two_on_a_line_are_told_apart_by_their_roms_and_never_mixed_without() -> None:
    wiring = {"serial": 0xA1, "second": {"serial": 0xB2}}
    both_roms = [
        play("ds18b20", {**ENTRY, "rom": rom_text(n)}, 5_000, chip(0, temp_c=60.0), wiring=wiring) for n in (0xA1, 0xB2)
    ]
    assert [set(p.firsts()) for p in both_roms] == [{3332}, {2932}]
    play("ds18b20", ENTRY, 5_000, chip(0, temp_c=60.0), wiring=wiring).assert_fault(1_000, 5_000, "crc", "range")


def test_a_rom_of_another_chip_is_absent_or_nothing() -> None:
    got = play("ds18b20", {**ENTRY, "rom": rom_text(0xCC)}, 10_000, wiring={"serial": 0xA1})
    got.assert_fault(0, 10_000, "crc", "absent")


def test_a_temperature_that_stands_still_is_stuck() -> None:
    got = play("ds18b20", {**ENTRY, "stuck_h": 1}, 12_000_000, step_ms=10_000)
    assert set(got.whys()) == {"stuck"}
    assert got.firsts(0, 3_500_000)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pin": 99}, "pin"),
        ({"rom": 5}, "rom"),
        ({"rom": "28ff"}, "rom"),
        ({"rom": "zz" * 8}, "rom"),
        ({"rom": "10" + rom_text(1)[2:]}, "rom"),
        ({"rom": rom_text(1)[:-2] + "00"}, "rom"),
        ({"rom": rom_text(1)}, ""),
        ({"stuck_h": "48"}, "stuck_h"),
    ],
)
def test_an_entry_is_checked(change: dict[str, Any], field: str) -> None:
    assert field_of("ds18b20", {**ENTRY, **change}) == field
