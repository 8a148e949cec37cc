"""The receivers of an installation: list them, retire one."""

from sqlalchemy import Connection, select, update

from bongsu.receiver import registry
from bongsu.receiver.registry import RegistryError, Row
from bongsu.receiver.store import changes, schema

# A receiver writes every few seconds that it lives; a lone one on SQLite every minute.
SEEN_LATELY_MS = 60_000


def list_receivers(conn: Connection, *, now_ms: int) -> list[Row]:
    """All receivers, retired ones last. `state`: "running" (seen within a minute), "silent", "never" or "retired"."""
    table = schema.receiver
    query = select(table).order_by(table.c.retired_ms.is_not(None), table.c.created_ms, table.c.sender)
    return [
        {
            "sender": r.sender,
            "name": r.name,
            "host": r.host,
            "version": r.version,
            "state": _state(r.retired_ms, r.last_seen_ms, now_ms),
            "last_seen_ms": r.last_seen_ms,
            "created_ms": r.created_ms,
            "retired_ms": r.retired_ms,
        }
        for r in conn.execute(query)
    ]


def _state(retired_ms: int | None, last_seen_ms: int | None, now_ms: int) -> str:
    if retired_ms is not None:
        return "retired"
    if last_seen_ms is None:
        return "never"
    return "running" if now_ms - last_seen_ms < SEEN_LATELY_MS else "silent"


def check_retirable(conn: Connection, sender: int, *, now_ms: int, force: bool = False) -> str:
    """May this receiver be retired? Returns its client id. Raises RegistryError: unknown, retired, or seen within the
    last minute (unless `force`).
    """
    row = conn.execute(select(schema.receiver).where(schema.receiver.c.sender == sender)).first()
    if row is None:
        raise RegistryError(f"there is no receiver {sender}", "See them: bongsu receiver list")
    if row.retired_ms is not None:
        raise RegistryError(f"receiver {sender} is retired already", "See them: bongsu receiver list")
    if not force and row.last_seen_ms is not None and now_ms - row.last_seen_ms < SEEN_LATELY_MS:
        ago_s = max(0, now_ms - row.last_seen_ms) // 1000
        raise RegistryError(
            f"receiver {sender} was seen {ago_s} s ago",
            "Stop it and wait a minute; if it must go although it runs: --force.",
        )
    return str(row.mqtt_client_id)


def retire(conn: Connection, sender: int, *, by: str, now_ms: int) -> None:
    """Retire it; what it had under way is taken over when its leases end."""
    table = schema.receiver
    conn.execute(update(table).where(table.c.sender == sender, table.c.retired_ms.is_(None)).values(retired_ms=now_ms))
    changes.note(conn, "receiver", sender)
    registry.audit(conn, actor=by, action="receiver.retire", subject=f"receiver:{sender}", detail="", now_ms=now_ms)
