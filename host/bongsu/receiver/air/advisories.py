"""Advisories: the air of a unit is bad, or is well again. For people to look at; nobody is dispatched, and the fire
station hears nothing of it.

A unit's level for a quantity is that of its worst node. Its node's readings bring it about that the unit is looked at,
some minutes apart; what stands is read from the store each time, so that it goes on after a restart, and with several
receivers.
"""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from bongsu.receiver.air import levels, shelf
from bongsu.receiver.air.levels import LEVELS, Average, Holder, Tables, Verdict
from bongsu.receiver.air.quantities import BY_CODE, BY_NAME
from bongsu.receiver.store import schema

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

LOOK_EVERY_MS = 300_000
_SUBJECTS_A_SLICE = 2
_STALE_LOOK_MS = 60_000
_STALE_AT_ONCE = 20
_KEPT_MAX = 200_000


def level_of_unit(
    by_node: dict[str, shelf.Averages], table: levels.LevelTable, code: int, *, standing: int, advice: bool = False
) -> tuple[str, Verdict] | None:
    """(node, verdict) of the worst node; None if not enough is known."""
    tables = levels.load_tables()
    found = []
    for node_id, averages in sorted(by_node.items()):
        known: dict[int, Average] = averages.get(code, {})
        if not known:
            continue
        verdict = levels.judge(table.limits[code], known, standing=standing, tables=tables, advice=advice)
        if verdict is None and standing:
            return None  # this one may be why it stands
        if verdict is not None:
            found.append((node_id, verdict))
    return max(found, key=lambda one: (one[1].rank, one[1].average.mean), default=None)


