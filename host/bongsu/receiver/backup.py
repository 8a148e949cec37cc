"""Backups: one sealed file that holds all tables as they were in one moment, in a form that belongs to no engine, and
the data folder's files. Made while the receiver runs: it reads in one reading transaction, which holds up nobody.

The stream inside is zlib over records, each with its length before it, each a msgpack object:
{"begin"} {"file"}... {"table"} {"rows"}... {"table"}... {"end"}; the end holds the counts, a SHA-256 over everything
before it, and that hash keyed by the master key: who knows only a recipient's public key cannot make a backup.
"""

import hashlib
import hmac
import os
import tomllib
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
from sqlalchemy import JSON, Connection, MetaData, Table, func, select, text

from bongsu.errors import BongsuError
from bongsu.receiver.config import CONFIG_NAME
from bongsu.receiver.keys import MASTER_KEY_NAME, MasterKey
from bongsu.receiver.sealed_file import Lock, SealedWriter
from bongsu.receiver.store import Store, schema
from bongsu.receiver.store.engine import schema_version

FORMAT = 1
LAST_BACKUP = "last_backup_ms"
CHECK_PURPOSE = "backup-check"
MAC_PURPOSE = "backup-seal"
CHECK = b"bongsu"
# Sessions are void after a restore; changes are for those who run now.
WITHOUT_ROWS = ("console_session", "change")
_FOLDERS = ("ca", "secrets", "boards")
_FILE_MAX = 4 * 1024 * 1024
_ROWS_AT_ONCE = 500
_NEXT_FULL = "Free some space, or name a file on another disk; nothing half-written was kept."

Fields = dict[str, Any]
Progress = Callable[[str, int], None]


class BackupError(BongsuError):
    """The backup cannot be made or read."""


@dataclass
class Summary:
    """What a backup holds."""

    made_ms: int = 0
    schema: str = ""
    engine: str = ""
    version: str = ""
    with_master_key: bool = False
    tables: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    bytes: int = 0

    def shown(self) -> Fields:
        """For people and scripts."""
        return {
            "made_ms": self.made_ms,
            "schema": self.schema,
            "engine": self.engine,
            "version": self.version,
            "with_master_key": self.with_master_key,
            "rows": sum(self.tables.values()),
            "tables": dict(sorted(self.tables.items())),
            "files": self.files,
            "bytes": self.bytes,
        }


def copied_tables() -> list[Table]:
    """All tables, in an order in which rows may be put in. A JSON column's null is SQL's."""
    other = MetaData()
    for table in schema.metadata.sorted_tables:
        copy = table.to_metadata(other)
        for column in copy.columns:
            if isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return other.sorted_tables


# ---- making


class _Packer:
    """Writes records into a sealed file."""

    def __init__(self, sealed: SealedWriter) -> None:
        self._sealed, self._zip, self._hash = sealed, zlib.compressobj(6), hashlib.sha256()
        self._encode = msgspec.msgpack.Encoder().encode

    def put(self, record: Fields) -> None:
        """One more record."""
        plain = self._encode(record)
        framed = len(plain).to_bytes(4, "big") + plain
        self._hash.update(framed)
        self._sealed.write(self._zip.compress(framed))

    def digest(self) -> bytes:
        """SHA-256 over the records so far."""
        return self._hash.digest()

    def close(self) -> None:
        """That was all."""
        self._sealed.write(self._zip.flush())
        self._sealed.close()


def make_backup(
    store: Store,
    folder: Path,
    master: MasterKey,
    out: Path,
    locks: list[Lock],
    *,
    with_master_key: bool,
    version: str,
    now_ms: int,
    progress: Progress = lambda what, count: None,
) -> Summary:
    """Write a backup of a running or idle installation; the file appears whole or not at all. `progress`: called with
    a table's name and how many of its rows are done.

    Raises BackupError; for a disk that is full too.
    """
    if out.exists():
        raise BackupError(f"{out} is there already; nothing was changed", "Name another file, or remove that one.")
    summary = Summary(now_ms, "", store.engine.dialect.name, version, with_master_key)
    try:
        with _new_file(out) as file:
            sealed = SealedWriter(file, locks, {"made_ms": now_ms})
            packer = _Packer(sealed)
            _pack(packer, store, folder, master, summary, progress)
            packer.close()
            summary.bytes = file.tell()
    except OSError as err:
        raise BackupError(f"cannot write {out}: {err.strerror}", _NEXT_FULL) from None
    return summary


