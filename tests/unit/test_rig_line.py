"""The control lines of a rig's port, and what they make of the chip's pins."""

import pytest

from bongsu.sim.rig.line import ControlLines, Straps, straps


@pytest.mark.parametrize(
    ("dtr", "rts", "wanted"),
    [
        (False, False, Straps(enabled=True, boot_high=True, passing=False)),
        (False, True, Straps(enabled=False, boot_high=True, passing=False)),
        (True, False, Straps(enabled=True, boot_high=False, passing=False)),
        (True, True, Straps(enabled=True, boot_high=True, passing=True)),
    ],
)
def test_two_transistors_make_reset_and_boot_of_dtr_and_rts(dtr: bool, rts: bool, wanted: Straps) -> None:
    assert straps(dtr, rts) == wanted


def test_every_change_of_a_line_is_told_and_releasing_both_is_one_change() -> None:
    told: list[Straps] = []
    lines = ControlLines(lambda: told.append(lines.straps), lambda: None)
    lines.dtr = True
    lines.rts = True
    lines.release()
    assert [(one.enabled, one.boot_high) for one in told] == [(True, False), (True, True), (True, True)]
    assert not lines.dtr and not lines.rts
