"""The ROM loader of an ESP32, and the flasher stub that a host loads into it: bytes in, bytes out.

It speaks Espressif's serial protocol (their documentation: "Serial Protocol", and of the stub's commands and status
codes the esp-flasher-stub project's) well enough for esptool, by which it is tested. It cannot run code: a program that
is loaded into RAM and started is taken for the stub. No times are modelled: erasing and writing take none.
"""

import struct
from collections.abc import Callable
from dataclasses import replace

from bongsu.sim.rig import slip
from bongsu.sim.rig.faults import Faults, FaultyLine
from bongsu.sim.rig.rom_chip import RomChip
from bongsu.sim.rig.rom_download import Begin, CommandError, Download, Reading, Trouble, checksum
from bongsu.sim.rig.rom_flash import SECTOR_BYTES, FlashChip
from bongsu.sim.rig.rom_registers import Registers

_HEADER = struct.Struct("<BBHI")  # direction, command, size of the data, checksum or value
_REQUEST, _ANSWER = 0, 1
# The size of a command's data is 16 bits wide; on the line every byte may be escaped.
_LONGEST_FRAME = 2 * (_HEADER.size + 0xFFFF)
# What a synchronisation holds, and what the ROM answers in `value` (its first word); the stub answers 0.
_SYNC = bytes((0x07, 0x07, 0x12, 0x20)) + b"\x55" * 32
_SYNC_VALUE = 0x20120707
# How often a command is answered, where that is not once: a synchronisation, and "run the program".
_ANSWERS = {0x08: 8, 0xD3: 0}
_HELLO = b"OHAI"
# Loaded programs are not kept, only where they are; no host loads more pieces than this.
_PIECES_KEPT = 16
_MD5_BYTES = 16
_ACKNOWLEDGEMENT_BYTES = 4
_SLOW_READ_BYTES = 64
_STUB_PACKET_BYTES = 4096

_Answer = tuple[int, bytes]  # value, data
_DONE: _Answer = (0, b"")
_NO_FAULTS = Faults()


