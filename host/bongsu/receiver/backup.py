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
from bongsu.receiver.keys import MASTER_KEY_NAME, KeyFault, MasterKey
from bongsu.receiver.sealed_file import (
    Lock,
    Opener,
    SealedFileError,
    SealedReader,
    SealedWriter,
    about,
    damaged,
    read_header,
)
from bongsu.receiver.store import Store, schema
from bongsu.receiver.store.engine import schema_version

FORMAT = 1
LAST_BACKUP = "last_backup_ms"
_CHECK_PURPOSE = "backup-check"
_MAC_PURPOSE = "backup-seal"
_CHECK = b"bongsu"
# Sessions are void after a restore; changes are for those who run now.
WITHOUT_ROWS = ("console_session", "change")
_FOLDERS = ("ca", "secrets")
_FILE_MAX = 4 * 1024 * 1024
_ROWS_AT_ONCE = 500
_RECORD_MAX = 256 * 1024 * 1024
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
            "check": master.wrap(_CHECK, _CHECK_PURPOSE),
        }
        packer.put({"begin": begin})
        for name, data in _files(folder, summary.with_master_key):
            packer.put({"file": name, "data": data})
            summary.files.append(name)
        for table in copied_tables():
            summary.tables[str(table.name)] = _pack_table(packer, conn, table, progress)
        highest = highest_ids(conn)
    digest = packer.digest()
    mac = hmac.new(master.derive(_MAC_PURPOSE), digest, hashlib.sha256).digest()
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


# ---- reading


class Unpacker:
    """Reads the records of a sealed file, in order; `end` is there once `records` is through."""

    def __init__(self, file: IO[bytes], opener: Opener) -> None:
        self._sealed = SealedReader(file, opener)
        self._zip, self._hash, self._held = zlib.decompressobj(), hashlib.sha256(), bytearray()
        self.begin: Fields = self._one("begin")["begin"]
        if self.begin.get("format") != FORMAT:
            raise SealedFileError(
                f"the backup has format {self.begin.get('format')}, this version reads {FORMAT}",
                "Install the newer bongsu that made it.",
            )
        self.end: Fields = {}

    def _one(self, wanted: str) -> Fields:
        record = self._next()
        if record is None or wanted not in record:
            raise damaged("its records are not in order")
        return record

    def records(self) -> Iterator[Fields]:
        """Files, tables and rows. Raises SealedFileError if anything is wrong, at the end at the latest."""
        while True:
            digest = self._hash.digest()
            record = self._next()
            if record is None:
                raise damaged("its end is missing")
            if "end" in record:
                self.end = record["end"]
                if self.end["sha256"] != digest or self._next() is not None:
                    raise damaged("its digest is not that of its content")
                return
            yield record

    def _next(self) -> Fields | None:
        head = self._take(4)
        if head is None:
            return None
        length = int.from_bytes(head, "big")
        body = self._take(length) if length <= _RECORD_MAX else None
        if body is None:
            raise damaged("a record is cut off")
        self._hash.update(head + body)
        try:
            record = msgspec.msgpack.decode(body)
        except msgspec.DecodeError:
            raise damaged("a record cannot be read") from None
        if not isinstance(record, dict):
            raise damaged("a record cannot be read")
        return record

    def _take(self, count: int) -> bytes | None:
        while len(self._held) < count:
            piece = self._sealed.read()
            if not piece:
                if self._held:
                    raise damaged("a record is cut off")
                return None
            try:
                self._held += self._zip.decompress(piece)
            except zlib.error:
                raise damaged("it cannot be unpacked") from None
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def opens_with(self, master: MasterKey) -> bool:
        """Is this the master key of the installation that it was made of?"""
        try:
            return master.unwrap(self.begin["check"], _CHECK_PURPOSE) == _CHECK
        except KeyFault:
            return False

    def made_with(self, master: MasterKey) -> bool:
        """Was it made by who has this master key? After `records`."""
        mac = hmac.new(master.derive(_MAC_PURPOSE), self.end["sha256"], hashlib.sha256).digest()
        return hmac.compare_digest(mac, self.end["mac"])


@dataclass
class Checked:
    """A backup that was read through. `files`: their content by name."""

    summary: Summary
    files: dict[str, bytes] = field(repr=False)
    highest: dict[str, int]


def check_backup(path: Path, opener: Opener, master: MasterKey | None = None) -> Checked:
    """Read a backup wholly and check everything that can be checked without restoring it. `master`: the key that it
    must belong to; else the one inside it, if there is one. Raises SealedFileError, BackupError.
    """
    try:
        with path.open("rb") as file:
            unpacker = Unpacker(file, opener)
            checked = _count(unpacker)
            checked.summary.bytes = file.tell()
    except OSError as err:
        raise BackupError(f"cannot read {path}: {err.strerror}", "Name a backup that can be read.") from None
    inside = checked.files.get(MASTER_KEY_NAME)
    master = master if master is not None else (MasterKey(inside) if inside is not None else None)
    if master is not None and not unpacker.opens_with(master):
        raise BackupError("the master key does not belong to this backup", "Give the master.key that was kept with it.")
    if master is not None and not unpacker.made_with(master):
        raise SealedFileError("the backup was not made by the installation itself", "Use another one.")
    return checked


def _count(unpacker: Unpacker) -> Checked:
    begin = unpacker.begin
    summary = Summary(begin["made_ms"], begin["schema"], begin["engine"], begin["version"])
    files: dict[str, bytes] = {}
    table = ""
    for record in unpacker.records():
        if "file" in record:
            files[record["file"]] = record["data"]
        elif "table" in record:
            table = record["table"]
            summary.tables[table] = 0
        else:
            summary.tables[table] += len(record["rows"])
    end = unpacker.end
    if end["tables"] != summary.tables or end["files"] != len(files):
        raise damaged("its counts are not those of its content")
    summary.files, summary.with_master_key = list(files), MASTER_KEY_NAME in files
    return Checked(summary, files, end["highest"])


def opened_header(path: Path) -> bytes:
    """The header of a backup. Raises BackupError, SealedFileError."""
    try:
        with path.open("rb") as file:
            header = read_header(file)
    except OSError as err:
        raise BackupError(f"cannot read {path}: {err.strerror}", "Name a backup that can be read.") from None
    about(header)
    return header
