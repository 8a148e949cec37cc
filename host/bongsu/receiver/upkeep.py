"""The chore that keeps the records in order: seals new rows of the audit, removes what is too old. It works in slices
of a few milliseconds with pauses between them, so that no alarm waits for it.
"""

from typing import TYPE_CHECKING

from sqlalchemy import Connection

from bongsu.receiver import audit
from bongsu.receiver.own_faults import Standing
from bongsu.receiver.retention import Limits, Sweep

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

# Source and name of the receiver's own fault: `bongsu audit verify` says more.
AUDIT, AUDIT_FAULT = "audit", "audit_broken"
SEAL_EVERY_MS = 5_000
SWEEP_EVERY_MS = 3_600_000
FIRST_SWEEP_MS = 60_000
SLICE_S = 0.002
PAUSE_MS = 100
_SEAL_AT_ONCE = 20


class Upkeep:
    """The chore."""

    def __init__(self, books: "Books") -> None:
        self._books = books
        now_ms = books.clock.mono_ms()
        self._seal_at_ms = now_ms + SEAL_EVERY_MS
        self._sweep_at_ms = now_ms + FIRST_SWEEP_MS
        self._sweep: Sweep | None = None

    def load(self, conn: Connection) -> None:
        """Nothing is kept that a failed transaction could spoil: a pass that was begun goes on."""

    def note(self, item: object) -> None:
        """Nothing is meant for it."""

    def due_ms(self) -> int | None:
        """The next slice, or the next look at the audit."""
        return min(self._seal_at_ms, self._sweep_at_ms)

    def act(self, conn: Connection, turn: "Turn") -> None:
        """One slice."""
        now_ms = self._books.clock.mono_ms()
        if now_ms >= self._seal_at_ms:
            sealed = self._seal(conn)
            self._seal_at_ms = now_ms + (PAUSE_MS if sealed == _SEAL_AT_ONCE else SEAL_EVERY_MS)
        elif now_ms >= self._sweep_at_ms:
            self._go_on(conn, turn)

    def _seal(self, conn: Connection) -> int:
        key, folder = self._books.audit_key, self._books.settings.data_dir
        audit.remember(conn, key, folder)  # what earlier transactions committed
        what = audit.trouble(conn, key, folder)
        for chore in self._books.chores:
            chore.note(Standing(AUDIT, (AUDIT_FAULT,) if what else ()))
        return audit.seal(conn, key, _SEAL_AT_ONCE, folder)

    def _go_on(self, conn: Connection, turn: "Turn") -> None:
        books = self._books
        if self._sweep is None:
            self._sweep = Sweep(Limits.of(books.settings.retention, books.clock.now_ms()), books.audit_key)
        # Should it fail (a fault of this program), the next pass is an hour away.
        sweep, self._sweep = self._sweep, None
        self._sweep_at_ms = books.clock.mono_ms() + SWEEP_EVERY_MS
        if not sweep.work(conn, SLICE_S):
            self._sweep, self._sweep_at_ms = sweep, books.clock.mono_ms() + PAUSE_MS
        elif sweep.removed:
            turn.say("info", "retention.removed", **dict(sweep.removed))
