"""The open incidents in memory, and what one transaction writes about them: incidents, events, deliveries.

Whoever writes such rows does it in its turn, so their ids are given in memory, and the rows of a whole group of
alarms go into the store with one statement a table. If a transaction fails, what stands here is wrong: `load` again.
What other receivers and commands wrote is taken in before anything is done (`take_in`, `take_in_events`).
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from bongsu.receiver import incidents, retention, rows
from bongsu.receiver.delivery_policy import RESTORE, SMS, WEBHOOK, Delivery, sequence, stored_purpose
from bongsu.receiver.incidents import Incident
from bongsu.receiver.standing import Sender, Standing
from bongsu.receiver.store import changes, schema
from bongsu.receiver.unsettled import Unsettled
from bongsu_wire import kinds

# Of events that other receivers stored lately, so many are kept in memory: their frames arrive here at the same time.
_RECENT_MAX = 20_000
_AT_ONCE = 500

Fields = dict[str, Any]
EventKey = tuple[str, int, int]
# What a message says: a text, or a JSON object that is encoded already.
Body = str | msgspec.Raw
_BEGIN_OR_END = {
    kinds.EVENT_NAMES[kind]: kind for kind in (kinds.ALARM, kinds.RESTORE, kinds.FAULT, kinds.FAULT_CLEAR, kinds.TAMPER)
}


@dataclass(slots=True)
class Told:
    """Somebody who was told of an incident in its present round."""

    channel: str
    target: Fields
    lang: str


@dataclass(slots=True)
class Case:
    """An open incident, and who was told of it in this round: by recipient ("responder:<id>", "contact:<id>")."""

    incident: Incident
    told: dict[str, Told] = field(default_factory=dict)


@dataclass(slots=True)
class Planned:
    """A delivery that is to be stored, with what it says. `leased`: it goes out as soon as it is committed."""

    delivery: Delivery
    key: str
    told: Told
    body: Body
    leased: bool = False

    def tells_restore_of(self, incident_id: int) -> bool:
        """Does it say that this incident's alarm is over?"""
        return self.delivery.incident_id == incident_id and self.delivery.purpose == RESTORE


@dataclass(frozen=True, slots=True)
class Signal:
    """Something begins to stand, or ends: `names` (phenomena or faults) of `source` (a node id, "link", a recipient).

    `event_id`: the event that says so; None if the receiver found it out by itself.
    """

    source: str
    names: tuple[str, ...]
    now_ms: int
    event_id: int | None = None


@dataclass(slots=True)
class Outcome:
    """What a signal did to an incident. `fault`: what it did to the fault that nobody could be told. `text`: of a walk
    test's event, the text to the unit's first contact, or why there is none (walk_tests.UNTEXTED).
    """

    incident: Incident | None = None
    opened: bool = False
    new_round: bool = False
    restored: bool = False
    fault: "Outcome | None" = None
    text: "Planned | str | None" = None


@dataclass(slots=True)
class Page:
    """The changes of one transaction."""

    events: list[Fields] = field(default_factory=list)
    opened: dict[int, Incident] = field(default_factory=dict)
    changed: dict[int, Incident] = field(default_factory=dict)
    planned: list[Planned] = field(default_factory=list)
    renewed: set[int] = field(default_factory=set)  # incidents in which a new round began
    contents: dict[EventKey, list[bytes]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.events or self.opened or self.changed or self.planned)

    def delivery_ids(self) -> list[int]:
        """The deliveries that are to be stored."""
        return [p.delivery.id for p in self.planned]

    def incident_ids(self) -> set[int]:
        """Incidents of which something changes."""
        return {*self.opened, *self.changed, *(p.delivery.incident_id for p in self.planned)}