class Judge:
    """Looks at units, each some minutes after the last time, in slices."""

    def __init__(self, books: "Books") -> None:
        self._books = books
        self._tables: Tables = levels.load_tables()
        self._holder = Holder(self._tables.hold_ms)
        self._wanted: dict[str, None] = {}
        self._looked_ms: dict[str, int] = {}
        self._not_before_ms = 0
        self._stale_at_ms = books.clock.mono_ms() + _STALE_LOOK_MS
        self._stale_last = 0

    def load(self, conn: Connection) -> None:
        """What stands is read from the store at each look."""

    def measured(self, node_id: str) -> None:
        """A node's readings were stored: its unit is looked at, unless it was a moment ago."""
        node = self._books.directory.nodes.get(node_id)
        if node is None:
            return
        now_ms = self._books.clock.mono_ms()
        if now_ms - self._looked_ms.get(node.subject, -LOOK_EVERY_MS) >= LOOK_EVERY_MS:
            self._wanted[node.subject] = None

    def not_before(self, mono_ms: int) -> None:
        """Others have their turn until then."""
        self._not_before_ms = mono_ms

    def due_ms(self) -> int:
        """When the next slice is due (monotonic ms)."""
        return self._not_before_ms if self._wanted else max(self._stale_at_ms, self._not_before_ms)

    def act(self, conn: Connection, turn: "Turn") -> None:
        """One slice."""
        mono_ms = self._books.clock.mono_ms()
        if self._wanted:
            subjects = list(islice(self._wanted, _SUBJECTS_A_SLICE))
            for subject in subjects:
                del self._wanted[subject]
                self._looked_ms[subject] = mono_ms
            if len(self._looked_ms) > _KEPT_MAX:
                self._looked_ms.clear()
            self._look(conn, turn, subjects)
        elif mono_ms >= self._stale_at_ms:
            self._end_stale(conn, turn)

    # ---- looking

    def _look(self, conn: Connection, turn: "Turn", subjects: Sequence[str]) -> None:
        nodes = {subject: _nodes_of(conn, subject) for subject in subjects}
        now_s = self._books.clock.now_ms() // 1000
        tables = {subject: self._site_air(subject) for subject in subjects}
        spans = {
            limit.averaging_s
            for table, _ in tables.values()
            for some in table.limits.values()
            for limit in some
            if limit.advise
        }
        every = [node for some in nodes.values() for node in some]
        averages = shelf.averages(conn, every, now_s, frozenset(spans))
        standing = _standing(conn, subjects)
        for subject in subjects:
            mine = {node: averages[node] for node in nodes[subject] if node in averages}
            table, advise_at = tables[subject]
            for code in table.limits:
                name = BY_CODE[code].name
                self._step(conn, turn, subject, mine, table, code, advise_at, standing.get((subject, name)))

    def _site_air(self, subject: str) -> tuple[levels.LevelTable, int]:
        site = subject.removeprefix("unit:").partition("/")[0] if subject.startswith("unit:") else None
        table_id, advise_at = self._books.directory.site_air(site)
        return levels.table_of(table_id), LEVELS.index(advise_at)

    def _step(
        self, conn: Connection, turn: "Turn", subject: str, by_node: dict[str, shelf.Averages],
        table: levels.LevelTable, code: int, advise_at: int, row: Any,
    ) -> None:  # fmt: skip
        key = (subject, code)
        standing = LEVELS.index(row.level) if row is not None else 0
        found = level_of_unit(by_node, table, code, standing=standing, advice=True)
        if found is None:
            self._holder.forget(key)
            return
        node_id, verdict = found
        seen = verdict.rank if verdict.rank >= advise_at else 0
        held = self._holder.step(key, standing, seen, self._books.clock.mono_ms())
        if held == standing:
            return
        if row is None:
            self._begin(conn, turn, subject, node_id, table, verdict)
        elif held == 0:
            self._end(conn, turn, row, "recovered")
        else:
            self._change(conn, turn, row, node_id, table, verdict)

    # ---- what comes of it

    def _begin(
        self, conn: Connection, turn: "Turn", subject: str, node_id: str, table: levels.LevelTable, verdict: Verdict
    ) -> None:
        now_ms = self._books.clock.now_ms()
        values = {
            **_fields(table, node_id, verdict, now_ms),
            "subject": subject,
            "site_id": subject.removeprefix("unit:").partition("/")[0] if subject.startswith("unit:") else None,
            "worst": verdict.level,
            "began_ms": now_ms,
        }
        conn.execute(insert(schema.air_advisory).values(values))
        turn.say("warn", "air.advisory", subject=subject, quantity=values["quantity"], air_level=verdict.level,
                 average=values["average"], limit=values["limit_said"], averaging=values["averaging"])  # fmt: skip

    def _change(
        self, conn: Connection, turn: "Turn", row: Any, node_id: str, table: levels.LevelTable, verdict: Verdict
    ) -> None:
        values = _fields(table, node_id, verdict, self._books.clock.now_ms())
        values["worst"] = max(row.worst, verdict.level, key=LEVELS.index)
        conn.execute(update(schema.air_advisory).where(schema.air_advisory.c.id == row.id).values(values))
        turn.say("info", "air.level", subject=row.subject, quantity=row.quantity, air_level=verdict.level,
                 average=values["average"])  # fmt: skip

    def _end(self, conn: Connection, turn: "Turn", row: Any, ending: str) -> None:
        values = {"ended_ms": max(self._books.clock.now_ms(), row.began_ms), "ending": ending}
        conn.execute(update(schema.air_advisory).where(schema.air_advisory.c.id == row.id).values(values))
        self._holder.forget((row.subject, BY_NAME[row.quantity].code))
        turn.say("info", "air.advisory_ended", subject=row.subject, quantity=row.quantity, why=ending)

    def _end_stale(self, conn: Connection, turn: "Turn") -> None:
        """Advisories of which nothing is heard any more: the node is gone, or measures this no longer."""
        self._stale_at_ms = self._books.clock.mono_ms() + _STALE_LOOK_MS
        now_ms, c = self._books.clock.now_ms(), schema.air_advisory.c
        query = select(schema.air_advisory).where(c.ended_ms.is_(None), c.id > self._stale_last).order_by(c.id)
        rows = conn.execute(query.limit(_STALE_AT_ONCE)).all()
        self._stale_last = rows[-1].id if len(rows) == _STALE_AT_ONCE else 0
        for row in rows:
            since_ms = now_ms - self._tables.no_data_ms
            if row.level_ms < since_ms and not _measures(conn, row, since_ms // 1000, now_ms // 1000):
                self._end(conn, turn, row, "no_data")
            elif BY_NAME[row.quantity].code not in self._site_air(row.subject)[0].limits:
                self._end(conn, turn, row, "table_changed")


def _fields(table: levels.LevelTable, node_id: str, verdict: Verdict, now_ms: int) -> dict[str, Any]:
    quantity = verdict.limit.quantity
    return {
        "quantity": quantity.name,
        "level_table": table.id,
        "level": verdict.level,
        "average": round(quantity.value(verdict.average.mean), 4),
        "averaging": verdict.limit.averaging,
        "limit_said": verdict.limit.said,
        "node_id": node_id,
        "level_ms": now_ms,
    }


def _nodes_of(conn: Connection, subject: str) -> list[str]:
    kind, _, name = subject.partition(":")
    if kind == "node":
        return [name]
    site, _, unit = name.partition("/")
    c = schema.node.c
    query = select(c.id).where(c.site_id == site, c.unit_id == unit, c.state != "retired")
    return list(conn.execute(query).scalars())


def _standing(conn: Connection, subjects: Sequence[str]) -> dict[tuple[str, str], Any]:
    c = schema.air_advisory.c
    query = select(schema.air_advisory).where(c.ended_ms.is_(None), c.subject.in_(subjects))
    return {(r.subject, r.quantity): r for r in conn.execute(query)}


def _measures(conn: Connection, row: Any, from_s: int, to_s: int) -> bool:
    """Did the unit measure this quantity in that time?"""
    code = BY_NAME[row.quantity].code
    first, last = from_s // 3600, to_s // 3600
    nodes = _nodes_of(conn, row.subject)
    return any(code == found for node in nodes for _, found, _ in shelf.hours(conn, node, first, last))


# ---- for people

ADVISORY_FIELDS = ("id", "subject", "site_id", "quantity", "level", "worst", "average", "averaging", "limit_said",
                   "level_table", "node_id", "began_ms", "level_ms", "ended_ms", "ending")  # fmt: skip


def list_advisories(
    conn: Connection, *, standing_only: bool = False, site_id: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """The newest advisories (those that stand first), with the quantity's "unit"."""
    c = schema.air_advisory.c
    query = select(*(c[name] for name in ADVISORY_FIELDS)).order_by(c.ended_ms.is_not(None), c.id.desc()).limit(limit)
    if standing_only:
        query = query.where(c.ended_ms.is_(None))
    if site_id is not None:
        query = query.where(c.site_id == site_id)
    return [{**r._mapping, "unit": _unit(r.quantity)} for r in conn.execute(query)]


def _unit(quantity: str) -> str:
    found = BY_NAME.get(quantity)
    return "" if found is None or found.unit == "1" else found.unit
