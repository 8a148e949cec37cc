"""A market's shop list, whatever file it comes in: its columns, the lines between, and what is wrong with them. Pure.

A unit may have several deputies and nodes: deputy, deputy_2, deputy_3, ...; node, node_2, ... Headers are understood in
English and Korean.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bongsu.receiver import fields

# Column -> what else its header may be called.
COLUMNS: dict[str, tuple[str, ...]] = {
    "unit": ("호", "호수", "점포번호", "번호", "동호수"),
    "name": ("상호", "점포명", "상호명"),
    "place": ("위치", "장소"),
    "floor": ("층", "층수"),
    "stall": ("매대", "매대번호", "좌판"),
    "hours": ("영업시간", "운영시간"),
    "lat": ("위도", "latitude"),
    "lon": ("경도", "longitude", "lng"),
    "next_to": ("옆 점포", "이웃 점포", "인접 점포"),
    "owner": ("대표자", "점주", "대표", "소유자"),
    "owner_phone": ("대표자 전화", "점주 전화", "전화번호", "연락처", "휴대전화", "휴대폰"),
    "lang": ("언어",),
    "deputy": ("부책임자", "대리인"),
    "deputy_phone": ("부책임자 전화", "대리인 전화"),
    "deputy_lang": ("부책임자 언어", "대리인 언어"),
    "node": ("기기", "단말", "단말기", "노드"),
    "node_label": ("기기 위치", "단말 위치", "노드 위치"),
}
REQUIRED = ("unit", "name", "place", "owner", "owner_phone")
DEPUTIES_MAX, NODES_MAX = 9, 99
MAX_BYTES = 8_000_000
MAX_ROWS = 20_000
_SLOT = re.compile(
    r"(deputy|부책임자|대리인|node|기기|단말기?|노드)_?([1-9][0-9]?)(|_?(?:phone|lang|label|전화|언어|위치))"
)
_SLOT_MAX = {"deputy": DEPUTIES_MAX, "node": NODES_MAX}
_NO_TEXT = re.compile("[\\x00\\ud800-\\udfff]")
# What a spreadsheet would take for a formula is written with an apostrophe before it, and read without.
_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


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
    """One shop: the line of the file on which it begins, and its fields by column. A column of COLUMNS that the file
    lacks reads as ""; `has` names those that are there.
    """

    number: int
    values: dict[str, str] = field(repr=False)
    has: frozenset[str] = frozenset()


def slot(base: str, number: int, suffix: str = "") -> str:
    """The column of the n-th deputy or node: "deputy", "deputy_2_phone"."""
    return f"{base}{suffix}" if number == 1 else f"{base}_{number}{suffix}"


@dataclass(frozen=True)
class Form:
    """What a list may hold: its columns and what else their headers may be called, and which it must have. `slots`: a
    second deputy, node and so on may be there.
    """

    columns: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]
    slots: bool = False

    def columns_of(self, header: Sequence[str], faults: list[Fault], at: int = 1) -> list[str]:
        """The columns of the header line (line `at`); what is missing, unknown or double goes into `faults`."""
        found: list[str] = []
        for title in header:
            name = self.column_of(title)
            if name is None:
                known = f"column {fields.shown(title)} is not known; known: {', '.join(self.columns)}"
                faults.append(Fault(at, title.strip()[:40], "unknown_column", known))
            elif name in found:
                faults.append(Fault(at, name, "double_column", f"column {name} is there twice"))
            found.append(name or "")
        missing = [name for name in self.required if name not in found]
        faults.extend(Fault(at, name, "missing_column", f"column {name} is missing") for name in missing)
        return found

    def column_of(self, title: str) -> str | None:
        """The column that a header names, or None."""
        plain = title.strip().lower().replace(" ", "")
        for name, aliases in self.columns.items():
            if plain == name or plain in (alias.replace(" ", "") for alias in aliases):
                return name
        return self._slot_of(plain) if self.slots else None

    def _slot_of(self, plain: str) -> str | None:
        match = _SLOT.fullmatch(plain)
        if match is None:
            return None
        base, number, name = self.column_of(match[1]), int(match[2]), self.column_of(f"{match[1]}{match[3]}")
        if base is None or name is None or number > _SLOT_MAX[base]:
            return None
        return slot(base, number, name.removeprefix(base))

    def line(self, number: int, columns: Sequence[str], cells: Iterable[str]) -> Line:
        """The line with these cells under these columns."""
        values = {c: unescaped(cell) for c, cell in zip(columns, cells, strict=True)}
        return Line(number, {**dict.fromkeys(self.columns, ""), **values}, frozenset(columns))


SHOPS = Form(COLUMNS, REQUIRED, slots=True)


def is_text(value: str) -> bool:
    """False if the field holds a NUL, or bytes of another encoding."""
    return _NO_TEXT.search(value) is None


def not_text(value: str) -> int:
    """How many characters of it are none."""
    return len(_NO_TEXT.findall(value))


def escaped(value: str) -> str:
    """A field as it is written into a file: no spreadsheet takes it for a formula."""
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


def unescaped(value: str) -> str:
    """A field as it was before `escaped`."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value) else value
