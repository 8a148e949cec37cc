"""Scenario files: what a board's sensors see over time. CSV with the header `t_s,temp_c,smoke_od_per_m`."""

import csv
import math
from pathlib import Path

from bongsu.errors import BongsuError

COLUMNS = ("t_s", "temp_c", "smoke_od_per_m")
# Beyond what fires and sensors do: a typing error or another unit.
_LIMITS = {"t_s": (0.0, 86400.0), "temp_c": (-55.0, 1300.0), "smoke_od_per_m": (0.0, 50.0)}

Point = tuple[float, float, float]


class ScenarioError(BongsuError):
    """A scenario file cannot be used; the message names file, line and column."""


def read(path: Path) -> list[Point]:
    """The points (t_s, temperature degC, optical density 1/m), in time order. Raises ScenarioError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except OSError as e:
        raise ScenarioError(f"cannot read {path}: {e.strerror}", "name a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as e:
        raise ScenarioError(f"{path} is no CSV text: {e}", "save it as CSV in UTF-8") from None
    if not rows or tuple(name.strip() for name in rows[0]) != COLUMNS:
        raise ScenarioError(f"{path}, line 1: the header is not {','.join(COLUMNS)}", "give it this header")
    points: list[Point] = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        point = _point(path, number, row)
        if points and point[0] < points[-1][0]:
            raise ScenarioError(f"{path}, line {number}, t_s: {row[0]} is earlier than the line before", "sort by t_s")
        points.append(point)
    if not points:
        raise ScenarioError(f"{path} holds no point", "add a line for t_s 0")
    return points


def _point(path: Path, number: int, row: list[str]) -> Point:
    if len(row) != len(COLUMNS):
        raise ScenarioError(f"{path}, line {number}: {len(row)} columns instead of {len(COLUMNS)}")
    t_s, temp_c, smoke = (
        _value(f"{path}, line {number}, {name}", name, text) for name, text in zip(COLUMNS, row, strict=True)
    )
    return t_s, temp_c, smoke


def _value(where: str, name: str, text: str) -> float:
    low, high = _LIMITS[name]
    try:
        value = float(text)
    except ValueError:
        raise ScenarioError(f"{where}: {text!r} is no number") from None
    if not math.isfinite(value) or not low <= value <= high:
        raise ScenarioError(f"{where}: {text} is not within {low:g}..{high:g}")
    return value
