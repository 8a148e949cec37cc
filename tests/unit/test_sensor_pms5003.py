"""PMS5003 on a UART, against a model that streams; and the frame's parser in rubbish."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.shims.chips import pms
from bongsu_node.sensing.pms_frame import FRAME_LEN, Parser
from tests.sensor_play import chip, field_of, play

pytestmark = pytest.mark.usefixtures("sensor_players")

ENTRY = {"rx": 16}
WARM_MS = 30_000


# What looks like a beginning is the worst rubbish.
RUBBISH = st.lists(
    st.one_of(
        st.binary(max_size=40), st.sampled_from([b"\x42", b"\x42\x4d", b"\x42\x4d\x00\x1c", pms.frame(1, 2, 3)[:31]])
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=20, deadline=None)
@given(pm=st.tuples(*[st.integers(0, 0xFFFF)] * 3), interval_ms=st.integers(200, 2_300))
def test_it_reads_right_over_its_range(pm: tuple[int, int, int], interval_ms: int) -> None:
    got = play("pms5003", ENTRY, 40_000, chip(0, pm=pm), wiring={"interval_ms": interval_ms})
    got.assert_well(WARM_MS + 2_500, 40_000, 2_750)
    assert all(values == [10 * min(ug, 6_553) for ug in pm] for values in got.values())


def test_warm_up_is_no_fault_and_no_value() -> None:
    got = play("pms5003", ENTRY, 40_000)
    assert got.events[0][0] >= WARM_MS
    assert not got.whys()
    assert WARM_MS <= got.warm_ms <= WARM_MS + 2_500


@pytest.mark.parametrize(("fault", "why"), [("silent", "silent"), ("check", "crc"), ("bus", "bus")])
@pytest.mark.parametrize("at_ms", [0, 10_000, 40_000])
def test_faults_and_back_again(fault: str, why: str, at_ms: int) -> None:
    got = play("pms5003", ENTRY, 150_000, chip(at_ms, fault=fault), chip(70_000, fault=""))
    got.assert_fault(at_ms, 70_000, why)
    assert not got.whys(72_500)
    assert got.values(70_000 + WARM_MS + 2_500)
    if fault == "silent":  # its fan has stood: it warms up anew
        assert not got.values(70_000, 70_000 + WARM_MS - 2_500)


@settings(max_examples=25, deadline=None)
@given(rubbish=st.lists(st.tuples(st.integers(31_000, 50_000), RUBBISH), max_size=8))
def test_rubbish_on_the_wire_gives_no_wrong_value_and_costs_no_memory(rubbish: list[tuple[int, bytes]]) -> None:
    pushes = [[at, "chip", "push", list(data)] for at, data in rubbish]
    got = play("pms5003", ENTRY, 60_000, chip(0, pm=[3, 4, 5]), *pushes)
    assert all(values == [30, 40, 50] for values in got.values())
    assert set(got.whys()) <= {"crc"}
    got.assert_well(53_000, 60_000, 1_250)


def test_a_wire_full_of_rubbish() -> None:
    pushes = [
        [at, "chip", "push", [(at // 250 * 7 + n * 13) & 0xFF for n in range(240)]] for at in range(0, 40_000, 250)
    ]
    got = play("pms5003", ENTRY, 90_000, *pushes, chip(0, fault="silent"), chip(40_000, fault=""))
    got.assert_fault(0, 40_000, "crc")
    got.assert_well(80_000, 90_000, 1_250)


@settings(max_examples=200, deadline=None)
@given(rubbish=RUBBISH, pm=st.integers(0, 0xFFFF))
def test_the_frame_after_any_rubbish_is_found(rubbish: bytes, pm: int) -> None:
    parser = Parser()
    for byte in rubbish:
        parser.feed(byte)
    good = pms.frame(pm, pm, pm)
    assert [parser.feed(byte) for byte in good] == [False] * (FRAME_LEN - 1) + [True]
    assert bytes(parser.frame) == good
    assert len(parser.frame) == FRAME_LEN


@settings(max_examples=100, deadline=None)
@given(bit=st.integers(0, 8 * FRAME_LEN - 1))
def test_no_frame_with_a_wrong_bit_passes(bit: int) -> None:
    bad = bytearray(pms.frame(10, 20, 30))
    bad[bit >> 3] ^= 1 << (bit & 7)
    assert not any([Parser().feed(byte) for byte in bad])
    parser = Parser()
    assert not any([parser.feed(byte) for byte in bad])


def test_a_frame_that_never_changes_is_stuck() -> None:
    frame = list(pms.frame(3, 4, 5))
    script = [[at, "chip", "push", frame] for at in range(0, 4_500_000, 5_000)]
    got = play("pms5003", {**ENTRY, "stuck_h": 1}, 4_500_000, chip(0, fault="silent"), *script, step_ms=5_000)
    assert got.values(0, 3_590_000)
    got.assert_fault(3_610_000, 4_500_000, "stuck")


@pytest.mark.parametrize(("change", "field"), [({"rx": None}, "rx"), ({"tx": -1}, "tx"), ({"tx": 17}, "")])
def test_an_entry_is_checked(change: dict[str, Any], field: str) -> None:
    assert field_of("pms5003", {**ENTRY, **change}) == field
