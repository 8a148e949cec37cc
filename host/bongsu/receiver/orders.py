"""Commands to nodes: asked for by people in the store, sent when the node can believe them, answered by the node.

A command quotes an uplink counter that the node sent less than 60 s ago. So it goes out when the node was heard lately,
and waits for its next heartbeat otherwise.

The command that gives a node another key (rotation.py) is stored without it: its row names the epoch, and the key goes
from the directory into the sealed frame. A key that never went out, or was refused, is accepted no more; one that went
out may be in the node, whatever it answered or did not answer.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from bongsu.receiver import keys, registry
from bongsu.receiver.directory import Directory, KeyEntry, NodeEntry
from bongsu.receiver.downlink import Downlink
from bongsu.receiver.store import schema
from bongsu_wire import kinds, payload

# The node accepts a quoted counter for 60 s after it sent it; the way there and back takes its share.
QUOTE_MAX_AGE_MS = 45_000
# Nobody waits longer for a test or a silence; what is asked for later is asked for anew.
EXPIRE_AFTER_MS = 10 * 60_000


_CODES = {name: code for code, name in kinds.COMMAND_NAMES.items()}
# A node that answers so has not taken what it was given.
_NOT_TAKEN = (kinds.ANSWER_REFUSED, kinds.ANSWER_UNSUPPORTED)


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
            "Bring its board into service: bongsu device commission",
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


def is_sent(conn: Connection, order_id: int) -> bool:
    """Did it go out, once and for all, without an answer so far?"""
    table = schema.command
    return bool(conn.execute(select(table.c.state).where(table.c.id == order_id)).scalar_one() == "sent")


@dataclass(slots=True)
class _Order:
    id: int
    code: int
    args: bytes


class Orders:
    """Commands that wait for their node, and each node's newest uplink counter.

    given_up: (node, epoch) of keys that the running transaction retires.
    """

    def __init__(self, conn: Connection) -> None:
        self._newest: dict[str, tuple[int, int, int]] = {}
        self.given_up: list[tuple[str, int]] = []
        self.load(conn)

    def load(self, conn: Connection) -> None:
        """Read which commands wait."""
        table = schema.command
        self._waiting: dict[str, list[_Order]] = {}
        self._unanswered = False
        self.given_up = []
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
            if node is None or key is None or key.state == "old":  # whoever speaks under that one need not be the node
                continue
            for order in self._waiting.pop(node_id):
                args = _args(order, node)
                if args is None:
                    self._not_at_hand(conn, node_id, order)
                    continue
                downlink.reserve(conn, 1 + spare, now_ms)
                made, counter = downlink.command(node, key, order.code, quotes, args)
                values: dict[str, Any] = {"state": "sent", "counter": counter, "sender": downlink.sender}
                mine = update(table).where(table.c.id == order.id, table.c.state == "pending")
                if conn.execute(mine.values(**values, sent_ms=now_ms)).rowcount:  # else another receiver was first
                    frames.append(made)
        return frames

    def answered(self, conn: Connection, node_id: str, key: KeyEntry, answer: payload.Answer, now_ms: int) -> bool:
        """Write down a node's answer, and what it has been told by it; False if it answers nothing that waits (a
        repeat), or comes under an old key, under which nothing is told.
        """
        if key.state == "old":
            return False
        table = schema.command
        mine = (table.c.node_id == node_id, table.c.counter == answer.counter, table.c.sender == answer.sender)
        query = select(table.c.id, table.c.code, table.c.args).where(*mine, table.c.state == "sent")
        row = conn.execute(query).first()
        if row is None:
            return False
        done = update(table).where(table.c.id == row.id)
        conn.execute(done.values(state="answered", result=answer.result, answered_ms=now_ms))
        if row.code == kinds.CMD_ROTATE_KEY and answer.result in _NOT_TAKEN:
            self._give_up(conn, node_id, bytes(row.args))
        if row.code == kinds.CMD_SET_PARAMETER and answer.result == kinds.ANSWER_DONE:
            from bongsu.receiver import detector  # it asks for commands itself

            detector.confirmed(conn, node_id, bytes(row.args))
        return True

    def expire(self, conn: Connection, now_ms: int) -> None:
        """Give up what nobody waits for any more."""
        table = schema.command
        old = (table.c.state.in_(("pending", "sent")), table.c.created_ms < now_ms - EXPIRE_AFTER_MS)
        never_sent = (*old, table.c.sent_ms.is_(None), table.c.code == kinds.CMD_ROTATE_KEY)
        unsent = conn.execute(select(table.c.node_id, table.c.args).where(*never_sent)).all()
        if conn.execute(update(table).where(*old).values(state="expired")).rowcount:
            given_up = self.given_up
            self.load(conn)
            self.given_up = given_up
        for row in unsent:
            self._give_up(conn, row.node_id, bytes(row.args))

    def _not_at_hand(self, conn: Connection, node_id: str, order: _Order) -> None:
        """The key that the command gives is not in the directory: it was retired, or is read later, and then this waits
        in the store until the commands are read again.
        """
        if not keys.is_pending(conn, node_id, ordered_epoch(order.args)):
            table = schema.command
            mine = update(table).where(table.c.id == order.id, table.c.state == "pending")
            conn.execute(mine.values(state="failed"))

    def forget_given_up(self, directory: Directory) -> None:
        """The transaction that retires keys is committed: they are no keys any more."""
        for node_id, epoch in self.given_up:
            if node_id in directory.nodes:
                directory.nodes[node_id].keys.pop(epoch, None)
        self.given_up = []

    def _give_up(self, conn: Connection, node_id: str, args: bytes) -> None:
        """Retire the key of a rotate-key command, unless an earlier command may have brought it to the node."""
        c = schema.command.c
        same = (c.node_id == node_id, c.code == kinds.CMD_ROTATE_KEY, c.args == args, c.sent_ms.is_not(None))
        taken = (c.result.is_(None)) | (c.result.not_in(_NOT_TAKEN))
        epoch = ordered_epoch(args)
        may_have_it = conn.execute(select(c.id).where(*same, taken).limit(1)).first() is not None
        if not may_have_it and keys.give_up(conn, node_id, epoch):
            self.given_up.append((node_id, epoch))


def rotation_args(epoch: int) -> bytes:
    """What the row of a rotate-key command holds: which key, and nothing of it."""
    return bytes([epoch])


def ordered_epoch(args: bytes) -> int:
    """The epoch that a stored rotate-key command gives."""
    return args[0]


def _args(order: _Order, node: NodeEntry) -> bytes | None:
    """What goes into the frame; None: there is nothing to give any more."""
    if order.code != kinds.CMD_ROTATE_KEY:
        return order.args
    key = node.keys.get(ordered_epoch(order.args))
    return key.for_node() if key is not None and key.state == "pending" else None
