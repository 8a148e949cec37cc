"""Incidents as people see them, in lists and one by one: what burns where, since when, who takes care of it, who was
told. Phone numbers are masked, secrets never shown. The command line and the console show these rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from bongsu.channels import texts
from bongsu.receiver import histories, incidents, phone, rows
from bongsu.receiver.delivery_policy import ALARM, ESCALATION, RESTORE, UPDATE, shown_purpose
from bongsu.receiver.incidents import Incident
from bongsu.receiver.log import masked_text
from bongsu.receiver.registry import RegistryError, Row
from bongsu.receiver.store import schema
from bongsu_wire import kinds

_WAITING = ("pending", "sent")
# Ids in one query: SQLite takes 32,766 parameters, and a shorter list is planned faster.
_AT_ONCE = 500
# What the operator may be asked about an alarm that is held back.
ASKS_VERIFY, ASKS_EXERCISE = "verify", "exercise"


def list_incidents(
    conn: Connection,
    *,
    only_open: bool = False,
    site_id: str | None = None,
    incident_id: int | None = None,
    limit: int = 100,
) -> list[Row]:
    """Incidents, newest first.

    Each row: what it is (`class`, `subject`, `site`, `name`, `place`, `unassigned`, `standing`), how it stands
    (`phase`, `round`, `seen`: what whoever acts on it names,
    `since_ms`, `opened_ms`, `restored_ms`, `ack_*`, `closed_*`, `disposition`, `note`), `owner`
    ({name, phone masked, lang}), `first_alarm` and `last_alarm` (as `alarm_row`; None for faults), whether it is
    `verified`, and if its dispatch is held back until when (`held_until_ms`) and what the operator is asked (`asks`:
    ASKS_VERIFY, ASKS_EXERCISE or None); `exercise`: {id, note, begins_ms, ends_ms, ended_ms} or None;
    `delivery_states`: {purpose: {channel: {state: count}}} of its present round; `deliveries_waiting`: of all rounds.
    """
    table = schema.incident
    query = select(table).order_by(table.c.id.desc()).limit(limit)
    if incident_id is not None:
        query = query.where(table.c.id == incident_id)
    if only_open:
        query = query.where(table.c.state == "open")
    if site_id is not None:
        query = query.where(table.c.subject.like(f"unit:{site_id}/%") | (table.c.subject == f"site:{site_id}"))
    found = [rows.incident_from(row) for row in conn.execute(query)]
    alarms, deliveries = _alarms(conn, found), _delivery_counts(conn, found)
    exercises = _exercises(conn, found)
    return [
        {
            **_summary(one),
            **_deliveries_of(one, deliveries.get(one.id, {})),
            "first_alarm": alarms.get(one.id, (None, None))[0],
            "last_alarm": alarms.get(one.id, (None, None))[1],
            "exercise": exercises.get(one.exercise_id) if one.exercise_id is not None else None,
        }
        for one in found
    ]


def _summary(incident: Incident) -> Row:
    unit = _part(incident.snapshot, "unit")
    return {
        "id": incident.id,
        "class": incident.class_,
        "subject": incident.subject,
        "site": _part(incident.snapshot, "site").get("name"),
        "name": unit.get("name"),
        "place": unit.get("place"),
        "floor": unit.get("floor"),
        "stall": unit.get("stall"),
        "unassigned": bool(incident.snapshot.get("unassigned")),
        "owner": _owner(incident.snapshot),
        "state": incident.state,
        "phase": incidents.phase(incident).value,
        "standing": sorted({name for names in incident.active.values() for name in names}),
        "round": incident.round,
        "since_ms": incident.opened_ms,
        "opened_ms": incident.opened_ms,
        "last_event": incident.last_event_id,
        "seen": incidents.seen_text(incident.last_event_id, incident.beats),
        "last_event_ms": incident.last_event_ms,
        "restored_ms": incident.restored_ms,
        "verified": incident.verified_ms is not None,
        "verified_ms": incident.verified_ms,
        "verified_by": incident.verified_by,
        "held_until_ms": incident.held_until_ms,
        "asks": _asks(incident),
        "ack_ms": incident.ack_ms,
        "ack_by": incident.ack_by,
        "closed_ms": incident.closed_ms,
        "closed_by": incident.closed_by,
        "disposition": incident.disposition,
        "note": incident.note,
    }


def _asks(incident: Incident) -> str | None:
    if incident.closed_ms is not None or not incident.held_until_ms:  # 0: it is let go this very moment
        return None
    return ASKS_VERIFY if incident.exercise_id is None else ASKS_EXERCISE


def _part(snapshot: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = snapshot.get(name)
    return found if isinstance(found, Mapping) else {}


def _owner(snapshot: Mapping[str, Any]) -> Row | None:
    """The owner, or without one whoever is called first; the number masked."""
    people = snapshot.get("contacts") or ()
    first = next((p for p in people if p.get("role") == "owner"), people[0] if people else None)
    if first is None:
        return None
    return {"name": first["name"], "phone": phone.masked(first["phone"]), "lang": first.get("lang")}


def _some(found: Iterable[Incident]) -> list[list[int]]:
    ids = [one.id for one in found]
    return [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]


def _alarms(conn: Connection, found: list[Incident]) -> dict[int, tuple[Row, Row]]:
    """The first and the last alarm event of each incident."""
    event = schema.event
    made: dict[int, tuple[Row, Row]] = {}
    for ids in _some(found):
        ends = (
            select(event.c.incident_id, func.min(event.c.id).label("first"), func.max(event.c.id).label("last"))
            .where(event.c.incident_id.in_(ids), event.c.kind == kinds.EVENT_NAMES[kinds.ALARM])
            .group_by(event.c.incident_id)
        ).subquery()
        either = (event.c.id == ends.c.first) | (event.c.id == ends.c.last)
        for row in conn.execute(select(event).join(ends, either).order_by(event.c.id)):
            shown = alarm_row(row)
            first, _ = made.get(row.incident_id, (shown, shown))
            made[row.incident_id] = (first, shown)
    return made


def alarm_row(row: Any) -> Row:
    """An alarm event as it is shown: criterion by name and in words, known readings with their units."""
    return {
        "event": row.id,
        "node": row.node_id,
        "phenomena": kinds.phenomena_text(row.phenomena),
        "criterion": row.criterion,
        "criterion_text": texts.load_messages().criteria.get(row.criterion, {}),
        "held_s": row.sustained_ms / 1000,
        "values": texts.readings_shown(row.readings, row.criterion),
        "event_ms": row.event_ms,
        "received_ms": row.received_ms,
    }


_Counts = dict[tuple[int, str, str, str], int]


def _delivery_counts(conn: Connection, found: list[Incident]) -> dict[int, _Counts]:
    """How many deliveries of each (round, purpose, channel, state), by incident."""
    c = schema.delivery.c
    made: dict[int, _Counts] = {}
    by = (c.incident_id, c.round, c.seq, c.purpose, c.channel, c.state)
    for ids in _some(found):
        for row in conn.execute(select(*by, func.count().label("n")).where(c.incident_id.in_(ids)).group_by(*by)):
            key = row.round, shown_purpose(row.purpose, row.seq), row.channel, row.state
            of_one = made.setdefault(row.incident_id, {})
            of_one[key] = of_one.get(key, 0) + row.n
    return made


def _deliveries_of(incident: Incident, counts: _Counts) -> Row:
    """By purpose: that the restore was accepted says nothing of the alarm."""
    states: dict[str, dict[str, dict[str, int]]] = {}
    for (round_, purpose, channel, state), n in sorted(counts.items(), key=lambda one: _purpose_rank(*one[0])):
        if round_ == incident.round:
            states.setdefault(purpose, {}).setdefault(channel, {})[state] = n
    waiting = sum(n for (*_, state), n in counts.items() if state in _WAITING)
    return {"deliveries_waiting": waiting, "delivery_states": states}


_PURPOSES = (ALARM, ESCALATION, UPDATE, RESTORE)


def _purpose_rank(round_: int, purpose: str, channel: str, state: str) -> tuple[int, str, str]:
    return (_PURPOSES.index(purpose) if purpose in _PURPOSES else len(_PURPOSES)), channel, state


def _exercises(conn: Connection, found: list[Incident]) -> dict[int, Row]:
    c = schema.exercise.c
    ids = {one.exercise_id for one in found if one.exercise_id is not None}
    if not ids:
        return {}
    query = select(c.id, c.note, c.begins_ms, c.ends_ms, c.ended_ms).where(c.id.in_(ids))
    return {row.id: dict(row._mapping) for row in conn.execute(query)}


# ---- one of them


def show_incident(conn: Connection, incident_id: int) -> Row:
    """One incident with its contacts (masked), events and deliveries. An alarm's `history` is the minute before it, as
    histories.Minute.shown has it, or None. Raises RegistryError.
    """
    found = list_incidents(conn, incident_id=incident_id)
    if not found:
        raise unknown(incident_id)
    table = schema.incident.c
    snapshot = conn.execute(select(table.snapshot).where(table.id == incident_id)).scalar_one()
    return {
        **found[0],
        "unit": without_secrets(_part(snapshot, "unit")) or None,
        "contacts": without_secrets(snapshot.get("contacts", [])),
        "duty": without_secrets(snapshot.get("duty", [])),
        "events": _events(conn, incident_id),
        "deliveries": _deliveries(conn, incident_id),
    }


def unknown(incident_id: int) -> RegistryError:
    """There is no such incident."""
    return RegistryError(f"there is no incident {incident_id}", "See them: bongsu incident list")


def _events(conn: Connection, incident_id: int) -> list[Row]:
    c = schema.event.c
    query = select(
        c.id, c.node_id, c.epoch, c.number, c.kind, c.phenomena, c.criterion, c.received_ms, c.event_ms, c.readings
    )
    found = conn.execute(query.where(c.incident_id == incident_id).order_by(c.id)).all()
    alarms = [(r.node_id, r.epoch, r.number) for r in found if r.kind == kinds.EVENT_NAMES[kinds.ALARM]]
    minutes = histories.minutes_of(conn, dict.fromkeys(alarms))

    def history(row: Any) -> Row | None:
        minute = minutes.get((row.node_id, row.epoch, row.number))
        return minute.shown() if minute is not None and row.kind == kinds.EVENT_NAMES[kinds.ALARM] else None

    return [
        {
            "event": r.id,
            "node": r.node_id,
            "number": r.number,
            "kind": r.kind,
            "phenomena": kinds.phenomena_text(r.phenomena),
            "criterion": r.criterion,
            "event_ms": r.event_ms,
            "received_ms": r.received_ms,
            "readings": r.readings,
            "history": history(r),
        }
        for r in found
    ]


def _deliveries(conn: Connection, incident_id: int) -> list[Row]:
    c = schema.delivery.c
    query = select(
        c.id,
        c.purpose,
        c.channel,
        c.recipient,
        c.state,
        c.round,
        c.attempts,
        c.created_ms,
        c.sent_ms,
        c.accepted_ms,
        c.delivered_ms,
        c.escalated,
        c.last_error,
    )
    found = conn.execute(query.where(c.incident_id == incident_id).order_by(c.id))
    return [{**row._mapping, "last_error": masked_text(row.last_error) if row.last_error else None} for row in found]


def without_secrets(value: Any) -> Any:
    """A copy of snapshot data that may be shown: phone numbers masked, secrets left out."""
    if isinstance(value, Mapping):
        kept = {k: v for k, v in value.items() if "secret" not in str(k)}
        return {k: _shown_field(str(k), v) for k, v in kept.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(v) for v in value]
    return value


def _shown_field(name: str, value: Any) -> Any:
    return phone.masked(value) if "phone" in name and isinstance(value, str) else without_secrets(value)
