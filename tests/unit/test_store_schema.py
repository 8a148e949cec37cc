"""The store's schema: the migration makes what schema.py says, and the constraints hold."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, insert, inspect, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from bongsu.receiver.store import Store, engine, schema
from tests.registry_parts import NODE, NOW_MS, delivery_values, fill, new_store, open_incident


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        yield made


def _structure(url: str) -> dict[str, dict[str, set[str]]]:
    """What each table consists of, in any order: columns, keys, checks, indexes."""
    made = create_engine(url)
    found: dict[str, dict[str, set[str]]] = {}
    looker = inspect(made)
    for table in looker.get_table_names():
        if table == "alembic_version":
            continue
        columns = {f"{c['name']} {c['type']} {c['nullable']} {c['default']}" for c in looker.get_columns(table)}
        found[table] = {
            "columns": {c.replace("'", "") for c in columns},
            "primary": {str(looker.get_pk_constraint(table))},
            "foreign": {str(sorted(k.items(), key=str)) for k in looker.get_foreign_keys(table)},
            "unique": {f"{u['name']} {u['column_names']}" for u in looker.get_unique_constraints(table)},
            "checks": {f"{c['name']} {c['sqltext']}" for c in looker.get_check_constraints(table)},
            "indexes": {_index(i) for i in looker.get_indexes(table)},
        }
    made.dispose()
    return found


def _index(found: Any) -> str:
    where = {name: str(value) for name, value in found.get("dialect_options", {}).items()}
    return f"{found['name']} {found['column_names']} {found['unique']} {where}"


def _autoincrements(path: Path) -> set[str]:
    conn = sqlite3.connect(path)
    rows = conn.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'").fetchall()
    conn.close()
    return {name for (name,) in rows}


@pytest.mark.sqlite
def test_migrations_make_the_schema(tmp_path: Path) -> None:
    with new_store(tmp_path):
        pass
    direct = create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    schema.metadata.create_all(direct)
    direct.dispose()
    assert _structure(f"sqlite:///{tmp_path / 'bongsu.db'}") == _structure(f"sqlite:///{tmp_path / 'direct.db'}")
    assert _autoincrements(tmp_path / "bongsu.db") == _autoincrements(tmp_path / "direct.db")


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(engine.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [engine.SCHEMA_HEAD]


def test_schema_is_valid_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in schema.metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=dialect))
        assert "DEFAULT 0" not in text or "BOOLEAN DEFAULT 0" not in text
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))
    event = str(CreateTable(schema.event).compile(dialect=dialect))
    assert "id BIGSERIAL" in event and "incident_id BIGINT" in event


def _event(number: int, content: bytes) -> dict[str, object]:
    return {
        "node_id": NODE,
        "epoch": 1,
        "number": number,
        "received_ms": NOW_MS,
        "kind": "alarm",
        "phenomena": 1,
        "criterion": "heat_fixed",
        "detail": 0,
        "count": 1,
        "sustained_ms": 5000,
        "readings": {},
        "content": content,
    }


def test_event_key_counts_once(store: Store) -> None:
    with store.write() as conn:
        conn.execute(insert(schema.event).values(_event(1, b"a")))
        conn.execute(insert(schema.event).values(_event(1, b"b")))  # other content is another event
        conn.execute(insert(schema.event).values(_event(2, b"a")))
    with pytest.raises(IntegrityError), store.write() as conn:
        conn.execute(insert(schema.event).values(_event(1, b"a")))


def test_one_open_incident_per_subject_and_class(store: Store) -> None:
    first = open_incident(store)
    open_incident(store, class_="fault")
    with pytest.raises(IntegrityError):
        open_incident(store)
    with store.write() as conn:
        closing = update(schema.incident).where(schema.incident.c.id == first)
        conn.execute(closing.values(state="closed", closed_ms=NOW_MS, disposition="steam"))
    assert open_incident(store) > first


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("site", "kind", "castle"),
        ("contact", "lang", "fr"),
        ("incident", "class_", "flood"),
        ("incident", "state", "ajar"),
        ("incident", "round", 0),
        ("incident", "subject", "elsewhere"),
        ("incident", "state", "closed"),  # closed without the time of closing
        ("incident", "disposition", "boredom"),
        ("delivery", "state", "lost"),
        ("delivery", "attempts", -1),
        ("node", "state", "asleep"),
        ("node", "unit_id", None),
        ("node", "unit_id", "nowhere"),
        ("node", "id", "short"),
    ],
)
def test_wrong_values_are_refused(store: Store, table: str, column: str, value: object) -> None:
    open_incident(store)
    with pytest.raises(IntegrityError), store.write() as conn:
        conn.execute(update(schema.metadata.tables[table]).values({column: value}))


def test_idempotency_key_and_sequence_are_unique(store: Store) -> None:
    incident_id = open_incident(store)
    for change in ({"idempotency_key": f"key-{incident_id}-0", "seq": 9}, {"idempotency_key": "other", "seq": 0}):
        with pytest.raises(IntegrityError), store.write() as conn:
            conn.execute(insert(schema.delivery).values({**delivery_values(incident_id, 0, "pending"), **change}))


def test_incident_numbers_are_not_given_twice(store: Store) -> None:
    first = open_incident(store)
    with store.write() as conn:
        conn.execute(schema.delivery.delete())
        conn.execute(schema.incident.delete())
    assert open_incident(store) > first
    with store.read() as conn:
        assert len(conn.execute(select(schema.incident)).all()) == 1
