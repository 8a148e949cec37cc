"""Migrations: from every released schema, with all its rows; interrupted at every step; beside a running receiver.

What is defined: a migration only adds tables and columns that may be left out (so a receiver of the version before goes
on working on the migrated store until it is restarted), and it is one transaction (so it is there whole or not at all).
"""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, create_engine, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from bongsu.receiver.store import engine, migrations, open_store, schema
from bongsu.receiver.store.engine import raw_store, schema_version
from tests import postgres_parts
from tests.unit.test_store_schema import _structure

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
RELEASED = sorted(path.name.removeprefix("schema_") for path in DATA.glob("schema_*"))
DIE = DATA / "migrate_and_die.py"

Rows = dict[str, list[dict[str, Any]]]


def _url(tmp_path: Path) -> str:
    """An empty database on this run's engine."""
    server = postgres_parts.running()
    if not postgres_parts.on_postgresql() or server is None:
        return f"sqlite:///{tmp_path / 'bongsu.db'}"
    return server.create(migrated=False)


def _rows(revision: str) -> Rows:
    def value(found: Any) -> Any:
        return bytes.fromhex(found["hex"]) if isinstance(found, dict) and set(found) == {"hex"} else found

    raw: Rows = json.loads((DATA / f"schema_{revision}" / "rows.json").read_text(encoding="utf-8"))
    return {table: [{n: value(v) for n, v in row.items()} for row in rows] for table, rows in raw.items()}


def _statements(revision: str, url: str) -> list[str]:
    dialect = "sqlite" if url.startswith("sqlite") else "postgresql"
    text = (DATA / f"schema_{revision}" / f"{dialect}.sql").read_text(encoding="utf-8")
    return [s for s in re.split(r";\s*\n", text) if s.strip()]


def _old_store(tmp_path: Path, revision: str) -> str:
    """A store of a released schema with its rows in it; returns its URL."""
    url = _url(tmp_path)
    store = raw_store(url)
    try:
        with store.engine.begin() as conn:
            for statement in _statements(revision, url):
                conn.exec_driver_sql(statement)
            _put(conn, _rows(revision))
    finally:
        store.close()
    return url


def _tables(conn: Connection) -> MetaData:
    found = MetaData()
    found.reflect(conn)
    return found


def _put(conn: Connection, rows: Rows) -> None:
    tables = _tables(conn).tables
    for name, some in rows.items():
        for row in some:
            conn.execute(insert(tables[name]).values({n: v for n, v in row.items() if v is not None}))


def _found(url: str) -> Rows:
    """All rows, as rows.json has them."""
    store = raw_store(url)
    try:
        with store.read() as conn:
            return {
                name: [dict(r._mapping) for r in conn.execute(select(table))]
                for name, table in _tables(conn).tables.items()
                if name != "alembic_version"
            }
    finally:
        store.close()


def _version(url: str) -> str | None:
    store = raw_store(url)
    try:
        with store.read() as conn:
            return schema_version(conn)
    finally:
        store.close()


