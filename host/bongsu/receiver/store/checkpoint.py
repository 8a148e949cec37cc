"""Brings SQLite's write-ahead log into the database from a thread and a connection of its own.

SQLite does that in whoever's commit makes the log too long: in a city each tenth commit took 20 to 70 ms, and alarms
waited for it. A passive checkpoint waits for nobody and nobody waits for it. Should this thread fail or not keep up,
SQLite's own way is still there, only later (`BACKSTOP_PAGES`).
"""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection

from bongsu.receiver.log import Log, Seldom
from bongsu.receiver.store.engine import Store

EVERY_S = 0.5
# From this length on it is worth the work (SQLite's own limit is 1,000 pages of 4 KiB), and from that on, here, commits
# do it again themselves.
BEGIN_BYTES = 4 * 1024 * 1024
BACKSTOP_PAGES = 8_192
# While commits go on, the first pass leaves the frames that came meanwhile. A log that was copied whole begins anew at
# the next commit; if commits never pause, the one at the backstop copies the little that is left.
_PASSES = 3


def leave_to_checkpointer(conn: Connection) -> None:
    """Commits of this connection do not checkpoint; nothing happens on PostgreSQL."""
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql(f"PRAGMA wal_autocheckpoint = {BACKSTOP_PAGES}")
        conn.rollback()


class Checkpointer:
    """The thread. On PostgreSQL it does nothing."""

    def __init__(self, store: Store, log: Log) -> None:
        self._path = Path(store.engine.url.database or "") if store.is_sqlite else None
        self._log, self._seldom = log, Seldom()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)

    def start(self) -> None:
        """Begin."""
        if self._path is not None:
            self._thread.start()

    def close(self) -> None:
        """End."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._work()
            except (OSError, sqlite3.Error) as err:  # the disk is full, say: the writer tells of it
                if self._seldom.due("checkpoint", time.monotonic_ns() // 1_000_000):
                    self._log.warning("store.checkpoint", what=str(err))
                self._end.wait(EVERY_S)

    def _work(self) -> None:
        assert self._path is not None
        wal = self._path.with_name(self._path.name + "-wal")
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=0)) as conn:
            while not self._end.wait(EVERY_S):
                if wal.stat().st_size >= BEGIN_BYTES:
                    checkpoint(conn)


def checkpoint(conn: sqlite3.Connection) -> bool:
    """Copy the log into the database without waiting for anybody; True if all of it is there now.

    Raises sqlite3.Error.
    """
    for _ in range(_PASSES):
        _busy, frames, copied = conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if frames == copied:
            return True
    return False
