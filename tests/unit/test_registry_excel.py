"""A shop list in Excel: its habits are undone where that is safe, and named where not; hostile files end in a fault."""

import datetime as dt
import io
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from bongsu.receiver import excel_file, registry, shop_import, shop_list
from bongsu.receiver.store import Store
from tests.registry_parts import NOW_MS, fill, new_store

HEADER = ["unit", "name", "place", "owner", "owner_phone"]
SHOP: list[Any] = ["b-01", "Noodles", "Row 1", "Owner", "010-1234-0001"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        yield made


def book(*rows: list[Any], change: Callable[[Any], None] | None = None) -> bytes:
    """A workbook with these rows; `change` is given the sheet."""
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    if change is not None:
        change(made.active)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def _codes(data: bytes, sheet: str | None = None) -> list[tuple[int, str, str]]:
    lines, faults = excel_file.parse(data, sheet)
    assert lines or faults
    return [(f.line, f.column, f.code) for f in faults]


def _import(store: Store, data: bytes) -> shop_import.Plan:
    with store.write() as conn:
        plan = shop_import.make_plan(conn, "hannae", data)
        if not plan.faults:
            shop_import.execute(conn, plan, now_ms=NOW_MS)
    return plan


def test_numbers_that_excel_made_are_read_as_people_see_them(store: Store) -> None:
    header = [*HEADER, "stall", "floor", "lat", "lon", "node"]
    row = [101.0, "Noodles", "Row 1", "Owner", 1012340001, 7.0, 2, 37.561234, 126.98, 120012341234]
    plan = _import(store, book(header, row))
    assert plan.faults == []
    with store.read() as conn:
        shop = registry.show_unit(conn, "hannae", "101")
        (person,) = registry.unit_people(conn, "hannae", "101")
    assert (shop["stall"], shop["floor"], shop["lat"], shop["lon"]) == ("7", "2", 37.561234, 126.98)
    assert person["phone"] == "+821012340001" and shop["nodes"] == ["120012341234"]


def test_korean_headers_below_a_title_and_empty_rows(store: Store) -> None:
    title = ["한내시장 점포 현황"]
    header = ["호수", "상호", "위치", "대표자", "연락처", "부책임자 2", "부책임자 2 전화"]
    row = ["1-가", "떡집", "가동", "점주", "010-1234-0001", "대리", "010-1234-0002"]
    rows = [title, [], header, [], row, [None, ""], ["1-나", *row[1:5]]]
    plan = _import(store, book(*rows, change=lambda sheet: sheet.merge_cells("A1:E1")))
    assert plan.faults == [] and [s.line for s in plan.shops] == [5, 7]
    with store.read() as conn:
        assert [p["name"] for p in registry.show_unit(conn, "hannae", "1-ga")["contacts"]] == ["점주", "대리"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ([dt.datetime(2026, 1, 7), *SHOP[1:]], (3, "unit", "date")),
        ([dt.time(9, 0), *SHOP[1:]], (3, "unit", "date")),
        ([*SHOP[:3], "=A1&B1", SHOP[4]], (3, "owner", "formula")),
        ([*SHOP[:4], "=A1&B1"], (3, "owner_phone", "formula")),
        (["=A1", "=B1"], (3, "name", "formula")),
        ([*SHOP[:3], "#REF!", SHOP[4]], (3, "owner", "formula")),
        ([*SHOP[:3], True, SHOP[4]], (3, "owner", "bad_choice")),
        ([*SHOP, "more"], (3, "", "field_count")),
    ],
)
def test_what_excel_made_of_a_field_is_named_by_its_row(row: list[Any], fault: tuple[int, str, str]) -> None:
    assert fault in _codes(book(HEADER, SHOP, row))


def test_a_cell_that_could_not_be_read_is_not_called_empty_as_well(store: Store) -> None:
    plan = _import(store, book(HEADER, [dt.datetime(2026, 1, 7), *SHOP[1:]]))
    assert [(f.line, f.column, f.code) for f in plan.faults] == [(2, "unit", "date")]


def test_a_formula_counts_with_its_stored_value(store: Store) -> None:
    data = book(HEADER, ["b-01", "=1+1", *SHOP[2:]])
    inside = zipfile.ZipFile(io.BytesIO(data))
    sheet = inside.read("xl/worksheets/sheet1.xml").replace(b"<v></v>", b"<v>2</v>").replace(b"<v />", b"<v>2</v>")
    assert b"<v>2</v>" in sheet
    plan = _import(store, _with(data, {"xl/worksheets/sheet1.xml": sheet}))
    assert plan.faults == [] and plan.shops[0].fields["name"] == "2"


