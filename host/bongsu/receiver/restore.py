"""Restoring a backup into a new data folder and a store, of either engine.

Everything is checked before anything is written. The folder is made beside its place and renamed into it, the database
is filled in one transaction: whatever ends the process leaves the old installation, or none, and never half of one.
What is restored is the past, so it is settled (settle.py) before a receiver may work with it.
"""

import fcntl
import json
import os
import re
import shutil
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, insert, inspect, select, text

from bongsu.errors import BongsuError
from bongsu.receiver import audit, settle
from bongsu.receiver.backup import Progress, copied_tables, counted_tables
from bongsu.receiver.backup_reading import Checked, Unpacker, check_backup
from bongsu.receiver.config import CONFIG_NAME, load
from bongsu.receiver.identity import ID_NAME
from bongsu.receiver.init_data import DATABASE_NAME, _new_beside, _sync_folder, write_private
from bongsu.receiver.keys import MASTER_KEY_LEN, MASTER_KEY_NAME, MasterKey
from bongsu.receiver.sealed_file import Opener
from bongsu.receiver.store import Store, schema
from bongsu.receiver.store.engine import SCHEMA_HEAD, raw_store, schema_version, upgrade

SQLITE_URL = f"sqlite:///{DATABASE_NAME}"
# A receiver that wrote its sign of life so lately runs still.
_RUNS_MS = 60_000
_STORE_TABLE = re.compile(r"^\[store\][^\n]*\n(?:(?!\[)[^\n]*\n?)*", re.MULTILINE)


class RestoreError(BongsuError):
    """The backup cannot be restored there; nothing was changed."""


@dataclass(frozen=True)
class Target:
    """Where to. `store_url`: in place of the backup's (None: as the backup says, for SQLite only); `force`: over an
    installation that is there. `resend_within_ms`: messages that waited in the backup are sent if they are not older.
    """

    folder: Path
    store_url: str | None = None
    password_file: Path | None = None
    force: bool = False
    resend_within_ms: int = settle.RESEND_WITHIN_MS


@dataclass
class Restored:
    """What was done. `kept`: where the folder that was replaced is now."""

    made_ms: int
    rows: int
    sender: int
    settled: settle.Settled
    kept: Path | None


def restore_backup(
    source: Path,
    opener: Opener,
    target: Target,
    *,
    master_raw: bytes | None,
    actor: str,
    now_ms: int,
    progress: Progress = lambda what, count: None,
) -> Restored:
    """Restore a backup. `master_raw`: the master key, if it is not in the backup. Raises BongsuError."""
    master = None if master_raw is None else MasterKey(master_raw)
    checked = check_backup(source, opener, master)
    raw = master_raw if master_raw is not None else checked.files.get(MASTER_KEY_NAME)
    if raw is None or len(raw) != MASTER_KEY_LEN:
        raise RestoreError(
            "the master key is not in this backup, and without it no node's key can be read",
            "Name the copy that was kept apart: --master-key FILE",
        )
    if checked.summary.schema > SCHEMA_HEAD:
        raise RestoreError(
            f"the backup has schema {checked.summary.schema}, newer than this version's {SCHEMA_HEAD}",
            "Install the newer bongsu that made it.",
        )
    settings = _settings(checked.files.get(CONFIG_NAME, b""), target)
    folder = Path(os.path.abspath(target.folder))
    with ExitStack() as stack:
        _require_free(folder, target.force, stack)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            made, lock = _new_beside(folder.parent)
        except OSError as err:
            raise _failed(folder, err) from None
        stack.callback(os.close, lock)
        try:
            _write_files(made, checked, raw, settings)
            store = raw_store(load(made / CONFIG_NAME).store_url)
            stack.callback(store.close)
            work = _Work(source, opener, checked, target, actor, now_ms, progress)
            sender, settled = _fill(store, work, MasterKey(raw), made)
            store.close()
            kept = _put_in_place(made, folder, lock, now_ms)
        except OSError as err:
            shutil.rmtree(made, ignore_errors=True)
            raise _failed(folder, err) from None
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    return Restored(checked.summary.made_ms, sum(checked.summary.tables.values()), sender, settled, kept)


def _failed(folder: Path, err: OSError) -> RestoreError:
    return RestoreError(f"cannot make {folder}: {err.strerror}", "Free some space, or name another folder by --data.")


# ---- before anything is written


