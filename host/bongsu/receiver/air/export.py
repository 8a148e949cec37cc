"""Readings and their sums as CSV: one row a time and node, one column a quantity, units in the header.

It is written as it is read, a node after the other, into a file beside the wanted one, which takes its name when it is
whole.
"""

import csv
import datetime as dt
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from bongsu.errors import BongsuError
from bongsu.receiver import shop_list
from bongsu.receiver.air import shelf
from bongsu.receiver.air.pack import HOUR_S, Stats
from bongsu.receiver.air.quantities import QUANTITIES, Quantity
from bongsu.receiver.store import schema

ROLLUPS = ("raw", "hour", "day")
_SUMS = ("mean", "min", "max", "covered_s", "count")
_FIRST = ("time", "site", "unit", "node")
Row = list[str]


def header(kind: str) -> Row:
    """The columns of an export. Times are the end of a reading's interval, and the begin of an hour or a day."""
    if kind == "raw":
        return [*_FIRST, "interval [s]", *(_named(q) for q in QUANTITIES)]
    return [*_FIRST, *(f"{name} {_named(q, name)}" for q in QUANTITIES for name in _SUMS)]


def _named(quantity: Quantity, figure: str = "mean") -> str:
    unit = "s" if figure == "covered_s" else quantity.unit
    return quantity.name if figure == "count" else f"{quantity.name} [{unit}]"


def nodes_of(conn: Connection, site_id: str | None, unit_id: str | None) -> list[tuple[str, str, str, str]]:
    """(node, site, unit, zone) of a site, one of its units, or all: also those that are retired, for what they measured
    is kept. Nodes without a unit have "" for both.
    """
    n, s = schema.node.c, schema.site.c
    query = (
        select(n.id, n.site_id, n.unit_id, s.tz)
        .outerjoin(schema.site, s.id == n.site_id)
        .order_by(n.site_id, n.unit_id, n.id)
    )
    if site_id is not None:
        query = query.where(n.site_id == site_id)
    if unit_id is not None:
        query = query.where(n.unit_id == unit_id)
    return [(r.id, r.site_id or "", r.unit_id or "", r.tz or "UTC") for r in conn.execute(query)]


def rows_of_node(
    conn: Connection, node: tuple[str, str, str, str], kind: str, from_ms: int, to_ms: int
) -> Iterator[Row]:
    """The rows of one node, by time: readings that end, or hours and days that begin, in [from_ms, to_ms)."""
    node_id, site, unit, zone_name = node
    zone = ZoneInfo(zone_name)
    lead = [shop_list.escaped(site), shop_list.escaped(unit), node_id]
    if kind == "raw":
        yield from _raw_rows(conn, node_id, zone, lead, from_ms, to_ms)
        return
    found = (
        _hours(conn, node_id, zone, from_ms, to_ms) if kind == "hour" else _days(conn, node_id, zone, from_ms, to_ms)
    )
    for time, sums in found:
        yield [time, *lead, *(cell for q in QUANTITIES for cell in _cells(q, sums.get(q.code)))]


def _raw_rows(conn: Connection, node_id: str, zone: ZoneInfo, lead: Row, from_ms: int, to_ms: int) -> Iterator[Row]:
    for sample in shelf.samples(conn, node_id, -(-from_ms // 1000) - 1, -(-to_ms // 1000) - 1):
        values = dict(sample.values)
        measured = [_number(q, values[q.code], q.digits) if q.code in values else "" for q in QUANTITIES]
        yield [_time(sample.end_s, zone), *lead, str(sample.interval_s), *measured]


def _hours(
    conn: Connection, node_id: str, zone: ZoneInfo, from_ms: int, to_ms: int
) -> Iterator[tuple[str, dict[int, Stats]]]:
    first, last = -(-from_ms // (HOUR_S * 1000)), -(-to_ms // (HOUR_S * 1000)) - 1
    for hour, sums in _by_time(shelf.hours(conn, node_id, first, last)):
        yield _time(hour * HOUR_S, zone), sums


def _days(
    conn: Connection, node_id: str, zone: ZoneInfo, from_ms: int, to_ms: int
) -> Iterator[tuple[str, dict[int, Stats]]]:
    around = range(from_ms // 86_400_000 - 1, to_ms // 86_400_000 + 2)
    for day, sums in _by_time(shelf.days(conn, node_id, around[0], around[-1])):
        begins = dt.datetime.combine(dt.date(1970, 1, 1) + dt.timedelta(days=day), dt.time(), zone)
        if from_ms <= begins.timestamp() * 1000 < to_ms:
            yield begins.isoformat(), sums


def _by_time(found: Iterator[tuple[int, int, Stats]]) -> Iterator[tuple[int, dict[int, Stats]]]:
    at: int | None = None
    sums: dict[int, Stats] = {}
    for when, code, stats in found:
        if when != at and at is not None:
            yield at, sums
            sums = {}
        at = when
        sums[code] = stats
    if at is not None:
        yield at, sums


def _cells(quantity: Quantity, sums: Stats | None) -> Row:
    if sums is None:
        return [""] * len(_SUMS)
    digits = quantity.digits
    return [_number(quantity, sums.mean, digits + 2), _number(quantity, sums.low, digits),
            _number(quantity, sums.high, digits), str(sums.covered_s), str(sums.n)]  # fmt: skip


def _number(quantity: Quantity, wire: float, digits: int) -> str:
    return f"{quantity.value(wire):.{digits}f}"


def _time(at_s: int, zone: ZoneInfo) -> str:
    return dt.datetime.fromtimestamp(at_s, zone).isoformat()


def write_csv(path: Path, kind: str, rows: Iterator[Row]) -> int:
    """Write a new file, readable by its owner only; returns how many rows. Raises BongsuError; then there is none."""
    if path.exists():
        raise BongsuError(f"{path} is there already; it was not overwritten", "Name another file by --out.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    count = 0
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            file.write("\ufeff")  # so that spreadsheets take it for UTF-8
            writer = csv.writer(file)
            writer.writerow(header(kind))
            for row in rows:
                writer.writerow(row)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a renaming this never replaces a file that came meanwhile
    except FileExistsError:
        raise BongsuError(f"{path} is there already; it was not overwritten", "Name another file by --out.") from None
    except OSError as err:
        raise BongsuError(f"cannot write {path}: {err.strerror}", "Name a file that can be written.") from None
    finally:
        part.unlink(missing_ok=True)
    return count


def all_rows(
    conn: Connection, nodes: Sequence[tuple[str, str, str, str]], kind: str, from_ms: int, to_ms: int
) -> Iterator[Row]:
    """The rows of these nodes, one after the other."""
    for node in nodes:
        yield from rows_of_node(conn, node, kind, from_ms, to_ms)
