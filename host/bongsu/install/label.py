"""The label of a node: what stands on it, its QR text, and its picture in dots of 300 dpi (label_ql.py prints it,
label_sheet.py puts many on a page).

    bongsu:1:<node id>:<site>/<unit>

is the QR's text: version 1; either part may be empty, so that a unit without a node, or a node without a unit, has one
too. Nothing secret is in it.
"""

import datetime as dt
import io
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import segno
from PIL import Image, ImageDraw, ImageFont

from bongsu.errors import UsageFault
from bongsu.install.label_font import FontError, Typeface, find
from bongsu.receiver import fields

DPI = 300
_QR_PREFIX = "bongsu:1:"
# ISO/IEC 18004: four modules of white around it.
_QUIET = 4
_BLACK, _WHITE = 0, 255
# Smaller letters than these of the sizes below cannot be read: 34 dots of them are 1.7 mm.
SMALLEST_PERCENT = 60
_MORE = "\N{HORIZONTAL ELLIPSIS}"


# What an emoji is made of: signs, those that join them, marks that choose their look, what Unicode gave out since.
_SIGNS = ("So", "Sk", "Cf", "Mn", "Cn")


class LabelError(UsageFault):
    """A text is no label's QR text, or there is no such label size."""


@dataclass(frozen=True)
class LabelText:
    """What stands on a label. `unit`: "site/unit" or None; `name`: the unit's, in big letters; `where`: where it is, in
    words; `spot`: where in the unit the node hangs; `day`: when it was fitted.
    """

    node_id: str
    unit: str | None
    name: str
    where: str
    spot: str
    day: dt.date

    def words(self) -> str:
        """Everything that is written on it."""
        return "".join((self.node_id, self.unit or "", self.name, self.where, self.spot, self.day.isoformat(), _MORE))

    def without_signs(self) -> "LabelText":
        """Without emoji and other signs that are no letters, digits or punctuation."""
        return replace(self, name=_letters(self.name), where=_letters(self.where), spot=_letters(self.spot))


@dataclass(frozen=True)
class Scanned:
    """What a QR text names; at least one of both."""

    node_id: str | None
    unit: tuple[str, str] | None


@dataclass(frozen=True)
class Box:
    """A place on the label, in dots from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Size:
    """A kind of label: its picture in dots of DPI as it is read, and what stands where."""

    name: str
    title: str
    width: int
    height: int
    qr: Box
    node: Box
    words: Box


# 62 mm tape: 696 dots of it can be printed on; 29 x 90 mm: 991 x 306 (label_ql.py has the source).
SIZES = {
    "62": Size(
        "62", "62 mm tape", 696, 410, qr=Box(0, 0, 300, 300), node=Box(14, 302, 668, 96), words=Box(304, 26, 380, 262)
    ),
    "29x90": Size(
        "29x90",
        "29 x 90 mm die-cut labels",
        991,
        306,
        qr=Box(0, 0, 306, 306),
        node=Box(312, 6, 667, 92),
        words=Box(312, 104, 667, 196),
    ),
}


def size_of(name: str) -> Size:
    """The size by its name. Raises LabelError."""
    if name not in SIZES:
        raise LabelError(f"there is no label size {name!r}", f"Known sizes: {', '.join(SIZES)}")
    return SIZES[name]


def qr_text(node_id: str | None, unit: str | None) -> str:
    """The text of a label's QR code; `unit` as "site/unit"."""
    return f"{_QR_PREFIX}{node_id or ''}:{unit or ''}"


def parse_qr(text: str) -> Scanned:
    """What a scanned text names. Blanks around it and capital letters, which some scanners make, do no harm. Raises
    LabelError.
    """
    node, sign, unit = text.strip().lower().removeprefix(_QR_PREFIX).partition(":")
    if not text.strip().lower().startswith(_QR_PREFIX) or not sign or not (node or unit):
        raise LabelError("this is not the QR code of a label", "Scan the code on the label, or type SITE/UNIT.")
    return Scanned(fields.node_id(node) if node else None, fields.unit_address(unit) if unit else None)


def _letters(text: str) -> str:
    kept = (c for c in text if unicodedata.category(c) not in _SIGNS)
    return " ".join("".join(kept).split())


