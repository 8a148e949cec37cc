"""The minute before an alarm: parts that nodes send once they know that the alarm is committed, kept as they came.

A part's key is its event's key and the row with which it begins. What a node once said of a minute stands: a repeat is
harmless, and a part that contradicts an earlier one (other values of a row, another step, other columns) is not taken,
for it is hostile or a fault of the node. A part that adds no row is a repeat. So of one event there are at most as many
parts as rows (255), and they always make one table.

A part may come before its event is known (another receiver, a restored backup). A node that has its key but means harm
cannot fill the disk: of each node PARTS_MAX parts are kept, and those without an event go first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, exists, func, insert, select, tuple_

from bongsu.receiver.rows import batched
from bongsu.receiver.store import schema
from bongsu_wire import kinds, measured
from bongsu_wire.frame import UP_HEADER_LEN

# Of one node: at 3 parts a minute some 330 alarms, or 300 KB.
PARTS_MAX = 1_000
# If there are more, so many more go than must, so that not each further part costs a look for the oldest.
_SPARE = 50
# Parts whose event never came.
ORPHANS_KEPT_MS = 7 * 86_400_000
_AT_ONCE = 300
_KIND_MASK = 0x1F

EventKey = tuple[str, int, int]

# What a person calls a quantity: name with its unit, and how many steps of the wire's make one. Temperature: see below.
SHOWN = {
    kinds.Q_TEMP_DK: ("temp_c", 10),
    kinds.Q_SMOKE_E4: ("smoke_od_per_m", 10_000),
    kinds.Q_HUMIDITY_HALF: ("rh_pct", 2),
    kinds.Q_CO_DPPM: ("co_ppm", 10),
    kinds.Q_GAS_INDEX: ("gas_index", 1),
    kinds.Q_PM25_DUG: ("pm25_ug", 10),
    kinds.Q_PM10_DUG: ("pm10_ug", 10),
    kinds.Q_CO2_PPM: ("co2_ppm", 1),
    kinds.Q_VOC_INDEX: ("voc_index", 1),
    kinds.Q_PRESSURE_DHPA: ("pressure_hpa", 10),
    kinds.Q_GAS_HOHM: ("gas_ohm", 0.01),
    kinds.Q_HEAD: ("head", 1),
    kinds.Q_PM1_DUG: ("pm1_ug", 10),
}
_KELVIN_DK = 2732  # 0 degC in the wire's 0.1 K, as the node rounds it


class Verdict(Enum):
    """What became of a part. `is_kept`: the node may forget it."""

    NEW = "new"
    REPEAT = "repeat"
    PAST = "past"  # its event was here, and was removed by age
    OTHER = "history_contradicts"

    @property
    def is_kept(self) -> bool:
        """Is it, or was it, in the store?"""
        return self is not Verdict.OTHER


@dataclass(frozen=True, slots=True)
class Part:
    """An authentic part. `plain`: its bytes."""

    node_id: str
    epoch: int
    history: measured.History
    plain: bytes
    received_ms: int

    @property
    def event_key(self) -> EventKey:
        """Of the alarm that it belongs to."""
        return self.node_id, self.epoch, self.history.number


def may_be_history(data: bytes) -> bool:
    """Does a message claim to be a part? Nothing is proven yet; it may wait longer than an alarm."""
    return len(data) > UP_HEADER_LEN and data[0] & _KIND_MASK == kinds.UP_HISTORY


@dataclass(slots=True)
class Minute:
    """The parts of one event put together. `rows[i]`: the values of row i, or None if no part has it."""

    step_ms: int
    quantities: tuple[int, ...]
    rows: list[tuple[int, ...] | None]

    @staticmethod
    def of(part: measured.History) -> "Minute":
        """Begun by a part; without its rows."""
        return Minute(part.step_ms, tuple(part.quantities), [None] * part.rows)

    def says(self, part: measured.History) -> bool | None:
        """What a part says beside these: True: new rows, False: nothing new, None: it contradicts."""
        if (self.step_ms, self.quantities, len(self.rows)) != (part.step_ms, tuple(part.quantities), part.rows):
            return None
        said = _table(part)
        known = self.rows[part.first : part.first + len(said)]
        if any(old is not None and old != new for old, new in zip(known, said, strict=True)):
            return None
        return None in known

    def put(self, part: measured.History) -> None:
        """A part's rows go in, if they are no contradiction."""
        if self.says(part):
            said = _table(part)
            self.rows[part.first : part.first + len(said)] = said

    def shown(self) -> dict[str, Any]:
        """For people and scripts: {"step_ms", "rows": how many, "missing": how many have not come, "columns": {name
        with unit: [value or None]}}, oldest first; the last row is the alarm's own.
        """
        columns: dict[str, list[float | None]] = {}
        for at, quantity in enumerate(self.quantities):
            name, steps = SHOWN.get(quantity, (f"quantity_{quantity}", 1))
            values = [None if row is None or row[at] == measured.UNKNOWN else row[at] for row in self.rows]
            zero = _KELVIN_DK if quantity == kinds.Q_TEMP_DK else 0
            columns[name] = [None if value is None else _number((value - zero) / steps) for value in values]
        return {
            "step_ms": self.step_ms,
            "rows": len(self.rows),
            "missing": self.rows.count(None),
            "columns": columns,
        }


def _table(part: measured.History) -> list[tuple[int, ...] | None]:
    columns = len(part.quantities)
    return [tuple(part.values[at : at + columns]) for at in range(0, len(part.values), columns)]


