"""Scenario files: what sensors see over time. CSV with the header `t_s,temp_c,smoke_od_per_m`, and after it, in any
order, none or several of `rh_pct`, `co_ppm`, `gas_index`, `pm25_ug`.
"""

import csv
import math
from pathlib import Path

from bongsu.errors import BongsuError
from bongsu.sim.track import Point, Track

COLUMNS = ("t_s", "temp_c", "smoke_od_per_m")
OPTIONAL = ("rh_pct", "co_ppm", "gas_index", "pm25_ug")
# Beyond what fires and sensors do: a typing error or another unit. pm25_ug: a node's 0.1 ug/m3 in 16 bits end there;
# gas_index 1: a hundredfold of clean air's resistance.
_LIMITS = {
    "t_s": (0.0, 86400.0),
    "temp_c": (-55.0, 1300.0),
    "smoke_od_per_m": (0.0, 50.0),
    "rh_pct": (0.0, 100.0),
    "co_ppm": (0.0, 6500.0),
    "gas_index": (1.0, 60000.0),
    "pm25_ug": (0.0, 6500.0),
}

__all__ = ["COLUMNS", "OPTIONAL", "Point", "ScenarioError", "Track", "parse", "read", "read_track", "write"]


class ScenarioError(BongsuError):
    """A scenario file cannot be used; the message names file, line and column."""


def read(path: Path) -> list[Point]:
    """The points (t_s, temperature degC, optical density 1/m), in time order. Raises ScenarioError."""
    return read_track(path).points()


def read_track(path: Path) -> Track:
    """The file with all of its columns. Raises ScenarioError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise ScenarioError(f"cannot read {path}: {e.strerror}", "name a CSV file") from None
    except UnicodeDecodeError as e:
        raise ScenarioError(f"{path} is no CSV text: {e}", "save it as CSV in UTF-8") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Track:
    """The text of a scenario file; `name` stands for it in messages. Raises ScenarioError."""
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as e:
        raise ScenarioError(f"{name} is no CSV text: {e}", "save it as CSV in UTF-8") from None
    header = _header(name, rows)
    points: list[list[float]] = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        point = _point(f"{name}, line {number}", header, row)
        if points and point[0] < points[-1][0]:
            raise ScenarioError(f"{name}, line {number}, t_s: {row[0]} is earlier than the line before", "sort by t_s")
        points.append(point)
    if not points:
        raise ScenarioError(f"{name} holds no point", "add a line for t_s 0")
    t_s, *columns = (tuple(column) for column in zip(*points, strict=True))
    return Track(t_s, dict(zip(header[1:], columns, strict=True)))


def write(track: Track) -> str:
    """A track as the text of a scenario file, of which `parse` makes the same track but for rounding (ms; 1e-3 degC;
    1e-5 1/m; 0.01 of the rest). Raises ValueError if temperature or smoke was not measured.
    """
    track.points()
    names = [*COLUMNS[1:], *(name for name in OPTIONAL if name in track.columns)]
    digits = [{"temp_c": 3, "smoke_od_per_m": 5}.get(name, 2) for name in names]
    lines = [",".join(["t_s", *names])]
    for row in zip(track.t_s, *(track.columns[name] for name in names), strict=True):
        lines.append(",".join([_text(row[0], 3), *(_text(v, d) for v, d in zip(row[1:], digits, strict=True))]))
    return "\n".join(lines) + "\n"


def _text(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _header(name: str, rows: list[list[str]]) -> tuple[str, ...]:
    head = tuple(cell.strip() for cell in rows[0]) if rows else ()
    if head[: len(COLUMNS)] != COLUMNS:
        raise ScenarioError(f"{name}, line 1: the header is not {','.join(COLUMNS)}", "give it this header")
    for at, column in enumerate(head[len(COLUMNS) :]):
        if column not in OPTIONAL:
            hint = f"further columns are {', '.join(OPTIONAL)}"
            raise ScenarioError(f"{name}, line 1: the header has an unknown column {column!r}", hint)
        if column in head[len(COLUMNS) : len(COLUMNS) + at]:
            raise ScenarioError(f"{name}, line 1: the header has {column} twice", "remove one of them")
    return head


def _point(where: str, header: tuple[str, ...], row: list[str]) -> list[float]:
    if len(row) != len(header):
        raise ScenarioError(f"{where}: {len(row)} columns instead of {len(header)}")
    return [_value(f"{where}, {name}", name, text) for name, text in zip(header, row, strict=True)]


def _value(where: str, name: str, text: str) -> float:
    low, high = _LIMITS[name]
    try:
        value = float(text)
    except ValueError:
        raise ScenarioError(f"{where}: {text!r} is no number") from None
    if not math.isfinite(value) or not low <= value <= high:
        raise ScenarioError(f"{where}: {text} is not within {low:g}..{high:g}")
    return value
