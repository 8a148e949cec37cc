"""The operator's desk: incidents as a person sees and handles them. Phone numbers are masked, secrets never shown.

The rules are incidents.py's; here they meet the store. What a person decides is written with compare and set, so that
an event that comes in between is never hidden by it.
"""

import dataclasses
from typing import Any

from sqlalchemy import Connection, select, update

from bongsu.errors import BongsuError
from bongsu.receiver import docket, incidents, policy, registry
from bongsu.receiver.docket import list_incidents, show_incident, without_secrets
from bongsu.receiver.store import changes, schema

__all__ = [
    "StillStanding",
    "acknowledge",
    "answer_exercise",
    "close",
    "list_incidents",
    "show_incident",
    "verify",
    "without_secrets",
]

_FIELDS = tuple(f.name for f in dataclasses.fields(incidents.Incident))


class StillStanding(BongsuError):
    """What the incident is about has not ended."""


def acknowledge(
    conn: Connection, incident_id: int, *, seen_event_id: int | None, by: str, now_ms: int, seen_beats: int = 0
) -> None:
    """Take an incident on, having seen it up to `seen_event_id` (None: it has no event) and as many alarms by heartbeat
    as `seen_beats`.

    Raises RegistryError, incidents.StaleAcknowledgement (also if somebody else was first) or incidents.IllegalMove.
    """
    before = _load(conn, incident_id)
    if before.closed_ms is None and before.ack_by not in (None, by):
        raise incidents.StaleAcknowledgement(
            f"incident {incident_id} was taken on by {before.ack_by} before you",
            f"See how it stands: bongsu incident show {incident_id}",
        )
    after = incidents.acknowledged(before, by=by, seen_event_id=seen_event_id, now_ms=now_ms, seen_beats=seen_beats)
    _save(conn, before, after)
    _audit(conn, "ack", incident_id, by, f"event {incidents.seen_text(seen_event_id, seen_beats)}", now_ms)


def close(
    conn: Connection,
    incident_id: int,
    *,
    disposition: str,
    note: str,
    by: str,
    now_ms: int,
    seen_event_id: int | None,
    seen_beats: int = 0,
    still_standing: bool = False,
) -> int:
    """End an incident, having seen it up to `seen_event_id` (None: it has no event); returns how many deliveries were
    cancelled, because they had not been sent yet. `still_standing`: although its alarm or fault still stands.

    Raises as `acknowledge`, and StillStanding.
    """
    before = _load(conn, incident_id)
    if before.closed_ms is None:
        incidents.acknowledged(  # raises what it is not
            before, by=by, seen_event_id=seen_event_id, now_ms=now_ms, seen_beats=seen_beats
        )
        if before.active and before.restored_ms is None and not still_standing:
            raise StillStanding(
                f"incident {incident_id} still stands: {_standing(before)}",
                "Wait for its restore, or reset the node: bongsu node order MAC reset. Once closed, nothing tells of "
                "it any more; if you are sure: --still-standing.",
            )
    after = incidents.closed(before, disposition=disposition, by=by, now_ms=now_ms, note=note)
    _save(conn, before, after)
    cancelled = _cancel_waiting(conn, incident_id, now_ms)
    held = ", before it was dispatched" if policy.is_held(before) else ""
    _audit(conn, "close", incident_id, by, f"{disposition}{held}", now_ms)
    return cancelled


def verify(
    conn: Connection, incident_id: int, *, seen_event_id: int | None, by: str, now_ms: int, seen_beats: int = 0
) -> None:
    """A person says that the alarm is real, having seen the incident up to `seen_event_id`. What was held back goes out
    at once, and whoever was told of it as unverified is told again.

    Raises RegistryError, incidents.StaleAcknowledgement or incidents.IllegalMove.
    """
    before = _load(conn, incident_id)
    after = policy.verified(before, policy.operator(by), now_ms)
    incidents.check_seen(before, seen_event_id, seen_beats)
    if policy.is_held(before):
        after = dataclasses.replace(after, held_until_ms=0)
    _save(conn, before, after)
    _audit(conn, "verify", incident_id, by, f"event {incidents.seen_text(seen_event_id, seen_beats)}", now_ms)


def answer_exercise(
    conn: Connection,
    incident_id: int,
    *,
    real: bool,
    seen_event_id: int | None,
    by: str,
    now_ms: int,
    seen_beats: int = 0,
) -> None:
    """The operator's answer about an alarm in an exercise, having seen it up to `seen_event_id`: `real` goes out at
    once; a drill is closed as a test, and is never dispatched.

    Raises RegistryError, incidents.StaleAcknowledgement, or incidents.IllegalMove if nothing is asked (any more).
    """
    before = _load(conn, incident_id)
    after = policy.answered(before, real=real, by=by, now_ms=now_ms, seen_event_id=seen_event_id, seen_beats=seen_beats)
    _save(conn, before, after)
    if not real:
        _cancel_waiting(conn, incident_id, now_ms)
    _audit(
        conn,
        "exercise",
        incident_id,
        by,
        f"{'real' if real else 'drill'}, event {incidents.seen_text(seen_event_id, seen_beats)}",
        now_ms,
    )


def _audit(conn: Connection, act: str, incident_id: int, by: str, detail: str, now_ms: int) -> None:
    subject = f"incident:{incident_id}"
    registry.audit(conn, actor=by, action=f"incident.{act}", subject=subject, detail=detail, now_ms=now_ms)


def _standing(incident: incidents.Incident) -> str:
    return ", ".join(f"{'+'.join(names)} of {source}" for source, names in incident.active.items())


# No lease is longer (receiver.toml allows 60 s): one that ends later was written before the clock was set back.
_LEASE_MOST_MS = 65_000


def _cancel_waiting(conn: Connection, incident_id: int, now_ms: int) -> int:
    """Cancel what has not been sent. What is under way now keeps its lease, and gets the state that it ends in."""
    table = schema.delivery
    until = table.c.lease_until_ms
    idle = until.is_(None) | (until < now_ms) | (until > now_ms + _LEASE_MOST_MS)
    waiting = update(table).where(table.c.incident_id == incident_id, table.c.state == "pending", idle)
    values = {"state": "cancelled", "lease_token": None, "lease_until_ms": None}
    cancelled = list(conn.execute(waiting.values(values).returning(table.c.id)).scalars())
    if cancelled:
        changes.note(conn, "delivery", *cancelled)
    return len(cancelled)


def _incident(row: Any) -> incidents.Incident:
    return incidents.Incident(**{name: getattr(row, name) for name in _FIELDS})


def _load(conn: Connection, incident_id: int) -> incidents.Incident:
    table = schema.incident
    row = conn.execute(select(table).where(table.c.id == incident_id)).first()
    if row is None:
        raise docket.unknown(incident_id)
    return _incident(row)


def _save(conn: Connection, before: incidents.Incident, after: incidents.Incident) -> None:
    """Write what changed, if nobody else changed the incident since it was read (several receivers may)."""
    table = schema.incident
    changed = {n: getattr(after, n) for n in _FIELDS if getattr(after, n) != getattr(before, n)}
    same = table.c.last_event_id.is_not_distinct_from(before.last_event_id)
    changes.note(conn, "incident", before.id)
    mine = update(table).where(
        table.c.id == before.id,
        table.c.state == before.state,
        table.c.round == before.round,
        same,
        table.c.last_event_ms == before.last_event_ms,
    )
    if conn.execute(mine.values(**changed, state=after.state)).rowcount != 1:
        raise incidents.StaleAcknowledgement(
            f"incident {before.id} changed at this very moment", f"Look again: bongsu incident show {before.id}"
        )