def _number(value: float) -> float:
    """Whole numbers without a point, others as short as they are."""
    return int(value) if value == int(value) else round(value, 6)


@dataclass(slots=True)
class Stored:
    """What became of the parts of a turn, in their order; `incidents`: whose events got some."""

    verdicts: list[Verdict] = field(default_factory=list)
    incidents: set[int] = field(default_factory=set)


def store(conn: Connection, parts: Sequence[Part]) -> Stored:
    """Write parts, in the caller's transaction. A handful of statements, however many parts there are."""
    done = Stored()
    keys = list(dict.fromkeys(part.event_key for part in parts))
    minutes, taken = _read(conn, keys)
    events, past = _events(conn, keys)
    new: list[dict[str, Any]] = []
    for part in parts:
        verdict = _judge(minutes, taken, part, part.event_key in past)
        done.verdicts.append(verdict)
        if verdict is Verdict.NEW:
            new.append(_row(part))
            done.incidents.update(events.get(part.event_key, ()))
    if new:
        conn.execute(insert(schema.event_history), new)
        _bound(conn, Counter(row["node_id"] for row in new))
    return done


def _judge(
    minutes: dict[EventKey, Minute], taken: set[tuple[str, int, int, int]], part: Part, is_past: bool
) -> Verdict:
    if is_past:
        return Verdict.PAST
    minute = minutes.setdefault(part.event_key, Minute.of(part.history))
    fresh, key = minute.says(part.history), (*part.event_key, part.history.first)
    if fresh is None or (fresh and key in taken):
        return Verdict.OTHER
    if not fresh:
        return Verdict.REPEAT
    minute.put(part.history)
    taken.add(key)
    return Verdict.NEW


def _row(part: Part) -> dict[str, Any]:
    node_id, epoch, number = part.event_key
    return {
        "node_id": node_id,
        "epoch": epoch,
        "number": number,
        "first": part.history.first,
        "received_ms": part.received_ms,
        "content": part.plain,
    }


def _rows(conn: Connection, keys: Sequence[EventKey]) -> Iterator[Any]:
    """The parts that are stored of these events, in the order in which they came."""
    c = schema.event_history.c
    for some in batched(keys, _AT_ONCE):
        query = select(schema.event_history).where(tuple_(c.node_id, c.epoch, c.number).in_(some))
        yield from conn.execute(query.order_by(c.received_ms, c.first))


def _read(conn: Connection, keys: Sequence[EventKey]) -> tuple[dict[EventKey, Minute], set[tuple[str, int, int, int]]]:
    """(minute by event key, keys of the parts) of what is stored."""
    found: dict[EventKey, Minute] = {}
    taken: set[tuple[str, int, int, int]] = set()
    for row in _rows(conn, keys):
        key = row.node_id, row.epoch, row.number
        part = measured.decode_history(bytes(row.content))
        found.setdefault(key, Minute.of(part)).put(part)
        taken.add((*key, row.first))
    return found, taken


def minutes_of(conn: Connection, keys: Iterable[EventKey]) -> dict[EventKey, Minute]:
    """What is stored of the minutes before these events (node id, key epoch, event number)."""
    return _read(conn, list(keys))[0]


def _events(conn: Connection, keys: Sequence[EventKey]) -> tuple[dict[EventKey, set[int]], set[EventKey]]:
    """(incidents of the events that are stored, events that were removed by age)."""
    e, p = schema.event.c, schema.event_past.c
    known: dict[EventKey, set[int]] = {}
    past: set[EventKey] = set()
    for some in batched(keys, _AT_ONCE):
        query = select(e.node_id, e.epoch, e.number, e.incident_id)
        for row in conn.execute(query.where(tuple_(e.node_id, e.epoch, e.number).in_(some))):
            of_one = known.setdefault((row.node_id, row.epoch, row.number), set())
            of_one.update(() if row.incident_id is None else (row.incident_id,))
        gone = select(p.node_id, p.epoch, p.number).where(tuple_(p.node_id, p.epoch, p.number).in_(some))
        past.update((row.node_id, row.epoch, row.number) for row in conn.execute(gone))
    return known, past - known.keys()


def _bound(conn: Connection, new: Mapping[str, int]) -> None:
    """Of each node that got new parts, no more than PARTS_MAX stay: parts without an event go first, then old ones."""
    h = schema.event_history.c
    counts = select(h.node_id, func.count().label("n")).where(h.node_id.in_(list(new))).group_by(h.node_id)
    for row in conn.execute(counts.having(func.count() > PARTS_MAX)).all():
        oldest = (
            select(h.epoch, h.number, h.first)
            .where(h.node_id == row.node_id)
            .order_by(_has_event(), h.received_ms, h.epoch, h.number, h.first)
            .limit(row.n - PARTS_MAX + _SPARE)
        )
        for some in batched([tuple(r) for r in conn.execute(oldest)], _AT_ONCE):
            gone = (h.node_id == row.node_id) & tuple_(h.epoch, h.number, h.first).in_(some)
            conn.execute(delete(schema.event_history).where(gone))


def _has_event() -> ColumnElement[int]:
    """1 for a part whose event is stored, 0 for others."""
    e, h = schema.event.c, schema.event_history.c
    return case((exists().where(e.node_id == h.node_id, e.epoch == h.epoch, e.number == h.number), 1), else_=0)


def orphans(before_ms: int) -> ColumnElement[bool]:
    """Parts that came before this moment (ms since 1970), and whose event is not stored."""
    return (schema.event_history.c.received_ms < before_ms) & (_has_event() == 0)
