"""PostgreSQL as the store: which URLs are taken, what a person is told, and that writers come one after the other."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, insert, select, text

from bongsu.receiver.store import Store, StoreError, open_store, postgres, require_database, schema
from tests.postgres_parts import PASSWORD, PASSWORD_USER, Server
from tests.registry_parts import NOW_MS, fill
from tests.unit.test_store_schema import _structure


@pytest.fixture
def store(postgres: Server) -> Iterator[Store]:
    made = open_store(postgres.create())
    yield made
    made.close()


def _site(name: str) -> dict[str, object]:
    return {"id": name, "name": name, "kind": "market", "address": "", "tz": "Asia/Seoul", "created_ms": NOW_MS}


def test_migrations_make_the_schema(postgres: Server) -> None:
    migrated, direct = postgres.create(migrated=False), postgres.create(migrated=False)
    open_store(migrated).close()
    engine = create_engine(direct)
    schema.metadata.create_all(engine)
    engine.dispose()
    assert _structure(migrated) == _structure(direct)


def test_two_that_open_a_new_database_at_once_make_it_once(postgres: Server) -> None:
    url, opened = postgres.create(migrated=False), []

    def open_it() -> None:
        opened.append(open_store(url))

    threads = [threading.Thread(target=open_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(opened) == 3
    for store in opened:
        with store.read() as conn:
            assert conn.execute(select(schema.site)).all() == []
        store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://h/d", "not supported"),
        ("postgresql+psycopg2://h/d", "not supported"),
        ("postgresql+psycopg://u:secret@h/d", "holds a password"),
        ("postgresql+psycopg://u@h/d?password=secret", "holds a password"),
        ("postgresql+psycopg://h", "names no database"),
        ("postgresql+psycopg://db.example/d?sslmode=require", "needs TLS"),
        ("postgresql+psycopg://192.0.2.1/d?sslmode=disable", "needs TLS"),
        ("postgresql+psycopg:///d?host=db.example&sslmode=disable", "needs TLS"),
        ("postgresql+psycopg:///d?host=127.0.0.1,db.example&sslmode=prefer", "needs TLS"),
    ],
)
def test_refused_urls(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        open_store(url)
    assert "secret" not in str(caught.value) and caught.value.next_step


def test_off_this_machine_the_server_must_prove_who_it_is() -> None:
    made = open_url("postgresql+psycopg://u@db.example/d")
    assert made["sslmode"] == "verify-full" and made["sslrootcert"] == "system"
    for url in ("postgresql+psycopg://u@127.0.0.1/d", "postgresql+psycopg:///d?host=/run/postgresql"):
        assert "sslmode" not in open_url(url)


def open_url(url: str) -> dict[str, object]:
    """The driver's arguments for a URL."""
    from sqlalchemy.engine import make_url

    arguments: dict[str, object] = postgres.options(make_url(url))[1]["connect_args"]
    return arguments


def test_a_password_comes_from_its_file(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create().replace("//bongsu@", f"//{PASSWORD_USER}@")
    name = tmp_path / "db.password"
    for word, says in ((None, "asks for a password"), ("wrong", "refuses the password"), (PASSWORD, None)):
        if word is not None:
            name.write_text(word + "\n")
        asked = url if word is None else f"{url}?bongsu_password_file={name}"
        if says is None:
            store = open_store(asked, migrate=False)
            assert PASSWORD not in repr(store.engine.url)
            store.close()
        else:
            with pytest.raises(StoreError, match=says) as caught:
                open_store(asked)
            assert "wrong" not in str(caught.value)
    with pytest.raises(StoreError, match="cannot read .store. password_file"):
        open_store(f"{url}?bongsu_password_file={tmp_path / 'none'}")


def test_a_database_that_is_not_there(postgres: Server) -> None:
    with pytest.raises(StoreError, match="no such database"):
        open_store(postgres.url("nowhere"))
    with pytest.raises(StoreError, match="is empty"):
        require_database(postgres.create(migrated=False))
    with pytest.raises(StoreError, match="does not answer"):
        require_database("postgresql+psycopg://bongsu@127.0.0.1:1/d")
    require_database(postgres.create())


def test_a_transaction_that_stands_still_loses_its_turn(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody freezes in mid-transaction: the others go on in seconds, and nothing of it is kept."""
    writer = store.engine.connect()
    begun = writer.begin()
    writer.execute(text("SET LOCAL idle_in_transaction_session_timeout = 300"))
    writer.execute(insert(schema.site).values(_site("frozen")))
    with store.write() as conn:
        conn.execute(insert(schema.site).values(_site("next")))
    with pytest.raises(Exception, match="idle-in-transaction|terminating|closed|lost"):
        writer.execute(insert(schema.site).values(_site("late")))
    begun.rollback()
    writer.close()
    with store.read() as conn:
        assert conn.execute(select(schema.site.c.id)).scalars().all() == ["next"]


def test_reading_writes_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="read-only"), store.read() as conn:
        conn.execute(insert(schema.site).values(_site("a")))


def test_errors_do_not_show_the_row(store: Store) -> None:
    fill(store)
    values = {"id": "x", "name": "x", "phone": "+821099990000", "lang": "xx", "created_ms": NOW_MS}
    with pytest.raises(Exception, match="ck_contact_lang") as caught, store.write() as conn:
        conn.execute(insert(schema.contact).values(values))
    error: BaseException | None = caught.value
    while error is not None:
        assert "99990000" not in str(error)
        error = error.__cause__ or error.__context__


def test_a_server_that_ends_is_told_and_the_next_transaction_works(store: Store, postgres: Server) -> None:
    conn = store.engine.connect()
    with conn.begin():
        conn.execute(select(schema.site))
    with psycopg.connect(
        host="127.0.0.1", port=postgres.port, user="bongsu", dbname=store.engine.url.database, autocommit=True
    ) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
    with pytest.raises(Exception, match="terminating|closed|lost"), conn.begin():
        conn.execute(select(schema.site))
    with conn.begin():
        assert conn.execute(select(schema.site)).all() == []
    conn.close()
