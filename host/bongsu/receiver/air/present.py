"""The air of a unit as it is now, for the command line and the centre's screen."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from bongsu.receiver.air import levels, shelf
from bongsu.receiver.air.advisories import level_of_unit
from bongsu.receiver.air.quantities import BY_CODE, QUANTITIES
from bongsu.receiver.store import schema

Row = dict[str, Any]


def units_of(conn: Connection, site_id: str, unit_id: str | None = None) -> dict[str, list[str]]:
    """Nodes by unit, of a site or of one of its units; units without a node are left out."""
    c = schema.node.c
    query = select(c.unit_id, c.id).where(c.site_id == site_id, c.state != "retired").order_by(c.unit_id, c.id)
    if unit_id is not None:
        query = query.where(c.unit_id == unit_id)
    found: dict[str, list[str]] = {}
    for row in conn.execute(query):
        found.setdefault(row.unit_id, []).append(row.id)
    return found


def air_of_units(conn: Connection, site_id: str, units: dict[str, list[str]], now_ms: int) -> list[Row]:
    """One row a unit and quantity of which there is a reading of the last half hour: {site, unit, quantity, now,
    measure, at_ms, level, average, averaging, share, limit, node}. `now`: the newest value, of the worst node; `level`
    is None (with its "share") as long as less is covered than the table asks for.
    """
    c = schema.site.c
    table = levels.table_of(conn.execute(select(c.air_table).where(c.id == site_id)).scalar_one())
    spans = frozenset(limit.averaging_s for some in table.limits.values() for limit in some)
    made: list[Row] = []
    for unit_id, nodes in units.items():
        averages = shelf.averages(conn, nodes, now_ms // 1000, spans)
        for row in _unit(conn, nodes, averages, table, now_ms):
            made.append({"site": site_id, "unit": unit_id, **row})
    return made


def _unit(
    conn: Connection, nodes: Sequence[str], averages: dict[str, shelf.Averages], table: levels.LevelTable, now_ms: int
) -> list[Row]:
    newest = {node: shelf.newest(conn, node, now_ms // 1000) for node in nodes}
    found = []
    for quantity in QUANTITIES:
        seen = [
            (value, node, sample.end_s)
            for node, sample in newest.items()
            if sample is not None
            for code, value in sample.values
            if code == quantity.code
        ]
        if not seen:
            continue
        value, node, end_s = max(seen)
        row: Row = {
            "quantity": quantity.name,
            "now": round(quantity.value(value), quantity.digits),
            "measure": "" if quantity.unit == "1" else quantity.unit,
            "at_ms": end_s * 1000,
            "node": node,
        }
        found.append(row | _level(averages, table, quantity.code))
    return found


def _level(averages: dict[str, shelf.Averages], table: levels.LevelTable, code: int) -> Row:
    none: Row = {"level": None, "average": None, "averaging": None, "share": None, "limit": None}
    limits = table.limits.get(code)
    if not limits:
        return none
    decided = level_of_unit(averages, table, code, standing=0)
    if decided is None:
        longest_s = max(limit.averaging_s for limit in limits if limit.advise)
        shares = [some[code][longest_s].share for some in averages.values() if longest_s in some.get(code, {})]
        return none | {"share": round(max(shares, default=0.0), 3)}
    verdict = decided[1]
    quantity = BY_CODE[code]
    return {
        "level": verdict.level,
        "average": round(quantity.value(verdict.average.mean), max(1, quantity.digits)),
        "averaging": verdict.limit.averaging,
        "share": round(verdict.average.share, 3),
        "limit": verdict.limit.said,
    }
