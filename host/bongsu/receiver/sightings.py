"""What heartbeats tell, gathered in memory and written every few seconds: last seen, readings, replay windows; and the
count of refused frames.

They are many and each is worth little: one statement for all of them, in one transaction with the windows that guard
them. After a crash a replay of the last seconds passes once; it carries its age, so it keeps no dead node alive.
"""

from collections import Counter
from itertools import islice
from typing import Any, Protocol

from sqlalchemy import BigInteger, Connection, bindparam, case, func, select, update

from bongsu.receiver import rows, window
from bongsu.receiver.store import schema
from bongsu.receiver.window import Verdict
from bongsu_wire import payload

WRITE_EVERY_MS = 5_000
# So many nodes a transaction, and a pause before the next: an alarm that comes meanwhile must not wait for a city.
SLICE = 64
SLICE_PAUSE_MS = 12
# By so much receivers may differ about the database's time. What was seen later than that was seen before a step back.
AHEAD_MS = 5_000
_UNSAID = ("echo_server_ms", "echo_age_ms")


class Sightings:
    """Not yet written news of nodes."""

    def __init__(self, conn: Connection) -> None:
        win, refused = schema.node_window, schema.refused_frame
        # Several receivers hear the same nodes: whoever writes an older state changes nothing.
        self._insert_window = rows.upsert_into(
            win, conn, ("node_id", "epoch"), lambda new: {"high": new.high, "bitmap": new.bitmap},
            lambda new: win.c.high <= new.high,
        )  # fmt: skip
        updates = _together() if conn.dialect.name == "sqlite" else _each(conn)
        self._update_window, self._update_live, self._update_seen = updates
        self._insert_refused = rows.upsert_into(
            refused, conn, ("node", "reason"),
            lambda new: {"count": refused.c.count + new["count"], "last_ms": new.last_ms},
        )  # fmt: skip
        where = (refused.c.node == bindparam("key_node"), refused.c.reason == bindparam("key_reason"))
        more: dict[str, Any] = {"count": refused.c.count + bindparam("more"), "last_ms": bindparam("last_ms")}
        self._update_refused = rows.Compiled(update(refused).where(*where).values(more), conn)
        self.load(conn)

    def load(self, conn: Connection) -> None:
        """Begin with what was written last; news that was not written yet is kept in memory only by `seen`."""
        win, live, refused = schema.node_window.c, schema.node_live.c, schema.refused_frame.c
        found = conn.execute(select(win.node_id, win.epoch, win.high, win.bitmap))
        self._windows = {(r.node_id, r.epoch): (r.high, r.bitmap) for r in found}
        self._stored_windows = set(self._windows)
        self._changed_windows: dict[str, set[int]] = {}
        self._writing: list[str] = []
        self.last_seen_ms: dict[str, int | None] = {
            r.node_id: r.last_seen_ms for r in conn.execute(select(live.node_id, live.last_seen_ms))
        }
        self._beats: dict[str, payload.Heartbeat | None] = {}
        self._stored_refused = {(r.node, r.reason) for r in conn.execute(select(refused.node, refused.reason))}
        self.refused: Counter[tuple[str, str]] = Counter()

    def judge(self, node: str, epoch: int, counter: int) -> Verdict:
        """What a heartbeat's counter is to the node's window, which moves on by it."""
        high, bitmap = self._windows.get((node, epoch), (0, 0))
        high, bitmap, verdict = window.judge(high, bitmap, counter)
        if verdict is Verdict.NEW:
            self._windows[node, epoch] = (high, bitmap)
            self._changed_windows.setdefault(node, set()).add(epoch)
        return verdict

    def note(self, node: str, beat: payload.Heartbeat | None, seen_ms: int | None) -> None:
        """Keep a node's newest heartbeat, and when it was seen (UTC ms; None: it does not count as seen)."""
        if beat is not None or node not in self._beats:
            self._beats[node] = beat
        if seen_ms is not None:
            self.last_seen_ms[node] = seen_ms

    def waiting(self) -> bool:
        """Is there anything to write?"""
        return bool(self._beats or self.refused)

    def more_than_a_slice(self) -> bool:
        """Is there more to write than one transaction takes?"""
        return len(self._beats) > SLICE

    def write(self, conn: Connection, now_ms: int, most: int | None = SLICE) -> None:
        """Write the news of `most` nodes (None: all); call `written` after the commit."""
        self._writing = list(islice(self._beats, most))
        self.write_windows(conn, self._writing)
        self._write_beats(conn, now_ms + AHEAD_MS)
        self._write_refused(conn, now_ms)

    def write_windows(self, conn: Connection, nodes: list[str]) -> None:
        """Write which counters of these nodes were accepted; call `windows_written` after the commit."""
        keys = [(n, epoch) for n in nodes for epoch in self._changed_windows.get(n, ())]
        changed = [(key, self._windows[key]) for key in keys]
        stored = self._stored_windows
        self._update_window.run(
            conn,
            [{"key_node": k[0], "key_epoch": k[1], "high": w[0], "bitmap": w[1]} for k, w in changed if k in stored],
        )
        self._insert_window.run(
            conn,
            [{"node_id": k[0], "epoch": k[1], "high": w[0], "bitmap": w[1]} for k, w in changed if k not in stored],
        )

    def windows_written(self, nodes: list[str]) -> None:
        """Their windows are committed."""
        for node in nodes:
            self._stored_windows.update((node, epoch) for epoch in self._changed_windows.pop(node, ()))

    def _write_beats(self, conn: Connection, latest_ms: int) -> None:
        news = [(node, self._beats[node]) for node in self._writing]
        beats = [(node, beat) for node, beat in news if beat is not None]
        self._update_live.run(
            conn,
            [
                {
                    "key_node": n,
                    "last_seen_ms": self.last_seen_ms.get(n),
                    "latest_ms": latest_ms,
                    "heartbeat": rows.as_json(beat_fields(b)),
                }
                for n, b in beats
            ],
        )
        by_event = [node for node, beat in news if beat is None]
        self._update_seen.run(
            conn,
            [{"key_node": n, "last_seen_ms": self.last_seen_ms.get(n), "latest_ms": latest_ms} for n in by_event],
        )

    def _write_refused(self, conn: Connection, now_ms: int) -> None:
        new = [
            {"node": n, "reason": r, "count": count, "first_ms": now_ms, "last_ms": now_ms}
            for (n, r), count in self.refused.items()
            if (n, r) not in self._stored_refused
        ]
        more = [
            {"key_node": n, "key_reason": r, "more": count, "last_ms": now_ms}
            for (n, r), count in self.refused.items()
            if (n, r) in self._stored_refused
        ]
        self._insert_refused.run(conn, new)
        self._update_refused.run(conn, more)

    def written(self) -> None:
        """What `write` wrote is committed."""
        for node in self._writing:
            del self._beats[node]
        self.windows_written(self._writing)
        self._writing = []
        self._stored_refused |= set(self.refused)
        self.refused.clear()


