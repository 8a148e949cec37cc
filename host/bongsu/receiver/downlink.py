"""What goes down to nodes: receipts and commands, each under a counter that this sender never used before.

Counters are reserved in blocks in the store, in the transaction that needs them, so a crash skips some and repeats
none (DESIGN section 5). A sender number whose counters are used up is retired, and a fresh one begins.
"""

from sqlalchemy import Connection, insert, select, update

from bongsu.errors import BongsuError
from bongsu.receiver.directory import KeyEntry, NodeEntry
from bongsu.receiver.store import schema
from bongsu_wire import frame, kinds, payload, topics

_BLOCK = 4096


class CountersUsedUp(BongsuError):
    """No counter was reserved for a frame."""


class Downlink:
    """The counters of this receiver's sender number, and the frames made with them."""

    def __init__(self, conn: Connection, sender: int) -> None:
        self.sender = self._before = sender
        self._next = 0
        self._ceiling = 0
        self.load(conn)

    @property
    def subject(self) -> str:
        """The subject of the receiver's own faults."""
        return f"receiver:{self.sender}"

    @property
    def subject_before(self) -> str:
        """The same under the sender number that this one took the place of, in this process."""
        return f"receiver:{self._before}"

    def load(self, conn: Connection) -> None:
        """Begin behind everything that was ever reserved."""
        table = schema.receiver
        ceilings = {r.sender: r.counter_ceiling for r in conn.execute(select(table.c.sender, table.c.counter_ceiling))}
        if self.sender not in ceilings:  # a fresh sender number that was lost with its transaction
            self.sender, self._ceiling = self._before, 0
        # What this process reserved itself stays behind it even if the store lost it with a transaction.
        self._next = max(ceilings[self.sender], self._ceiling, 1)
        self._ceiling = self._next

    def short_of(self, wanted: int) -> bool:
        """True if `wanted` more frames need a new block."""
        return self._next + wanted > self._ceiling

    def reserve(self, conn: Connection, wanted: int, now_ms: int) -> None:
        """Have counters for `wanted` more frames and a block besides."""
        if not self.short_of(wanted):
            return
        if self._next + wanted + _BLOCK > frame.COUNTER_MAX:
            self._begin_anew(conn, now_ms)
        ceiling = self._next + wanted + _BLOCK
        table = schema.receiver
        conn.execute(update(table).where(table.c.sender == self.sender).values(counter_ceiling=ceiling))
        self._ceiling = ceiling

    def _begin_anew(self, conn: Connection, now_ms: int) -> None:
        """A fresh sender number in place of this one; the session at the broker stays."""
        from bongsu.receiver.init_data import new_receiver  # it brings the making of certificates with it

        table = schema.receiver
        taken = set(conn.execute(select(table.c.sender)).scalars())
        row = new_receiver(now_ms)
        while row["sender"] in taken:
            row = new_receiver(now_ms)
        mine = table.c.sender == self.sender
        row["mqtt_client_id"] = conn.execute(select(table.c.mqtt_client_id).where(mine)).scalar_one()
        conn.execute(update(table).where(mine).values(retired_ms=now_ms))
        conn.execute(insert(table).values(row))
        self._before, self.sender = self.sender, int(str(row["sender"]))
        self._next = self._ceiling = 1

    def _counter(self) -> int:
        if self._next >= self._ceiling:
            raise CountersUsedUp("a downlink frame was to be made without a reserved counter")
        self._next += 1
        return self._next - 1

    def receipt(
        self, node: NodeEntry, key: KeyEntry, answers: int, numbers: list[int], now_ms: int
    ) -> tuple[str, bytes]:
        """(topic, frame) of a receipt. `answers`: the uplink counter that it answers; `numbers`: at most
        payload.RECEIPT_MAX_EVENTS committed events (none: an answer that carries the time, `now_ms`, only).
        """
        body = payload.encode_receipt(payload.Receipt(now_ms, answers, numbers))
        return self._sealed(node, key, kinds.DOWN_RECEIPT, self._counter(), body)

    def command(
        self, node: NodeEntry, key: KeyEntry, code: int, quotes: int, args: bytes
    ) -> tuple[tuple[str, bytes], int]:
        """((topic, frame), its counter) of a command. `quotes`: an uplink counter that the node sent < 60 s ago."""
        counter = self._counter()
        body = payload.encode_command(payload.Command(code, quotes, args))
        return self._sealed(node, key, kinds.DOWN_COMMAND, counter, body), counter

    def _sealed(self, node: NodeEntry, key: KeyEntry, kind: int, counter: int, body: bytes) -> tuple[str, bytes]:
        node_id = bytes.fromhex(node.id)
        made = frame.seal_down(key.ccm(), kind, key.epoch, node_id, counter, self.sender, body)
        return topics.down(node.id), made
