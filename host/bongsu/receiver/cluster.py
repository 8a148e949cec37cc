"""Several receivers on one PostgreSQL: how one of them hears of the others, and lets itself be seen.

All of it serves speed and sight, none of it correctness: that comes from the transactions, which come one after the
other and begin by taking in what others committed (writer.py).
"""

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, event, text, update

from bongsu.errors import BongsuError
from bongsu.receiver.log import Log
from bongsu.receiver.store import Store, changes, postgres, schema
from bongsu.release import this_version

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

# `receiver.last_seen_ms` is so old at most while a receiver runs. A lone SQLite receiver says so less often: each time
# costs a flush of the disk, and nobody else is there to look.
SEEN_EVERY_MS = 5_000
SEEN_EVERY_ALONE_MS = 60_000
_PRUNE_EVERY_MS = 60_000
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0)
_LOOK_S = 0.5
_TIME_EVERY_S = 10.0
_DATABASE_TIME = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
_MEASURES = 3


class Retired(BaseException):
    """Somebody retired this receiver: it must end, and nothing that catches faults may keep it."""

    def __str__(self) -> str:
        return "this receiver was retired"


class Presence:
    """A chore: let the others see that this receiver lives; forget old changes."""

    def __init__(self, books: "Books") -> None:
        self._books = books
        self._due_ms = self._prune_ms = books.clock.mono_ms()
        self._every_ms = SEEN_EVERY_ALONE_MS if books.alone else SEEN_EVERY_MS
        self._about = {"host": socket.gethostname()[:100], "version": this_version()}

    def load(self, conn: Connection) -> None:
        """It keeps nothing of the store."""

    def note(self, item: object) -> None:
        """Nothing is meant for it."""

    def due_ms(self) -> int | None:
        """Every few seconds."""
        return self._due_ms

    def act(self, conn: Connection, turn: "Turn") -> None:
        """Write it down."""
        books, table = self._books, schema.receiver
        mono_ms, now_ms = books.clock.mono_ms(), books.clock.now_ms()
        self._due_ms = mono_ms + self._every_ms
        mine = update(table).where(table.c.sender == books.downlink.sender)
        retired_ms = conn.execute(
            mine.values(last_seen_ms=now_ms, **self._about).returning(table.c.retired_ms)
        ).scalar_one_or_none()
        if retired_ms is not None and not books.alone:
            raise Retired
        if mono_ms >= self._prune_ms:
            self._prune_ms = mono_ms + _PRUNE_EVERY_MS
            changes.prune(conn, now_ms)


class DatabaseClock:
    """The database's UTC, which all receivers share: this machine's monotonic clock and an offset, measured again and
    again. While the database is away it goes on by the monotonic clock.
    """

    def __init__(self) -> None:
        self._offset_ms = time.time_ns() // 1_000_000 - self.mono_ms()

    def measure(self, conn: Connection) -> None:
        """Ask the database. Half of what the answer took on its way is how wrong this can be: the quickest counts."""
        found = []
        for _ in range(_MEASURES):
            before = time.monotonic_ns()
            there_ms = int(conn.execute(_DATABASE_TIME).scalar_one())
            after = time.monotonic_ns()
            found.append((after - before, there_ms - (before + after) // 2_000_000))
        self._offset_ms = min(found)[1]

    def now_ms(self) -> int:
        """UTC, ms since 1970."""
        return self.mono_ms() + self._offset_ms

    def mono_ms(self) -> int:
        """Monotonic ms."""
        return time.monotonic_ns() // 1_000_000


class Listener:
    """Hears of others' commits (LISTEN) in a thread of its own and calls `heard`; keeps the database's time meanwhile.

    A line that broke is made anew with growing pauses; what was missed meanwhile is made up for by one more `heard`.
    """

    def __init__(self, store: Store, sender: int, clock: DatabaseClock, heard: Callable[[], None], log: Log) -> None:
        self._engine, self._own, self._clock, self._heard, self._log = store.engine, str(sender), clock, heard, log
        self._wake, self._stop = os.pipe()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stopping = True
        os.write(self._stop, b"\0")
        self._thread.join(postgres.SILENCE_S + 5)
        os.close(self._stop)
        os.close(self._wake)

    def _run(self) -> None:
        faults = 0
        while not self._stopping:
            try:
                with self._engine.execution_options(isolation_level="AUTOCOMMIT", bongsu_read=True).connect() as conn:
                    conn.execute(text(f"LISTEN {postgres.CHANNEL}"))
                    faults = 0
                    self._heard()
                    self._listen(conn)
            except Exception as err:  # whatever it is: without this thread the database's time would stand still
                if faults == 0:
                    self._log.warning("store.listener", what=str(getattr(err, "orig", err)).partition("\n")[0])
                self._pause(_BACKOFF_S[min(faults, len(_BACKOFF_S) - 1)])
                faults += 1

    def _listen(self, conn: Connection) -> None:
        driver: Any = conn.connection.driver_connection
        driver.add_notify_handler(self._noticed)
        measure_s = time.monotonic()
        while not self._stopping:
            left_s = measure_s - time.monotonic()
            if left_s <= 0:  # also proves that the line still works
                self._clock.measure(conn)
                left_s = _TIME_EVERY_S
                measure_s = time.monotonic() + left_s
            ready, _, _ = select.select([driver.fileno(), self._wake], [], [], left_s)
            if driver.fileno() in ready:
                conn.execute(text("SELECT 1"))  # reads what came; fails if it was the end of the line

    def _noticed(self, notice: Any) -> None:
        if notice.payload != self._own:
            self._heard()

    def _pause(self, seconds: float) -> None:
        select.select([self._wake], [], [], seconds)


class LineWatch:
    """Cuts the line of a statement that the server does not answer: frozen, cut off, or gone without a word."""

    def __init__(self, engine: Engine, log: Log) -> None:
        self._log = log
        self._busy: dict[int, tuple[float, Any]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line-watch", daemon=True)
        event.listen(engine, "before_cursor_execute", self._begins)
        event.listen(engine, "after_cursor_execute", self._ends)
        event.listen(engine, "handle_error", self._failed)
        event.listen(engine, "commit", self._commits)
        event.listen(engine, "checkin", self._back)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(5)

    def _begins(self, conn: Connection, *_: Any) -> None:
        driver = conn.connection.driver_connection
        self._busy[id(driver)] = (time.monotonic(), driver)

    def _commits(self, conn: Connection) -> None:
        self._begins(conn)

    def _ends(self, conn: Connection, *_: Any) -> None:
        self._busy.pop(id(conn.connection.driver_connection), None)

    def _failed(self, context: Any) -> None:
        driver = getattr(context.connection, "connection", None) if context.connection is not None else None
        self._busy.pop(id(getattr(driver, "driver_connection", None)), None)

    def _back(self, driver: Any, _record: Any) -> None:
        self._busy.pop(id(driver), None)

    def done(self, conn: Connection) -> None:
        """The transaction has ended."""
        if not conn.invalidated:
            self._busy.pop(id(conn.connection.driver_connection), None)

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            now_s = time.monotonic()
            for key, (since_s, driver) in list(self._busy.items()):
                if now_s - since_s > postgres.SILENCE_S:
                    self._busy.pop(key, None)
                    self._log.error("store.silent", after_s=round(now_s - since_s))
                    _cut(driver)


def _cut(driver: Any) -> None:
    """Break a connection from outside of the thread that waits on it."""
    with suppress(OSError, BongsuError, AttributeError), socket.socket(fileno=os.dup(driver.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
