"""What a transaction changed, told to whoever keeps a copy in memory: the receivers and the consoles.

Whoever writes notes it (`note`); the notes of a transaction are stored as rows of `change` at its end, in the same
transaction. A reader remembers the last id that it has taken in and reads what came after it (`read`). Writers come one
after the other, so the ids stand in the order of the commits. What somebody wrote and forgot to note is told as "all of
this topic" (`watch`): late is never worse than slow.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, delete, event, func, insert, select

from bongsu.receiver.store import postgres, schema

# What can change, and what its ids are: node "a0b1c2d3e4f5" (also of walk_test), unit "hannae/a-07", incident 12, ...
# "all": read all anew.
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
    "walk_test",
    "operator",
    "receiver",
    "other",  # a commit that nobody needs to take in
)
_NOTES, _TOUCHED = "bongsu_changes", "bongsu_touched"
# More ids than this of one topic are told as "all of this topic" (no ids).
_IDS_MAX = 5_000
# Whoever was away for longer than this reads everything anew.
KEEP_MS = 10 * 60_000
# Of which topics a note covers a change of a table.
_COVER = {
    "site": ("site",),
    "unit": ("unit",),
    "unit_contact": ("unit", "contact"),
    "contact": ("contact",),
    "responder": ("responder",),
    "responder_site": ("responder",),
    "responder_area": ("responder",),
    "duty": ("duty",),
    "node": ("node",),
    "node_key": ("node",),
    "node_broker": ("node",),
    "incident": ("incident",),
    "delivery": ("delivery",),
    "event": ("event",),
    "event_history": ("event",),
    "command": ("command",),
    "exercise": ("exercise",),
    "exercise_unit": ("exercise",),
    "walk_test": ("walk_test",),
    "operator": ("operator",),
    "receiver": ("receiver",),
}

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
    conn.info.pop(_TOUCHED, None)


def watch(engine: Engine) -> None:
    """Look at which tables transactions write to, so that nothing goes untold."""

    def on_execute(conn: Connection, statement: Any, *_: Any) -> None:
        if getattr(statement, "is_dml", False) and _TOUCHED in conn.info:
            conn.info[_TOUCHED].add(statement.table.name)

    event.listen(engine, "before_execute", on_execute)


def begin_watched(conn: Connection) -> None:
    """As `begin`, and what is written without a note is found by `store`."""
    begin(conn)
    conn.info[_TOUCHED] = set()


def _add_unnoted(conn: Connection, known: Notes) -> None:
    tables = conn.info.pop(_TOUCHED, set())
    for table in tables:
        topics = _COVER.get(table, ())
        if topics and "all" not in known and not any(topic in known for topic in topics):
            known[topics[0]] = {"*"}
    if tables and not known:
        known["other"] = {"*"}


def store(conn: Connection, now_ms: int, sender: int | None = None) -> int | None:
    """Store what was noted: the last statement of the transaction. `sender`: the receiver that it is, or None. Returns
    the last row's id; None if there was nothing.
    """
    known: Notes = conn.info.pop(_NOTES, {})
    _add_unnoted(conn, known)
    rows: list[dict[str, Any]] = [
        {
            "at_ms": now_ms,
            "sender": sender,
            "topic": topic,
            "what": [] if "*" in ids or len(ids) > _IDS_MAX else sorted(ids),
        }
        for topic, ids in known.items()
    ]
    if not rows:
        return None
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql(f"NOTIFY {postgres.CHANNEL}, '{sender or 0}'")
    made = conn.execute(insert(schema.change).returning(schema.change.c.id), rows)
    return int(max(made.scalars()))


@dataclass(slots=True)
class News:
    """What was committed since a reader looked last: ids by topic (None: all of it), and where it stands now."""

    last_id: int
    topics: dict[str, set[str] | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.topics)

    def ids(self, topic: str) -> set[str]:
        """The ids of a topic; empty if nothing, or all of it, changed."""
        return self.topics.get(topic) or set()

    def is_all_of(self, *topics: str) -> bool:
        """Must one of these be read whole?"""
        return any(topic in self.topics and self.topics[topic] is None for topic in topics)


def position(conn: Connection) -> int:
    """Where the changes stand now; 0 if there are none."""
    return int(conn.execute(select(func.max(schema.change.c.id))).scalar_one() or 0)


def read(conn: Connection, last_id: int) -> News:
    """What came after `last_id`. If that row is gone (pruned, or another database was put in place): everything."""
    table = schema.change
    query = select(table.c.id, table.c.topic, table.c.what).where(table.c.id >= last_id).order_by(table.c.id)
    rows = conn.execute(query).all()
    news = News(last_id)
    if last_id and (not rows or rows[0].id != last_id):
        news.topics["all"] = None
    for row in rows:
        if row.id == last_id:
            continue
        before = news.topics.get(row.topic, set())
        news.topics[row.topic] = before | set(row.what) if row.what and before is not None else None
        news.last_id = row.id
    if not rows:
        news.last_id = 0
    return news


def prune(conn: Connection, now_ms: int) -> None:
    """Forget what is older than KEEP_MS; the newest row always stays, it is the place where readers stand."""
    table = schema.change
    newest = select(func.max(table.c.id)).scalar_subquery()
    conn.execute(delete(table).where(table.c.at_ms < now_ms - KEEP_MS, table.c.id < newest))
