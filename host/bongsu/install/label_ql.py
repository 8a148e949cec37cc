"""Labels for Brother QL printers (QL-710W, 720NW, 800, 810W, 820NWB): the raster commands of Brother's "Software
Developer's Manual, Raster Command Reference", and the way to the printer.

The print head has 720 pins of 300 dpi. A line of raster begins at the pin on the right edge of what comes out, so a
picture goes out mirrored. Nothing is compressed: the QL-800 takes no compressed data.
"""

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from PIL import Image, ImageChops, ImageOps

from bongsu.errors import BongsuError, UsageFault
from bongsu.install.label import Size

PINS = 720
RAW_PORT = 9100
_LINE_BYTES = PINS // 8
_CONTINUOUS, _DIE_CUT = 0x0A, 0x0B
# "Print information": media type, width and length are valid; priority given to print quality.
_VALID = 0x02 | 0x04 | 0x08 | 0x40
# The printer forgets what it was in the middle of after 200 bytes of zero; QL-800 and later want 400.
_INVALIDATE = bytes(400)
_INITIALIZE = b"\x1b@"
_RASTER_MODE = b"\x1bia\x01"
_AUTO_CUT = b"\x1biM\x40"
_CUT_EACH = b"\x1biA\x01"
_CUT_AT_END = b"\x1biK\x08"
_PRINT, _PRINT_LAST = b"\x0c", b"\x1a"
_CONNECT_S, _SEND_S = 5.0, 60.0


class PrinterError(BongsuError):
    """The printer is not to be reached."""


@dataclass(frozen=True)
class Tape:
    """A tape as the printer knows it: mm (length 0: continuous), unused pins on its right, pins that print, dots of
    margin before and after, and whether the picture lies along it.
    """

    width_mm: int
    length_mm: int
    right_pins: int
    print_pins: int
    margin_dots: int
    along: bool


# By label sizes (label.SIZES). Continuous tape needs a margin of at least 3 mm (35 dots), die-cut labels have none.
TAPES = {"62": Tape(62, 0, 12, 696, 35, along=False), "29x90": Tape(29, 90, 6, 306, 0, along=True)}


def raster(pictures: Sequence[Image.Image], size: Size) -> bytes:
    """What makes the printer print these labels (label.draw), cutting after each. Raises ValueError if a picture is not
    of this size.
    """
    tape = TAPES[size.name]
    out = [_INVALIDATE, _INITIALIZE]
    for number, picture in enumerate(pictures):
        if picture.size != (size.width, size.height):
            raise ValueError(f"picture of {picture.size}, not of {size.name}")
        lines = _lines(picture, tape)
        last = number == len(pictures) - 1
        out += [_page_head(tape, len(lines), first=number == 0), *(b"g\x00Z" + line for line in lines)]
        out.append(_PRINT_LAST if last else _PRINT)
    return b"".join(out)


def _page_head(tape: Tape, lines: int, *, first: bool) -> bytes:
    media = _DIE_CUT if tape.length_mm else _CONTINUOUS
    information = bytes((_VALID, media, tape.width_mm, tape.length_mm)) + lines.to_bytes(4, "little")
    information += bytes((0 if first else 1, 0))
    margin = b"\x1bid" + tape.margin_dots.to_bytes(2, "little")
    return b"".join((_RASTER_MODE, b"\x1biz", information, _AUTO_CUT, _CUT_EACH, _CUT_AT_END, margin))


def _lines(picture: Image.Image, tape: Tape) -> list[bytes]:
    """The picture line by line as it leaves the printer: 720 bits each, 1 = black, the right edge first."""
    if tape.along:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    head = Image.new("1", (PINS, picture.height), 255)
    head.paste(picture, (PINS - tape.right_pins - tape.print_pins, 0))
    data = ImageChops.invert(ImageOps.mirror(head)).tobytes()
    return [data[at : at + _LINE_BYTES] for at in range(0, len(data), _LINE_BYTES)]


def send(target: str, data: bytes) -> None:
    """Send it to a printer: a device file (/dev/usb/lp0), or tcp://HOST or tcp://HOST:9100. Raises UsageFault for what
    is neither, PrinterError.
    """
    if target.startswith("tcp://"):
        _send_by_net(target, data)
    elif "://" in target:
        raise UsageFault(f"{target} is no printer", "Name a device file, or tcp://HOST:9100")
    else:
        _send_by_file(target, data)


def _send_by_net(target: str, data: bytes) -> None:
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port or RAW_PORT
    except ValueError:
        host = None
    if not host:
        raise UsageFault(f"{target} names no printer", "For example: tcp://192.0.2.30:9100")
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S) as line:
            line.settimeout(_SEND_S)
            line.sendall(data)
    except OSError as err:
        why = "no answer in time" if isinstance(err, TimeoutError) else err.strerror or err
        step = "Is it switched on, with its lid closed, and in this network?"
        raise PrinterError(f"the printer {host}:{port} is not to be reached: {why}", step) from None


def _send_by_file(path: str, data: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY)  # and no O_CREAT: a printer that is not there is no file to make
        with os.fdopen(fd, "wb", buffering=0) as device:
            left = memoryview(data)
            while left:
                left = left[device.write(left) or 0 :]
    except OSError as err:
        _explain(path, err)


def _explain(path: str, err: OSError) -> NoReturn:
    steps = {
        errno.ENOENT: "Is it plugged in and switched on? See: ls /dev/usb/lp*",
        errno.EACCES: 'Let this user print, and log in again: sudo usermod -aG lp "$USER"',
        errno.EBUSY: "Another program prints: wait for it, or stop its queue.",
    }
    step = steps.get(err.errno or 0, "Look at its display: is there tape in it, and is its lid closed?")
    raise PrinterError(f"the printer {path} does not take the label: {err.strerror}", step) from None
