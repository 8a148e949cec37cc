"""Faults of the receiver itself: whoever watches over a part of it says which of its faults stand now (`Standing`, by
way of the writer's queue), and the one chore here makes the receiver's fault incident say the same.

What an earlier process left standing ends with the first word of the same source. A fault that an operator closed
though it stands is not opened again before it has ended once.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from bongsu.receiver.casebook import Signal
from bongsu.receiver.incidents import FAULT

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """Exactly these faults of this source ("canary", "disk", ...) stand now; () if none."""

    source: str
    names: Names


class OwnFaults:
    """The chore."""

    def __init__(self, books: "Books") -> None:
        self._books = books
        self._wanted: dict[str, Names] = {}
        self._said: dict[str, Names] = {}
        self._saying: dict[str, Names] = {}

    def load(self, conn: Connection) -> None:
        """A transaction failed, perhaps: what it was to say is said again."""
        self._saying = {}

    def note(self, item: object) -> None:
        """Take a `Standing`."""
        self._said |= self._saying  # its transaction was committed, else `load` would have been called
        self._saying = {}
        if isinstance(item, Standing):
            self._wanted[item.source] = item.names

    def _news(self) -> list[str]:
        said = self._said | self._saying
        return [source for source, names in self._wanted.items() if said.get(source) != names]

    def due_ms(self) -> int | None:
        """At once, if something is to be said."""
        return self._books.clock.mono_ms() if self._news() else None

    def act(self, conn: Connection, turn: "Turn") -> None:
        """Let the incident say what is wanted."""
        subject = self._books.downlink.subject
        for source in self._news():
            wanted, told = self._wanted[source], self._stand_now(subject, source)
            now_ms = self._books.clock.now_ms()
            if over := tuple(name for name in told if name not in wanted):
                turn.say("info", "receiver.fault_over", source=source, faults="+".join(over))
                turn.end(subject, Signal(source, over, now_ms))
            if new := tuple(name for name in wanted if name not in told):
                turn.say("warn", "receiver.fault", source=source, faults="+".join(new))
                turn.stand(subject, Signal(source, new, now_ms), _no_snapshot)
            self._saying[source] = wanted

    def _stand_now(self, subject: str, source: str) -> Names:
        case = self._books.casebook.cases.get((subject, FAULT))
        return case.incident.active.get(source, ()) if case is not None else ()


def _no_snapshot() -> dict[str, Any]:
    return {}
