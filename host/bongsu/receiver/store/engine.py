"""Opening the store and its transactions.

SQLite runs with WAL, synchronous=FULL (a committed alarm survives a power cut) and foreign keys. The sqlite3 driver's
own idea of when a transaction begins is switched off: `Store.write` begins IMMEDIATE, so a writer waits for its turn at
the start instead of failing half-way; `Store.read` begins deferred and sees one moment. On PostgreSQL (postgres.py) an
advisory lock and REPEATABLE READ give the same.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError

from bongsu.errors import BongsuError
from bongsu.receiver.store import changes, postgres

SCHEMA_HEAD = "0004"
# How long a transaction waits for another process's. The receiver's own transactions take milliseconds.
BUSY_TIMEOUT_MS = 5000
_READ_OPTION = "bongsu_read"
_SQLITE_OPTIONS: dict[str, Any] = {"connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}}


class StoreError(BongsuError):
    """The store cannot be opened, read or written; nothing of the failed transaction was kept."""


class Store:
    """An open store. `engine` is for what `write` and `read` do not cover; a transaction begun on it directly is a
    writing one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        options: dict[str, Any] = {_READ_OPTION: True}
        if not self.is_sqlite:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reading = engine.execution_options(**options)
        changes.watch(engine)

    @property
    def is_sqlite(self) -> bool:
        """True for SQLite: one file, one receiver; False for PostgreSQL."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One writing transaction: committed at the end of the block, rolled back if it raises. Raises StoreError for
        locked, full or read-only.
        """
        with _store_errors(self.engine), self.engine.begin() as conn:
            changes.begin_watched(conn)
            yield conn
            changes.store(conn, time.time_ns() // 1_000_000)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One reading transaction; what is read in it is of one moment."""
        with _store_errors(self.engine), self._reading.begin() as conn:
            yield conn

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_store(url: str, *, migrate: bool = True) -> Store:
    """Open the store at a SQLAlchemy URL and bring it to this version's schema.

    With `migrate` False the store must be at this version's schema already. Raises StoreError: unknown engine,
    unreadable or foreign file, newer schema.
    """
    store = Store(_engine(_parsed(url)))
    try:
        _bring_to_head(store, migrate)
    except BaseException:
        store.close()
        raise
    return store


def raw_store(url: str) -> Store:
    """The store as it is, whatever it holds: nothing is checked, nothing is migrated. For restoring into it."""
    return Store(_engine(_parsed(url)))


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, hide_parameters=True, **_SQLITE_OPTIONS)
            _prepare_sqlite(engine)
        else:
            url, options = postgres.options(url)
            engine = create_engine(url, hide_parameters=True, **options)
            postgres.prepare(engine, lambda conn: bool(conn.get_execution_options().get(_READ_OPTION)))
    except ImportError:
        raise StoreError(
            "the driver of PostgreSQL is not installed", "Install it: pip install 'bongsu[postgres]'"
        ) from None
    except (OSError, UnicodeDecodeError) as err:
        name = url.query.get(postgres.PASSWORD_FILE)
        raise StoreError(
            f"cannot read [store] password_file {name}: {getattr(err, 'strerror', None) or 'it is not UTF-8'}",
            "Name the file that holds the database user's password.",
        ) from None
    except ArgumentError as err:
        raise _unusable(str(err)) from None
    return engine


def require_database(url: str) -> None:
    """Refuse a database that is not there: SQLite would make it anew, and an empty registry knows no node.

    Only `bongsu init` makes one. Raises StoreError; also for one in memory, and for a URL that is no store's.
    """
    made = _parsed(url)
    if made.get_backend_name() == "sqlite":
        _require_file(made)
    else:
        _require_tables(made)


def _require_tables(url: URL) -> None:
    store = Store(_engine(url))
    try:
        with store.read() as conn:
            found = schema_version(conn)
    finally:
        store.close()
    if found is None:
        raise StoreError(
            f"the database {postgres.place(url)} is empty",
            "Restore the backup, or correct [store] url in receiver.toml; only `bongsu init` makes a new one.",
        )


def _require_file(url: URL) -> None:
    name = (url.database or "").removeprefix("file:").partition("?")[0]
    if name in ("", ":memory:"):
        raise _unusable("it names no file")
    try:
        there = Path(name).stat().st_size > 0
    except FileNotFoundError:
        there = False
    except OSError as err:
        raise StoreError(
            f"the database {name} cannot be opened: {err.strerror}",
            "Correct [store] url in receiver.toml, or its rights.",
        ) from None
    if not there:
        raise StoreError(
            f"the database {name} is missing or empty",
            "Restore the backup, or correct [store] url in receiver.toml; only `bongsu init` makes a new one.",
        )


