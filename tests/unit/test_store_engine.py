"""Opening the store and its transactions: what holds, and what a person is told when it does not."""

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from bongsu.receiver.store import StoreError, engine, open_store, schema
from tests import postgres_parts
from tests.registry_parts import NOW_MS, fill, new_store


def _site(name: str) -> dict[str, object]:
    return {"id": name, "name": name, "kind": "market", "address": "", "tz": "Asia/Seoul", "created_ms": NOW_MS}


@pytest.mark.sqlite
def test_pragmas(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, store.read() as conn:
        found = {
            p: conn.execute(text(f"PRAGMA {p}")).scalar_one() for p in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_raising_block_keeps_nothing(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        with pytest.raises(RuntimeError), store.write() as conn:
            conn.execute(insert(schema.site).values(_site("a")))
            raise RuntimeError
        with store.read() as conn:
            assert conn.execute(select(schema.site)).all() == []


@pytest.mark.sqlite
def test_ddl_is_inside_the_transaction(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        with pytest.raises(RuntimeError), store.write() as conn:
            conn.execute(text("CREATE TABLE half (a INTEGER)"))
            raise RuntimeError
        with store.read() as conn:
            assert conn.execute(text("SELECT count(*) FROM sqlite_master WHERE name = 'half'")).scalar_one() == 0


def test_reading_sees_one_moment_while_another_writes(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, store.read() as reader:
        assert reader.execute(select(schema.site)).all() == []
        with store.write() as writer:
            writer.execute(insert(schema.site).values(_site("a")))
        assert reader.execute(select(schema.site)).all() == []


def test_a_writer_waits_for_the_one_before(tmp_path: Path) -> None:
    """Both read, then write the sum: with deferred transactions one of them would fail or be lost."""
    with new_store(tmp_path) as store:

        def add() -> None:
            for _ in range(20):
                with store.write() as conn:
                    count = len(conn.execute(select(schema.site)).all())
                    conn.execute(insert(schema.site).values(_site(f"s{count}")))

        threads = [threading.Thread(target=add) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        with store.read() as conn:
            assert len(conn.execute(select(schema.site)).all()) == 40


@pytest.mark.sqlite
def test_locked_store_is_an_error_with_a_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    with new_store(tmp_path) as store:
        other = sqlite3.connect(tmp_path / "bongsu.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="write lock") as caught, store.write():
            pass
        other.execute("ROLLBACK")
        other.close()
    assert caught.value.next_step


@pytest.mark.sqlite
def test_full_disk_is_an_error_and_keeps_nothing(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        with pytest.raises(StoreError, match="disk is full"), store.write() as conn:
            pages = conn.execute(text("PRAGMA page_count")).scalar_one()
            conn.execute(text(f"PRAGMA max_page_count = {pages}"))
            for number in range(1000):
                conn.execute(insert(schema.site).values({**_site(f"s{number}"), "address": "x" * 200}))
        with store.read() as conn:
            assert conn.execute(select(schema.site)).all() == []


def test_errors_do_not_repeat_phone_numbers(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        fill(store)
        with pytest.raises(Exception, match="(?i)unique") as caught, store.write() as conn:
            values = {
                "id": "dep-1",
                "name": "Deputy",
                "phone": "+821012345678",
                "lang": "ko",
                "created_ms": NOW_MS,
            }
            conn.execute(insert(schema.contact).values(values))
    assert "12345678" not in str(caught.value)


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, store.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="schema 9999, newer than"):
        open_store(postgres_parts.store_url(tmp_path))


def test_foreign_database_is_refused(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "other.db")
    conn.execute("CREATE TABLE theirs (a)")
    conn.close()
    with pytest.raises(StoreError, match="not a Bongsu store"):
        open_store(f"sqlite:///{tmp_path / 'other.db'}")


def test_other_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match="not a SQLite database"):
        open_store(f"sqlite:///{tmp_path / 'x.db'}")


@pytest.mark.parametrize("url", ["nonsense", "oracle17://x", "sqlite:////no/such/folder/x.db"])
def test_unusable_url(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert caught.value.next_step


def test_old_store_is_not_migrated_unasked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="this version needs"):
        open_store(f"sqlite:///{tmp_path / 'bongsu.db'}", migrate=False)


@pytest.mark.sqlite
def test_store_that_may_not_be_written(tmp_path: Path) -> None:
    with new_store(tmp_path):
        pass
    store = open_store(f"sqlite:///file:{tmp_path / 'bongsu.db'}?mode=ro&uri=true")
    with pytest.raises(StoreError, match="cannot be written"), store.write() as conn:
        conn.execute(insert(schema.site).values(_site("a")))
    store.close()


@pytest.mark.parametrize(("driver_text", "says"), [(mark, message) for mark, message, _ in engine._SQLITE_CAUSES])
def test_each_known_cause_has_a_message_and_a_step(driver_text: str, says: str) -> None:
    explained = engine.explain(f"xx {driver_text} yy")
    assert explained is not None and explained[0] == says and explained[1]
