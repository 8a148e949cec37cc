"""The minute before an alarm as text: a line a quantity, with a small curve."""

from collections.abc import Mapping, Sequence
from typing import Any

from bongsu.cli import output

_BARS = "▁▂▃▄▅▆▇█"
_NONE = "·"
_COLUMNS = ["quantity", "first", "lowest", "highest", "last", "curve"]


def shown(events: Sequence[Mapping[str, Any]]) -> str:
    """The minutes of an incident's events (docket.show_incident), those that have one; "" if none has."""
    return "".join(f"\n{_one(event, event['history'])}\n" for event in events if event["history"] is not None)


def _one(event: Mapping[str, Any], history: Mapping[str, Any]) -> str:
    span_s = (history["rows"] - 1) * history["step_ms"] / 1000
    missing = f", {history['missing']} of {history['rows']} rows have not come" if history["missing"] else ""
    lines = [_line(name, values) for name, values in history["columns"].items()]
    title = f"{span_s:g} s before event {event['event']} ({event['node']}){missing}:"
    return f"{title}\n{output.table(lines, _COLUMNS)}"


def _line(name: str, values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    ends = (known[0], min(known), max(known), known[-1]) if known else (None,) * 4
    return {"quantity": name, **dict(zip(_COLUMNS[1:5], ends, strict=True)), "curve": curve(values)}


def curve(values: Sequence[float | None]) -> str:
    """A character a value, lowest to highest; a dot where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return _NONE * len(values)
    low, span = min(known), max(known) - min(known)
    steps = len(_BARS) - 1
    return "".join(
        _NONE if value is None else _BARS[round((value - low) * steps / span) if span else 0] for value in values
    )
