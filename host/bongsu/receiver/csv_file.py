"""A market's shop list as a CSV file: bytes to rows, with every fault of the file's form named. Pure.

Accepted as spreadsheets write it: UTF-8 with or without byte order mark, or CP949 (Korean Windows); comma, semicolon or
tab; headers in English or Korean.
"""

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bongsu.receiver import fields

if TYPE_CHECKING:
    from _csv import Reader

# Column -> what else its header may be called.
COLUMNS: dict[str, tuple[str, ...]] = {
    "unit": ("호", "호수", "점포번호", "번호", "동호수"),
    "name": ("상호", "점포명", "상호명"),
    "place": ("위치", "장소"),
    "owner": ("대표자", "점주", "대표", "소유자"),
    "owner_phone": ("대표자 전화", "점주 전화", "전화번호", "연락처", "휴대전화", "휴대폰"),
    "deputy": ("부책임자", "대리인"),
    "deputy_phone": ("부책임자 전화", "대리인 전화"),
    "lang": ("언어",),
    "node": ("기기", "단말", "단말기", "노드"),
}
REQUIRED = ("unit", "name", "place", "owner", "owner_phone")
MAX_BYTES = 8_000_000
MAX_ROWS = 20_000


@dataclass(frozen=True)
class Fault:
    """One thing wrong: `line` of the file (1 = header; 0 = the whole file), `column` ("" = the whole line), `code` for
    scripts, `message` for people.
    """

    line: int
    column: str
    code: str
    message: str


@dataclass(frozen=True)
class Line:
    """One shop: the line of the file on which it begins, and its fields by column; a column that the file lacks reads
    as "".
    """

    number: int
    values: dict[str, str] = field(repr=False)


def parse(data: bytes) -> tuple[list[Line], list[Fault]]:
    """(lines, faults) of a file. With a fault of the whole file or its header there are no lines; lines of a wrong form
    are left out, and named.
    """
    text, fault = _decoded(data)
    if fault is not None:
        return [], [fault]
    if not text.strip():
        return [], [Fault(0, "", "empty_file", "the file is empty")]
    first = text.splitlines()[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(first), strict=True)
    faults: list[Fault] = []
    try:
        header = next(reader)
        columns = _columns(header, faults)
        lines = [] if faults else _lines(reader, columns, faults)
    except csv.Error as err:
        faults.append(
            Fault(
                max(1, reader.line_num), "", "bad_csv", f"not readable as CSV: {err}; look for a stray quotation mark"
            )
        )
        return [], faults
    if not faults and not lines:
        faults.append(Fault(0, "", "no_rows", "the file has a header but no shop"))
    return lines, faults


def _decoded(data: bytes) -> tuple[str, Fault | None]:
    if len(data) > MAX_BYTES:
        return "", Fault(0, "", "too_large", f"the file has {len(data)} bytes, at most {MAX_BYTES} are read")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "", Fault(0, "", "bad_encoding", "the file is UTF-16; save it as CSV UTF-8")
    if b"\0" in data:
        return "", Fault(
            data.count(b"\n", 0, data.index(b"\0")) + 1,
            "",
            "nul_byte",
            "the line holds a NUL byte; is this really a CSV file?",
        )
    utf8_error = 0
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding), None
        except UnicodeDecodeError as err:
            utf8_error = utf8_error or err.start
    line = data.count(b"\n", 0, utf8_error) + 1
    return "", Fault(
        line,
        "",
        "bad_encoding",
        f"byte {utf8_error + 1} of the file is neither UTF-8 nor CP949 text; save it as CSV UTF-8",
    )


def _delimiter(first_line: str) -> str:
    return max(",;\t", key=first_line.count)


def _columns(header: list[str], faults: list[Fault]) -> list[str]:
    """The columns of the header line; what is missing, unknown or double goes into `faults`."""
    known = {alias.replace(" ", ""): name for name, aliases in COLUMNS.items() for alias in (name, *aliases)}
    found: list[str] = []
    for title in header:
        name = known.get(title.strip().lower().replace(" ", ""))
        if name is None:
            faults.append(
                Fault(
                    1,
                    title.strip()[:40],
                    "unknown_column",
                    f"column {fields.shown(title)} is not known; known: {', '.join(COLUMNS)}",
                )
            )
        elif name in found:
            faults.append(Fault(1, name, "double_column", f"column {name} is there twice"))
        found.append(name or "")
    faults.extend(
        Fault(1, name, "missing_column", f"column {name} is missing") for name in REQUIRED if name not in found
    )
    return found


def _lines(reader: "Reader", columns: list[str], faults: list[Fault]) -> list[Line]:
    out: list[Line] = []
    before = reader.line_num
    for cells in reader:
        number, before = before + 1, reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(out) >= MAX_ROWS:
            faults.append(Fault(number, "", "too_many_rows", f"more than {MAX_ROWS} shops; split the file"))
            break
        if len(cells) != len(columns):
            faults.append(
                Fault(number, "", "field_count", f"the line has {len(cells)} fields, the header {len(columns)}")
            )
            continue
        out.append(Line(number, {**dict.fromkeys(COLUMNS, ""), **dict(zip(columns, cells, strict=True))}))
    return out
