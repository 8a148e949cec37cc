"""A market's shop list as an Excel workbook (.xlsx, .xlsm): bytes to rows, with every fault of its form named. Pure.

Of the workbook only cells are read, of one sheet: no macro, no link to another file, no formula is followed (a formula
counts with the value that Excel stored for it). A file from a stranger is measured before it is unpacked, since a few
kilobytes can hold gigabytes. Excel's habits are undone where that is safe (a telephone number that became 1012345678.0)
and named where it is not (a shop number 1-7 that became a date).
"""

import datetime as dt
import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence, Set
from decimal import Decimal
from math import isfinite
from typing import Any

from bongsu.receiver import shop_list
from bongsu.receiver.shop_list import MAX_BYTES, MAX_ROWS, Fault, Form, Line

# Unpacked: 20,000 shops with all columns are about 20 MB.
MAX_UNPACKED = 48_000_000
MAX_PARTS = 1_000
MAX_COLUMNS = 250
# Rows that are looked at, with empty ones between.
MAX_SHEET_ROWS = 100_000
# Above the header a list may have so many lines of title.
TITLE_ROWS = 10
_OLE = b"\xd0\xcf\x11\xe0"
# No "<" inside: what begins at one tag is not looked for behind the next, so that time grows with the length only.
_MERGED = re.compile(rb"<(?:[A-Za-z0-9_]{1,40}:)?mergeCell\s([^<>]{0,400})")
_REF = re.compile(rb"""\bref=["']([A-Z]{1,3})([0-9]{1,7}):([A-Z]{1,3})([0-9]{1,7})["']""")
_FORMULA = re.compile(rb"<(?:[A-Za-z0-9_]{1,40}:)?f[\s>/]")
_ERRORS = re.compile(r"#(REF!|N/A|NAME\?|VALUE!|DIV/0!|NULL!|NUM!|SPILL!|CALC!|GETTING_DATA)")


class _Refused(Exception):
    """The workbook as a whole cannot be read."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(0, "", code, message)


def is_workbook(data: bytes) -> bool:
    """True for what Excel writes, of any age; a CSV file never begins so."""
    return data.startswith((b"PK\x03\x04", b"PK\x05\x06", _OLE))


def parse(data: bytes, sheet: str | None = None, form: Form = shop_list.SHOPS) -> tuple[list[Line], list[Fault]]:
    """(lines, faults) of a sheet; the number of a line is the sheet's row. `sheet`: its name, needed if several have
    cells.
    """
    try:
        parts = _checked_parts(data)
        return _parsed(data, sheet, parts, form)
    except _Refused as err:
        return [], [err.fault]


def _checked_parts(data: bytes) -> dict[str, bytes]:
    """The workbook's XML, unpacked under a limit. Raises _Refused."""
    if len(data) > MAX_BYTES:
        raise _Refused("too_large", f"the file has {len(data)} bytes, at most {MAX_BYTES} are read")
    if data.startswith(_OLE):
        raise _Refused(
            "old_excel", "the file is an old Excel file (.xls), or has a password; save it as .xlsx without one"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            infos = packed.infolist()
            total = sum(i.file_size for i in infos)
            if len(infos) > MAX_PARTS or total > MAX_UNPACKED:
                raise _Refused("too_large", f"unpacked the file has {total} bytes, at most {MAX_UNPACKED} are read")
            # zipfile reads no more of a part than its announced size, and then checks its sum.
            xml = (i for i in infos if i.filename.lower().endswith((".xml", ".rels")))
            parts = {i.filename: packed.read(i) for i in xml}
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        RuntimeError,
        NotImplementedError,
        OSError,
        EOFError,
        ValueError,
    ) as e:
        raise _Refused("bad_xlsx", f"the file is not readable as an Excel workbook ({type(e).__name__})") from None
    for name, content in parts.items():
        plain = content.replace(b"\0", b"")
        if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
            raise _Refused("bad_xlsx", f"the workbook's part {name[:60]!r} defines entities; Excel never does")
    return parts


def _parsed(data: bytes, wanted: str | None, parts: dict[str, bytes], form: Form) -> tuple[list[Line], list[Fault]]:
    import openpyxl  # 0.2 s; a CSV file needs it not

    with warnings.catch_warnings():  # it warns of decoration that it does not keep
        warnings.simplefilter("ignore")
        return _with(openpyxl, data, wanted, parts, form)


def _with(
    openpyxl: Any, data: bytes, wanted: str | None, parts: dict[str, bytes], form: Form
) -> tuple[list[Line], list[Fault]]:
    try:
        book = openpyxl.load_workbook(
            io.BytesIO(data), read_only=True, data_only=True, keep_links=False, keep_vba=False
        )
        try:
            sheet = _sheet(book, wanted)
            xml = parts.get(sheet._worksheet_path.lstrip("/"), b"")
            formulas = _formula_cells(data, sheet.title) if _FORMULA.search(xml) else set()
            return _Reader(form, formulas, _merged(xml)).read(_rows(sheet, formulas))
        finally:
            book.close()
    except _Refused:
        raise
    except Exception as err:  # openpyxl raises anything for a file that somebody bent
        raise _Refused("bad_xlsx", f"the file is not readable as an Excel workbook ({type(err).__name__})") from None


