"""A MicroPython image for an ESP32, looked at before it is written: whole, for this chip, and of a size that fits.

Such an image is what goes into flash from the chip's boot offset on: the boot loader, at 0x8000 of the flash the
partition table, and the program at its partition's place. Source of all forms: ESP-IDF Programming Guide, "Application
Image Structures" and "Partition Tables"; esptool documentation, "Firmware Image Format".
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import reduce
from operator import xor

from bongsu.errors import BongsuError
from bongsu.install.boards import Board, Chip

_MAGIC = 0xE9
_HEADER = struct.Struct("<BBBBI BBBBH BHHIB")  # the header (8 bytes) and its extension (16 bytes)
_CHIP_ID = 9  # its place among the header's fields
_SEGMENT = struct.Struct("<II")  # where it is loaded to, how long it is
_SEGMENTS_MAX = 16
_CHECKSUM_SEED = 0xEF
_ALIGN = 16  # the checksum is the last byte of 16
_DIGEST = hashlib.sha256().digest_size

_TABLE_OFFSET = 0x8000
_TABLE_MAX = 0xC00
_ENTRY = struct.Struct("<HBBII16sI")
_ENTRY_MAGIC, _SUM_MAGIC, _END = 0x50AA, 0xEBEB, 0xFFFF
_SUM_AT = 16  # where the table's MD5 stands in its own entry
_APP, _DATA = 0, 1
_NVS = 2
_FILE_SYSTEM = 0x81  # "fat", which MicroPython's own partition is called whatever it is formatted with

# Chip ids of extended headers (ESP-IDF, esp_chip_id_t), to say what an image is for.
_CHIPS = {
    0: "ESP32", 2: "ESP32-S2", 5: "ESP32-C3", 9: "ESP32-S3", 12: "ESP32-C2", 13: "ESP32-C6", 16: "ESP32-H2",
    18: "ESP32-P4", 23: "ESP32-C5",
}  # fmt: skip
_MB = 1 << 20


class ImageError(BongsuError):
    """This file must not be written to this board, or it cannot be had."""


@dataclass(frozen=True)
class Program:
    """One program within an image: the boot loader, or MicroPython. `size`: bytes with checksum and digest."""

    chip_id: int
    size: int


@dataclass(frozen=True)
class Partition:
    """A part of the flash; offset and size in bytes."""

    name: str
    kind: int
    subtype: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.size


@dataclass(frozen=True)
class Image:
    """A checked image of `size` bytes, which goes into flash at `offset`."""

    offset: int
    size: int
    chip_id: int
    partitions: tuple[Partition, ...]

    @property
    def nvs(self) -> Partition:
        """Where keys and counters are kept."""
        return self._first(_DATA, _NVS)

    @property
    def app(self) -> Partition:
        """The first program's place."""
        return self._first(_APP)

    @property
    def vfs(self) -> Partition | None:
        """Where files are kept, if the table has it."""
        return next((p for p in self.partitions if (p.kind, p.subtype) == (_DATA, _FILE_SYSTEM)), None)

    def _first(self, kind: int, subtype: int | None = None) -> Partition:
        return next(p for p in self.partitions if p.kind == kind and subtype in (None, p.subtype))


def check(data: bytes, board: Board) -> Image:
    """The image for this board. Raises ImageError, which says what is wrong with it."""
    return check_for(data, board.chip, board.flash_mb)


def check_for(data: bytes, chip: Chip, flash_mb: int) -> Image:
    """The image for this kind of chip with so much flash (MB). Raises ImageError, which says what is wrong with it."""
    boot = _program(data, 0, "its boot loader", chip)
    offset = chip.image_offset
    if offset + len(data) > flash_mb * _MB:
        raise ImageError(
            f"the image ends at {offset + len(data):#x}, and the flash holds {flash_mb} MB",
            "Take the image for a flash of this size.",
        )
    partitions = _partitions(data, _TABLE_OFFSET - offset)
    image = Image(offset, len(data), boot.chip_id, partitions)
    _check_parts(image, flash_mb)
    program = _program(data, image.app.offset - offset, "its program", chip)
    if program.size > image.app.size:
        raise ImageError("the program is larger than its partition", _AGAIN)
    return image


_AGAIN = "Fetch the image again: without --image the board's own is taken."


