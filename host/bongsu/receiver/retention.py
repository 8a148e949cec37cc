"""How long records are kept, and their removal, a little at a time.

What is never removed, however old: open incidents and what belongs to them; of each node and key epoch the newest event
of every kind (what stands on a node is read from those, standing.py); the row with the highest number of a table, so
that no number is given twice. Of every event that goes, a digest stays while its key is in use: a repeat that comes
late is known still, and raises no alarm. Alarms and the audit stay for a year at least (NFPC 207).
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bongsu.receiver import audit, histories
from bongsu.receiver.air.rollup import DAYS_A_ROW
from bongsu.receiver.config import RetentionConfig
from bongsu.receiver.store import changes, schema

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
_ALARMS, _FAULTS, _TESTS = "alarms", "faults", "tests"
# What an event without an incident, and an incident with all that belongs to it, count as.
KINDS = {
    "alarm": _ALARMS,
    "restore": _ALARMS,
    "prealarm": _ALARMS,
    "fault": _FAULTS,
    "fault_clear": _FAULTS,
    "tamper": _FAULTS,
    "test": _TESTS,
}
CLASSES = {"fire": _ALARMS, "co_gas": _ALARMS, "care": _ALARMS, "fault": _FAULTS, "exercise": _TESTS}
_LOOK_AT_ONCE = 100
_REMOVE_AT_ONCE = 10
_DIGEST_LEN = 16


def digest(content: bytes) -> bytes:
    """What stays of an event's content."""
    return hashlib.sha256(content).digest()[:_DIGEST_LEN]


def is_past(conn: Connection, key: tuple[str, int, int], content: bytes) -> bool | None:
    """Was this event here once? None: its number was, but of another event."""
    c = schema.event_past.c
    query = select(c.digest).where(c.node_id == key[0], c.epoch == key[1], c.number == key[2])
    known = [bytes(found) for found in conn.execute(query).scalars()]
    if digest(content) in known:
        return True
    return None if known else False


@dataclass(frozen=True, slots=True)
class Limits:
    """Before which moment (UTC ms) things are too old."""

    events: dict[str, int]
    incidents: dict[str, int]
    tests: int
    audit: int
    refused: int
    commands: int
    now: int
    air: tuple[int, int, int]  # raw readings, hours, days

    @staticmethod
    def of(config: RetentionConfig, now_ms: int) -> "Limits":
        """From the settings."""
        before = {
            _ALARMS: now_ms - config.alarms_days * DAY_MS,
            _FAULTS: now_ms - config.faults_days * DAY_MS,
            _TESTS: now_ms - config.tests_days * DAY_MS,
        }
        return Limits(
            events={kind: before[name] for kind, name in KINDS.items()},
            incidents={class_: before[name] for class_, name in CLASSES.items()},
            tests=before[_TESTS],
            audit=now_ms - config.audit_days * DAY_MS,
            refused=now_ms - config.refused_days * DAY_MS,
            commands=now_ms - config.commands_days * DAY_MS,
            now=now_ms,
            air=(
                now_ms - config.air_raw_days * DAY_MS,
                now_ms - config.air_hours_days * DAY_MS,
                now_ms - config.air_days_days * DAY_MS,
            ),
        )

    @property
    def youngest(self) -> int:
        """Nothing younger is too old, whatever it is."""
        return max(*self.events.values(), *self.incidents.values())