def _parsed(url: str) -> URL:
    try:
        made = make_url(url)
    except ArgumentError as err:
        raise _unusable(str(err)) from None
    if made.get_backend_name() == "postgresql":
        if (why := postgres.problem(made)) is not None:
            raise _unusable(why)
    elif made.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise _unusable(f"{made.drivername} is not supported, only sqlite and {postgres.DRIVER}")
    return made


def _unusable(why: str) -> StoreError:
    return StoreError(
        f"store URL is not usable: {why}",
        "Set [store] url in receiver.toml, for example sqlite:///bongsu.db or "
        f"{postgres.DRIVER}://bongsu@db.example/bongsu.",
    )


def _prepare_sqlite(engine: Engine) -> None:
    def on_connect(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA secure_delete = ON")  # what was erased must not stay in the file (personal data)
        cursor.close()

    def on_begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN" if conn.get_execution_options().get(_READ_OPTION) else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)


def schema_version(conn: Connection) -> str | None:
    """The store's migration number; None for a new store."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    found = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def _bring_to_head(store: Store, migrate: bool) -> None:
    with store.read() as conn:
        found = schema_version(conn)
        foreign = found is None and bool(inspect(conn).get_table_names())
    if found == SCHEMA_HEAD:
        return
    if foreign:
        raise StoreError(
            "the database is not a Bongsu store: it has tables but no schema version",
            "Name another file in [store] url.",
        )
    if found is not None and found > SCHEMA_HEAD:
        raise StoreError(
            f"the store has schema {found}, newer than this version's {SCHEMA_HEAD}",
            "Install the newer bongsu that wrote it, or restore a backup.",
        )
    if not migrate:
        raise StoreError(
            f"the store has schema {found or 'none'}, this version needs {SCHEMA_HEAD}",
            "Any command brings it up to date: bongsu site list",
        )
    with store.write() as conn:
        if schema_version(conn) != SCHEMA_HEAD:  # another process may have been first
            upgrade(conn)


def upgrade(conn: Connection, to: str = "head") -> None:
    """Bring the schema to a version, in the caller's transaction."""
    # Imported here: it takes 0.2 s, and only a new or old store needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = conn
    if conn.dialect.name != "sqlite":
        postgres.patient(conn)
    command.upgrade(config, to)


DISK_IS_FULL = "the disk is full"
_SQLITE_CAUSES = (
    (
        "database is locked",
        "another program holds the store's write lock",
        "Try again; if it stays, look for a program that has the database open.",
    ),
    ("readonly", "the store cannot be written", "Run as the user who owns the data folder, or correct its rights."),
    ("database or disk is full", DISK_IS_FULL, "Free some space; nothing of this change was kept."),
    (
        "unable to open",
        "the store's file cannot be opened",
        "Check that the folder exists and that you may write in it, or run `bongsu init`.",
    ),
    ("not a database", "the file is not a SQLite database", "Name another file in [store] url, or restore a backup."),
    ("malformed", "the store's file is damaged", "Stop the receiver and restore a backup."),
    (
        "disk I/O error",
        "the disk refuses to read or write",
        "Check the disk and its free space; nothing of this change was kept.",
    ),
)


@contextmanager
def _store_errors(engine: Engine) -> Iterator[None]:
    """Turn the driver's operational errors into StoreError, without the statement and its parameters (they hold phone
    numbers).
    """
    try:
        yield
    except DBAPIError as err:
        known = None if isinstance(err, IntegrityError | DataError) else explain(str(err.orig))
        where = engine.url.database if engine.dialect.name == "sqlite" else postgres.place(engine.url)
        if known is not None:
            raise StoreError(f"{known[0]} ({where})", known[1]) from None
        if isinstance(err, OperationalError):
            said = str(err.orig).partition("\n")[0]
            raise StoreError(f"the store failed: {said} ({where})", "Check that the database is reachable.") from None
        raise


def explain(driver_text: str) -> tuple[str, str] | None:
    """(what is wrong, next step) of a driver's error text; None if it is not a known operational cause."""
    for mark, message, next_step in (*_SQLITE_CAUSES, *postgres.CAUSES):
        if mark in driver_text:
            return message, next_step
    return None
