"""The operator's desk: incidents as a person sees and handles them. Phone numbers are masked, secrets never shown.

The rules are incidents.py's; here they meet the store. What a person decides is written with compare and set, so that
an event that comes in between is never hidden by it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select, update

from bongsu.errors import BongsuError
from bongsu.receiver import incidents, phone, registry
from bongsu.receiver.registry import RegistryError, Row
from bongsu.receiver.store import schema
from bongsu_wire import kinds

_FIELDS = tuple(f.name for f in dataclasses.fields(incidents.Incident))


def list_incidents(
    conn: Connection,
    *,
    only_open: bool = False,
    site_id: str | None = None,
    incident_id: int | None = None,
    limit: int = 100,
) -> list[Row]:
    """Incidents, newest first, each with its phase and how many deliveries still wait."""
    table, delivery = schema.incident, schema.delivery
    waiting = (
        select(func.count())
        .where(delivery.c.incident_id == table.c.id, delivery.c.state.in_(("pending", "sent")))
        .scalar_subquery()
        .label("deliveries_waiting")
    )
    query = select(table, waiting).order_by(table.c.id.desc()).limit(limit)
    if incident_id is not None:
        query = query.where(table.c.id == incident_id)
    if only_open:
        query = query.where(table.c.state == "open")
    if site_id is not None:
        query = query.where(table.c.subject.like(f"unit:{site_id}/%") | (table.c.subject == f"site:{site_id}"))
    return [_summary(row) for row in conn.execute(query)]


def _summary(row: Any) -> Row:
    incident = _incident(row)
    unit = _part(incident.snapshot, "unit")
    return {
        "id": incident.id,
        "class": incident.class_,
        "subject": incident.subject,
        "site": _part(incident.snapshot, "site").get("name"),
        "name": unit.get("name"),
        "place": unit.get("place"),
        "state": incident.state,
        "phase": incidents.phase(incident).value,
        "standing": sorted({name for names in incident.active.values() for name in names}),
        "round": incident.round,
        "opened_ms": incident.opened_ms,
        "last_event": incident.last_event_id,
        "last_event_ms": incident.last_event_ms,
        "restored_ms": incident.restored_ms,
        "ack_ms": incident.ack_ms,
        "ack_by": incident.ack_by,
        "closed_ms": incident.closed_ms,
        "disposition": incident.disposition,
        "note": incident.note,
        "deliveries_waiting": row.deliveries_waiting,
    }


def _part(snapshot: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = snapshot.get(name)
    return found if isinstance(found, Mapping) else {}


def show_incident(conn: Connection, incident_id: int) -> Row:
    """One incident with its contacts (masked), events and deliveries. Raises RegistryError."""
    found = list_incidents(conn, incident_id=incident_id)
    if not found:
        raise _unknown(incident_id)
    snapshot = _load(conn, incident_id).snapshot
    return {
        **found[0],
        "contacts": without_secrets(snapshot.get("contacts", [])),
        "events": _events(conn, incident_id),
        "deliveries": _deliveries(conn, incident_id),
    }


def _unknown(incident_id: int) -> RegistryError:
    return RegistryError(f"there is no incident {incident_id}", "See them: bongsu incident list")


def _events(conn: Connection, incident_id: int) -> list[Row]:
    c = schema.event.c
    query = select(c.id, c.node_id, c.number, c.kind, c.phenomena, c.criterion, c.received_ms, c.event_ms, c.readings)
    rows = conn.execute(query.where(c.incident_id == incident_id).order_by(c.id))
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
        }
        for r in rows
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
    rows = conn.execute(query.where(c.incident_id == incident_id).order_by(c.id))
    return [dict(row._mapping) for row in rows]


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


class StillStanding(BongsuError):
    """What the incident is about has not ended."""


def acknowledge(conn: Connection, incident_id: int, *, seen_event_id: int | None, by: str, now_ms: int) -> None:
    """Take an incident on, having seen it up to `seen_event_id` (None: it has no event).

    Raises RegistryError, incidents.StaleAcknowledgement or incidents.IllegalMove.
    """
    before = _load(conn, incident_id)
    after = incidents.acknowledged(before, by=by, seen_event_id=seen_event_id, now_ms=now_ms)
    _save(conn, before, after)
    registry.audit(
        conn,
        actor=by,
        action="incident.ack",
        subject=f"incident:{incident_id}",
        detail=f"event {seen_event_id}",
        now_ms=now_ms,
    )


def close(
    conn: Connection,
    incident_id: int,
    *,
    disposition: str,
    note: str,
    by: str,
    now_ms: int,
    seen_event_id: int | None,
    still_standing: bool = False,
) -> int:
    """End an incident, having seen it up to `seen_event_id` (None: it has no event); returns how many deliveries were
    cancelled, because they had not been sent yet. `still_standing`: although its alarm or fault still stands.

    Raises as `acknowledge`, and StillStanding.
    """
    before = _load(conn, incident_id)
    if before.closed_ms is None:
        incidents.acknowledged(before, by=by, seen_event_id=seen_event_id, now_ms=now_ms)  # raises what it is not
        if before.active and before.restored_ms is None and not still_standing:
            raise StillStanding(
                f"incident {incident_id} still stands: {_standing(before)}",
                "Wait for its restore, or reset the node: bongsu node order MAC reset. Once closed, nothing tells of "
                "it any more; if you are sure: --still-standing.",
            )
    after = incidents.closed(before, disposition=disposition, now_ms=now_ms, note=note)
    _save(conn, before, after)
    cancelled = _cancel_waiting(conn, incident_id, now_ms)
    registry.audit(
        conn, actor=by, action="incident.close", subject=f"incident:{incident_id}", detail=disposition, now_ms=now_ms
    )
    return cancelled


def _standing(incident: incidents.Incident) -> str:
    return ", ".join(f"{'+'.join(names)} of {source}" for source, names in incident.active.items())


def _cancel_waiting(conn: Connection, incident_id: int, now_ms: int) -> int:
    """Cancel what has not been sent. What is under way now keeps its lease, and gets the state that it ends in."""
    table = schema.delivery
    idle = table.c.lease_until_ms.is_(None) | (table.c.lease_until_ms < now_ms)
    waiting = update(table).where(table.c.incident_id == incident_id, table.c.state == "pending", idle)
    return conn.execute(waiting.values(state="cancelled", lease_token=None, lease_until_ms=None)).rowcount


def _incident(row: Any) -> incidents.Incident:
    return incidents.Incident(**{name: getattr(row, name) for name in _FIELDS})


def _load(conn: Connection, incident_id: int) -> incidents.Incident:
    table = schema.incident
    row = conn.execute(select(table).where(table.c.id == incident_id)).first()
    if row is None:
        raise _unknown(incident_id)
    return _incident(row)


def _save(conn: Connection, before: incidents.Incident, after: incidents.Incident) -> None:
    """Write what changed, if nobody else changed the incident since it was read (several receivers may)."""
    table = schema.incident
    changed = {n: getattr(after, n) for n in _FIELDS if getattr(after, n) != getattr(before, n)}
    same = table.c.last_event_id.is_not_distinct_from(before.last_event_id)
    mine = update(table).where(
        table.c.id == before.id, table.c.state == before.state, table.c.round == before.round, same
    )
    if conn.execute(mine.values(**changed, state=after.state)).rowcount != 1:
        raise incidents.StaleAcknowledgement(
            f"incident {before.id} changed at this very moment", f"Look again: bongsu incident show {before.id}"
        )
