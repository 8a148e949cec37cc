"""The SPI flash of a virtual board: a whole chip in a file, that behaves as NOR flash does."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

SECTOR_BYTES = 4096
# What is worked on at a time: a chip is never held in memory.
_PIECE_BYTES = 65536


class FlashChip:
    """`path`: the file, made (erased) if it is missing; `size`: of the chip in bytes, a power of two.

    Erasing sets every bit of whole sectors, programming only clears bits: what is written over old data without an
    erase between is the AND of both. `on_change(offset, size)`, if set, is told of every erase and program after it.
    Raises ValueError where the file has another size than the chip.
    """

    def __init__(self, path: Path, size: int) -> None:
        if size < SECTOR_BYTES or size & (size - 1):
            raise ValueError(f"{size} is no size of a flash chip")
        self.path = path
        self.size = size
        self.on_change: Callable[[int, int], None] | None = None
        if not path.exists():
            temporary = path.with_name(path.name + ".tmp")
            with temporary.open("wb") as file:
                for _, piece in _pieces(0, size):
                    file.write(b"\xff" * piece)
            temporary.replace(path)
        if path.stat().st_size != size:
            raise ValueError(f"{path} holds {path.stat().st_size} bytes, the chip {size}")

    def holds(self, offset: int, size: int) -> bool:
        """True if the range is within the chip."""
        return min(offset, size) >= 0 and offset + size <= self.size

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes. Raises ValueError if they are not within the chip."""
        self._check(offset, size)
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def md5(self, offset: int, size: int) -> bytes:
        """The digest of a range. Raises ValueError if it is not within the chip."""
        self._check(offset, size)
        digest = hashlib.md5(usedforsecurity=False)
        for at, piece in _pieces(offset, size):
            digest.update(self.read(at, piece))
        return digest.digest()

    def erase(self, offset: int, size: int) -> None:
        """Set all bits of whole sectors. Raises ValueError if the range is no such, or not within the chip."""
        self._check(offset, size)
        if offset % SECTOR_BYTES or size % SECTOR_BYTES:
            raise ValueError(f"{offset:#x}, {size:#x}: flash is erased by sectors of {SECTOR_BYTES} bytes")
        with self.path.open("r+b") as file:
            file.seek(offset)
            for _, piece in _pieces(offset, size):
                file.write(b"\xff" * piece)
        self._changed(offset, size)

    def program(self, offset: int, data: bytes) -> None:
        """Clear the bits that are clear in `data`. Raises ValueError if the range is not within the chip."""
        old = self.read(offset, len(data))
        new = int.from_bytes(old, "little") & int.from_bytes(data, "little")
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(new.to_bytes(len(data), "little"))
        self._changed(offset, len(data))

    def _check(self, offset: int, size: int) -> None:
        if not self.holds(offset, size):
            raise ValueError(f"{offset:#x}, {size:#x} is not within a flash of {self.size:#x} bytes")

    def _changed(self, offset: int, size: int) -> None:
        if self.on_change is not None and size:
            self.on_change(offset, size)


def _pieces(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of the pieces of a range."""
    for at in range(offset, offset + size, _PIECE_BYTES):
        yield at, min(_PIECE_BYTES, offset + size - at)
