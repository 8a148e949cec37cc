"""What a restored store needs before a receiver may work with it: it tells of the past, and the world went on.

- Receivers: every sender number of the past is retired, a fresh one begins; no node sees a counter twice.
- Messages that waited: those that are young go out under their old keys (the other side counts them once); older ones
  need a person, because nobody wants engines at last night's fire. They stand as a fault that lists their incidents.
- Open alarms: what happened to them after the backup is unknown. They stay open; the next alarm of theirs is told to
  everybody again (a new round), so that a fire is never taken for the one that was closed meanwhile.
- Orders to nodes that waited are dropped, and walk tests that ran are over, with their texts; sessions of the console
  are void.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from bongsu.receiver import identity
from bongsu.receiver.delivery_policy import TEST
from bongsu.receiver.incidents import AS_OF_BACKUP, DISPATCHED, FAULT
from bongsu.receiver.store import schema
from bongsu.receiver.walk_tests import CANCELLED

RESEND_WITHIN_MS = 3_600_000
# Source and names of the fault.
RESTORE, FROM_BACKUP, MESSAGES_HELD = "restore", "restored_from_backup", "messages_held"
HELD_ERROR = "held when a backup was restored: a person decides"


@dataclass
class Settled:
    """What was done. `held`: deliveries that a person must decide on; `incidents`: open ones of alarms."""

    sender: int = 0
    client_id: str = field(default="", repr=False)
    retired: list[int] = field(default_factory=list)
    resent: int = 0
    held: list[int] = field(default_factory=list)
    held_incidents: list[int] = field(default_factory=list)
    open_incidents: list[int] = field(default_factory=list)
    fault: int = 0


def settle(conn: Connection, made_ms: int, now_ms: int, resend_within_ms: int) -> Settled:
    """Settle a store that was restored from a backup made at `made_ms`."""
    done = Settled()
    _receivers(conn, done, now_ms)
    _deliveries(conn, done, now_ms, resend_within_ms)
    _open_alarms(conn, done, made_ms, now_ms, resend_within_ms)
    c = schema.command.c
    # They may have gone out after the backup: a key that one gives may be in its node (orders.py).
    dropped = {"state": "expired", "sent_ms": func.coalesce(c.sent_ms, made_ms)}
    conn.execute(update(schema.command).where(c.state.in_(("pending", "sent"))).values(dropped))
    walk = schema.walk_test
    conn.execute(update(walk).where(walk.c.ended_ms.is_(None)).values(ended_ms=now_ms, outcome=CANCELLED))
    conn.execute(delete(schema.console_session))
    done.fault = _tell(conn, done, made_ms, now_ms)
    return done


def _receivers(conn: Connection, done: Settled, now_ms: int) -> None:
    table = schema.receiver
    retiring = update(table).where(table.c.retired_ms.is_(None)).returning(table.c.sender)
    done.retired = sorted(conn.execute(retiring.values(retired_ms=now_ms)).scalars())
    done.client_id = identity.add(conn, now_ms)
    mine = select(table.c.sender).where(table.c.mqtt_client_id == done.client_id)
    done.sender = int(conn.execute(mine).scalar_one())


def _deliveries(conn: Connection, done: Settled, now_ms: int, resend_within_ms: int) -> None:
    table = schema.delivery
    waiting = table.c.state.in_(("pending", "sent"))
    conn.execute(update(table).where(waiting, table.c.purpose == TEST).values(state="cancelled"))
    conn.execute(update(table).where(waiting).values(lease_token=None, lease_until_ms=None, next_at_ms=now_ms))
    old = select(table.c.id, table.c.incident_id).where(waiting, table.c.created_ms < now_ms - resend_within_ms)
    rows = conn.execute(old.order_by(table.c.id)).all()
    done.held, incidents = [r.id for r in rows], {r.incident_id for r in rows}
    for start in range(0, len(rows), 500):
        some = table.c.id.in_(done.held[start : start + 500])
        conn.execute(update(table).where(some).values(state="failed", last_error=HELD_ERROR))
    done.held_incidents = sorted(incidents)
    done.resent = len(conn.execute(select(table.c.id).where(waiting)).all())


def _open_alarms(conn: Connection, done: Settled, made_ms: int, now_ms: int, resend_within_ms: int) -> None:
    table = schema.incident
    query = select(table).where(table.c.state == "open", table.c.class_.in_(DISPATCHED)).order_by(table.c.id)
    for row in conn.execute(query).all():
        values: dict[str, Any] = {"snapshot": {**row.snapshot, AS_OF_BACKUP: made_ms}}
        if row.held_until_ms and row.last_event_ms < now_ms - resend_within_ms:
            values["held_until_ms"] = None  # it was never told to anybody: too late for engines, not for a person
            done.held_incidents.append(row.id)
        conn.execute(update(table).where(table.c.id == row.id).values(values))
        done.open_incidents.append(row.id)
    done.held_incidents = sorted(set(done.held_incidents))


def _tell(conn: Connection, done: Settled, made_ms: int, now_ms: int) -> int:
    """The fault that tells of the restore until a person closes it; returns its number."""
    names = [FROM_BACKUP, *([MESSAGES_HELD] if done.held_incidents else [])]
    snapshot = {
        "active": {RESTORE: names},
        RESTORE: {"made_ms": made_ms, "open_incidents": done.open_incidents, "held_incidents": done.held_incidents},
    }
    held, alarms = _listed(done.held_incidents), _listed(done.open_incidents)
    made = conn.execute(
        insert(schema.incident)
        .values(
            subject=f"receiver:{done.sender}",
            class_=FAULT,
            state="open",
            round=1,
            opened_ms=now_ms,
            last_event_ms=now_ms,
            note=f"open alarms as of the backup: {alarms}; messages held: {held}",
            snapshot=snapshot,
        )
        .returning(schema.incident.c.id)
    )
    return int(made.scalar_one())


def _listed(ids: list[int]) -> str:
    if not ids:
        return "none"
    return ", ".join(map(str, ids[:50])) + (f" and {len(ids) - 50} more" if len(ids) > 50 else "")
