"""What commands print: tables for people, JSON for scripts. Korean letters take two columns of a terminal."""

import datetime as dt
import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import click

_NOTHING = "-"
_GAP = "  "


def width(text: str) -> int:
    """How many columns a terminal takes for `text`."""
    return sum(_char_width(c) for c in text)


def cut(text: str, columns: int) -> str:
    """As much of it as a line of the terminal takes: what wraps cannot be drawn anew."""
    while width(text) >= columns:
        text = text[:-1]
    return text


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def cell(value: Any) -> str:
    """One value as a table shows it, on one line."""
    if value is None or value in ("", []):
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(cell(v) for v in value)
    return printable(str(value))


def printable(text: str) -> str:
    """`text` without what a terminal would obey: each control or format character is a question mark."""
    return "".join(c if unicodedata.category(c)[0] != "C" else "?" for c in text)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as an aligned table with a header line; column names are shown as words."""
    lines = [[_title(c).upper() for c in columns], *([cell(row.get(c)) for c in columns] for row in rows)]
    widths = [max(width(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        _GAP.join(t + " " * (w - width(t)) for t, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def record(row: Mapping[str, Any]) -> str:
    """One thing as "name  value" lines; lists of things as small tables below it."""
    plain = {k: v for k, v in row.items() if not _is_things(v)}
    names = {k: _title(k) for k in plain}
    wide = max((width(n) for n in names.values()), default=0)
    out = [f"{names[k]}{' ' * (wide - width(names[k]))}  {_value(k, v)}" for k, v in plain.items()]
    for name, things in row.items():
        if _is_things(things):
            shown = [{k: _value(k, v) for k, v in t.items()} for t in things]
            out += ["", f"{_title(name)}:", table(shown, list(things[0]))]
    return "\n".join(out)


def _title(name: str) -> str:
    """A column's name for people: they see a time where the data has ms."""
    return name.removesuffix("_ms").replace("_", " ")


def _is_things(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}={cell(v)}" for k, v in value.items()) or _NOTHING
    if name.endswith("_ms") and isinstance(value, int) and value > 10**11:  # a time, not a duration
        return when(value)
    return cell(value)


def shown_row(row: Mapping[str, Any]) -> dict[str, str]:
    """A row as people see it: times readable, each value on one line."""
    return {k: _value(k, v) for k, v in row.items()}


def when(time_ms: int | None) -> str:
    """A UTC time in ms in this machine's zone, with its offset: "2026-03-01 14:05:09+09:00"."""
    if time_ms is None:
        return _NOTHING
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).astimezone().isoformat(" ", "seconds")


def seconds(ms: int) -> str:
    """A duration in ms for people: "11.4 s"."""
    return f"{ms / 1000:.1f} s"


def counted(number: int, thing: str) -> str:
    """'1 fault', '2 faults'."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def as_json(value: Any) -> str:
    """JSON as all commands print it."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def show_list(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, json_wanted: bool, empty: str) -> None:
    """Print a list: as JSON with every field, or as a table of `columns` (times are shown readable); `empty` is said of
    an empty one.
    """
    if json_wanted:
        click.echo(as_json(list(rows)))
    elif rows:
        click.echo(table([shown_row(row) for row in rows], columns))
    else:
        click.echo(empty, err=True)


def show_one(row: Mapping[str, Any], *, json_wanted: bool) -> None:
    """Print one thing: as JSON, or as lines."""
    click.echo(as_json(row) if json_wanted else record(row))


def done(text: str, row: Mapping[str, Any], *, json_wanted: bool) -> None:
    """Say that something was done: `text` for people, `row` for scripts."""
    click.echo(as_json(row) if json_wanted else text)


def edited(what: str, changes: Mapping[str, tuple[Any, Any]], *, json_wanted: bool) -> None:
    """Say what an edit changed, field by field; `what` is the thing's name."""
    row = {"changed": {field: list(pair) for field, pair in changes.items()}}
    lines = [f"{field}: {cell(old)} -> {cell(new)}" for field, (old, new) in changes.items()]
    done(
        "\n".join([f"Changed {what}", *lines]) if lines else f"{what}: nothing to change", row, json_wanted=json_wanted
    )


def given(**options: Any) -> dict[str, Any]:
    """Those of a command's options that were given. Raises click.UsageError if none was."""
    found = {name: value for name, value in options.items() if value is not None and value != ()}
    if not found:
        raise click.UsageError("nothing to change is named; see --help")
    return found


def warn(text: str) -> None:
    """Say something that hinders nothing, but should be known."""
    click.echo(f"warning: {text}", err=True)
