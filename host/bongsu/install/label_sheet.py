"""Many labels on A4 pages, as one PDF at their true size: for sheets of stickers, or to be cut out by its marks."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from bongsu.errors import UsageFault
from bongsu.install.label import DPI, Size

_A4_MM = (210.0, 297.0)
_MARK_MM = 2.5
_MM_PER_INCH = 25.4
_TITLE = "Bongsu labels"


@dataclass(frozen=True)
class Sheet:
    """Where labels stand on an A4 page, all in mm: the first one's upper left corner, a label's size, the steps to the
    next one, and how many there are.
    """

    left: float
    top: float
    width: float
    height: float
    step_x: float
    step_y: float
    columns: int
    rows: int

    @property
    def places(self) -> int:
        """How many labels one page takes."""
        return self.columns * self.rows


# By label sizes. The first is the common sheet of 21 stickers of 63.5 x 38.1 mm (Avery L7160).
SHEETS = {
    "62": Sheet(7.25, 15.15, 63.5, 38.1, 66.0, 38.1, 3, 7),
    "29x90": Sheet(13.0, 18.0, 90.0, 29.0, 94.0, 29.0, 2, 9),
}


def pdf(pictures: Sequence[Image.Image], size: Size, first: int = 1) -> bytes:
    """A PDF of A4 pages with these labels (label.draw), at least one. `first`: the place on the first page at which to
    begin, counted by rows from 1: a sheet of stickers that is used in part. Raises UsageFault.
    """
    sheet = SHEETS[size.name]
    if not 1 <= first <= sheet.places:
        raise UsageFault(f"a page has the places 1 to {sheet.places}, not {first}", "Name one of them: --first 1")
    pages: list[Image.Image] = []
    for place, picture in enumerate(pictures, first - 1):
        if place % sheet.places == 0 or not pages:
            pages.append(Image.new("1", (_dots(_A4_MM[0]), _dots(_A4_MM[1])), 255))
        _put(pages[-1], picture, sheet, place % sheet.places)
    out = io.BytesIO()
    pages[0].save(out, "PDF", resolution=DPI, save_all=True, append_images=pages[1:], title=_TITLE)
    return out.getvalue()


def _dots(mm: float) -> int:
    return round(mm * DPI / _MM_PER_INCH)


def _put(page: Image.Image, picture: Image.Image, sheet: Sheet, place: int) -> None:
    """One label in the middle of its place, with a mark at each corner of the place."""
    row, column = divmod(place, sheet.columns)
    x, y = sheet.left + column * sheet.step_x, sheet.top + row * sheet.step_y
    left, top, width, height = _dots(x), _dots(y), _dots(sheet.width), _dots(sheet.height)
    pen, mark = ImageDraw.Draw(page), _dots(_MARK_MM)
    for at_x, to_x in ((left, 1), (left + width, -1)):
        for at_y, to_y in ((top, 1), (top + height, -1)):
            pen.line((at_x, at_y, at_x + to_x * mark, at_y), fill=0)
            pen.line((at_x, at_y, at_x, at_y + to_y * mark), fill=0)
    page.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
