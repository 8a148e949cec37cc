"""Incidents as the page gets them: the rows of receiver/docket.py, cut to what a screen can hold; and what is open now,
with a signature of each, so that only what changed is read again.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from bongsu.channels import texts
from bongsu.receiver import desk
from bongsu.receiver.log import masked_text
from bongsu.receiver.registry import Row
from bongsu.receiver.store import schema

# The newest of each; the page says how many there are.
EVENTS_SHOWN, DELIVERIES_SHOWN = 30, 60
# Alarms are all shown (a screen with more is of no use to anybody); of faults the newest.
ALARMS_MAX, FAULTS_MAX = 1000, 300
HISTORY_PAGE = 50
HISTORY_MS = 24 * 3600 * 1000

View = dict[str, Any]
Signature = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """The open incidents to show, with their signatures, and how many there are of each class in all."""

    signatures: dict[int, Signature]
    counts: dict[str, int]


def open_now(conn: Connection) -> Open:
    """What is open. Three queries, however much that is."""
    c = schema.incident.c
    query = select(
        c.id, c.class_, c.round, c.last_event_id, c.last_event_ms, c.restored_ms, c.ack_ms, c.ack_by, c.verified_ms,
        c.held_until_ms, c.exercise_id, c.note,
    )  # fmt: skip
    found = conn.execute(query.where(c.state == "open").order_by(c.id.desc())).all()
    faults = [row for row in found if row.class_ == "fault"]
    others = [row for row in found if row.class_ != "fault"]
    shown = others[:ALARMS_MAX] + faults[:FAULTS_MAX]
    counts: dict[str, int] = {}
    for row in found:
        counts[row.class_] = counts.get(row.class_, 0) + 1
    deliveries, parts = _deliveries(conn), _history_parts(conn)
    return Open({row.id: (*row, parts.get(row.id, 0), *deliveries.get(row.id, ())) for row in shown}, counts)


def _history_parts(conn: Connection) -> dict[int, int]:
    """How many parts of minutes before alarms the open incidents have."""
    h, e, i = schema.event_history.c, schema.event.c, schema.incident.c
    mine = (h.node_id == e.node_id) & (h.epoch == e.epoch) & (h.number == e.number)
    joined = schema.incident.join(schema.event, e.incident_id == i.id).join(schema.event_history, mine)
    query = select(i.id, func.count().label("n")).select_from(joined).where(i.state == "open").group_by(i.id)
    return {row.id: row.n for row in conn.execute(query)}


def _deliveries(conn: Connection) -> dict[int, Signature]:
    """What changes with the deliveries of open incidents."""
    d, i = schema.delivery.c, schema.incident.c
    sums = (func.count(), func.sum(d.attempts), func.count(d.sent_ms), func.count(d.accepted_ms),
            func.count(d.delivered_ms), func.count(d.last_error))  # fmt: skip
    by_state = select(d.incident_id, d.state, *sums).join(schema.incident, i.id == d.incident_id)
    rows = conn.execute(by_state.where(i.state == "open").group_by(d.incident_id, d.state).order_by(d.state))
    made: dict[int, Signature] = {}
    for row in rows:
        made[row.incident_id] = (*made.get(row.incident_id, ()), *row[1:])
    return made


def view(conn: Connection, incident_id: int) -> View:
    """One incident whole, as the page shows it, with the minute before the newest alarm that has one (`history`).
    Raises RegistryError.
    """
    row = desk.show_incident(conn, incident_id)
    events, deliveries = row["events"], row["deliveries"]
    minutes = [event.pop("history") for event in events]
    for event in events[-EVENTS_SHOWN:]:
        event["values"] = texts.readings_shown(event.pop("readings"), event["criterion"])
    for delivery in deliveries[-DELIVERIES_SHOWN:]:
        delivery["last_error"] = masked_text(delivery["last_error"] or "")
    return {
        **row,
        "events": events[-EVENTS_SHOWN:],
        "events_count": len(events),
        "history": next((minute for minute in reversed(minutes) if minute is not None), None),
        "deliveries": deliveries[-DELIVERIES_SHOWN:],
        "deliveries_count": len(deliveries),
    }


def history(conn: Connection, now_ms: int, before: tuple[int, int] | None) -> list[Row]:
    """A page of the incidents closed within the last 24 h, the last closed first; `before`: (closed_ms, id) of the last
    one of the page before.
    """
    c = schema.incident.c
    query = select(c.id).where(c.state == "closed", c.closed_ms > now_ms - HISTORY_MS)
    if before is not None:
        closed_ms, last_id = before
        query = query.where((c.closed_ms < closed_ms) | ((c.closed_ms == closed_ms) & (c.id < last_id)))
    ids = conn.execute(query.order_by(c.closed_ms.desc(), c.id.desc()).limit(HISTORY_PAGE)).scalars().all()
    return [row for one in ids for row in desk.list_incidents(conn, incident_id=one)]
