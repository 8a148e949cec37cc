"""Steps of the clock: UTC is compared with the monotonic clock; what UTC jumps by is a fault, and deadlines that are
stored in UTC move with it, so that what was to happen in a minute still happens in a minute.

In the process all spans are monotonic already. With several receivers the database's time is the clock (DESIGN section
7): there a step of this machine is a fault and nothing else.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, update

from bongsu.receiver import exercises, walk_tests
from bongsu.receiver.casebook import Signal
from bongsu.receiver.clock import SystemClock
from bongsu.receiver.store import schema

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

CLOCK, CLOCK_STEPPED = "clock", "clock_stepped"
# DESIGN section 7. Less is what time synchronisation does, bit by bit.
STEP_MS = 2_000
# A step is no state: its fault stands for so long, then whoever looks at the incident sees that it is over.
STANDS_MS = 600_000
_WAITING = ("pending", "sent")


class StepWatch:
    """Pure: UTC and monotonic ms, taken at the same moment, are arguments."""

    def __init__(self, now_ms: int, mono_ms: int) -> None:
        self._offset_ms = now_ms - mono_ms

    def look(self, now_ms: int, mono_ms: int) -> int:
        """By how much UTC was stepped since the last look (ms, + is forward); 0 if it was not. Drift is taken in."""
        moved_ms = now_ms - mono_ms - self._offset_ms
        self._offset_ms += moved_ms
        return moved_ms if abs(moved_ms) > STEP_MS else 0


class ClockWatch:
    """The chore. It looks whenever it is asked when it is due: at every turn of the writer, before anything is written
    by a clock that was stepped.
    """

    def __init__(self, books: "Books", sqlite: bool) -> None:
        self._books, self._shifts = books, sqlite
        # The database's clock is not the one to be watched.
        self._clock: Any = books.clock if sqlite else SystemClock()
        self._steps = StepWatch(*_same_moment(self._clock.now_ms, self._clock.mono_ms))
        self._to_shift_ms = 0
        self._to_tell_ms = 0
        self._telling = False
        self._ends_ms: int | None = None
        self.steps = 0
        self.last_step_ms = 0
        self.last_at_ms: int | None = None

    def load(self, conn: Connection) -> None:
        """A transaction failed, perhaps: what it told is told again."""
        self._telling = False

    def note(self, item: object) -> None:
        """Nothing is put for it."""

    def _look(self) -> None:
        now_ms, mono_ms = _same_moment(self._clock.now_ms, self._clock.mono_ms)
        step_ms = self._steps.look(now_ms, mono_ms)
        if step_ms:
            self._to_shift_ms += step_ms if self._shifts else 0
            self._to_tell_ms = step_ms
            self.steps, self.last_step_ms, self.last_at_ms = self.steps + 1, step_ms, now_ms

    def due_ms(self) -> int | None:
        """At once after a step; later to end its fault."""
        self._look()
        return self._books.clock.mono_ms() if self._to_tell_ms else self._ends_ms

    def shift(self, conn: Connection) -> None:
        """Move the stored deadlines, and the same in memory; the first thing in the transaction. `shifted` follows the
        commit.
        """
        step_ms, books = self._to_shift_ms, self._books
        if not step_ms:
            return
        shift_stored(conn, step_ms, books.clock.now_ms() - step_ms)
        books.casebook.load_open(conn)
        for chore in books.chores:
            chore.load(conn)

    def shifted(self) -> None:
        """The transaction was committed."""
        if self._to_shift_ms:
            self._shift_keys(self._to_shift_ms)
        self._to_shift_ms = 0
        if self._telling:
            self._telling, self._to_tell_ms = False, 0

    def _shift_keys(self, step_ms: int) -> None:
        for node in self._books.directory.nodes.values():
            for key in node.keys.values():
                if key.valid_until_ms is not None:
                    key.valid_until_ms += step_ms

    def act(self, conn: Connection, turn: "Turn") -> None:
        """Tell of a step, or that the last one is long ago."""
        subject = self._books.downlink.subject
        signal = Signal(CLOCK, (CLOCK_STEPPED,), self._books.clock.now_ms())
        if self._to_tell_ms:
            turn.say("warn", "clock.stepped", step_ms=self._to_tell_ms)
            turn.stand(subject, signal, dict)
            self._telling = True
            self._ends_ms = self._books.clock.mono_ms() + STANDS_MS
        else:
            turn.end(subject, signal)
            self._ends_ms = None


def shift_stored(conn: Connection, step_ms: int, before_ms: int) -> None:
    """Move what the store holds as a deadline by `step_ms`. `before_ms`: what UTC would be without the step; what was
    over by then stays over.
    """
    exercises.shift(conn, step_ms)
    walk_tests.shift(conn, step_ms)
    d, k = schema.delivery, schema.node_key
    conn.execute(
        update(d)
        .where(d.c.state.in_(_WAITING))
        .values(next_at_ms=d.c.next_at_ms + step_ms, lease_until_ms=d.c.lease_until_ms + step_ms)
    )
    old = (k.c.state == "old", k.c.valid_until_ms > before_ms)
    conn.execute(update(k).where(*old).values(valid_until_ms=k.c.valid_until_ms + step_ms))


def _same_moment(now_ms: Callable[[], int], mono_ms: Callable[[], int]) -> tuple[int, int]:
    """UTC and monotonic time, read so close together that a pause between them cannot look like a step."""
    while True:
        before, now, after = mono_ms(), now_ms(), mono_ms()
        if after - before < 100:
            return now, before