def _by_key(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


@pytest.mark.parametrize("revision", RELEASED)
def test_every_row_of_a_released_schema_is_kept(tmp_path: Path, revision: str) -> None:
    url, before = _old_store(tmp_path, revision), _rows(revision)
    open_store(url).close()
    after = _found(url)
    assert _version(url) == engine.SCHEMA_HEAD
    for name, rows in before.items():
        kept = [{column: row[column] for column in rows[0]} for row in after[name]]
        if name == "change":  # the migration tells of itself
            kept = [row for row in kept if row["topic"] != "other"]
        assert _by_key(kept) == _by_key(rows), name
    assert set(after) == set(schema.metadata.tables)


@pytest.mark.parametrize("revision", RELEASED)
def test_the_schema_is_that_of_a_new_store(tmp_path: Path, revision: str) -> None:
    url = _old_store(tmp_path, revision)
    open_store(url).close()
    (tmp_path / "new").mkdir()
    new = _url(tmp_path / "new")
    open_store(new).close()
    assert _structure(url) == _structure(new)


@pytest.mark.parametrize("revision", RELEASED)
def test_constraints_hold_after_it(tmp_path: Path, revision: str) -> None:
    url = _old_store(tmp_path, revision)
    store = open_store(url)
    try:
        for change in (
            update(schema.site).values(dispatch_policy="never"),
            update(schema.incident).values(state="ajar"),
            update(schema.node).values(unit_id="nowhere"),
            insert(schema.contact).values(id="x", name="x", phone="+821012345678", lang="ko", created_ms=0),
        ):
            with pytest.raises(IntegrityError), store.write() as conn:
                conn.execute(change)
        with store.write() as conn:  # numbers go on behind those that were given
            values = {"subject": "site:hannae", "class_": "fault", "state": "open", "round": 1, "opened_ms": 1}
            more = {"last_event_ms": 1, "snapshot": {}}
            made = conn.execute(insert(schema.incident).values(**values, **more, id=9).returning(schema.incident.c.id))
            assert made.scalar_one() == 9
    finally:
        store.close()


def test_killed_at_any_step_the_old_schema_is_whole(tmp_path: Path) -> None:
    url = _old_store(tmp_path, "0001")
    before, rows = _structure(url), _found(url)
    for count in (0, 9, 17):
        words = [sys.executable, str(DIE), url, str(count)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == -9, done.stderr
        assert _version(url) == "0001"
        assert _structure(url) == before and _found(url) == rows
    open_store(url).close()
    assert _version(url) == engine.SCHEMA_HEAD


def test_a_receiver_of_the_old_version_works_on(tmp_path: Path) -> None:
    """Its statements, which name the columns that it knows, are good on the migrated store, on a connection that was
    open before. It is restarted when the operator is ready, and not when somebody types a command.
    """
    url, rows = _old_store(tmp_path, "0001"), _rows("0001")
    receiver = raw_store(url)
    try:
        with receiver.engine.connect() as conn:
            with conn.begin():
                old = _tables(conn).tables
                conn.execute(update(old["receiver"]).values(counter_ceiling=9000))
            open_store(url).close()  # another process's command migrates
            with conn.begin():
                for name in ("incident", "event", "delivery", "delivery_attempt", "command", "audit"):
                    table = old[name]
                    row = {n: v for n, v in rows[name][-1].items() if v is not None}
                    fresh = {
                        "id": 100,
                        "subject": "node:a0b1c2d3e4f6",
                        "number": 77,
                        "idempotency_key": "k100",
                        "seq": 9,
                    }
                    conn.execute(insert(table).values({**row, **{n: v for n, v in fresh.items() if n in row}}))
                    conn.execute(update(table).where(table.c.id == 100).values(id=100))
                    assert conn.execute(select(table).where(table.c.id == 100)).one()
    finally:
        receiver.close()
    site = _found(url)["site"][0]
    assert (site["dispatch_policy"], site["unverified_after_s"], site["area"]) == ("on_alarm", 15, "")


def test_a_migration_only_adds() -> None:
    """So that the receiver of the version before can go on. A migration that must do more needs a new definition."""
    for path in _versions()[1:]:
        source = path.read_text(encoding="utf-8")
        used = set(re.findall(r"\bop\.(\w+)", source)) - {"f"}
        assert used <= {"add_column", "create_table", "create_index", "execute"}, path.name
        for statement in re.findall(r"op\.execute\(\s*\"([^\"]+)", source):
            assert re.match(r"ALTER TABLE \w+ ADD COLUMN ", statement), statement
        for name, rest in re.findall(r"add_column\(\s*(\"\w+\"), sa\.Column\((.*?)\)\)\n", source):
            assert "nullable=False" not in rest or "server_default" in rest, name


def _versions() -> list[Path]:
    return sorted((Path(str(migrations.__file__)).parent / "versions").glob("v*.py"))


def test_every_released_schema_has_its_dump() -> None:
    """All but the newest revision are released; the newest is when the changelog has nothing that is unreleased."""
    revisions = [path.name[1:5] for path in _versions()]
    unreleased = "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert (revisions[:-1] if unreleased else revisions) == RELEASED, "run tools/freeze_schema.py, and add rows.json"
    for revision in RELEASED:
        rows = _rows(revision)
        tables = set(re.findall(r"CREATE TABLE (\w+)", (DATA / f"schema_{revision}" / "sqlite.sql").read_text()))
        assert tables - {"alembic_version"} == {name for name, some in rows.items() if some}


@pytest.mark.parametrize("revision", RELEASED)
def test_a_released_migration_is_never_changed(revision: str) -> None:
    digest, name = (DATA / f"schema_{revision}" / "migration.sha256").read_text().split()
    (path,) = (p for p in _versions() if p.name == name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    url = _old_store(tmp_path, "0001")
    made = create_engine(url)
    with made.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    made.dispose()
    with pytest.raises(engine.StoreError, match="newer"):
        open_store(url)
    check = create_engine(url)
    assert "meta" not in inspect(check).get_table_names()
    check.dispose()