class Rom:
    """The loader of `chip`, whose flash is `flash`, as it stands after a reset into the download mode.

    `faults` may be set at any time. `rebooted`: the host has made it leave the loader, or the chip reset itself: what
    runs then is the board's matter, and nothing is answered until `reset`. `unplugged`: a fault has pulled the cable.
    """

    def __init__(self, chip: RomChip, flash: FlashChip, faults: Faults = _NO_FAULTS) -> None:
        self.chip = chip
        self._flash = flash
        self.faults = faults
        self.reset()

    @property
    def faults(self) -> Faults:
        """What goes wrong. Setting it starts its counts anew and plugs the cable in; another chip shows after the next
        reset."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._line = FaultyLine(faults)

    def reset(self) -> None:
        """The chip is reset into the download mode; the flash keeps what it holds."""
        self._seen_chip = replace(self.chip, kind=self._faults.wrong_chip or self.chip.kind)
        self._registers = Registers(self._seen_chip, self._flash.size)
        self._decoder = slip.Decoder(_LONGEST_FRAME)
        self._download: Download | None = None
        self._reading: Reading | None = None
        self._ram: Begin | None = None
        self._loaded: list[tuple[int, int]] = []
        self._starts_stub = False
        self._restarts = False
        self.stub = False
        self.rebooted = False

    @property
    def unplugged(self) -> bool:
        """True once a fault has pulled the cable."""
        return self._line.unplugged

    @property
    def baud(self) -> int:
        """The rate that the loader speaks at, bit/s. Set it to the line's if that is not the usual one."""
        return self._registers.baud

    @baud.setter
    def baud(self, baud: int) -> None:
        self._registers.baud = baud

    def feed(self, data: bytes) -> bytes:
        """What the loader answers to bytes from the host. Never raises, whatever comes."""
        data = self._line.carry(data)
        if self._faults.silent:
            return b""
        answers = []
        for frame in self._decoder.feed(data):
            if self.rebooted or self._line.cut_by_blocks:
                break
            watchdog = self._registers.watchdog
            answers.append(self._frame(frame))
            # It bites some milliseconds after it was started: one more command is answered.
            self.rebooted = self.rebooted or watchdog
        return b"" if self.unplugged else b"".join(answers)

    # -- frames

    def _frame(self, frame: bytes) -> bytes:
        if self._reading is not None:
            return self._packet(self._reading, broken_off=len(frame) != _ACKNOWLEDGEMENT_BYTES)
        if len(frame) < _HEADER.size:
            return b""
        direction, command, size, sum_said = _HEADER.unpack_from(frame)
        if direction != _REQUEST:
            return b""
        try:
            if size != len(frame) - _HEADER.size:
                raise CommandError(Trouble.LENGTH)
            value, body = self._do(command, frame[_HEADER.size :], sum_said)
        except CommandError as err:
            return self._answer(command, trouble=err.trouble)
        answer = self._answer(command, value, body) * _ANSWERS.get(command, 1)
        return answer + self._after()

    def _answer(self, command: int, value: int = 0, body: bytes = b"", trouble: Trouble | None = None) -> bytes:
        """A response; its status has two bytes, in the ROM two more that say nothing."""
        if self.stub:
            status = bytes((trouble.stub if trouble else 0, 0))
        else:
            status = bytes((1, trouble.rom, 0, 0)) if trouble else bytes(4)
        data = body + status
        return slip.encode(_HEADER.pack(_ANSWER, command, len(data), value) + data)

    def _after(self) -> bytes:
        """What follows the answer to a command: the stub's hello, or the first packet of what is read."""
        if self._restarts:
            self.reset()
        if self._starts_stub:
            self._starts_stub, self.stub = False, True
            self._registers.attached = True  # the stub connects the flash by itself
            return slip.encode(_HELLO)
        return b"" if self._reading is None else self._packet(self._reading, broken_off=False)

    def _packet(self, reading: Reading, *, broken_off: bool) -> bytes:
        """The next packet of what is read, as it goes on the line: it has no header."""
        packet = reading.packet(broken_off)
        if reading.done:
            self._reading = None
        return slip.encode(packet)

    def _do(self, command: int, data: bytes, sum_said: int) -> _Answer:
        if command in _BLOCKS:
            return _BLOCKS[command](self, _block(data, sum_said))
        action = _COMMANDS.get(command) or (_STUB_COMMANDS if self.stub else _ROM_COMMANDS).get(command)
        if action is None:
            raise CommandError(Trouble.UNKNOWN)
        sizes, do = action
        if len(data) not in sizes:
            raise CommandError(Trouble.LENGTH)
        return do(self, data)

    # -- commands

    def _sync(self, data: bytes) -> _Answer:
        if data != _SYNC:
            raise CommandError(Trouble.LENGTH)
        return (0 if self.stub else _SYNC_VALUE), b""

    def _read_register(self, data: bytes) -> _Answer:
        return self._registers.read(*struct.unpack("<I", data)), b""

    def _write_registers(self, data: bytes) -> _Answer:
        for address, value, mask, _delay_us in struct.iter_unpack("<4I", data):
            self._registers.write(address, value, mask)
        return _DONE

    def _security(self, _data: bytes) -> _Answer:
        """Flags, count of encryptions, purposes of seven keys, chip id, revision: nothing is locked."""
        if not self._seen_chip.silicon.tells_security:
            raise CommandError(Trouble.UNKNOWN)
        return 0, struct.pack("<IB7sII", 0, 0, bytes(7), self._seen_chip.silicon.image_id, 0)

    def _spi_attach(self, _data: bytes) -> _Answer:
        self._registers.attached = True
        return _DONE

    def _spi_parameters(self, _data: bytes) -> _Answer:
        """Taken and not used: the flash is as large as it is."""
        return _DONE

    def _change_baud(self, data: bytes) -> _Answer:
        self.baud = struct.unpack("<II", data)[0]
        return _DONE

    def _ram_begin(self, data: bytes) -> _Answer:
        begin = Begin(*struct.unpack("<4I", data))
        ranges = self._seen_chip.silicon.ram
        if not any(low <= begin.offset and begin.offset + begin.size <= high for low, high in ranges):
            raise CommandError(Trouble.LENGTH)
        self._ram = begin
        return _DONE

    def _ram_block(self, data: bytes) -> _Answer:
        if self._ram is None:
            raise CommandError(Trouble.NOT_BEGUN)
        if len(data) > self._ram.size:
            raise CommandError(Trouble.TOO_MUCH)
        self._loaded.append((self._ram.offset, self._ram.offset + len(data)))
        del self._loaded[:-_PIECES_KEPT]
        self._ram = replace(self._ram, size=self._ram.size - len(data), offset=self._ram.offset + len(data))
        return _DONE

    def _ram_end(self, data: bytes) -> _Answer:
        stays, entry = struct.unpack("<II", data)
        if self._ram is None:
            raise CommandError(Trouble.NOT_BEGUN)
        self._ram = None
        if not stays:
            if any(low <= entry < high for low, high in self._loaded):
                self._starts_stub = True
            else:
                self.rebooted = True  # it ran into nothing: a crash, a reset
        return _DONE

    def _flash_begin(self, data: bytes, *, deflated: bool = False) -> _Answer:
        begin = Begin(*struct.unpack_from("<4I", data))
        self._need_flash()
        self._download = None
        self._download = Download(
            self._flash,
            begin,
            deflated=deflated,
            as_it_goes=self.stub,
            fails_from=self._faults.flash_fails_from,
        )
        return _DONE

    def _deflated_begin(self, data: bytes) -> _Answer:
        return self._flash_begin(data, deflated=True)

    def _flash_block(self, data: bytes, *, deflated: bool = False) -> _Answer:
        if self._download is None or self._download.deflated != deflated:
            raise CommandError(Trouble.NOT_BEGUN)
        self._download.take(data)
        self._line.block_done()
        return _DONE

    def _deflated_block(self, data: bytes) -> _Answer:
        return self._flash_block(data, deflated=True)

    def _flash_end(self, data: bytes) -> _Answer:
        """0 is "reboot": the straps are not read anew, so it is the ROM's loader again. 1 is "run the program", for
        which the stub stays where it is."""
        if self._download is None:
            raise CommandError(Trouble.NOT_BEGUN)
        if self.stub and self._download.left:
            raise CommandError(Trouble.LENGTH)
        self._download = None
        self._restarts = not any(data)
        self.rebooted = not self.stub and not self._restarts
        return _DONE

    def _md5(self, data: bytes) -> _Answer:
        """The ROM tells the digest in letters, the stub in bytes."""
        offset, size, *_ = struct.unpack("<4I", data)
        self._need_flash(offset, size)
        digest = self._flash.md5(offset, size)
        if self._faults.wrong_md5:
            digest = bytes(_MD5_BYTES) if any(digest) else b"\xff" * _MD5_BYTES
        return 0, digest if self.stub else digest.hex().encode()

    def _read_slowly(self, data: bytes) -> _Answer:
        offset, size = struct.unpack("<II", data)
        self._need_flash(offset, size)
        if size > _SLOW_READ_BYTES:
            raise CommandError(Trouble.LENGTH)
        return 0, self._flash.read(offset, size).ljust(_SLOW_READ_BYTES, b"\xff")

    def _read_flash(self, data: bytes) -> _Answer:
        offset, size, packet_size, _in_flight = struct.unpack("<4I", data)
        self._need_flash(offset, size)
        if not 0 < packet_size <= _STUB_PACKET_BYTES:
            raise CommandError(Trouble.LENGTH)
        self._reading = Reading(self._flash, offset, size, packet_size)
        return _DONE

    def _erase_flash(self, _data: bytes) -> _Answer:
        self._need_flash()
        self._flash.erase(0, self._flash.size)
        return _DONE

    def _erase_region(self, data: bytes) -> _Answer:
        offset, size = struct.unpack("<II", data)
        if offset % SECTOR_BYTES or size % SECTOR_BYTES:
            raise CommandError(Trouble.LENGTH)
        self._need_flash(offset, size)
        self._flash.erase(offset, size)
        return _DONE

    def _run(self, _data: bytes) -> _Answer:
        self.rebooted = True
        return _DONE

    def _need_flash(self, offset: int = 0, size: int = 0) -> None:
        if not self._registers.attached or not self._flash.holds(offset, size):
            raise CommandError(Trouble.FLASH)