class _Update(Protocol):
    """Changes rows that are there, given by column name and key."""

    def run(self, conn: Connection, rows: list[rows.Fields], /) -> object:
        """Execute it for all of them."""


_Updates = tuple[_Update, _Update, _Update]


def _together() -> _Updates:
    """What updates windows, heartbeats and times last seen, on SQLite."""
    return (
        rows.Together(
            schema.node_window, {"node_id": "key_node", "epoch": "key_epoch"}, ("high", "bitmap"), newer="high"
        ),
        rows.Together(schema.node_live, {"node_id": "key_node"}, ("last_seen_ms", "heartbeat")),
        rows.Together(schema.node_live, {"node_id": "key_node"}, ("last_seen_ms",)),
    )


def _each(conn: Connection) -> _Updates:
    """The same on PostgreSQL, where several receivers write: nothing goes back there."""
    live, win = schema.node_live, schema.node_window
    key = (win.c.node_id == bindparam("key_node"), win.c.epoch == bindparam("key_epoch"))
    moving: dict[str, Any] = {"high": bindparam("high"), "bitmap": bindparam("bitmap")}
    seen = func.greatest(  # ignores NULL
        # What lies ahead was written before the database's clock was set back: a newer sighting replaces it.
        case((live.c.last_seen_ms <= bindparam("latest_ms", type_=BigInteger), live.c.last_seen_ms)),
        bindparam("last_seen_ms"),
    )
    of_node = update(live).where(live.c.node_id == bindparam("key_node"))
    return (
        rows.Compiled(update(win).where(*key, win.c.high <= bindparam("high")).values(moving), conn),
        rows.Compiled(of_node.values(last_seen_ms=seen, heartbeat=bindparam("heartbeat")), conn),
        rows.Compiled(of_node.values(last_seen_ms=seen), conn),
    )


def beat_fields(beat: payload.Heartbeat) -> dict[str, Any]:
    """A heartbeat's fields for the store, the echo left out: it meant something only on arrival."""
    fields = vars(beat).copy()
    for name in _UNSAID:
        del fields[name]
    return fields
