"""What can be said of a serial port without a word to the board behind it: which boards have its USB id, which node it
is, if its serial number is a MAC, and what it says by itself.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import serial

from bongsu.install import ports
from bongsu.install.boards import BoardError, board_names, load_board
from bongsu.install.node_log import LineCutter, LogLine, parse, text_of
from bongsu.install.ports import Port

# Chips that have USB themselves give their MAC as the serial number.
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{12}")
_READ_AT_ONCE = 4096
READ_S = 0.1
# What a board says, and what that means; the first that fits counts.
_SIGNS = (
    (re.compile(r"waiting for download"), "it is in the ROM's loader"),
    (re.compile(r"invalid header"), "there is no program on it"),
    (re.compile(r"filesystem appears to be corrupted"), "its file system is damaged: provision or commission it again"),
    (re.compile(r"^(>>>|MicroPython v)"), "MicroPython waits at its prompt"),
    (re.compile(r"^boot\.py: \d+ s for service"), "it starts"),
)
NODE_LOG = "a node runs on it"
SILENT = "it said nothing"


def about(port: Port) -> dict[str, Any]:
    """A port with `boards` that have its USB id, and `node`: the node's id, where the USB serial number tells."""
    serial_number = port.serial_number or ""
    node = re.sub("[^0-9a-f]", "", serial_number.lower()) if _MAC.fullmatch(serial_number) else None
    return {
        "port": port.url,
        "title": port.title,
        "usb": port.usb,
        "serial_number": port.serial_number,
        "boards": boards_of(port.usb),
        "node": node,
    }


def boards_of(usb: str | None) -> list[str]:
    """The names of boards whose port, or whose chip's own port, has this USB id."""
    found = []
    for name in board_names() if usb else ():
        try:
            board = load_board(name)
        except BoardError:  # `bongsu board check` says what is wrong with it
            continue
        if usb in (*board.usb, *board.chip.usb):
            found.append(name)
    return found


def follow(
    line: serial.SerialBase,
    url: str,
    seconds: float | None,
    *,
    monotonic_s: Callable[[], float] = time.monotonic,
    wall_s: Callable[[], float] = time.time,
) -> Iterator[LogLine]:
    """The lines of an open port (opened with READ_S as its time-out), as they come, for so many seconds or for ever.
    Raises PortError.
    """
    cutter, index = LineCutter(), 0
    end = None if seconds is None else monotonic_s() + seconds
    while end is None or monotonic_s() < end:
        try:
            data = line.read(_READ_AT_ONCE)
        except (OSError, ValueError) as err:
            raise ports.explain(url, err) from None
        for raw in cutter.feed(data):
            yield parse(index, wall_s(), text_of(raw))
            index += 1
    for raw in cutter.end():
        yield parse(index, wall_s(), text_of(raw))


def meaning(lines: Sequence[LogLine]) -> str:
    """What a board is about, by what it said last."""
    for line in reversed(lines):
        if line.level:
            return NODE_LOG
        for sign, what in _SIGNS:
            if sign.search(line.text):
                return what
    return "it says nothing that is known" if lines else SILENT
