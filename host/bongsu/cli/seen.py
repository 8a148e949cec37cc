"""`--seen`: up to what a person has seen an incident, as `bongsu incident show` says it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_SEEN = re.compile(r"([0-9]{1,19})(?:\+([0-9]{1,9}))?")
_MAX = 2**63 - 1
_WHERE = "it is the number in the command that `bongsu incident show {id}` prints at its end"


@dataclass(frozen=True)
class Seen:
    """The last event (0: there is none), and how many alarms that only heartbeats told of."""

    event: int
    beats: int = 0

    def __str__(self) -> str:
        return f"{self.event}" + (f"+{self.beats}" if self.beats else "")

    def named(self) -> dict[str, Any]:
        """As receiver/desk.py takes it."""
        return {"seen_event_id": self.event or None, "seen_beats": self.beats}


class _SeenType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    name = "seen"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Seen:
        if isinstance(value, Seen):
            return value
        match = _SEEN.fullmatch(value)
        if match is None or int(match[1]) > _MAX:
            self.fail(f"{value!r} is no number of an event (7, or 7+1): {_where(ctx)}", param, ctx)
        return Seen(int(match[1]), int(match[2] or 0))


def _where(ctx: click.Context | None) -> str:
    """Where the number is to be seen."""
    return _WHERE.format(id=(ctx.params.get("incident_id") if ctx is not None else None) or "ID")


def _needed(ctx: click.Context, param: click.Parameter, value: Seen | None) -> Seen:
    if value is None:
        raise click.UsageError(f"--seen is missing. Look at the incident first; {_where(ctx)}.", ctx)
    return value


def seen_option(command: F) -> F:
    """The option, which must be there."""
    return click.option(
        "--seen",
        type=_SeenType(),
        metavar="N",
        callback=_needed,
        help="The last event that you have seen, as `incident show` prints it; 0: it has none. Needed.",
    )(command)