def _program(data: bytes, at: int, what: str, chip: Chip) -> Program:
    if at >= len(data) or data[at] != _MAGIC:
        if at == 0:
            raise ImageError("this is no image for an ESP32", "Name the .bin file of MicroPython for this board.")
        raise ImageError(f"the image has {what} missing at {at:#x}", _AGAIN)
    head = _take(_HEADER, data, at, what)
    count, chip_id, hashed = head[1], head[_CHIP_ID], head[-1]
    if chip_id != chip.image_id:
        of = _CHIPS.get(chip_id, f"another chip (id {chip_id:#x})")
        raise ImageError(
            f"the image is for {of}, and this board has {_CHIPS.get(chip.image_id, chip.name)}",
            "Name the board's right image, or the right board by --board.",
        )
    end, checksum = _segments(data, at, count, what)
    if _byte(data, end - 1, what) != checksum:
        raise _torn(what, "its checksum is wrong")
    if not hashed:
        raise ImageError(f"the image cannot be checked: {what} carries no digest", _AGAIN)
    digest = data[end : end + _DIGEST]
    if len(digest) < _DIGEST:
        raise _torn(what, "it ends too early")
    if hashlib.sha256(data[at:end]).digest() != digest:
        raise _torn(what, "its digest is wrong")
    return Program(chip_id, end + _DIGEST - at)


def _segments(data: bytes, at: int, count: int, what: str) -> tuple[int, int]:
    """Where a program ends, without its digest, and the checksum that its segments have."""
    if not 1 <= count <= _SEGMENTS_MAX:
        raise _torn(what, f"it cannot have {count} segments")
    checksum = _CHECKSUM_SEED
    position = at + _HEADER.size
    for _ in range(count):
        _, size = _take(_SEGMENT, data, position, what)
        position += _SEGMENT.size
        checksum = reduce(xor, data[position : position + size], checksum)
        position += size
    return at + (position - at) // _ALIGN * _ALIGN + _ALIGN, checksum


def _take(form: struct.Struct, data: bytes, at: int, what: str) -> tuple[int, ...]:
    try:
        return form.unpack_from(data, at)
    except struct.error:
        raise _torn(what, "it ends too early") from None


def _byte(data: bytes, at: int, what: str) -> int:
    if at >= len(data):
        raise _torn(what, "it ends too early")
    return data[at]


def _torn(what: str, why: str) -> ImageError:
    return ImageError(f"the image is damaged: {what}: {why}", _AGAIN)


def _partitions(data: bytes, at: int) -> tuple[Partition, ...]:
    table = data[at : at + _TABLE_MAX]
    found: list[Partition] = []
    for position in range(0, len(table) - _ENTRY.size + 1, _ENTRY.size):
        magic, kind, subtype, offset, size, label, _ = _ENTRY.unpack_from(table, position)
        if magic == _SUM_MAGIC:
            if hashlib.md5(table[:position]).digest() != table[position + _SUM_AT : position + _ENTRY.size]:
                raise _torn("its partition table", "its digest is wrong")
            continue
        if magic == _END or (magic != _ENTRY_MAGIC and not found):
            break
        if magic != _ENTRY_MAGIC:
            raise _torn("its partition table", f"no entry begins with {magic:#x}")
        found.append(Partition(label.rstrip(b"\0").decode("ascii", "replace"), kind, subtype, offset, size))
    if not found:
        raise ImageError(
            "the image has no partition table: it is a program alone, without its boot loader",
            "Name the .bin file that MicroPython offers for installing (not the .app-bin for updates).",
        )
    return tuple(found)


def _check_parts(image: Image, flash_mb: int) -> None:
    kinds = {(p.kind, p.subtype) for p in image.partitions}
    if (_DATA, _NVS) not in kinds or not any(kind == _APP for kind, _ in kinds):
        raise ImageError("the image's partition table has no place for keys (nvs) or for a program", _AGAIN)
    beyond = [p.name for p in image.partitions if p.end > flash_mb * _MB]
    if beyond:
        raise ImageError(
            f"the image is for a larger flash than {flash_mb} MB: {', '.join(beyond)} would lie beyond its end",
            "Take the image for a flash of this size, or name the right board by --board.",
        )
