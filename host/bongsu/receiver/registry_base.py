"""What all parts of the registry share: its error, the audit, and small questions to the store."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table, select

from bongsu.errors import BongsuError
from bongsu.receiver import audit as audit_rows
from bongsu.receiver.store import schema

NAME_MAX = 100
PLACE_MAX = 200
# Parameters of one IN (...): SQLite takes 32,766, PostgreSQL's driver 65,535.
_AT_ONCE = 5_000

Row = dict[str, Any]
# What an edit changed: field -> (old, new), phone numbers masked.
Changed = dict[str, tuple[Any, Any]]


class RegistryError(BongsuError):
    """The registry refuses: something is there already, is missing, or is in use."""


def audit(conn: Connection, *, actor: str, action: str, subject: str, detail: str, now_ms: int) -> None:
    """Write down who did what by hand (audit.py)."""
    audit_rows.write(conn, actor=actor, action=action, subject=subject, detail=detail, now_ms=now_ms)


def changed(before: Row, wanted: Row) -> Changed:
    """What of `wanted` differs from the row as it is."""
    return {name: (before[name], value) for name, value in wanted.items() if before[name] != value}


def said(changes: Changed) -> str:
    """Changes as one line for the audit."""
    return "; ".join(f"{name}: {_shown(old)} -> {_shown(new)}" for name, (old, new) in changes.items())


def _shown(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)


def refuse_taken(conn: Connection, table: Table, wanted: Any, what: str) -> None:
    """Raises RegistryError if the table has this id."""
    if conn.execute(select(table.c.id).where(table.c.id == wanted)).first() is not None:
        raise RegistryError(f"{what} {wanted} is already registered", f"See it: bongsu {what} show {wanted}")


def rows_of(result: Any) -> list[Row]:
    """The rows of a result as dicts."""
    return [dict(row._mapping) for row in result]


def in_slices(ids: Iterable[str]) -> Iterable[list[str]]:
    """The ids in lists that a statement can take."""
    left = list(ids)
    return (left[i : i + _AT_ONCE] for i in range(0, len(left), _AT_ONCE))


def open_incidents(conn: Connection, subjects: Iterable[str], classes: tuple[str, ...] | None = None) -> list[int]:
    """Open incidents of these subjects ("unit:hannae/a-07", ...), oldest first; of these classes, or of all."""
    c = schema.incident.c
    query = select(c.id).where(c.state == "open")
    if classes is not None:
        query = query.where(c.class_.in_(classes))
    found: list[int] = []
    for some in in_slices(subjects):
        found += conn.execute(query.where(c.subject.in_(some))).scalars()
    return sorted(found)


def refuse_open(conn: Connection, what: str, subjects: Iterable[str], classes: tuple[str, ...] | None = None) -> None:
    """Raises RegistryError if one of the subjects has an open incident."""
    found = open_incidents(conn, subjects, classes)
    if found:
        raise RegistryError(
            f"{what} has an open incident ({', '.join(map(str, found[:5]))})",
            f"Close it first: bongsu incident close {found[0]}",
        )
