"""Labels read back by other hands: QR codes by zxing-cpp, PDF pages by pdfium, Brother's raster commands by a reader
that knows nothing of how they are written here.
"""

from dataclasses import dataclass, field

import pypdfium2
import zxingcpp
from PIL import Image

DPI = 300


def codes(picture: Image.Image) -> list[str]:
    """The texts of the QR codes in a picture."""
    found = zxingcpp.read_barcodes(picture.convert("L"))
    return sorted(one.text for one in found if one.format == zxingcpp.BarcodeFormat.QRCode)


def pages(pdf: bytes) -> list[Image.Image]:
    """The pages of a PDF in dots of 300 dpi."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [page.render(scale=DPI / 72).to_pil() for page in document]
    finally:
        document.close()


@dataclass
class Printed:
    """A label as it comes out of the printer: its dots as rows of "#" and " ", and what was said of it."""

    rows: list[str] = field(default_factory=list)
    information: bytes = b""
    margin: int = -1
    cut: bool = False
    fed_out: bool = False


class QlPrinter:
    """Takes the bytes of a job apart, command by command; anything unknown fails the test."""

    def __init__(self) -> None:
        self.labels: list[Printed] = []

    def take(self, job: bytes) -> list[Printed]:
        assert job[:400] == bytes(400) and job[400:402] == b"\x1b@", "no clean beginning"
        at, now, raster_mode = 402, Printed(), False
        while at < len(job):
            op = job[at]
            if op == 0x1B:
                kind, at, raster_mode = self._setting(job, at, now, raster_mode)
            elif op == 0x67:
                assert raster_mode and job[at + 1 : at + 3] == b"\x00\x5a", f"no raster line at {at}"
                now.rows.append(self._dots(job[at + 3 : at + 93]))
                at += 93
            else:
                assert op in (0x0C, 0x1A), f"unknown command {op:#x} at {at}"
                now.fed_out = op == 0x1A
                self.labels.append(now)
                now, at = Printed(), at + 1
        assert self.labels[-1].fed_out and not any(label.fed_out for label in self.labels[:-1])
        return self.labels

    @staticmethod
    def _setting(job: bytes, at: int, now: Printed, raster_mode: bool) -> tuple[str, int, bool]:
        assert job[at + 1] == ord("i")
        kind = chr(job[at + 2])
        size = {"a": 1, "z": 10, "M": 1, "A": 1, "K": 1, "d": 2}[kind]
        value = job[at + 3 : at + 3 + size]
        assert len(value) == size
        if kind == "a":
            raster_mode = value == b"\x01"
        elif kind == "z":
            now.information = value
        elif kind == "M":
            now.cut = bool(value[0] & 0x40)
        elif kind == "d":
            now.margin = value[0] + 256 * value[1]
        return kind, at + 3 + size, raster_mode

    @staticmethod
    def _dots(line: bytes) -> str:
        assert len(line) == 90
        bits = "".join(f"{byte:08b}" for byte in line)
        return bits[::-1].replace("1", "#").replace("0", " ")  # the head counts its pins from the right


def rows_of(picture: Image.Image) -> list[str]:
    """A picture's dots as `Printed.rows` has them."""
    return [
        "".join(" " if picture.getpixel((x, y)) else "#" for x in range(picture.width)) for y in range(picture.height)
    ]