def _settings(raw: bytes, target: Target) -> str:
    """receiver.toml with the store's address put in, read back before it is used."""
    try:
        toml = raw.decode()
        before = tomllib.loads(toml)
    except ValueError:
        raise RestoreError("the backup's receiver.toml cannot be read", "Use another backup.") from None
    made, wanted = _with_store(toml, before.get("store"), target)
    try:
        after = tomllib.loads(made)
    except tomllib.TOMLDecodeError:
        after = {}
    if after.pop("store", None) != wanted or after != {k: v for k, v in before.items() if k != "store"}:
        raise RestoreError(
            "the store's address cannot be put into the backup's receiver.toml, as it is written",
            "Before the next backup, write the store's settings there as a section [store] of its own.",
        )
    return made


def _with_store(toml: str, store: Any, target: Target) -> tuple[str, dict[str, str]]:
    """(the settings with the store's address put in, what [store] must then be)."""
    url, known = target.store_url, store if isinstance(store, dict) else {}
    found = _STORE_TABLE.search(toml)
    if url is None:
        if not str(known.get("url", "sqlite")).startswith("sqlite"):
            raise RestoreError(
                "the backup is of an installation on PostgreSQL, and no database is named to restore it into",
                "Name an empty one: --store postgresql+psycopg://USER@HOST/NAME; or a file in the folder: --store "
                "sqlite",
            )
        url = SQLITE_URL
    elif url == "sqlite":
        url = SQLITE_URL
    wanted = {"url": url}
    if target.password_file is not None:
        wanted["password_file"] = str(target.password_file.resolve())
    elif "password_file" in known and not url.startswith("sqlite"):
        wanted["password_file"] = str(known["password_file"])
    section = "[store]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in wanted.items())
    start, end = (0, 0) if found is None else found.span()
    rest = toml[:start] + toml[end:]
    # What stands before the first section belongs to none, and must go on doing so.
    first = re.search(r"^\s*\[", rest, re.MULTILINE)
    at = first.start() if first else len(rest)
    return f"{rest[:at]}\n{section}\n{rest[at:].lstrip()}", wanted


