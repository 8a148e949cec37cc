"""A market's shops as a list that people can work on and import again: CSV or Excel, all columns.

Phone numbers are masked unless wanted whole (the caller writes that into the audit); an import takes a masked number
for that of the person who is registered. No field can be taken for a formula (shop_list.escaped).
"""

import csv
import io

from sqlalchemy import Connection, select

from bongsu.receiver import phone, shop_list
from bongsu.receiver.registry_base import Row, rows_of
from bongsu.receiver.registry_people import people
from bongsu.receiver.registry_sites import require_site
from bongsu.receiver.registry_units import UNIT_FIELDS
from bongsu.receiver.shop_list import slot
from bongsu.receiver.store import schema

_WIDTHS = {"name": 24, "place": 24, "hours": 32, "owner": 18, "owner_phone": 18}
Cell = str | float


def rows_of_site(conn: Connection, site_id: str, *, unmasked: bool) -> list[dict[str, Cell]]:
    """One row a unit, all with the same columns (as shop_list has them). Raises RegistryError."""
    require_site(conn, site_id)
    u, n = schema.unit.c, schema.node.c
    called: dict[str, list[Row]] = {}
    for p in people(conn, site_id):
        called.setdefault(p["unit_id"], []).append(p)
    nodes: dict[str, list[Row]] = {}
    for r in rows_of(conn.execute(select(n.id, n.unit_id, n.label).where(n.site_id == site_id).order_by(n.id))):
        nodes.setdefault(r["unit_id"], []).append(r)
    show = phone.typed if unmasked else phone.masked
    rows = []
    for unit in rows_of(conn.execute(select(schema.unit).where(u.site_id == site_id).order_by(u.id))):
        row: dict[str, Cell] = {"unit": unit["id"], **{f: "" if unit[f] is None else unit[f] for f in UNIT_FIELDS}}
        for column, p in _places(called.get(unit["id"], [])):
            lang = "lang" if column == "owner" else f"{column}_lang"
            row |= {column: p["name"], f"{column}_phone": show(p["phone"]), lang: p["lang"]}
        for number, node in enumerate(nodes.get(unit["id"], []), 1):
            row |= {slot("node", number): node["id"], slot("node", number, "_label"): node["label"]}
        rows.append(row)
    columns = _columns(rows)
    return [{c: row.get(c, "") for c in columns} for row in rows]


def _places(called: list[Row]) -> list[tuple[str, Row]]:
    """The column of each of a unit's people."""
    owner = [("owner", p) for p in called if p["role"] == "owner"]
    deputies = [p for p in called if p["role"] == "deputy"][: shop_list.DEPUTIES_MAX]
    return owner + [(slot("deputy", number), p) for number, p in enumerate(deputies, 1)]


def _columns(rows: list[dict[str, Cell]]) -> list[str]:
    """All columns of COLUMNS, and of further deputies and nodes as many as a unit has."""
    used = {column for row in rows for column in row}
    more = [slot("deputy", n, s) for n in range(2, shop_list.DEPUTIES_MAX + 1) for s in ("", "_phone", "_lang")]
    more += [slot("node", n, s) for n in range(2, shop_list.NODES_MAX + 1) for s in ("", "_label")]
    return [*shop_list.COLUMNS, *(c for c in more if c in used)]


def as_csv(rows: list[dict[str, Cell]]) -> bytes:
    """UTF-8 with a byte order mark, which Excel needs to see that it is UTF-8."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    columns = list(rows[0]) if rows else list(shop_list.COLUMNS)
    writer.writerow(columns)
    writer.writerows([_text(row[c]) for c in columns] for row in rows)
    return out.getvalue().encode("utf-8-sig")


def _text(value: Cell) -> str:
    return shop_list.escaped(value) if isinstance(value, str) else f"{value:.6f}".rstrip("0").rstrip(".")


def as_workbook(rows: list[dict[str, Cell]], title: str) -> bytes:
    """An .xlsx with one sheet, header frozen. All cells but the coordinates are text, so that Excel keeps leading zeros
    and makes no dates.
    """
    import openpyxl
    from openpyxl.cell import Cell as SheetCell
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    columns = list(rows[0]) if rows else list(shop_list.COLUMNS)
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(title[:31])
    sheet.freeze_panes = "B2"
    for at, column in enumerate(columns, 1):
        sheet.column_dimensions[get_column_letter(at)].width = _WIDTHS.get(column, 14)

    def cell(value: Cell, bold: bool = False) -> SheetCell:
        made = WriteOnlyCell(sheet, value=_text(value) if isinstance(value, str) else value)
        if isinstance(value, str):
            made.number_format = "@"
        if bold:
            made.font = Font(bold=True)
        return made

    sheet.append([cell(c, bold=True) for c in columns])
    for row in rows:
        sheet.append([cell(row[c]) if row[c] != "" else None for c in columns])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()