class Sweep:
    """One pass over everything, in steps of about a millisecond. `removed`: how many rows of which table went, or would
    go if it is `dry`.
    """

    def __init__(self, limits: Limits, audit_key: bytes, *, dry: bool = False) -> None:
        self._limits, self._audit_key, self._dry = limits, audit_key, dry
        self.removed: Counter[str] = Counter()
        self._conn: Connection
        self._steps = self._all()

    def work(self, conn: Connection, budget_s: float) -> bool:
        """Go on for about so long, in the caller's transaction; True once it is through."""
        self._conn = conn
        end_s = perf_counter() + budget_s
        return all(perf_counter() < end_s for _ in self._steps)  # stops at the first step after the end

    def _all(self) -> Iterator[None]:
        yield from self._incidents()
        yield from self._loose_events()
        yield from self._past()
        yield from self._orphans()
        yield from self._audit()
        yield from self._commands()
        yield from self._air()
        yield from self._installation()
        yield from self._small()

    # ---- incidents, with what belongs to them

    def _incidents(self) -> Iterator[None]:
        c = schema.incident.c
        last, top = 0, self._highest(c.id)
        query = select(c.id, c.class_, c.state, c.opened_ms, c.closed_ms).order_by(c.id).limit(_LOOK_AT_ONCE)
        while rows := self._conn.execute(query.where(c.id > last, c.id < top)).all():
            for row in rows:
                last = row.id
                if row.opened_ms >= self._limits.youngest:
                    return
                if row.state == "closed" and row.closed_ms < self._limits.incidents[row.class_]:
                    yield from self._incident(row.id)
            yield

    def _incident(self, incident_id: int) -> Iterator[None]:
        if self._is_needed_whole(incident_id):
            return
        yield from self._deliveries(incident_id)
        yield from self._events_of(incident_id)
        self.removed["incident"] += 1
        if not self._dry:
            self._conn.execute(delete(schema.incident).where(schema.incident.c.id == incident_id))
            changes.note(self._conn, "incident", incident_id)
        yield

    def _is_needed_whole(self, incident_id: int) -> bool:
        """Does it hold an event too young to go, or the newest delivery or event of all?"""
        event, delivery = schema.event.c, schema.delivery.c
        young = [(event.kind == kind) & (event.received_ms >= ms) for kind, ms in self._limits.events.items()]
        mine = event.incident_id == incident_id
        wanted = select(event.id).where(mine, _any(young) | (event.id == self._highest(event.id)))
        newest = select(delivery.id).where(
            delivery.incident_id == incident_id, delivery.id == self._highest(delivery.id)
        )
        return self._conn.execute(wanted.limit(1)).first() is not None or self._conn.execute(newest).first() is not None

    def _deliveries(self, incident_id: int) -> Iterator[None]:
        delivery, attempt = schema.delivery, schema.delivery_attempt
        last = 0
        query = select(delivery.c.id).where(delivery.c.incident_id == incident_id).order_by(delivery.c.id)
        while ids := self._conn.execute(query.where(delivery.c.id > last).limit(_REMOVE_AT_ONCE)).scalars().all():
            last = ids[-1]
            self._remove(attempt, attempt.c.delivery_id.in_(ids))
            self._remove(delivery, delivery.c.id.in_(ids))
            yield

    def _events_of(self, incident_id: int) -> Iterator[None]:
        c = schema.event.c
        last = 0
        while rows := self._conn.execute(
            select(schema.event).where(c.incident_id == incident_id, c.id > last).order_by(c.id).limit(_REMOVE_AT_ONCE)
        ).all():
            last = rows[-1].id
            kept = [row.id for row in rows if not self._event(row)]
            if kept and not self._dry:
                self._conn.execute(update(schema.event).where(c.id.in_(kept)).values(incident_id=None))
            yield

    # ---- events

    def _loose_events(self) -> Iterator[None]:
        c = schema.event.c
        last, top = 0, self._highest(c.id)
        query = select(schema.event).order_by(c.id).limit(_LOOK_AT_ONCE)
        while rows := self._conn.execute(query.where(c.id > last, c.id < top)).all():
            for row in rows:
                last = row.id
                if row.received_ms >= self._limits.youngest:
                    return
                if row.incident_id is None and row.received_ms < self._limits.events[row.kind]:
                    self._event(row)
                    yield
            yield

    def _event(self, row: Any) -> bool:
        """Remove an event; False if it must stay."""
        in_use = self._key_in_use(row.node_id, row.epoch)
        if in_use and not self._has_newer(row):
            return False
        self.removed["event"] += 1
        if self._dry:
            return True
        if in_use:
            values = {"node_id": row.node_id, "epoch": row.epoch, "number": row.number, "digest": digest(row.content)}
            self._keep_digest(values)
        self._conn.execute(delete(schema.event).where(schema.event.c.id == row.id))
        if row.kind == "alarm":
            self._history_of(row)
        return True

    def _history_of(self, row: Any) -> None:
        """The minute before an alarm goes with its event, unless another event has the same number."""
        c, h = schema.event.c, schema.event_history.c
        same = (c.node_id == row.node_id, c.epoch == row.epoch, c.number == row.number)
        if self._conn.execute(select(c.id).where(*same).limit(1)).first() is None:
            mine = (h.node_id == row.node_id) & (h.epoch == row.epoch) & (h.number == row.number)
            self._remove(schema.event_history, mine)

    def _orphans(self) -> Iterator[None]:
        """Minutes before alarms that never came."""
        self._remove(schema.event_history, histories.orphans(self._limits.now - histories.ORPHANS_KEPT_MS))
        yield

    def _keep_digest(self, values: dict[str, Any]) -> None:
        """Another receiver that tidies up at the same moment may have kept it already."""
        made: Any = sqlite.insert if self._conn.dialect.name == "sqlite" else postgresql.insert
        self._conn.execute(made(schema.event_past).values(values).on_conflict_do_nothing())

    def _has_newer(self, row: Any) -> bool:
        """Is there a newer event of the same node and epoch that says the same kind of thing?"""
        c = schema.event.c
        same = [c[n] == getattr(row, n) for n in ("node_id", "epoch", "kind", "phenomena", "detail")]
        newer = select(c.id).where(*same, c.number > row.number).limit(1)
        return self._conn.execute(newer).first() is not None

    def _key_in_use(self, node_id: str, epoch: int) -> bool:
        """May anything come in under this key still?"""
        c = schema.node_key.c
        query = select(c.state).where(c.node_id == node_id, c.epoch == epoch)
        state = self._conn.execute(query).scalar_one_or_none()
        return state is not None and state != "retired"

    def _past(self) -> Iterator[None]:
        """Digests of events under keys that nobody can use any more."""
        c, key = schema.event_past.c, schema.node_key.c
        gone = select(key.node_id, key.epoch).where(key.state == "retired").order_by(key.node_id, key.epoch)
        for node_id, epoch in self._conn.execute(gone).all():
            self._remove(schema.event_past, (c.node_id == node_id) & (c.epoch == epoch))
            yield

    # ---- the rest

    def _audit(self) -> Iterator[None]:
        if self._dry:
            c = schema.audit.c
            sealed = c.chain.is_not(None) & (c.id < self._highest(c.id))
            old = select(func.count()).where(c.at_ms < self._limits.audit, sealed)
            self.removed["audit"] += self._conn.execute(old).scalar_one()
            return
        while count := audit.prune(self._conn, self._audit_key, self._limits.audit, _REMOVE_AT_ONCE):
            self.removed["audit"] += count
            yield

    def _commands(self) -> Iterator[None]:
        c = schema.command.c
        last, top = 0, self._highest(c.id)
        query = select(c.id, c.created_ms, c.state).order_by(c.id).limit(_LOOK_AT_ONCE)
        while rows := self._conn.execute(query.where(c.id > last, c.id < top)).all():
            last = rows[-1].id
            over = [r.id for r in rows if r.created_ms < self._limits.commands and r.state not in ("pending", "sent")]
            for start in range(0, len(over), _REMOVE_AT_ONCE):
                self._remove(schema.command, c.id.in_(over[start : start + _REMOVE_AT_ONCE]))
                yield
            if rows[-1].created_ms >= self._limits.commands:
                return
            yield

    def _air(self) -> Iterator[None]:
        """Packs of the air, node by node; a pack goes once all that is in it is too old. And advisories that ended."""
        c, last = schema.air_pack.c, -1
        raw_ms, hours_ms, days_ms = self._limits.air
        # The first slot that stays. A site's day may end 12 h after UTC's.
        slots = (raw_ms // HOUR_MS, (hours_ms - DAY_MS) // DAY_MS, (days_ms - DAY_MS) // DAY_MS // DAYS_A_ROW)
        following = select(c.node).order_by(c.node).limit(1)
        while (node := self._conn.execute(following.where(c.node > last)).scalar_one_or_none()) is not None:
            last = node
            for level, slot in enumerate(slots):
                self._remove(schema.air_pack, (c.node == node) & (c.level == level) & (c.slot < slot))
            yield
        a = schema.air_advisory.c
        self._remove(schema.air_advisory, (a.ended_ms < hours_ms) & (a.id < self._highest(a.id)))
        yield

    def _installation(self) -> Iterator[None]:
        """Walk tests as tests. Records of commissioning as the audit, but a node's newest stays while it is in service,
        and so does what is not done.
        """
        w, c, n = schema.walk_test.c, schema.commissioning.c, schema.node.c
        self._remove(schema.walk_test, (w.ended_ms < self._limits.tests) & (w.id < self._highest(w.id)))
        yield
        in_service = select(n.id).where(n.state != "retired")
        newest = select(func.max(c.id)).where(c.node_id.in_(in_service)).group_by(c.node_id)
        old = (c.done_ms < self._limits.audit) & c.id.not_in(newest) & (c.id < self._highest(c.id))
        self._remove(schema.commissioning, old)
        yield

    def _small(self) -> Iterator[None]:
        self._remove(schema.refused_frame, schema.refused_frame.c.last_ms < self._limits.refused)
        yield
        self._remove(schema.console_session, schema.console_session.c.ends_ms < self._limits.now)
        yield

    def _remove(self, table: Any, which: ColumnElement[bool]) -> None:
        if self._dry:
            count = self._conn.execute(select(func.count()).select_from(table).where(which)).scalar_one()
        else:
            count = self._conn.execute(delete(table).where(which)).rowcount
        if count:
            self.removed[table.name] += count

    def _highest(self, column: Any) -> int:
        return int(self._conn.execute(select(func.max(column))).scalar_one() or 0)


def _any(conditions: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    found = conditions[0]
    for condition in conditions[1:]:
        found = found | condition
    return found
