"""Progress: a line that is drawn anew on a terminal, lines elsewhere."""

import io
import sys

import pytest

from bongsu.cli.progress import bar, shown

TITLES = {"write": "Write the image"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "total", "line"),
    [
        (0, 100, "Write [..............................]   0 %    5 s"),
        (50, 100, "Write [###############...............]  50 %    5 s"),
        (100, 100, "Write [##############################] 100 %    5 s"),
        (0, 0, "Write ..."),
    ],
)
def test_a_bar(done: int, total: int, line: str) -> None:
    assert bar("Write", done, total, 5.2) == line


def test_lines_where_nobody_draws(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(TITLES) as progress:
        for done in (0, 10, 20, 100):
            progress("write", done, 100)
        progress("more", 0, 0)
        progress("more", 1, 1)
        progress("write", 0, 0)  # again, and it ends without an end
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.rstrip("0123456789. s") for line in err.splitlines()] == [
        "Write the image", "Write the image: done in", "more", "more: done in", "Write the image",
    ]  # fmt: skip


def test_what_is_to_be_said_of_a_step_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    """A line when it is said first, and one end: it is still the same step."""
    with shown(TITLES) as progress:
        for step in ("write", "write: it is slow", "write: it is slow", "write: it is cold"):
            progress(step, 1, 100)
        progress("write", 100, 100)
    assert [line.rstrip("0123456789. s") for line in capsys.readouterr().err.splitlines()] == [
        "Write the image", "Write the image: it is slow", "Write the image: it is cold", "Write the image: done in",
    ]  # fmt: skip


def test_a_line_that_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with shown(TITLES) as progress:
        for done in (0, 50, 100):
            progress("write", done, 100)
        progress("verify", 0, 1)
    drawn = terminal.getvalue().split("\r\033[K")
    assert [line[:16] for line in drawn] == ["", *["Write the image "] * 3, "verify [........"]
    assert drawn[2].count("#") == 15 and not drawn[2].endswith("\n")
    assert drawn[3].count("#") == 30 and drawn[3].endswith("\n")
    assert drawn[4].endswith("\n")  # what comes next, an error for example, has a line of its own


def test_no_line_is_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with shown(TITLES) as progress:
        progress("write: it is slow", 1, 100)
    assert terminal.getvalue() == "\r\033[KWrite the image: it\n"
