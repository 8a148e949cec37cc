"""A market's shop list as a CSV file: bytes to rows, with every fault of the file's form named. Pure.

Accepted as spreadsheets write it: UTF-8 with or without byte order mark, or CP949 (Korean Windows); comma, semicolon or
tab; headers in English or Korean.
"""

import csv
import io
import re

from bongsu.receiver import shop_list
from bongsu.receiver.shop_list import MAX_BYTES, MAX_ROWS, Fault, Form, Line, is_text

# A quoted field may go over several rows; one that goes over more was never closed.
_RECORD_ROWS = 20
COLUMNS_MAX = 250
FAULTS_MAX = 200
_QUOTED = re.compile(r'"([^"]|"")*"')


def parse(data: bytes, form: Form = shop_list.SHOPS) -> tuple[list[Line], list[Fault]]:
    """(lines, faults) of a file. With a fault of the whole file or its header there are no lines.

    One bad line hides no other: a stray quotation mark is named and reading goes on with the next line; what is no text
    stays in its field (`is_text`), for the checks of the fields to name.
    """
    if len(data) > MAX_BYTES:
        return [], [Fault(0, "", "too_large", f"the file has {len(data)} bytes, at most {MAX_BYTES} are read")]
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return [], [Fault(0, "", "bad_encoding", "the file is UTF-16; save it as CSV UTF-8")]
    rows = list(io.StringIO(_decoded(data), newline=""))
    if not any(row.strip() for row in rows):
        return [], [Fault(0, "", "empty_file", "the file is empty")]
    faults: list[Fault] = []
    delimiter = _delimiter(rows[0])
    columns = _header(rows[0], delimiter, form, faults)
    lines = [] if faults else _lines(rows, delimiter, form, columns, faults)
    if not faults and not lines:
        faults.append(Fault(0, "", "no_rows", "the file has a header but no shop"))
    return lines, faults


def _decoded(data: bytes) -> str:
    """The text, in that of two encodings which fits better; bytes that are neither become lone surrogates."""
    texts = []
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            texts.append(data.decode(encoding, "surrogateescape"))
    return min(texts, key=shop_list.not_text)


def _header(row: str, delimiter: str, form: Form, faults: list[Fault]) -> list[str]:
    if not is_text(row):
        faults.append(Fault(1, "", "no_text", "the line is no text; is this really a CSV file? Save it as CSV UTF-8"))
        return []
    if row.count(delimiter) >= COLUMNS_MAX:
        faults.append(Fault(1, "", "too_many_columns", f"more than {COLUMNS_MAX} columns; is this really a shop list?"))
        return []
    try:
        return form.columns_of(next(csv.reader([row], delimiter=delimiter, strict=True)), faults)
    except (csv.Error, StopIteration) as err:
        faults.append(Fault(1, "", "bad_csv", f"not readable as CSV: {err}; look for a stray quotation mark"))
        return []


def _delimiter(first_line: str) -> str:
    return max(",;\t", key=first_line.count)


def _lines(rows: list[str], delimiter: str, form: Form, columns: list[str], faults: list[Fault]) -> list[Line]:
    out: list[Line] = []
    at, shops = 1, 0
    while at < len(rows):
        number, (cells, used) = at + 1, _record(rows, at, delimiter)
        at += used
        if cells is not None and not any(cell.strip() for cell in cells):
            continue
        shops += 1
        if shops > MAX_ROWS:
            faults.append(Fault(number, "", "too_many_rows", f"more than {MAX_ROWS} shops; split the file"))
            break
        if cells is None:
            cells = rows[number - 1].rstrip("\r\n").split(delimiter)
            faults.append(_quote_fault(number, cells, columns))
        elif len(cells) != len(columns):
            said = f"the line has {len(cells)} fields, the header {len(columns)}"
            faults.append(Fault(number, "", "field_count", said))
        if len(faults) >= FAULTS_MAX:
            faults.append(Fault(number, "", "too_many_faults", "there are too many faults: what follows was not read"))
            break
        if len(cells) == len(columns):
            out.append(form.line(number, columns, cells))
    return out


def _record(rows: list[str], at: int, delimiter: str) -> tuple[list[str] | None, int]:
    """(cells, rows used) of the shop that begins at `at`; (None, 1) if its quotation marks are wrong."""
    if not rows[at].strip():
        return [], 1
    reader = csv.reader(rows[at : at + _RECORD_ROWS], delimiter=delimiter, strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return None, 1


def _quote_fault(number: int, cells: list[str], columns: list[str]) -> Fault:
    """The fault of a line that is not readable, with its column as far as that can be told."""
    stray = next((i for i, cell in enumerate(cells) if cell.startswith('"') and not _QUOTED.fullmatch(cell)), None)
    column = columns[stray] if stray is not None and len(cells) == len(columns) else ""
    said = "a quotation mark is out of place: a field that begins with one ends with one, and doubles those inside it"
    return Fault(number, column, "bad_csv", said)
