"""The serial line of a board whose interpreter has a REPL: what it prints goes out as an ESP32 sends it, and what comes
in is typed to it. All methods run in the board's thread."""

import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bongsu.sim.life import Life

_CTRL_C = b"\x03"
_SOFT_REBOOT = b"MPY: soft reboot\r\n"
# A lone line feed of print(): the chip's print() sends two characters.
_LINE_FEED = re.compile(rb"(?<!\r)\n")
_BANNER = re.compile(rb"; (?:linux|darwin) \[[^\]\r\n]*\] version")


@dataclass(frozen=True)
class ChipPins:
    """GPIO numbers of a chip: all, those that only hear, those of the flash, those of both converters; `adc_mv`: the
    lowest and the highest voltage that one reads at 11 dB; `uart_tx`: UART number -> the pin that it drives where none
    is named."""

    gpio: list[int]
    input_only: list[int]
    flash: list[int]
    adc1: list[int]
    adc2: list[int]
    adc_mv: tuple[int, int]
    uart_tx: dict[str, int]


@dataclass(frozen=True)
class Image:
    """The MicroPython image that a board runs: `machine` and `build` as os.uname() and sys.implementation say them,
    `mpy`: sys.implementation._mpy; bytes of the whole flash; `pins`: what of the chip its machine module knows."""

    machine: str
    build: str
    mpy: int
    flash_bytes: int
    pins: "ChipPins"


class Console:
    """`send` takes what the board says; `booted` is told each start of the chip (its cause, of sim.supervisor) before
    the board says anything; a soft reset is none. Both are called in the board's thread and must be quick."""

    def __init__(self, image: Image, send: Callable[[bytes], None], booted: Callable[[int], None]) -> None:
        self.image = image
        self.booted = booted
        self._send = send
        self._last = b""
        # Stands for a line feed of sys.stdout.buffer, which the chip sends as it is.
        self._raw_line_feed = secrets.token_hex(16)
        self._interruptible = False

    def config(self, mode: str) -> dict[str, Any]:
        """What the shims must know to start with a REPL in `mode` (friendly, raw)."""
        self._interruptible = False
        return {"mode": mode, "raw_line_feed": self._raw_line_feed, **asdict(self.image)}

    def soft_reboot(self) -> None:
        """The interpreter has ended, and will start anew."""
        self._send(_SOFT_REBOOT)

    def started(self) -> None:
        """boot.py comes now: from here on Ctrl-C interrupts."""
        self._interruptible = True

    def heard(self, data: bytes) -> None:
        """The interpreter printed this."""
        line_feed = self._last == b"\r" and data.startswith(b"\n")
        self._last = data[-1:]
        cooked = _LINE_FEED.sub(b"\r\n", data)
        if line_feed:
            cooked = cooked[1:]
        machine = self.image.machine.encode()
        cooked = _BANNER.sub(lambda _: b"; " + machine, cooked)
        self._send(cooked.replace(self._raw_line_feed.encode(), b"\n"))

    def type_in(self, life: Life, data: bytes) -> None:
        """Bytes from the other side. Ctrl-C interrupts the program that runs; where none does, the REPL reads it."""
        *before, rest = data.split(_CTRL_C)
        for part in before:
            life.type_in(part)
            if not (self._interruptible and life.interrupt()):
                life.type_in(_CTRL_C)
        life.type_in(rest)
