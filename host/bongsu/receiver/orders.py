"""Commands to nodes: asked for by people in the store, sent when the node can believe them, answered by the node.

A command quotes an uplink counter that the node sent less than 60 s ago. So it goes out when the node was heard lately,
and waits for its next heartbeat otherwise.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from bongsu.receiver import registry
from bongsu.receiver.directory import Directory
from bongsu.receiver.downlink import Downlink
from bongsu.receiver.store import schema
from bongsu_wire import kinds, payload

# The node accepts a quoted counter for 60 s after it sent it; the way there and back takes its share.
QUOTE_MAX_AGE_MS = 45_000
# Nobody waits longer for a test or a silence; what is asked for later is asked for anew.
EXPIRE_AFTER_MS = 10 * 60_000


_CODES = {name: code for code, name in kinds.COMMAND_NAMES.items()}


def place(
    conn: Connection, node_id: str, name: str, *, actor: str, now_ms: int, args: bytes = b"", said: str = ""
) -> int:
    """Ask for a command (kinds.COMMAND_NAMES) to a node; returns its number. `said`: of its arguments, for the audit.
    Raises RegistryError.
    """
    row = registry.get_node(conn, node_id)
    if row["state"] != "provisioned":
        raise registry.RegistryError(
            f"node {node_id} is {row['state']}: it cannot be told anything",
            f"Give it a key: bongsu node provision {node_id} --out DIR",
        )
    values = {"node_id": node_id, "code": _CODES[name], "args": args, "state": "pending", "created_ms": now_ms}
    made = conn.execute(insert(schema.command).values(values)).inserted_primary_key
    detail = f"{name}; {said}" if said else name
    registry.audit(conn, actor=actor, action="node.order", subject=f"node:{node_id}", detail=detail, now_ms=now_ms)
    assert made is not None
    return int(made[0])


def answer_of(conn: Connection, order_id: int) -> str | None:
    """What the node answered (kinds.ANSWER_NAMES), or "expired"; None: nothing yet."""
    table = schema.command
    row = conn.execute(select(table.c.state, table.c.result).where(table.c.id == order_id)).one()
    if row.state == "answered":
        return kinds.ANSWER_NAMES.get(row.result, "unknown")
    return "expired" if row.state in ("expired", "failed") else None


@dataclass(slots=True)
class _Order:
    id: int
    code: int
    args: bytes


class Orders:
    """Commands that wait for their node, and each node's newest uplink counter."""

    def __init__(self, conn: Connection) -> None:
        self._newest: dict[str, tuple[int, int, int]] = {}
        self.load(conn)

    def load(self, conn: Connection) -> None:
        """Read which commands wait."""
        table = schema.command
        self._waiting: dict[str, list[_Order]] = {}
        self._unanswered = False
        for r in conn.execute(select(table).where(table.c.state.in_(("pending", "sent"))).order_by(table.c.id)):
            self._unanswered = True
            if r.state == "pending":
                self._waiting.setdefault(r.node_id, []).append(_Order(r.id, r.code, bytes(r.args)))

    def heard(self, node: str, epoch: int, counter: int, mono_ms: int) -> None:
        """The node sent this counter just now (a replay cannot raise it)."""
        before = self._newest.get(node)
        if before is None or (epoch, counter) > before[:2]:
            self._newest[node] = (epoch, counter, mono_ms)

    def _ready(self, mono_ms: int) -> list[str]:
        return [
            node
            for node in self._waiting
            if node in self._newest and mono_ms - self._newest[node][2] < QUOTE_MAX_AGE_MS
        ]

    def ready(self, mono_ms: int) -> bool:
        """Can a command go out now?"""
        return bool(self._waiting) and bool(self._ready(mono_ms))

    def unanswered(self) -> bool:
        """Does any command wait for its sending or its answer?"""
        return self._unanswered

    def send(
        self, conn: Connection, directory: Directory, downlink: Downlink, now_ms: int, mono_ms: int, spare: int = 0
    ) -> list[tuple[str, bytes]]:
        """Seal what can go out and write it down as sent; the frames are to be published after the commit. `spare`:
        down counters that the turn's receipts will take.
        """
        frames: list[tuple[str, bytes]] = []
        table = schema.command
        for node_id in self._ready(mono_ms):
            node = directory.nodes.get(node_id)
            epoch, quotes, _ = self._newest[node_id]
            key = node.keys.get(epoch) if node is not None else None
            for order in self._waiting.pop(node_id) if node is not None and key is not None else ():
                assert node is not None and key is not None
                downlink.reserve(conn, 1 + spare, now_ms)
                made, counter = downlink.command(node, key, order.code, quotes, order.args)
                values: dict[str, Any] = {"state": "sent", "counter": counter, "sender": downlink.sender}
                conn.execute(update(table).where(table.c.id == order.id).values(**values, sent_ms=now_ms))
                frames.append(made)
        return frames

    def answered(self, conn: Connection, node_id: str, answer: payload.Answer, now_ms: int) -> bool:
        """Write down a node's answer, and what it has been told by it; False if it answers nothing that waits (a
        repeat).
        """
        table = schema.command
        mine = (table.c.node_id == node_id, table.c.counter == answer.counter, table.c.sender == answer.sender)
        query = select(table.c.id, table.c.code, table.c.args).where(*mine, table.c.state == "sent")
        row = conn.execute(query).first()
        if row is None:
            return False
        done = update(table).where(table.c.id == row.id)
        conn.execute(done.values(state="answered", result=answer.result, answered_ms=now_ms))
        if row.code == kinds.CMD_SET_PARAMETER and answer.result == kinds.ANSWER_DONE:
            from bongsu.receiver import detector  # it asks for commands itself

            detector.confirmed(conn, node_id, bytes(row.args))
        return True

    def expire(self, conn: Connection, now_ms: int) -> None:
        """Give up what nobody waits for any more."""
        table = schema.command
        old = update(table).where(table.c.state.in_(("pending", "sent")), table.c.created_ms < now_ms - EXPIRE_AFTER_MS)
        if conn.execute(old.values(state="expired")).rowcount:
            self.load(conn)
