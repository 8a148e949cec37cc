"""Scripts that run on the board, in its raw REPL: small, of what every stock ESP32 image of MicroPython has, and with
no secret in what they print.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """What a board says of itself. mac: 12 hex digits; platform: "esp32"; machine: "Generic ESP32 module with ESP32";
    version: "1.25.0"; mpy: sys.implementation._mpy, 0: it runs no bytecode; fs: its file system; free_bytes of it;
    key_epoch: of a usable identity in NVS, None: none.
    """

    mac: str
    platform: str
    machine: str
    version: str
    mpy: int
    fs: Literal["ok", "corrupt", "none"]
    free_bytes: int
    key_epoch: int | None