class _new_file:
    """A file without a name that gets its name when it is whole: whatever ends the process leaves nothing behind."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._named: Path | None = None

    def __enter__(self) -> IO[bytes]:
        parent = self._out.parent
        try:
            fd = os.open(parent, os.O_TMPFILE | os.O_RDWR, 0o600)
        except (IsADirectoryError, FileNotFoundError, PermissionError):
            if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
                raise
            fd = self._with_a_name()
        except OSError as err:
            if err.errno not in (95, 22):  # a file system that knows no nameless files
                raise
            fd = self._with_a_name()
        self._file = os.fdopen(fd, "w+b")
        return self._file

    def _with_a_name(self) -> int:
        self._named = self._out.with_name(f".{self._out.name}.{os.getpid()}.part")
        return os.open(self._named, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def _name(self) -> None:
        """Give the file its name, unless something bears it."""
        source = self._named or Path(f"/proc/self/fd/{self._file.fileno()}")
        folder = _folder(self._out.parent)  # with a descriptor Python asks for linkat(2), which follows /proc's link
        try:
            os.link(source, self._out.name, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            raise BackupError(
                f"{self._out} came into being meanwhile; it was not overwritten", "Name another file."
            ) from None
        finally:
            os.close(folder)

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._name()
                _sync_folder(self._out.parent)
        finally:
            with suppress(OSError):
                self._file.close()
            if self._named is not None:
                self._named.unlink(missing_ok=True)


def _folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync_folder(folder: Path) -> None:
    fd = _folder(folder)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _pack(packer: _Packer, store: Store, folder: Path, master: MasterKey, summary: Summary, progress: Progress) -> None:
    with store.read() as conn:
        summary.schema = schema_version(conn) or ""
        begin = {
            "format": FORMAT,
            "made_ms": summary.made_ms,
            "schema": summary.schema,
            "engine": summary.engine,
            "version": summary.version,
            "check": master.wrap(CHECK, CHECK_PURPOSE),
        }
        packer.put({"begin": begin})
        for name, data in _files(folder, summary.with_master_key):
            packer.put({"file": name, "data": data})
            summary.files.append(name)
        for table in copied_tables():
            summary.tables[str(table.name)] = _pack_table(packer, conn, table, progress)
        highest = highest_ids(conn)
    digest = packer.digest()
    mac = hmac.new(master.derive(MAC_PURPOSE), digest, hashlib.sha256).digest()
    packer.put({"end": {"tables": summary.tables, "files": len(summary.files), "highest": highest, "sha256": digest,
                        "mac": mac}})  # fmt: skip


def _pack_table(packer: _Packer, conn: Connection, table: Table, progress: Progress) -> int:
    packer.put({"table": str(table.name), "columns": [str(c.name) for c in table.columns]})
    if table.name in WITHOUT_ROWS:
        return 0
    count = 0
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_ROWS_AT_ONCE)
    for rows in conn.execute(query).partitions():
        packer.put({"rows": [list(row) for row in rows]})
        count += len(rows)
        progress(table.name, count)
    return count


def highest_ids(conn: Connection) -> dict[str, int]:
    """The highest id that each table with counted ids ever gave."""
    sqlite = conn.dialect.name == "sqlite"
    found = {}
    for table in counted_tables():
        highest = conn.execute(select(func.max(table.c.id))).scalar_one() or 0
        if sqlite:
            query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
            kept = conn.execute(query, {"name": table.name}).scalar_one_or_none()
        else:
            name = conn.execute(text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": table.name}).scalar_one()
            kept = conn.exec_driver_sql(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {name}").scalar()
        found[str(table.name)] = max(int(highest), int(kept or 0))
    return found


def counted_tables() -> list[Table]:
    """Tables whose rows are numbered by the store."""
    return [t for t in schema.metadata.sorted_tables if t.autoincrement_column is not None and t.name != "receiver"]


def _files(folder: Path, with_master_key: bool) -> Iterator[tuple[str, bytes]]:
    """The folder's settings, certificates, secrets, and what else the settings name by a path inside the folder."""
    names = [CONFIG_NAME, *([MASTER_KEY_NAME] if with_master_key else [])]
    for part in _FOLDERS:
        names += sorted(str(p.relative_to(folder)) for p in (folder / part).rglob("*") if p.is_file())
    names += _named_files(folder)
    for name in dict.fromkeys(names):
        path = folder / name
        if path.is_symlink() or path.stat().st_size > _FILE_MAX:
            raise BackupError(f"{path} is no plain file of at most 4 MiB", "Put the file itself there.")
        yield name, path.read_bytes()


def _named_files(folder: Path) -> list[str]:
    settings = tomllib.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    found = []
    for section in settings.values():
        for name, value in section.items() if isinstance(section, dict) else ():
            if isinstance(value, str) and name != "url" and len(value) < 200 and _is_inside(folder, value):
                found.append(value)
    return sorted(found)


def _is_inside(folder: Path, name: str) -> bool:
    if not name or os.path.isabs(name) or "\n" in name or ".." in Path(name).parts or name == MASTER_KEY_NAME:
        return False
    return (folder / name).is_file()
