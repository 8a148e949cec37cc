"""The chip of a rig between its resets: what its straps and its flash make it do, and who answers on its serial line.
All of it runs in the rig's loop."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bongsu.install import image as install_image
from bongsu.install.boards import Board
from bongsu.sim.board import VirtualBoard
from bongsu.sim.flash import BLOCK_BYTES, FlashImage
from bongsu.sim.rig.boot_log import ROM_LOGS, RomLog
from bongsu.sim.rig.faults import Faults, FaultyLine
from bongsu.sim.rig.image import stock_image
from bongsu.sim.rig.line import Straps
from bongsu.sim.rig.loop import Delay, Loop
from bongsu.sim.rig.rom import Rom
from bongsu.sim.rig.rom_chip import RomChip
from bongsu.sim.rig.rom_flash import FlashChip
from bongsu.sim.supervisor import HARD, POWER_ON, WATCHDOG

# How long after a reset the boot strap may still come. On a board that is a millisecond, which a capacitor takes to let
# EN rise; over a network each change of a line costs a round trip, whose answer pyserial looks for every 50 ms.
_STRAP_S = 1.0
# A chip without an image is reset by its watchdog, and tries again.
_AGAIN_S = 1.0
# The rate of MicroPython's REPL, and of the boot log.
_BAUD = 115_200


class ChipFlash:
    """The chip's flash: a file in `folder`. NVS is kept beside it (as sim.flash does), and is gone when a host erases
    or writes over its partition."""

    def __init__(self, folder: Path, board: Board) -> None:
        self._board = board
        self._nvs = folder / "nvs.bin"
        self.chip = FlashChip(folder / "chip.bin", board.flash_mb << 20)
        self.chip.on_change = self._changed
        layout = board.flash
        self.file_system = FlashImage(self.chip.path, layout.vfs_offset, layout.vfs_size // BLOCK_BYTES)
        self._bootable: bool | None = None

    def put_stock_image(self) -> None:
        """As esptool leaves it after erasing all and writing an image."""
        self.chip.erase(0, self.chip.size)
        for offset, data in stock_image(self._board).items():
            self.chip.program(offset, data)

    def head(self) -> int:
        """The first word of where an image starts."""
        return int.from_bytes(self.chip.read(self._board.chip.image_offset, 4), "little")

    def bootable(self) -> bool:
        """Whether boot loader and program are whole; if so, `file_system` is where the partition table puts it."""
        if self._bootable is None:
            self._bootable = self._judge()
        return self._bootable

    def _judge(self) -> bool:
        board = self._board
        start = board.chip.image_offset
        data = self.chip.read(start, board.flash.vfs_offset - start)
        try:
            image = install_image.check(data, board)
        except install_image.ImageError:
            return False
        if image.vfs is not None:
            self.file_system.start, self.file_system.blocks = image.vfs.offset, image.vfs.size // BLOCK_BYTES
        return True

    def _changed(self, offset: int, size: int) -> None:
        self._bootable = None
        layout = self._board.flash
        if offset < layout.nvs_offset + layout.nvs_size and offset + size > layout.nvs_offset:
            self._nvs.unlink(missing_ok=True)
            self._nvs.with_suffix(".pending").unlink(missing_ok=True)


@dataclass(frozen=True)
class Wires:
    """What the chip is told by its surroundings: the straps, and the rate of the line (None: nobody knows)."""

    straps: Callable[[], Straps]
    baud: Callable[[], int | None]


class Chip:
    """`send` takes what it says on its serial line; `unplug` is called when a fault pulls the cable.

    `mode`: off, reset, download (the loader waits), blank (nothing to boot) or running.
    """

    def __init__(
        self,
        loop: Loop,
        flash: ChipFlash,
        rom_chip: RomChip,
        board: VirtualBoard,
        wires: Wires,
        send: Callable[[bytes], None],
        unplug: Callable[[], None],
    ) -> None:
        self._mode = "off"
        self._loop = loop
        self._flash = flash
        self._rom = Rom(rom_chip, flash.chip)
        self._board = board
        self._wires = wires
        self._send = send
        self._unplug = unplug
        self._straps = wires.straps()
        self._next: Delay | None = None
        self._line = FaultyLine(self._rom.faults)

    @property
    def mode(self) -> str:
        """What it is doing."""
        return "off" if self._mode == "running" and self._board.off else self._mode

    @property
    def log(self) -> RomLog:
        """What its ROM prints; a fault may make it look like another chip."""
        return ROM_LOGS[self._rom.faults.wrong_chip or self._rom.chip.kind]

    @property
    def faults(self) -> Faults:
        """What goes wrong on its line and in its loader."""
        return self._rom.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._rom.faults = faults
        self._line = FaultyLine(faults)

    def plugged(self) -> None:
        """The cable is back: what pulled it has done so once."""
        self.faults = replace(self.faults, unplug_after_bytes=None, unplug_after_blocks=None)

    def power(self, on: bool) -> None:
        """The supply comes or goes."""
        straps = self._wires.straps()
        if on and self.mode == "off" and straps.enabled:
            self.start(download=not straps.boot_high)
        elif on and self.mode == "off":
            self._mode = "reset"
        elif not on:
            self.hold()
            self._mode = "off"

    def hold(self) -> None:
        """EN is low: nothing runs."""
        self._after(None)
        self._board.power_off()
        self._mode = "reset"

    def start(self, *, download: bool) -> None:
        """EN has risen; `download`: with the boot strap low."""
        self._after(None)
        if not download:
            self._run(POWER_ON)
            return
        self._mode = "download"
        self._rom.reset()
        self._rom.baud = self._wires.baud() or _BAUD
        self.say(self.log.download())

    def straps_changed(self) -> None:
        """A control line has moved."""
        straps, old = self._wires.straps(), self._straps
        self._straps = straps
        if self.mode == "off" or straps == old:
            return
        if not straps.enabled:
            self.hold()
        elif self.mode == "reset" and straps.passing:
            self._after(_STRAP_S, self.settle)
        elif self.mode == "reset":
            self.start(download=not straps.boot_high)

    def settle(self) -> None:
        """If it waits for its boot strap: none comes any more."""
        if self.mode == "reset" and self._straps.enabled:
            self.start(download=False)

    def heard(self, data: bytes) -> None:
        """Bytes from the host."""
        if self.mode == "download":
            self.say(self._rom.feed(data))
            if self._rom.unplugged:
                self._unplug()
            elif self._rom.rebooted:
                self._run(HARD)
        elif self.mode == "running":
            self._board.type_in(self._garbled(self._line.carry(data)))
            if self._line.unplugged:
                self._unplug()

    def say(self, data: bytes) -> None:
        """Bytes for the host."""
        if not self.faults.silent:
            self._send(data if self.mode == "download" else self._garbled(data))

    def _garbled(self, data: bytes) -> bytes:
        """What arrives: rubbish, if the two ends do not agree on the rate."""
        if self._wires.baud() in (None, _BAUD):
            return data
        return bytes(0x80 | byte >> 1 for byte in data)

    def _after(self, seconds: float | None, then: Callable[[], None] | None = None) -> None:
        """Do `then` after a while, unless something else comes first."""
        if self._next is not None:
            self._next.cancel()
        self._next = self._loop.later(seconds, then) if seconds is not None and then is not None else None

    def _run(self, cause: int) -> None:
        if self._flash.bootable():
            self._mode = "running"
            self._board.power_on()
            return
        self._mode = "blank"
        self.say(self.log.not_bootable(cause, self._flash.head()))
        self._after(_AGAIN_S, lambda: self._run(WATCHDOG))