def _require_free(folder: Path, force: bool, stack: ExitStack) -> None:
    """Refuse what is in use: a running receiver's folder always, one that holds something without `force`."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise RestoreError(f"{folder} is not a folder", "Name another folder by --data.")
    if not folder.is_dir():
        return
    from bongsu.receiver.service import LOCK_FILE  # it brings the whole receiver with it

    if (folder / LOCK_FILE).exists():
        fd = os.open(folder / LOCK_FILE, os.O_RDWR)
        stack.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RestoreError(
                f"a receiver runs on {folder}; nothing was changed", "Stop it first, or name another folder by --data."
            ) from None
    if any(folder.iterdir()) and not force:
        raise RestoreError(
            f"{folder} is not empty; nothing was changed",
            "Name a new or empty folder by --data; --force puts this one aside and the backup in its place.",
        )


def _require_empty(conn: Connection, force: bool, now_ms: int) -> None:
    """The store takes a backup only if it holds nothing, or with `force`; never while receivers work on it."""
    if schema_version(conn) is None:
        return
    there = set(inspect(conn).get_table_names())
    receiver = text("SELECT max(last_seen_ms) FROM receiver WHERE retired_ms IS NULL")
    seen_ms = conn.execute(receiver).scalar_one() if schema_version(conn) != "0001" else None
    if seen_ms is not None and abs(now_ms - int(seen_ms)) < _RUNS_MS:
        raise RestoreError("receivers run on this database; nothing was changed", "Stop them, and wait for a minute.")
    used = [t for t in ("site", "receiver", "incident", "audit") if t in there and _has_rows(conn, t)]
    if used and not force:
        raise RestoreError(
            "the database is not empty; nothing was changed",
            "Name an empty one by --store; --force removes what is in this one.",
        )


def _has_rows(conn: Connection, table: str) -> bool:
    return conn.execute(select(schema.metadata.tables[table].c[0]).limit(1)).first() is not None


# ---- the folder


def _write_files(made: Path, checked: Checked, master_raw: bytes, settings: str) -> None:
    for name, data in checked.files.items():
        path = made / name
        if not path.resolve().is_relative_to(made.resolve()):
            raise RestoreError(f"the backup holds a file outside of its folder: {name}", "Use another backup.")
        if name in (CONFIG_NAME, MASTER_KEY_NAME):
            continue
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, data)
    write_private(made / MASTER_KEY_NAME, master_raw)
    write_private(made / CONFIG_NAME, settings.encode())
    if SQLITE_URL in settings:
        write_private(made / DATABASE_NAME, b"")  # made here for its mode


def _put_in_place(made: Path, folder: Path, lock: int, now_ms: int) -> Path | None:
    kept = None
    for path in (made, *(p for p in made.rglob("*") if p.is_dir())):
        _sync_folder(path)
    if folder.is_dir() and any(folder.iterdir()):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_ms / 1000))
        kept = folder.with_name(f"{folder.name}.before-{stamp}")
        os.rename(folder, kept)
    try:
        os.fsync(lock)
        os.rename(made, folder)
    except BaseException:
        if kept is not None:
            os.rename(kept, folder)
        raise
    _sync_folder(folder.parent)
    return kept


# ---- the store


@dataclass(frozen=True)
class _Work:
    source: Path
    opener: Opener
    checked: Checked
    target: Target
    actor: str
    now_ms: int
    progress: Progress


def _fill(store: Store, work: _Work, master: MasterKey, made: Path) -> tuple[int, settle.Settled]:
    """Everything that happens in the database: one transaction."""
    summary = work.checked.summary
    with _patient_write(store) as conn:
        _require_empty(conn, work.target.force, work.now_ms)
        _drop_tables(conn)
        upgrade(conn, summary.schema)
        _load(conn, work)
        upgrade(conn)
        _set_counters(conn, work.checked.highest)
        settled = settle.settle(conn, summary.made_ms, work.now_ms, work.target.resend_within_ms)
        if not store.is_sqlite:
            write_private(made / ID_NAME, f"{settled.client_id}\n".encode())  # which of several this folder's is
        audit.set_meta(conn, "restored_ms", str(work.now_ms))
        audit.set_meta(conn, "restored_from_ms", str(summary.made_ms))
        detail = f"backup of {summary.made_ms}, {sum(summary.tables.values())} rows"
        audit.write(conn, actor=work.actor, action="restore", subject=f"receiver:{settled.sender}", detail=detail,
                    now_ms=work.now_ms)  # fmt: skip
        key = audit.chain_key(master)
        audit.seal(conn, key)
    with store.read() as conn:  # what was restored goes back on purpose: from here on it counts as seen
        audit.remember(conn, key, made)
    return settled.sender, settled


@contextmanager
def _patient_write(store: Store) -> Iterator[Connection]:
    with store.write() as conn:
        if not store.is_sqlite:
            from bongsu.receiver.store import postgres

            postgres.patient(conn)
        yield conn


def _drop_tables(conn: Connection) -> None:
    there = set(inspect(conn).get_table_names())
    for name in [*(t.name for t in reversed(schema.metadata.sorted_tables)), "alembic_version"]:
        if name in there:
            conn.exec_driver_sql(f"DROP TABLE {conn.dialect.identifier_preparer.quote(name)}")


def _load(conn: Connection, work: _Work) -> None:
    """Put the rows in. The backup was read through before; it is read again, so that it need not fit into memory."""
    tables = {t.name: t for t in copied_tables()}
    counts: dict[str, int] = dict.fromkeys(work.checked.summary.tables, 0)
    table: Table | None = None
    columns: list[str] = []
    with work.source.open("rb") as file:
        for record in Unpacker(file, work.opener).records():
            if "table" in record:
                table, columns = tables[record["table"]], record["columns"]
            elif "rows" in record and table is not None and record["rows"]:
                rows = [dict(zip(columns, row, strict=True)) for row in record["rows"]]
                conn.execute(insert(table), rows)
                counts[table.name] += len(rows)
                work.progress(table.name, counts[table.name])
    stored = {name: conn.execute(select(func.count()).select_from(tables[name])).scalar_one() for name in counts}
    if stored != work.checked.summary.tables:
        raise RestoreError("the rows in the database are not those of the backup", "Try again; report this.")


def _set_counters(conn: Connection, highest: dict[str, int]) -> None:
    """Numbers that were given once, also to rows that are gone, are never given again."""
    for table in counted_tables():
        last = highest.get(table.name, 0)
        if not last:
            continue
        if conn.dialect.name == "sqlite":
            if conn.execute(text("UPDATE sqlite_sequence SET seq = max(seq, :n) WHERE name = :t"),
                            {"n": last, "t": table.name}).rowcount == 0 and _counts_on(table):  # fmt: skip
                conn.execute(text("INSERT INTO sqlite_sequence(name, seq) VALUES (:t, :n)"),
                             {"n": last, "t": table.name})  # fmt: skip
        else:
            conn.execute(text("SELECT setval(pg_get_serial_sequence(:t, 'id'), :n)"), {"n": last, "t": table.name})


def _counts_on(table: Table) -> bool:
    return bool(table.dialect_options["sqlite"]["autoincrement"])
