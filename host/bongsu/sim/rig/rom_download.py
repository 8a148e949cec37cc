"""What a host writes into flash through the loader: begin, blocks, end; plain or deflated; never more than it said."""

import zlib
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import xor

from bongsu.sim.rig.rom_flash import SECTOR_BYTES, FlashChip

# Inflated data is worked on in pieces of this many bytes, whatever a block holds.
_PIECE_BYTES = 65536
_CHECKSUM_SEED = 0xEF


class Trouble(Enum):
    """Why a command failed: the ROM's error code, and the first byte of the status of the flasher stub."""

    LENGTH = (0x05, 0xC0)
    CHECKSUM = (0x07, 0xC1)
    NOT_BEGUN = (0x06, 0xC6)
    FLASH = (0x08, 0xC4)
    INFLATE = (0x0B, 0xC7)
    TOO_MUCH = (0x06, 0xC9)
    UNKNOWN = (0x05, 0xFF)

    def __init__(self, rom: int, stub: int) -> None:
        self.rom = rom
        self.stub = stub


class CommandError(Exception):
    """A command that is answered with a failure."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.name)
        self.trouble = trouble


@dataclass(frozen=True)
class Begin:
    """What a host says before it sends blocks; sizes in bytes."""

    size: int
    blocks: int
    block_size: int
    offset: int


def checksum(data: bytes) -> int:
    """The loader's checksum of a block."""
    return reduce(xor, data, _CHECKSUM_SEED)


class Download:
    """Data on its way into `flash`. The ROM erases all of the range at once; the stub (`as_it_goes`) each sector when
    it comes to it. `fails_from`: flash at or above this offset cannot be programmed. Raises CommandError."""

    def __init__(
        self, flash: FlashChip, begin: Begin, *, deflated: bool, as_it_goes: bool, fails_from: int | None
    ) -> None:
        if not flash.holds(begin.offset, begin.size):
            raise CommandError(Trouble.FLASH)
        self.deflated = deflated
        self._flash = flash
        self._at = begin.offset
        # The ROM takes whole blocks, the last one filled up; what is beyond the range said is not erased.
        whole_blocks = not deflated and not as_it_goes
        self.left = begin.blocks * begin.block_size if whole_blocks else begin.size
        self._cut = not deflated and as_it_goes
        self._erased_to = begin.offset // SECTOR_BYTES * SECTOR_BYTES
        self._erase_end = _sector_up(begin.offset + begin.size) if begin.size else self._erased_to
        self._fails_from = flash.size if fails_from is None else min(fails_from, flash.size)
        self._failed = False
        self._inflater = zlib.decompressobj() if deflated else None
        if not as_it_goes:
            self._erase_to(self._erase_end)

    def take(self, data: bytes) -> None:
        """A block's data. After flash has failed, all blocks do, as no host can know where it stands."""
        if self._failed:
            raise CommandError(Trouble.FLASH)
        if self._inflater is None:
            self._program(data[: self.left] if self._cut else data)
            return
        while data and not self._inflater.eof:
            try:
                piece = self._inflater.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise CommandError(Trouble.INFLATE) from None
            self._program(piece)
            data = self._inflater.unconsumed_tail

    def _program(self, data: bytes) -> None:
        if len(data) > self.left:
            raise CommandError(Trouble.TOO_MUCH)
        end = self._at + len(data)
        self._erase_to(end)
        good = data[: max(0, self._fails_from - self._at)]
        self._flash.program(self._at, good)
        self._at = end
        self.left -= len(data)
        self._failed = len(good) < len(data)
        if self._failed:
            raise CommandError(Trouble.FLASH)

    def _erase_to(self, end: int) -> None:
        end = min(_sector_up(end), self._erase_end)
        if end > self._erased_to:
            self._flash.erase(self._erased_to, end - self._erased_to)
            self._erased_to = end


def _sector_up(offset: int) -> int:
    return -(-offset // SECTOR_BYTES) * SECTOR_BYTES


class Reading:
    """A range of flash on its way to the host, by the stub: one packet after each acknowledgement, then its digest."""

    def __init__(self, flash: FlashChip, offset: int, size: int, packet_size: int) -> None:
        self._flash = flash
        self._offset = offset
        self._size = size
        self._packet_size = packet_size
        self._sent = 0
        self.done = False

    def packet(self, broken_off: bool) -> bytes:
        """The next packet: data, or the digest of what was sent, if that was all or the host has broken off."""
        if broken_off or self._sent >= self._size:
            self.done = True
            return self._flash.md5(self._offset, self._sent)
        data = self._flash.read(self._offset + self._sent, min(self._packet_size, self._size - self._sent))
        self._sent += len(data)
        return data
