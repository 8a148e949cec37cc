"""Tables: Korean letters take two columns, and nothing that is shown can move the cursor."""

import pytest

from bongsu.cli import output


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("한내", 4), ("ＡＢ", 4), ("é", 1), ("e\u0301", 1), ("", 0)])
def test_width(text: str, columns: int) -> None:
    assert output.width(text) == columns


def test_columns_are_aligned() -> None:
    rows = [{"name": "봉수 떡집", "unit": "a-07"}, {"name": "Fish", "unit": None}]
    lines = output.table(rows, ["name", "unit"]).splitlines()
    starts = {output.width(line[: line.index(mark)]) for line, mark in zip(lines, ("UNIT", "a-07", "-"), strict=True)}
    assert starts == {output.width("봉수 떡집") + 2}
    assert lines == ["NAME       UNIT", "봉수 떡집  a-07", "Fish       -"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), ("", "-"), ([], "-"), (True, "yes"), (["a", "b"], "a, b"), ("a\x1b[2Jb\n", "a?[2Jb?"), (0, "0")],
)
def test_cells(value: object, shown: str) -> None:
    assert output.cell(value) == shown


def test_records_show_times_and_lists() -> None:
    text = output.record({"opened_ms": 1_772_000_000_000, "note": None, "events": [{"id": 1, "event_ms": None}]})
    assert text.startswith("opened  2026-02-2") and "events:\nID  EVENT\n1   -" in text


def test_json_keeps_korean() -> None:
    assert "한내" in output.as_json({"name": "한내"})
