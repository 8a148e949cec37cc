"""A virtual board behind a serial port, as a devkit has it: its resets, its boot strap, its loader, its REPL.

with Rig(folder, mac="a0b1c2d3e4f5") as rig:
    rig.flashed()
    print(rig.url)          # rfc2217://127.0.0.1:...
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from bongsu.errors import BongsuError
from bongsu.install.boards import Board, load_board
from bongsu.sim.board import VirtualBoard
from bongsu.sim.console import Console, Image
from bongsu.sim.flash import BLOCK_BYTES, FlashImage
from bongsu.sim.rig import image
from bongsu.sim.rig.boot_log import ROM_LOGS
from bongsu.sim.rig.loop import Delay, Loop
from bongsu.sim.rig.server import SerialServer
from bongsu.sim.supervisor import POWER_ON, WATCHDOG

# How long after a reset the boot strap may still come. On a board it is there within a millisecond, by the time that a
# capacitor takes to let EN rise; over a network each change of a line costs a round trip, and pyserial looks for its
# answer every 50 ms.
_STRAP_S = 0.3
# A chip without an image is reset by its watchdog, and tries again.
_AGAIN_S = 1.0
# MicroPython 6.3 bytecode, with the chip's native code (sys.implementation._mpy).
_MPY = {"esp32": 11014, "esp32s3": 11014, "esp32c3": 12038, "esp32c6": 12038}
# As the images of micropython.org name the chip and themselves (os.uname().machine, sys.implementation._build).
_NAMES = {"esp32": "ESP32", "esp32s3": "ESP32S3", "esp32c3": "ESP32C3", "esp32c6": "ESP32C6"}
_BUILDS = {name: f"ESP32_GENERIC_{name[5:].upper()}".rstrip("_") for name in _NAMES}
# (ssid, psk, RSSI)
OPEN_NETWORK = ("bongsu-rig", None, -55)


class Rig:
    """`folder`: where the chip's flash and NVS live; `mac`: 12 hex digits; `board`: of boards/; `speed`: board seconds
    per wall second; `networks`: (ssid, psk or None, RSSI in dBm) on the air; `sensors`: entries as of node.json that
    hang on the board's pins (else what the board usually carries)."""

    def __init__(
        self,
        folder: Path,
        *,
        mac: str,
        board: str = "esp32-devkitc",
        speed: float = 1.0,
        networks: Iterable[tuple[str, str | None, int]] = (OPEN_NETWORK,),
        sensors: list[dict[str, Any]] | None = None,
        seed: int = 0,
    ) -> None:
        self.kind: Board = load_board(board)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._chip = folder / "chip.bin"
        self._nvs = folder / "nvs.bin"
        if not self._chip.exists():
            self._chip.write_bytes(b"\xff" * (self.kind.flash_mb << 20))
        self.loop = Loop(f"rig-{mac}")
        console = Console(self._image(), self._said, self._booted)
        layout = self.kind.flash
        fs = FlashImage(self._chip, layout.vfs_offset, layout.vfs_size // BLOCK_BYTES)
        self.board = VirtualBoard(folder, node_id=mac, speed=speed, seed=seed, image=fs, console=console)
        entries = sensors if sensors is not None else [dict(entry) for entry in self.kind.sensors]
        self.board.wire({"pins": self.kind.pins, "sensors": entries})
        self.board.set_networks(networks)
        self.server = SerialServer(self.loop, self._received, self._lines_changed, self._opened)
        self._log = ROM_LOGS[self.kind.chip.name]
        self._power = self._busy = self._pulled = False
        self._mode = "off"
        self._straps = self.server.lines.straps
        self._waiting: Delay | None = None
        self.loop.start()

    # -- from any thread

    @property
    def url(self) -> str:
        """Of the serial port, with its control lines."""
        return self.server.url

    @property
    def bare_url(self) -> str:
        """Of the same port without control lines."""
        return self.server.bare_url

    @property
    def mode(self) -> str:
        """off, reset, download, blank (nothing to boot) or running."""
        return self._mode

    def power(self, on: bool) -> None:
        """Switch the supply."""
        self.loop.call(lambda: self._set_power(on))

    def cable(self, plugged: bool) -> None:
        """Pull the cable out, which is the supply too, or put it back: the connection breaks, and there is no other
        meanwhile."""
        self.loop.call(lambda: self._set_cable(plugged))

    def reset(self, *, download: bool = False) -> None:
        """Press the reset button; `download`: while the boot button is held, so that the loader waits."""
        self.loop.call(lambda: self._press_reset(download))

    def set_faults(self, faults: Mapping[str, Any]) -> None:
        """What goes wrong from now on, and nothing else. "busy": somebody else has the port open; "full": MicroPython's
        file system is; "bytes_per_s": how slow the line is. Raises BongsuError for what is no fault."""
        self.loop.call(lambda: self._set_faults(dict(faults)))

    def flashed(self) -> None:
        """Put a bootable image on an erased flash, as esptool would have; the board then starts."""
        self.loop.call(self._flashed)

    def close(self) -> None:
        """End it; the folder stays."""
        self.loop.call(self.server.close)
        self.board.close()
        self.loop.close()

    def __enter__(self) -> "Rig":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- in the board's thread

    def _said(self, data: bytes) -> None:
        self.loop.post(lambda: self.server.send(data))

    def _booted(self, cause: int) -> None:
        log = self._log.run(cause)
        self.loop.post(lambda: self.server.send(log))

    # -- in the loop

    def _image(self) -> Image:
        chip = self.kind.chip.name
        machine = f"Generic {_NAMES[chip]} module with {_NAMES[chip]}"
        return Image(machine, _BUILDS[chip], _MPY[chip], self.kind.flash_mb << 20)

    def _received(self, data: bytes) -> None:
        if self._mode == "running":
            self.board.type_in(data)

    def _opened(self, opened: bool) -> None:
        if self._waiting is not None and self._mode == "reset":
            self._start(download=False)

    def _lines_changed(self) -> None:
        straps, old = self.server.lines.straps, self._straps
        self._straps = straps
        if not self._power or straps == old:
            return
        if not straps.enabled:
            self._hold()
        elif not old.enabled:
            self._wait(_STRAP_S, lambda: self._start(download=False))
        if straps.enabled and not straps.boot_high and self._mode == "reset":
            self._start(download=True)

    def _set_cable(self, plugged: bool) -> None:
        self._pulled = not plugged
        self._hold_port()
        if not plugged:
            self.server.drop()
        self._set_power(plugged)

    def _set_faults(self, faults: dict[str, Any]) -> None:
        self._busy = bool(faults.pop("busy", False))
        full = bool(faults.pop("full", False))
        rate = faults.pop("bytes_per_s", None)
        if faults:
            raise BongsuError(f"no fault {', '.join(sorted(faults))}", "There are busy, full, bytes_per_s.")
        self._hold_port()
        self.server.bytes_per_s = None if rate is None else float(rate)
        self.board.set_flash_full(full)

    def _hold_port(self) -> None:
        self.server.held = self._busy or self._pulled

    def _press_reset(self, download: bool) -> None:
        if self._power:
            self._hold()
            self._start(download=download)

    def _hold(self) -> None:
        self._wait(None)
        self.board.power_off()
        self._mode = "reset"

    def _wait(self, seconds: float | None, then: Callable[[], None] | None = None) -> None:
        """Do `then` after a while, unless something else comes first."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.later(seconds, then) if seconds is not None and then is not None else None

    def _set_power(self, on: bool) -> None:
        if on == self._power:
            return
        self._power = on
        if on:
            self._start(download=not self._straps.boot_high)
        else:
            self._hold()
            self._mode = "off"

    def _start(self, *, download: bool) -> None:
        self._wait(None)
        if download:
            self._mode = "download"
            self.server.send(self._log.download())
        else:
            self._run(POWER_ON)

    def _run(self, cause: int) -> None:
        with self._chip.open("rb") as file:
            file.seek(self.kind.chip.image_offset)
            head = file.read(4)
        if image.starts(head):
            self._mode = "running"
            self.board.power_on()
        else:
            self._mode = "blank"
            self.server.send(self._log.no_image(cause, int.from_bytes(head, "little")))
            self._wait(_AGAIN_S, lambda: self._run(WATCHDOG))

    def _flashed(self) -> None:
        self._hold()
        with self._chip.open("r+b") as file:
            file.write(b"\xff" * (self.kind.flash_mb << 20))
            for offset, data in image.stock_image(self.kind).items():
                file.seek(offset)
                file.write(data)
        self._nvs.unlink(missing_ok=True)
        if self._power:
            self._start(download=False)
        else:
            self._mode = "off"
