"""Walk tests: whoever fits a node presses its button, and the whole way to the owner's phone is tried.

While a walk test of a node runs, the node's next test event is told to the unit's first contact: one text, marked as an
exercise. Never anything to a responder; an alarm meanwhile is an alarm. It ends by that event, or by itself after some
minutes; it stands in the store, so a restart changes nothing. Without one the button tells nobody, as ever.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from bongsu.receiver import fields, incidents, registry
from bongsu.receiver.registry import RegistryError, Row
from bongsu.receiver.registry_base import open_incidents
from bongsu.receiver.store import changes, schema

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

# The store's CHECK says the same.
MAX_MINUTES = 15
_MINUTE_MS = 60_000
# How it ended: `RECEIVED` stands only inside the transaction that finds out which of the next four it is.
RECEIVED, TEXTED, NO_CONTACT, NO_SMS, ALARM_OPEN = "received", "texted", "no_contact", "no_sms", "alarm_open"
EXPIRED, CANCELLED = "expired", "cancelled"
# The test event came; with these no text could be tried.
UNTEXTED = (NO_CONTACT, NO_SMS, ALARM_OPEN)
# An event this much older than the walk test is not its own: a button that was pressed before comes home from the
# node's journal. (The node says how long ago it was; what is less is the clocks of two machines.)
_BEFORE_MS = 5_000


def begin(conn: Connection, node_id: str, *, minutes: int, by: str, now_ms: int) -> int:
    """Begin a walk test of a node, for `minutes` (1 to MAX_MINUTES); one that runs already ends. Returns its number.

    Raises FieldError, and RegistryError for a node that is not in service, and while an alarm of it or of its unit is
    open: nobody must read "exercise" while it burns.
    """
    if not 1 <= minutes <= MAX_MINUTES:
        raise fields.FieldError(
            "bad_minutes", f"a walk test runs 1 to {MAX_MINUTES} minutes, not {minutes}", "Begin another one later."
        )
    row = registry.get_node(conn, node_id)
    if row["state"] != "provisioned":
        raise RegistryError(
            f"node {node_id} is {row['state']}: it cannot be tested", f"See it: bongsu node show {node_id}"
        )
    subjects = [f"node:{node_id}", *([f"unit:{row['site_id']}/{row['unit_id']}"] if row["site_id"] else [])]
    if found := open_incidents(conn, subjects, incidents.DISPATCHED):
        raise RegistryError(
            f"an alarm of node {node_id}, or of its unit, is open (incident {found[0]})",
            f"Close it first: bongsu incident show {found[0]}",
        )
    table = schema.walk_test
    running = update(table).where(table.c.node_id == node_id, table.c.ended_ms.is_(None))
    conn.execute(running.values(ended_ms=now_ms, outcome=CANCELLED))
    values = {"node_id": node_id, "begun_by": by[:100], "begun_ms": now_ms, "ends_ms": now_ms + minutes * _MINUTE_MS}
    made = conn.execute(insert(table).values(values)).inserted_primary_key or (0,)
    changes.note(conn, "walk_test", node_id)
    registry.audit(conn, actor=by, action="walk_test.begin", subject=f"node:{node_id}", detail=f"{minutes} min",
                   now_ms=now_ms)  # fmt: skip
    return int(made[0])


def cancel(conn: Connection, number: int, *, now_ms: int) -> bool:
    """End a walk test for which nobody waits any more. True if it was running still."""
    table = schema.walk_test
    mine = update(table).where(table.c.id == number, table.c.ended_ms.is_(None))
    node_ids = list(conn.execute(mine.values(ended_ms=now_ms, outcome=CANCELLED).returning(table.c.node_id)).scalars())
    if node_ids:
        changes.note(conn, "walk_test", *node_ids)
    return bool(node_ids)


def show(conn: Connection, number: int) -> Row:
    """How a walk test stands: node, begun_ms, ends_ms, ended_ms, outcome (None: it waits), event, incident, and
    `delivery`: None, or the text's recipient, state, attempts, last_error and the times that it has reached.
    """
    w, e, d = schema.walk_test.c, schema.event.c, schema.delivery
    row = conn.execute(select(schema.walk_test).where(w.id == number)).first()
    if row is None:
        raise RegistryError(f"there is no walk test {number}", "Begin one: bongsu device commission")
    text = conn.execute(select(d).where(d.c.id == row.delivery_id)).first() if row.delivery_id is not None else None
    shown = ("recipient", "state", "attempts", "last_error", "created_ms", "sent_ms", "accepted_ms", "delivered_ms")
    return {
        "id": row.id,
        "node": row.node_id,
        "begun_ms": row.begun_ms,
        "ends_ms": row.ends_ms,
        "ended_ms": row.ended_ms,
        "outcome": row.outcome,
        "event": row.event_id,
        "incident": conn.execute(select(e.incident_id).where(e.id == row.event_id)).scalar_one_or_none(),
        "delivery": {name: getattr(text, name) for name in shown} if text is not None else None,
    }


def shift(conn: Connection, by_ms: int) -> None:
    """The clock was set by `by_ms` (ms): those that run keep the time that they have left."""
    table = schema.walk_test
    moved: dict[str, Any] = {"begun_ms": table.c.begun_ms + by_ms, "ends_ms": table.c.ends_ms + by_ms}
    running = update(table).where(table.c.ended_ms.is_(None)).values(moved)
    if nodes := list(conn.execute(running.returning(table.c.node_id)).scalars()):
        changes.note(conn, "walk_test", *nodes)


@dataclass(slots=True)
class _Running:
    id: int
    begun_ms: int
    ends_ms: int
    end_mono_ms: int


class WalkTests:
    """Which nodes have one that runs; ends it when its time is over. A chore of the writer."""

    def __init__(self, books: "Books") -> None:
        self._clock = books.clock
        self._running: dict[str, _Running] = {}

    def load(self, conn: Connection) -> None:
        """Read those that have not ended. None runs longer than it may, whatever was done to the clock."""
        now_ms, mono_ms = self._clock.now_ms(), self._clock.mono_ms()
        table, before, self._running = schema.walk_test, self._running, {}
        for row in conn.execute(select(table).where(table.c.ended_ms.is_(None))):
            known = before.get(row.node_id)
            if known is None or (known.id, known.ends_ms) != (row.id, row.ends_ms):
                left_ms = min(row.ends_ms - now_ms, row.ends_ms - row.begun_ms)
                known = _Running(row.id, row.begun_ms, row.ends_ms, mono_ms + left_ms)
            self._running[row.node_id] = known

    def note(self, item: object) -> None:
        """Nothing is meant for it."""

    def due_ms(self) -> int | None:
        """When the first one ends (monotonic ms)."""
        return min((one.end_mono_ms for one in self._running.values()), default=None)

    def act(self, conn: Connection, turn: "Turn") -> None:
        """End those whose time is over."""
        mono_ms, table = self._clock.mono_ms(), schema.walk_test
        for node_id in [n for n, one in self._running.items() if one.end_mono_ms <= mono_ms]:
            one = self._running.pop(node_id)
            over = update(table).where(table.c.id == one.id, table.c.ended_ms.is_(None))
            if conn.execute(over.values(ended_ms=self._clock.now_ms(), outcome=EXPIRED)).rowcount:
                changes.note(conn, "walk_test", node_id)
                turn.say("info", "walk_test.expired", node=node_id, walk_test=one.id)

    # ---- its event

    def take(self, conn: Connection, node_id: str, event_ms: int | None, received_ms: int) -> int | None:
        """A test event of this node came, which happened at `event_ms` (UTC; None: the node does not know, so not now).
        Returns the number of the walk test that waited for it; that one is over, and the caller says how (`ended`).
        """
        one = self._running.get(node_id)
        if one is None or one.end_mono_ms <= self._clock.mono_ms():
            return None
        if event_ms is None or event_ms < one.begun_ms - _BEFORE_MS:
            return None
        del self._running[node_id]
        table = schema.walk_test
        mine = update(table).where(table.c.id == one.id, table.c.ended_ms.is_(None))
        taken = conn.execute(mine.values(ended_ms=received_ms, outcome=RECEIVED)).rowcount
        return one.id if taken else None

    def ended(self, conn: Connection, number: int, outcome: str, event_id: int, delivery_id: int | None) -> None:
        """It is over by this event, with this text or without one."""
        table = schema.walk_test
        values = {"outcome": outcome, "event_id": event_id, "delivery_id": delivery_id}
        node_id = conn.execute(
            update(table).where(table.c.id == number).values(values).returning(table.c.node_id)
        ).scalar_one()
        changes.note(conn, "walk_test", node_id)