def _sheet(book: Any, wanted: str | None) -> Any:
    """The sheet of that name; without a name the only one that has cells."""
    sheets = {s.title: s for s in book.worksheets}
    if wanted is not None:
        if wanted not in sheets:
            raise _Refused("no_sheet", f"there is no sheet {wanted[:40]!r}; there are: {', '.join(sheets)}"[:300])
        return sheets[wanted]
    filled = [s for s in sheets.values() if next(iter(_rows(s)), None) is not None]
    if not filled:
        raise _Refused("empty_file", "the workbook has no cells")
    if len(filled) > 1:
        names = ", ".join(s.title for s in filled)
        raise _Refused("several_sheets", f"several sheets have cells ({names}); name one by --sheet"[:300])
    return filled[0]


def _rows(sheet: Any, formulas: Set[tuple[int, int]] = frozenset()) -> Iterator[tuple[int, list[Any]]]:
    """(row number, cells) of the rows that are not empty. Raises _Refused for a sheet without end. `formulas`: cells
    that are computed, and so not empty even if no value was stored.
    """
    sheet.reset_dimensions()  # what the file says of its size may be anything
    for number, cells in enumerate(sheet.iter_rows(max_col=MAX_COLUMNS), 1):
        if number > MAX_SHEET_ROWS:
            raise _Refused("too_many_rows", f"the sheet has more than {MAX_SHEET_ROWS} rows; delete the empty ones")
        found = list(cells)
        while found and found[-1].value in (None, "") and (number, len(found) - 1) not in formulas:
            found.pop()
        if found:
            yield number, found


def _formula_cells(data: bytes, title: str) -> set[tuple[int, int]]:
    """(row, column) of the cells that are computed."""
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, keep_links=False, keep_vba=False)
    try:
        rows = _rows(book[title])
        return {(n, i) for n, cells in rows for i, cell in enumerate(cells) if cell.data_type == "f"}
    finally:
        book.close()


def _merged(xml: bytes) -> list[tuple[int, int, str]]:
    """(first row, last row, "B2:B4") of merged cells."""
    found = (m.groups() for tag in _MERGED.finditer(xml) if (m := _REF.search(tag[1])))
    return [(int(r1), int(r2), f"{c1.decode()}{int(r1)}:{c2.decode()}{int(r2)}") for c1, r1, c2, r2 in found]


class _Reader:
    """Makes lines of rows, and names what is wrong with each."""

    def __init__(self, form: Form, formulas: set[tuple[int, int]], merged: list[tuple[int, int, str]]) -> None:
        self._form = form
        self._formulas = formulas
        self._merged = merged
        self._faults: list[Fault] = []

    def read(self, rows: Iterator[tuple[int, list[Any]]]) -> tuple[list[Line], list[Fault]]:
        """(lines, faults); without lines if the header is wrong."""
        all_rows = list(rows)
        at = next((i for i, (_, cells) in enumerate(all_rows[:TITLE_ROWS]) if self._is_header(cells)), 0)
        number, header = all_rows[at]
        columns = self._form.columns_of([_plain(c.value) for c in header], self._faults, number)
        self._name_merged(number)
        if self._faults:
            return [], self._faults
        lines = [self._line(n, columns, cells) for n, cells in all_rows[at + 1 : at + 2 + MAX_ROWS]]
        if len(lines) > MAX_ROWS:
            self._faults.append(Fault(0, "", "too_many_rows", f"more than {MAX_ROWS} shops; split the file"))
        if not lines:
            self._faults.append(Fault(0, "", "no_rows", "the sheet has a header but no shop"))
        return [found for found in lines if found is not None], self._faults

    def _is_header(self, cells: Sequence[Any]) -> bool:
        return sum(self._form.column_of(_plain(c.value)) is not None for c in cells) >= 2

    def _name_merged(self, header: int) -> None:
        for first, last, where in self._merged:
            if last >= header:
                said = f"the cells {where} are merged; unmerge them, and fill in each"
                self._faults.append(Fault(max(first, header), "", "merged_cells", said))

    def _line(self, number: int, columns: Sequence[str], cells: Sequence[Any]) -> Line | None:
        if len(cells) > len(columns):
            said = f"the row has {len(cells)} cells, the header {len(columns)}"
            self._faults.append(Fault(number, "", "field_count", said))
            return None
        texts = [self._text(number, columns[i], i, cell) for i, cell in enumerate(cells)]
        return self._form.line(number, columns, texts + [""] * (len(columns) - len(texts)))

    def _text(self, number: int, column: str, at: int, cell: Any) -> str:
        value, fault = cell.value, None
        if value is None and cell.data_type != "str" and (number, at) in self._formulas:  # str: an empty text is stored
            fault = ("formula", "the cell is a formula without a stored value; put in the value itself")
        elif cell.data_type == "e" or (isinstance(value, str) and _ERRORS.fullmatch(value)):
            fault = ("formula", f"the cell shows the error {value}; put in the value itself")
        elif isinstance(value, dt.date | dt.time | dt.timedelta):
            fault = ("date", "Excel made a date or time of it; format the cell as text, and type it again")
        elif isinstance(value, bool):
            fault = ("bad_choice", "the cell is TRUE or FALSE; format it as text, and type it again")
        if fault is not None:
            self._faults.append(Fault(number, column, *fault))
            return ""
        return _plain(value)


def _plain(value: Any) -> str:
    """A cell's value as people see it: 7.0 is 7, and a telephone number has no exponent."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) and isfinite(value) else str(value)
