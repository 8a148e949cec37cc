"""What a transaction changed, told to whoever keeps a copy in memory: the receivers and the consoles.

Whoever writes notes it (`note`); the notes of a transaction are stored as rows of `change` at its end, in the same
transaction. A reader remembers the last id that it has taken in and reads what came after it.
"""

from typing import Any

from sqlalchemy import Connection, insert

from bongsu.receiver.store import schema

# What can change, and what its ids are: node "a0b1c2d3e4f5", unit "hannae/a-07", incident 12, ... "all": read all anew.
TOPICS = (
    "all",
    "site",
    "unit",
    "contact",
    "responder",
    "duty",
    "node",
    "incident",
    "delivery",
    "event",
    "command",
    "exercise",
    "operator",
    "receiver",
)
_NOTES = "bongsu_changes"
# More ids than this of one topic are told as "all of this topic" (no ids).
_IDS_MAX = 500

Notes = dict[str, set[str]]


def note(conn: Connection, topic: str, *ids: str | int) -> None:
    """Something of this topic changed in the running transaction: these ids; without ids, all of the topic."""
    assert topic in TOPICS, topic
    known: Notes = conn.info.setdefault(_NOTES, {})
    known.setdefault(topic, set()).update(map(str, ids) if ids else ("*",))


def noted(conn: Connection) -> Notes:
    """What the running transaction has noted so far; "*": all of a topic."""
    found: Notes = conn.info.get(_NOTES, {})
    return found


def begin(conn: Connection) -> None:
    """A transaction begins: nothing of an earlier one that failed counts."""
    conn.info.pop(_NOTES, None)


def store(conn: Connection, now_ms: int, sender: int | None = None) -> None:
    """Store what was noted: the last statement of the transaction. `sender`: the receiver that it is, or None."""
    known: Notes = conn.info.pop(_NOTES, {})
    rows: list[dict[str, Any]] = [
        {
            "at_ms": now_ms,
            "sender": sender,
            "topic": topic,
            "what": [] if "*" in ids or len(ids) > _IDS_MAX else sorted(ids),
        }
        for topic, ids in known.items()
    ]
    if rows:
        conn.execute(insert(schema.change), rows)
