"""The write-ahead log goes into the database beside the commits, whatever they do."""

import io
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from bongsu.receiver.log import Log
from bongsu.receiver.store import Store, open_store, schema
from bongsu.receiver.store.checkpoint import (
    BACKSTOP_PAGES,
    BEGIN_BYTES,
    Checkpointer,
    checkpoint,
    leave_to_checkpointer,
)
from tests.broker_parts import await_true

pytestmark = pytest.mark.sqlite


def _fill(store: Store, rows: int, at: int) -> None:
    """So many rows of 1 KB, a commit each, as the writer does it."""
    with store.engine.connect() as conn:
        leave_to_checkpointer(conn)
        for i in range(rows):
            with conn.begin():
                what = {"at_ms": at + i, "topic": "test", "what": ["x" * 1000]}
                conn.execute(insert(schema.change).values(what))


def test_a_log_that_grows_goes_into_the_database_and_begins_anew_while_commits_go_on(tmp_path: Path) -> None:
    path, lines = tmp_path / "bongsu.db", io.StringIO()
    store, log = open_store(f"sqlite:///{path}"), Log("json", lines)
    keeper = Checkpointer(store, log)
    keeper.start()
    stop, count = threading.Event(), 0
    wal = tmp_path / "bongsu.db-wal"

    def commit() -> None:
        nonlocal count
        while not stop.is_set():
            _fill(store, 50, count)
            count += 50

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        await_true(lambda: path.stat().st_size > 2 * BEGIN_BYTES, "the database to grow by the thread's work")
        assert wal.stat().st_size < 1.2 * BACKSTOP_PAGES * 4096
    finally:
        stop.set()
        thread.join()
        keeper.close()
        log.close()
    with store.read() as conn:
        found = select(schema.change.c.id).where(schema.change.c.topic == "test")
        assert len(conn.execute(found).all()) == count
    store.close()
    assert "store.checkpoint" not in lines.getvalue()


def test_without_the_thread_commits_checkpoint_later_by_themselves(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'bongsu.db'}")
    with store.engine.connect() as conn:
        leave_to_checkpointer(conn)
        pages = conn.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar_one()
    store.close()
    assert pages == BACKSTOP_PAGES


def test_a_checkpoint_waits_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "bongsu.db"
    store = open_store(f"sqlite:///{path}")
    _fill(store, 20, 0)
    with store.write() as writing:
        writing.execute(insert(schema.change).values(at_ms=1, topic="other", what=[]))
        conn = sqlite3.connect(path, isolation_level=None, timeout=0)
        begun_s = time.monotonic()
        checkpoint(conn)
        assert time.monotonic() - begun_s < 5, "it waits for the writer"
        conn.close()
    store.close()


def test_a_database_that_cannot_be_worked_on_is_told_of_once_and_tried_again(tmp_path: Path) -> None:
    path, lines = tmp_path / "bongsu.db", io.StringIO()
    store, log = open_store(f"sqlite:///{path}"), Log("json", lines)
    keeper = Checkpointer(store, log)
    store.close()
    for name in ("bongsu.db", "bongsu.db-wal", "bongsu.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    path.mkdir()
    keeper.start()
    await_true(lambda: "store.checkpoint" in lines.getvalue(), "a line in the log")
    keeper.close()
    log.close()
    assert lines.getvalue().count("store.checkpoint") == 1