def draw(text: LabelText, size: Size, font: Path | None = None) -> Image.Image:
    """The label's picture (mode "1", DPI), as it is read. `font`: a font file instead of the machine's own. Raises
    FontError if no font has its letters; signs that none has (emoji in a shop's name) are left out.
    """
    try:
        face = find(text.words(), font)
    except FontError:
        text = text.without_signs()
        face = find(text.words(), font)
    picture = Image.new("1", (size.width, size.height), _WHITE)
    pen = ImageDraw.Draw(picture)
    _draw_qr(pen, qr_text(text.node_id, text.unit), size.qr)
    _write_words(pen, text, size.words, face)
    _write_id(pen, text.node_id, size.node, face)
    return picture


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file, with its resolution."""
    out = io.BytesIO()
    picture.save(out, "PNG", dpi=(DPI, DPI))
    return out.getvalue()


def _draw_qr(pen: ImageDraw.ImageDraw, text: str, box: Box) -> None:
    """The code in whole dots a module, with its quiet zone inside of the box, in the middle of it."""
    matrix = [list(row) for row in segno.make(text, error="m", micro=False).matrix]
    whole = len(matrix) + 2 * _QUIET
    dot = min(box.width, box.height) // whole
    left, top = box.x + (box.width - whole * dot) // 2, box.y + (box.height - whole * dot) // 2
    for y, row in enumerate(matrix):
        for x, dark in enumerate(row):
            if dark:
                at = (left + (x + _QUIET) * dot, top + (y + _QUIET) * dot)
                pen.rectangle((*at, at[0] + dot - 1, at[1] + dot - 1), fill=_BLACK)


def _write_words(pen: ImageDraw.ImageDraw, text: LabelText, box: Box, face: Typeface) -> None:
    """The words below each other, all of them in the same proportion as big as they fit into the box; what does not fit
    at the smallest ends with an ellipsis.
    """
    paragraphs = [
        _Paragraph(text.name, 60, 2),
        _Paragraph(text.where, 36, 2),
        _Paragraph(text.unit or "", 34, 2),
        _Paragraph(text.spot, 34, 1),
        _Paragraph(text.day.isoformat(), 34, 1),
    ]
    for percent in range(100, SMALLEST_PERCENT - 1, -5):
        lines, whole = _set(paragraphs, box.width, face, percent)
        if whole and _height(lines) <= box.height:
            break
    else:
        if _height(lines) > box.height:
            short = [replace(paragraph, lines=1) for paragraph in paragraphs]
            lines, _ = _set(short, box.width, face, SMALLEST_PERCENT)
    y = box.y
    for line, size in lines:
        pen.text((box.x, y), line, fill=_BLACK, font=face.at(size))
        y += _line_height(size)


@dataclass(frozen=True)
class _Paragraph:
    words: str
    size: int
    lines: int


def _set(paragraphs: list[_Paragraph], width: int, face: Typeface, percent: int) -> tuple[list[tuple[str, int]], bool]:
    """(Lines with their size at so many percent, are they whole)."""
    out: list[tuple[str, int]] = []
    whole = True
    for paragraph in paragraphs:
        size = paragraph.size * percent // 100
        lines = _wrapped(paragraph.words, width, face.at(size))
        if len(lines) > paragraph.lines:
            lines, whole = _cut(lines[: paragraph.lines], width, face.at(size)), False
        out += [(line, size) for line in lines]
    return out, whole


def _height(lines: list[tuple[str, int]]) -> int:
    return sum(_line_height(size) for _, size in lines)


def _line_height(size: int) -> int:
    return size * 5 // 4


def _wrapped(words: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines no wider than `width`, broken at blanks; within a word only if it is too wide by itself."""
    lines: list[str] = []
    for word in words.split():
        for piece in _pieces(word, width, font):
            longer = f"{lines[-1]} {piece}" if lines else piece
            if lines and font.getlength(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _pieces(word: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    pieces = [""]
    for char in word:
        if font.getlength(pieces[-1] + char) > width:
            pieces.append("")
        pieces[-1] += char
    return pieces


def _cut(lines: list[str], width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    last = lines[-1]
    while last and font.getlength(last + _MORE) > width:
        last = last[:-1]
    return [*lines[:-1], last + _MORE]


def _write_id(pen: ImageDraw.ImageDraw, node_id: str, box: Box, face: Typeface) -> None:
    """The node id in groups of four, in letters as wide as the box allows: it is what people read out on the phone."""
    groups = [node_id[at : at + 4] for at in range(0, len(node_id), 4)]
    size = box.height
    while _id_width(groups, face.at(size), size) > box.width:
        size -= 2
    x = float(box.x)
    for group in groups:
        pen.text((round(x), box.y + box.height // 2), group, fill=_BLACK, font=face.at(size), anchor="lm")
        x += face.at(size).getlength(group) + size / 3


def _id_width(groups: list[str], font: ImageFont.FreeTypeFont, size: int) -> float:
    return sum(font.getlength(group) for group in groups) + (len(groups) - 1) * size / 3
