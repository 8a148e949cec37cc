"""A virtual board behind a serial port, as a devkit has it: its resets, its boot strap, its loader, its REPL.

with Rig(folder, mac="a0b1c2d3e4f5") as rig:
    rig.flashed()
    rig.power(True)
    print(rig.url)          # rfc2217://127.0.0.1:...
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from bongsu.errors import BongsuError
from bongsu.install.boards import Board, load_board
from bongsu.sim.board import VirtualBoard
from bongsu.sim.console import ChipPins, Console, Image
from bongsu.sim.rig.chip import Chip, ChipFlash, Wires
from bongsu.sim.rig.faults import Faults
from bongsu.sim.rig.loop import Loop
from bongsu.sim.rig.rom_chip import RomChip
from bongsu.sim.rig.server import SerialServer

# MicroPython 6.3 bytecode, with the chip's native code (sys.implementation._mpy).
_MPY = {"esp32": 11014, "esp32s3": 11014, "esp32c3": 12038, "esp32c6": 12038}
# As the images of micropython.org name the chip and themselves (os.uname().machine, sys.implementation._build).
_NAMES = {"esp32": "ESP32", "esp32s3": "ESP32S3", "esp32c3": "ESP32C3", "esp32c6": "ESP32C6"}
_BUILDS = {name: f"ESP32_GENERIC_{name[5:].upper()}".rstrip("_") for name in _NAMES}
# What a converter reads at 11 dB at least and at most, mV (ESP-IDF Programming Guide of each chip, ADC, attenuation).
_ADC_MV = {"esp32": (142, 3300), "esp32s3": (0, 3100), "esp32c3": (0, 2500), "esp32c6": (0, 3300)}
# (ssid, psk, RSSI)
OPEN_NETWORK = ("bongsu-rig", None, -55)


class Rig:
    """`folder`: where the chip's flash and NVS live; `mac`: 12 hex digits; `board`: of boards/; `speed`: board seconds
    per wall second; `networks`: (ssid, psk or None, RSSI in dBm) on the air; `sensors`: entries as of node.json that
    hang on the board's pins (else what the board usually carries); `port`: of the network, 0: the system's choice."""

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
        port: int = 0,
    ) -> None:
        kind = load_board(board)
        rom_chip = RomChip(kind.chip.name, mac)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the flash holds keys
        self._busy = self._pulled = False
        self._flash = ChipFlash(folder, kind)
        self._loop = Loop(f"rig-{mac}")
        console = Console(_image(kind), self._said, self._booted)
        fs = self._flash.file_system
        self.board = VirtualBoard(folder, node_id=mac, speed=speed, seed=seed, image=fs, console=console)
        entries = [dict(entry) for entry in kind.sensors] if sensors is None else sensors
        self.board.wire({"pins": kind.pins, "sensors": entries})
        self.board.set_networks(networks)
        self._server = SerialServer(self._loop, self._received, self._lines_changed, self._opened, port)
        wires = Wires(lambda: self._server.lines.straps, lambda: self._server.baud)
        self._chip = Chip(
            self._loop, self._flash, rom_chip, self.board, wires, self._server.send, lambda: self._set_cable(False)
        )
        self._loop.start()

    @property
    def url(self) -> str:
        """Of the serial port, with its control lines."""
        return self._server.url

    @property
    def bare_url(self) -> str:
        """Of the same port without control lines."""
        return self._server.bare_url

    @property
    def mode(self) -> str:
        """off, reset, download (the loader waits), blank (nothing to boot) or running."""
        return self._loop.call(lambda: self._chip.mode)

    def power(self, on: bool) -> None:
        """Switch the supply."""
        self._loop.call(lambda: self._chip.power(on))

    def cable(self, plugged: bool) -> None:
        """Pull the cable out, which is the supply too, or put it back: the connection breaks, and there is no other
        meanwhile."""
        self._loop.call(lambda: self._set_cable(plugged))

    def reset(self, *, download: bool = False) -> None:
        """Press the reset button; `download`: while the boot button is held, so that the loader waits."""
        self._loop.call(lambda: self._press_reset(download))

    def set_faults(self, faults: Mapping[str, Any]) -> None:
        """What goes wrong from now on, and nothing else: the fields of faults.Faults, and "busy": somebody else has the
        port open; "full": MicroPython's file system is; "bytes_per_s": how slow the line is. Raises BongsuError for
        what is no fault."""
        self._loop.call(lambda: self._set_faults(dict(faults)))

    def flashed(self) -> None:
        """Put a bootable image on an erased flash, as esptool would have; with power the board then starts."""
        self._loop.call(self._put_image)

    def close(self) -> None:
        """End it; the folder stays."""
        self._loop.call(self._server.close)
        self.board.close()
        self._loop.close()

    def __enter__(self) -> "Rig":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- in the board's thread

    def _said(self, data: bytes) -> None:
        self._loop.post(lambda: self._chip.say(data))

    def _booted(self, cause: int) -> None:
        self._loop.post(lambda: self._chip.say(self._chip.log.run(cause)))

    # -- in the loop

    def _received(self, data: bytes) -> None:
        self._chip.heard(data)

    def _opened(self) -> None:
        self._chip.settle()

    def _lines_changed(self) -> None:
        self._chip.straps_changed()

    def _set_cable(self, plugged: bool) -> None:
        self._pulled = not plugged
        self._hold_port()
        if plugged:
            self._chip.plugged()
        else:
            self._server.drop()
        self._chip.power(plugged)

    def _set_faults(self, faults: dict[str, Any]) -> None:
        busy, full = bool(faults.pop("busy", False)), bool(faults.pop("full", False))
        rate = faults.pop("bytes_per_s", None)
        if rate is not None and not rate > 0:
            raise BongsuError(f"fault bytes_per_s is above 0, not {rate!r}")
        self._chip.faults = Faults.named(faults)
        self._busy = busy
        self._hold_port()
        self._server.bytes_per_s = rate
        self.board.set_flash_full(full)

    def _hold_port(self) -> None:
        self._server.held = self._busy or self._pulled

    def _press_reset(self, download: bool) -> None:
        if self._chip.mode != "off":
            self._chip.hold()
            self._chip.start(download=download)

    def _put_image(self) -> None:
        powered = self._chip.mode != "off"
        self._chip.hold()
        self._flash.put_stock_image()
        self._chip.power(False)
        self._chip.power(powered)


def _image(board: Board) -> Image:
    """What the image that belongs on a board says of itself."""
    chip = board.chip.name
    machine = f"Generic {_NAMES[chip]} module with {_NAMES[chip]}"
    pins = ChipPins(
        gpio=list(board.chip.gpio),
        input_only=list(board.chip.input_only),
        flash=[*board.chip.flash, *board.flash_pins],
        adc1=list(board.chip.adc1),
        adc2=list(board.chip.adc2),
        adc_mv=_ADC_MV[chip],
        uart_tx={"1": 10, str(board.chip.uart): board.chip.uart_tx},
    )
    return Image(machine, _BUILDS[chip], _MPY[chip], board.flash_mb << 20, pins)