def test_a_formula_whose_stored_value_is_an_empty_text_is_empty(store: Store) -> None:
    data = book([*HEADER, "floor"], [*SHOP, '=IF(A1="","","")'])
    sheet = zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml")
    stored = sheet.replace(b'<c r="F2">', b'<c r="F2" t="str">')  # as Excel writes it
    assert stored != sheet
    plan = _import(store, _with(data, {"xl/worksheets/sheet1.xml": stored}))
    assert plan.faults == [] and plan.shops[0].fields["floor"] == ""


def test_merged_cells_are_refused_below_the_header() -> None:
    data = book(HEADER, SHOP, ["b-02", *SHOP[1:]], change=lambda sheet: sheet.merge_cells("D2:D3"))
    assert _codes(data) == [(2, "", "merged_cells")]


def test_of_several_sheets_one_is_named() -> None:
    def add(sheet: Any) -> None:
        other = sheet.parent.create_sheet("목록")
        other.append(HEADER)
        other.append(SHOP)

    data = book(["notes"], change=add)
    assert _codes(data) == [(0, "", "several_sheets")]
    assert _codes(data, "nowhere") == [(0, "", "no_sheet")]
    lines, faults = excel_file.parse(data, "목록")
    assert faults == [] and lines[0].values["unit"] == "b-01"
    lines, faults = excel_file.parse(book(HEADER, SHOP, change=lambda s: s.parent.create_sheet("empty")))
    assert faults == [] and len(lines) == 1


# ---- hostile files


def _with(data: bytes, parts: dict[str, bytes]) -> bytes:
    out, inside = io.BytesIO(), zipfile.ZipFile(io.BytesIO(data))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in inside.namelist():
            packed.writestr(name, parts.get(name, inside.read(name)))
        for name in parts.keys() - set(inside.namelist()):
            packed.writestr(name, parts[name])
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_with(book(HEADER, SHOP), {"xl/bomb.xml": b" " * (excel_file.MAX_UNPACKED + 1)}), "too_large"),
        (_with(book(HEADER, SHOP), {f"xl/x{i}.bin": b"" for i in range(excel_file.MAX_PARTS)}), "too_large"),
        (b"PK\x03\x04" + b"x" * shop_list.MAX_BYTES, "too_large"),
        (book(HEADER, SHOP)[:-200], "bad_xlsx"),
        (_with(book(HEADER, SHOP), {"xl/worksheets/sheet1.xml": b"<worksheet>"}), "bad_xlsx"),
        (
            _with(
                book(HEADER, SHOP),
                {"xl/sharedStrings.xml": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><sst>&a;</sst>'},
            ),
            "bad_xlsx",
        ),
        (_with(book(HEADER, SHOP), {"xl/workbook.xml": b"\0\1\2"}), "bad_xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 an old file, or one with a password", "old_excel"),
        (book(), "empty_file"),
        (book(["unit", "name"]), "missing_column"),
        (book(HEADER), "no_rows"),
    ],
)
def test_hostile_and_broken_files_end_in_a_sentence(data: bytes, code: str) -> None:
    lines, faults = excel_file.parse(data)
    assert lines == [] and code in {f.code for f in faults} and all(f.message for f in faults)


def test_a_bomb_is_not_unpacked() -> None:
    data = _with(book(HEADER, SHOP), {"xl/bomb.xml": b" " * (excel_file.MAX_UNPACKED + 1)})
    assert len(data) < 100_000
    tracemalloc.start()
    try:
        excel_file.parse(data)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_sheet_without_end_is_refused() -> None:
    data = book(HEADER, SHOP, change=lambda sheet: sheet.cell(1_048_576, 1, "b-02"))
    assert _codes(data) == [(0, "", "too_many_rows")]


def test_macros_and_links_to_other_files_are_left_alone(store: Store) -> None:
    link = b'<externalLink xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"/>'
    parts = {"xl/vbaProject.bin": b"\0macro", "xl/externalLinks/externalLink1.xml": link}
    assert _import(store, _with(book(HEADER, SHOP), parts)).faults == []


def test_tags_that_never_end_take_time_by_length_only() -> None:
    xml = b"<!--" + b"<mergeCell " * 200_000 + b"-->"
    begun = time.process_time()
    assert excel_file._merged(xml) == []
    assert time.process_time() - begun < 5.0  # minutes, if each tag were looked for up to the end
    assert excel_file._merged(b'<x:mergeCell  ref="B2:B4"/>') == [(2, 4, "B2:B4")]
