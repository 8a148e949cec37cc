"""Reading a backup (backup.py says what is in it) and checking it to its last byte."""

import hashlib
import hmac
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from bongsu.receiver.backup import CHECK, CHECK_PURPOSE, FORMAT, MAC_PURPOSE, BackupError, Summary
from bongsu.receiver.keys import MASTER_KEY_NAME, KeyFault, MasterKey
from bongsu.receiver.sealed_file import Opener, SealedFileError, SealedReader, about, damaged, read_header

_RECORD_MAX = 256 * 1024 * 1024
# One file of the data folder, all of them: they are held in memory.
_FILE_MAX, _FILES_MAX = 16 * 1024 * 1024, 64 * 1024 * 1024

Fields = dict[str, Any]


class Unpacker:
    """Reads the records of a sealed file, in order; `end` is there once `records` is through."""

    def __init__(self, file: IO[bytes], opener: Opener) -> None:
        self._sealed = SealedReader(file, opener)
        self._zip, self._hash, self._held = zlib.decompressobj(), hashlib.sha256(), bytearray()
        self.begin: Fields = self._one("begin")["begin"]
        if not isinstance(self.begin, dict):
            raise damaged("a record is not as it should be")
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
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError):
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
                self._held += self._zip.decompress(piece, _RECORD_MAX)
                if self._zip.unconsumed_tail:
                    raise damaged("it unpacks into too much")
            except zlib.error:
                raise damaged("it cannot be unpacked") from None
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def opens_with(self, master: MasterKey) -> bool:
        """Is this the master key of the installation that it was made of?"""
        try:
            return master.unwrap(self.begin["check"], CHECK_PURPOSE) == CHECK
        except KeyFault:
            return False

    def made_with(self, master: MasterKey) -> bool:
        """Was it made by who has this master key? After `records`."""
        mac = hmac.new(master.derive(MAC_PURPOSE), self.end["sha256"], hashlib.sha256).digest()
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
    try:
        return _counted(unpacker)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError):
        raise damaged("a record is not as it should be") from None


def _counted(unpacker: Unpacker) -> Checked:
    begin = unpacker.begin
    if not isinstance(begin["made_ms"], int) or not isinstance(begin["schema"], str):
        raise TypeError
    summary = Summary(begin["made_ms"], begin["schema"], begin["engine"], begin["version"])
    files: dict[str, bytes] = {}
    table = ""
    for record in unpacker.records():
        if "file" in record:
            files[record["file"]] = _file(record, sum(map(len, files.values())))
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


def _file(record: Fields, held: int) -> bytes:
    """The content of a file, if it is one, and not too much."""
    data = record["data"]
    if not isinstance(record["file"], str) or not isinstance(data, bytes):
        raise TypeError
    if len(data) > _FILE_MAX or held + len(data) > _FILES_MAX:
        raise damaged("its files are too large")
    return data


def opened_header(path: Path) -> bytes:
    """The header of a backup. Raises BackupError, SealedFileError."""
    try:
        with path.open("rb") as file:
            header = read_header(file)
    except OSError as err:
        raise BackupError(f"cannot read {path}: {err.strerror}", "Name a backup that can be read.") from None
    about(header)
    return header