def _block(data: bytes, sum_said: int) -> bytes:
    """The data of a block: after its length, its number and two words that say nothing. Raises CommandError."""
    if len(data) < 16 or len(data) != 16 + int.from_bytes(data[:4], "little"):
        raise CommandError(Trouble.LENGTH)
    if checksum(data[16:]) != sum_said & 0xFF:
        raise CommandError(Trouble.CHECKSUM)
    return data[16:]


_Action = tuple[tuple[int, ...], Callable[[Rom, bytes], _Answer]]  # sizes that the data may have, what to do

_COMMANDS: dict[int, _Action] = {
    0x02: ((16, 20), Rom._flash_begin),
    0x04: ((4,), Rom._flash_end),
    0x05: ((16,), Rom._ram_begin),
    0x06: ((8,), Rom._ram_end),
    0x08: ((36,), Rom._sync),
    0x09: (tuple(range(16, 1025, 16)), Rom._write_registers),
    0x0A: ((4,), Rom._read_register),
    0x0B: ((24,), Rom._spi_parameters),
    0x0D: ((4, 8), Rom._spi_attach),
    0x0F: ((8,), Rom._change_baud),
    0x10: ((16, 20), Rom._deflated_begin),
    0x12: ((4,), Rom._flash_end),
    0x13: ((16,), Rom._md5),
    0x14: ((0,), Rom._security),
}
_ROM_COMMANDS: dict[int, _Action] = {0x0E: ((8,), Rom._read_slowly)}
_STUB_COMMANDS: dict[int, _Action] = {
    0xD0: ((0,), Rom._erase_flash),
    0xD1: ((8,), Rom._erase_region),
    0xD2: ((16,), Rom._read_flash),
    0xD3: ((0,), Rom._run),
}
_BLOCKS: dict[int, Callable[[Rom, bytes], _Answer]] = {
    0x03: Rom._flash_block,
    0x07: Rom._ram_block,
    0x11: Rom._deflated_block,
}
