"""Faults whose cause is gone without having said so: a message that was late for an incident that is closed now, a
retired node's, a retired receiver's. They end here; closing them is left to people, as ever.

Every few seconds all open faults are looked at, a slice at a time: alarms wait for none of it.
"""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from bongsu.receiver import incidents
from bongsu.receiver.casebook import Signal
from bongsu.receiver.store import schema

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

LOOK_EVERY_MS = 5_000
_SLICE = 2_000
_SLICE_PAUSE_MS = 50
# Sources of faults that hang on an alarm's incident: who did not answer, and that there was nobody to tell.
_OF_DELIVERIES = ("responder:", "contact:", "dispatch:")

Key = tuple[str, str]


class Aftermath:
    """A chore of the writer."""

    def __init__(self, books: "Books") -> None:
        self._books = books
        self._due_ms = books.clock.mono_ms() + LOOK_EVERY_MS
        self._left: list[Key] = []
        self._receivers: set[str] = set()

    def load(self, conn: Connection) -> None:
        """The casebook reads the faults."""

    def note(self, item: object) -> None:
        """Nothing is meant for it."""

    def due_ms(self) -> int | None:
        """Every few seconds, soon again while a look is not at its end."""
        return self._due_ms

    def act(self, conn: Connection, turn: "Turn") -> None:
        """Look at the next slice."""
        cases = self._books.casebook.cases
        if not self._left:
            self._left = [key for key in cases if key[1] == incidents.FAULT]
            c = schema.receiver.c
            self._receivers = {
                f"receiver:{n}" for n in conn.execute(select(c.sender).where(c.retired_ms.is_(None))).scalars()
            }
        now_ms = self._books.clock.now_ms()
        for key in self._left[-_SLICE:]:
            case = cases.get(key)
            for source in list(case.incident.active) if case is not None else ():
                if self._is_gone(key[0], source):
                    turn.end(key[0], Signal(source, (), now_ms))
        del self._left[-_SLICE:]
        self._due_ms = self._books.clock.mono_ms() + (_SLICE_PAUSE_MS if self._left else LOOK_EVERY_MS)

    def _is_gone(self, subject: str, source: str) -> bool:
        """Can this source of the subject's fault no longer say that it is over?"""
        kind, _, name = subject.partition(":")
        if kind == "receiver":
            return subject not in self._receivers
        if source.startswith(_OF_DELIVERIES):
            cases = self._books.casebook.cases
            class_ = source.removeprefix("dispatch:")
            classes = (class_,) if class_ in incidents.DISPATCHED else incidents.DISPATCHED
            return not any((subject, one) in cases for one in classes)
        if kind == "node":
            node = self._books.directory.nodes.get(name)
            return node is None or node.state == "retired"
        return False