class Casebook:
    """Open incidents by subject and class; the numbers of events known of each node."""

    def __init__(self, conn: Connection) -> None:
        self.unsettled = Unsettled()
        self._insert_event = rows.insert_into(schema.event, conn)
        self._insert_incident = rows.insert_into(schema.incident, conn)
        self._update_incident = rows.update_incident(conn)
        self._insert_delivery = rows.insert_into(schema.delivery, conn)
        self._alone = conn.dialect.name == "sqlite"
        self.load(conn)

    def load(self, conn: Connection) -> None:
        """Read everything anew."""
        event = schema.event.c
        by_node = (event.node_id, event.epoch)
        newest = select(*by_node, func.max(event.number)).group_by(*by_node)
        self._top = {(n, e): number for n, e, number in conn.execute(newest)}
        self._load_standing(conn)
        self._recent: dict[EventKey, list[bytes]] = {}
        self._load_ids(conn)
        self.cases: dict[tuple[str, str], Case] = {}
        self.by_id: dict[int, Case] = {}
        self.load_open(conn)

    def _load_ids(self, conn: Connection) -> None:
        """Which ids were given, and up to which event everything was read. The engine's counters know nothing of
        snapshots: what others commit while this one is read is behind them, and is still to be read.
        """
        self._read_id = int(conn.execute(select(func.max(schema.event.c.id))).scalar_one() or 0)
        self._event_id, self._incident_id, self._delivery_id = (
            rows.highest_id(conn, table) for table in (schema.event, schema.incident, schema.delivery)
        )

    def take_in_events(self, conn: Connection) -> None:
        """Others wrote: know their events and which ids they gave."""
        c = schema.event.c
        query = select(c.node_id, c.epoch, c.number, c.kind, c.phenomena, c.detail, c.content)
        if len(self._recent) > _RECENT_MAX:
            self._recent.clear()  # who is no longer here is asked for in the store
        for r in conn.execute(query.where(c.id > self._read_id).order_by(c.id)):
            sender = r.node_id, r.epoch
            self._top[sender] = max(self._top.get(sender, 0), r.number)
            self._recent.setdefault((*sender, r.number), []).append(bytes(r.content))
            if r.kind in _BEGIN_OR_END:
                self.note_standing(sender, _BEGIN_OR_END[r.kind], r.phenomena, r.detail, r.number)
        self._load_ids(conn)

    def take_in(self, conn: Connection, ids: Sequence[int]) -> set[int]:
        """Others wrote about these incidents: have them as the store has them. Returns the ids of those that were
        closed.
        """
        table, closed = schema.incident, set()
        for some in rows.batched(ids, _AT_ONCE):
            for row in conn.execute(select(table).where(table.c.id.in_(some))):
                before = self.by_id.pop(row.id, None)
                if before is not None:
                    key = before.incident.subject, before.incident.class_
                    if self.cases.get(key) is before:  # else a newer incident of the same subject was read first
                        del self.cases[key]
                if row.state == "open":
                    self._add(row)
                elif before is not None:
                    closed.add(row.id)
                    self.unsettled.forget(row.id)
            self._load_told(conn, table.c.id.in_(some))
        return closed

    def _add(self, row: Any) -> None:
        case = Case(rows.incident_from(row))
        self.unsettled.note(case.incident)
        self.cases[row.subject, row.class_] = self.by_id[row.id] = case

    def _load_told(self, conn: Connection, *which: ColumnElement[bool]) -> None:
        table, delivery = schema.incident, schema.delivery
        told = (
            select(delivery.c.incident_id, delivery.c.recipient, delivery.c.channel, delivery.c.target)
            .join(table, table.c.id == delivery.c.incident_id)
            .where(table.c.state == "open", delivery.c.round == table.c.round, delivery.c.purpose != RESTORE, *which)
        )
        for row in conn.execute(told):
            told_now = Told(row.channel, row.target, row.target.get("lang", "ko"))
            self.by_id[row.incident_id].told[row.recipient] = told_now

    def _load_standing(self, conn: Connection) -> None:
        """What each node's events of the past say about what stands on it."""
        self.alarms, self.faults = Standing(), Standing()
        event = schema.event.c
        what = (event.node_id, event.epoch, event.kind, event.phenomena, event.detail)
        newest = select(*what, func.max(event.number)).where(event.kind.in_(_BEGIN_OR_END)).group_by(*what)
        for node, epoch, kind, phenomena, detail, number in conn.execute(newest):
            self.note_standing((node, epoch), _BEGIN_OR_END[kind], phenomena, detail, number)

    def note_standing(self, sender: Sender, kind: int, phenomena: int, detail: int, number: int) -> tuple[str, ...]:
        """Event `number` begins or ends something (an alarm, a restore, a fault, ...). Returns the names of what it
        speaks of; an end without any means everything.
        """
        names = incidents.names_spoken_of(kind, phenomena, detail)
        known = self.alarms if kind in (kinds.ALARM, kinds.RESTORE) else self.faults
        if kind in (kinds.RESTORE, kinds.FAULT_CLEAR):
            known.ends(sender, names, number)
        else:
            known.begins(sender, names, number)
        return names

    def load_open(self, conn: Connection) -> set[int]:
        """Read the open incidents anew; returns the ids of those that somebody closed since."""
        before = set(self.by_id)
        table = schema.incident
        self.cases, self.by_id = {}, {}
        self.unsettled.clear()
        for row in conn.execute(select(table).where(table.c.state == "open")):
            self._add(row)
        self._load_told(conn)
        return before - set(self.by_id)

    def is_repeat(self, conn: Connection, page: Page, key: EventKey, content: bytes) -> bool | None:
        """True: this very event is known. False: it is new. None: its number is known, but of another event."""
        known = page.contents.get(key, [])
        if content in self._recent.get(key, ()):
            return True
        if key[2] <= self._top.get(key[:2], 0):
            event = schema.event.c
            query = select(event.content).where(event.node_id == key[0], event.epoch == key[1], event.number == key[2])
            known = [*known, *conn.execute(query).scalars()]
            if not known:
                return retention.is_past(conn, key, content)
        if content in known:
            return True
        return None if known else False

    def new_event_id(self, page: Page, key: EventKey, content: bytes) -> int:
        """The id of an event that is about to be written, which from now on is known."""
        self._event_id += 1
        self._read_id = self._event_id
        page.contents.setdefault(key, []).append(content)
        self._top[key[:2]] = max(self._top.get(key[:2], 0), key[2])
        return self._event_id

    def stand(self, page: Page, subject: str, class_: str, signal: Signal, snapshot: Callable[[], Fields]) -> Outcome:
        """The signal's names stand now: open an incident (with `snapshot`), or carry on the one that is open."""
        case = self.cases.get((subject, class_))
        if case is None:
            made = incidents.opened(
                subject,
                class_,
                source=signal.source,
                names=signal.names,
                now_ms=signal.now_ms,
                snapshot=snapshot(),
                incident_id=self.new_incident_id(),
                event_id=signal.event_id,
            )
            page.opened[made.id] = made
            case = Case(made)
            self.cases[subject, class_] = self.by_id[case.incident.id] = case
            return Outcome(case.incident, opened=True, new_round=True)
        after, new_round = incidents.signalled(
            case.incident, source=signal.source, names=signal.names, now_ms=signal.now_ms, event_id=signal.event_id
        )
        self.keep(page, case, after)
        if new_round:
            case.told.clear()
            page.renewed.add(after.id)
            page.planned = [p for p in page.planned if not p.tells_restore_of(after.id)]  # it is no longer true
        return Outcome(after, new_round=new_round)

    def end(self, page: Page, subject: str, class_: str, signal: Signal) -> Outcome:
        """The signal's names (none: all of its source's) stand no longer; nothing happens if they did not."""
        case = self.cases.get((subject, class_))
        if case is None or signal.source not in case.incident.active:
            return Outcome()
        after, over = incidents.restored(
            case.incident,
            source=signal.source,
            names=signal.names or None,
            now_ms=signal.now_ms,
            event_id=signal.event_id,
        )
        self.keep(page, case, after)
        return Outcome(after, restored=over)

    def new_incident_id(self) -> int:
        """The number of an incident that is about to be written."""
        self._incident_id += 1
        return self._incident_id

    def keep(self, page: Page, case: Case, after: Incident) -> None:
        """The incident changed: so it is to be written."""
        case.incident = after
        self.unsettled.note(after)
        (page.opened if after.id in page.opened else page.changed)[after.id] = after

    def tell(self, page: Page, case: Case, purpose: str, person: Fields, body: Body) -> Planned:
        """Plan a message to a responder (its body is an object) or a contact (a text) of the incident's snapshot."""
        if isinstance(body, str):
            lang = person["lang"]
            recipient, told = f"contact:{person['id']}", Told(SMS, {"phone": person["phone"], "lang": lang}, lang)
        else:
            recipient, told = f"responder:{person['id']}", Told(WEBHOOK, {"url": person["url"]}, "ko")
        case.told[recipient] = told
        return self.plan(page, case.incident, purpose, recipient, told, body)

    def plan(self, page: Page, incident: Incident, purpose: str, recipient: str, told: Told, body: Body) -> Planned:
        """Plan a message to somebody who is known to the incident already."""
        self._delivery_id += 1
        seq = sequence(incident.round, purpose)
        stored = stored_purpose(purpose)
        d = Delivery(self._delivery_id, incident.id, incident.round, seq, stored, told.channel, recipient)
        planned = Planned(d, secrets.token_hex(16), told, body)
        page.planned.append(planned)
        return planned

    def save(self, conn: Connection, page: Page, lease: tuple[str, int], now_ms: int) -> None:
        """Write a page. `lease`: token and end (ms since 1970) for deliveries that go out at once."""
        self._insert_incident.run(conn, [rows.incident_row(i) for i in page.opened.values()])
        self._update_incident.run(conn, [rows.incident_row(i) for i in page.changed.values()])
        self._insert_event.run(conn, page.events)
        self._insert_delivery.run(conn, [_delivery_row(p, lease, now_ms) for p in page.planned])
        if not self._alone:
            self._tell_others(conn, page)

    def _tell_others(self, conn: Connection, page: Page) -> None:
        highest = {"event": self._event_id, "incident": self._incident_id, "delivery": self._delivery_id}
        rows.keep_ids(conn, {name: number for name, number in highest.items() if number})
        for topic, ids in (("incident", [*page.opened, *page.changed]), ("delivery", page.delivery_ids())):
            if ids:
                changes.note(conn, topic, *ids)
        if page.events:
            changes.note(conn, "event")  # which: all after those that a reader knows


def _delivery_row(planned: Planned, lease: tuple[str, int], now_ms: int) -> Fields:
    d = planned.delivery
    token, until_ms = lease if planned.leased else (None, None)
    return {
        "id": d.id,
        "idempotency_key": planned.key,
        "incident_id": d.incident_id,
        "round": d.round,
        "seq": d.seq,
        "purpose": d.purpose,
        "channel": d.channel,
        "recipient": d.recipient,
        "target": rows.as_json(planned.told.target),
        "body": rows.as_json(planned.body),
        "state": "pending",
        "attempts": 0,
        "next_at_ms": now_ms,
        "lease_token": token,
        "lease_until_ms": until_ms,
        "ref": None,
        "last_error": None,
        "created_ms": now_ms,
        "sent_ms": None,
        "accepted_ms": None,
        "delivered_ms": None,
        "escalated": False,
    }
