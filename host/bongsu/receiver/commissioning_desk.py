"""The store as commissioning sees it: is this unit right for this board, what was done of it before, orders and what
they took, the walk test, the record.

Each act is one transaction. What may be half-done is in no other place: whoever comes after a run that was killed finds
in the store and on the board how far it came.
"""

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from bongsu.install.label import LabelText
from bongsu.receiver import commissioning, label_words, node_health, orders, registry, walk_tests
from bongsu.receiver.registry import RegistryError, Row
from bongsu.receiver.store import Store, schema
from bongsu.receiver.wake import Topic
from bongsu_wire import kinds

# A writing transaction with its trace in the audit, after which the receiver is told (Installation.writing in cli/).
Writing = Callable[[Topic], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class OrderState:
    """How an order to a node stands. result: of kinds.ANSWER_NAMES, "expired", None: no answer yet; times: UTC ms."""

    result: str | None
    sent_ms: int | None
    answered_ms: int | None


class CommissioningDesk:
    """For one thread. `store` is read, and takes what is only noted; `writing` is for what counts."""

    def __init__(
        self, store: Store, writing: Writing, *, installer: str, version: str, now_ms: Callable[[], int]
    ) -> None:
        self._store, self._writing = store, writing
        self._installer, self._version, self._now_ms = installer, version, now_ms

    # ---- board and unit

    def check(self, node_id: str, unit: tuple[str, str]) -> None:
        """Raise RegistryError for a unit that there is not, and for a board that is retired or hangs elsewhere."""
        with self._store.read() as conn:
            registry.require_unit(conn, *unit)
            row = _node(conn, node_id)
        if row is None:
            return
        wanted, here = "/".join(unit), f"{row.site_id}/{row.unit_id}" if row.site_id else None
        if row.state == "retired":
            raise RegistryError(f"node {node_id} is retired", "Fit another board.")
        if here is not None and here != wanted:
            raise RegistryError(
                f"node {node_id} belongs to unit {here}, not to {wanted}",
                f"Name that unit (--unit {here}), or move the node first: bongsu node move {node_id} {wanted}",
            )

    def unit_of(self, node_id: str) -> str | None:
        """Where a board belongs, by the registry or by its open record: "site/unit", or None."""
        with self._store.read() as conn:
            row = _node(conn, node_id)
            if row is not None and row.site_id is not None:
                return f"{row.site_id}/{row.unit_id}"
            found = commissioning.records(conn, node_id=node_id, only_open=True)
        unit: str | None = found[0]["unit"] if found else None
        return unit

    def register(self, node_id: str, unit: tuple[str, str], label: str) -> bool:
        """Have the board registered in the unit. False if it was."""
        with self._store.read() as conn:
            row = _node(conn, node_id)
        if row is not None and (row.site_id, row.unit_id) == unit and label in ("", row.label):
            return False
        now_ms = self._now_ms()
        with self._writing("registry") as conn:
            row = _node(conn, node_id)
            if row is None:
                registry.add_node(conn, node_id=node_id, unit=unit, label=label, now_ms=now_ms)
            else:
                registry.assign_node(conn, node_id=node_id, unit=unit)
                if label:
                    registry.edit_node(conn, node_id, label=label, actor=self._installer, now_ms=now_ms)
        return row is None or row.site_id is None

    # ---- the record

    def begin(self, node_id: str, unit: tuple[str, str], board: str) -> int:
        """The board's open record."""
        how: Row = {"installer": self._installer, "version": self._version, "now_ms": self._now_ms()}
        with self._writing("registry") as conn:
            return commissioning.begin(conn, node_id, unit=unit, board=board, **how)

    def record(self, number: int) -> Row:
        """As commissioning.get."""
        with self._store.read() as conn:
            return commissioning.get(conn, number)

    def last(self, node_id: str) -> Row | None:
        """The board's newest record, if there is one."""
        with self._store.read() as conn:
            found = commissioning.records(conn, node_id=node_id)
        return found[0] if found else None

    def board_of(self, node_id: str) -> str | None:
        """As which board it was commissioned last."""
        last = self.last(node_id)
        return str(last["board"]) if last is not None and last["board"] else None

    def note(self, number: int, step: str, state: str, *, took_ms: int, said: str, **facts: Any) -> None:
        """As commissioning.note."""
        with self._store.write() as conn:
            commissioning.note(conn, number, step, state, at_ms=self._now_ms(), took_ms=took_ms, said=said, **facts)

    def finish(self, number: int) -> None:
        """As commissioning.finish."""
        with self._writing("registry") as conn:
            commissioning.finish(conn, number, actor=self._installer, now_ms=self._now_ms())

    def label_words(self, node_id: str, day: dt.date) -> LabelText:
        """As label_words.of_node."""
        with self._store.read() as conn:
            return label_words.of_node(conn, node_id, day)

    # ---- the node in service

    def rssi_dbm(self, node_id: str) -> int | None:
        """Of its newest heartbeat; None if it did not say."""
        live = schema.node_live.c
        with self._store.read() as conn:
            beat = conn.execute(select(live.heartbeat).where(live.node_id == node_id)).scalar_one_or_none()
        return node_health.rssi_dbm(beat or {})

    def order(self, node_id: str, name: str) -> int:
        """Ask for a command to the node; its number."""
        with self._writing("outbox") as conn:
            return orders.place(conn, node_id, name, actor=self._installer, now_ms=self._now_ms())

    def order_state(self, number: int) -> OrderState:
        """How it stands."""
        c = schema.command.c
        with self._store.read() as conn:
            row = conn.execute(select(c.state, c.result, c.sent_ms, c.answered_ms).where(c.id == number)).one()
        result = kinds.ANSWER_NAMES.get(row.result, "unknown") if row.state == "answered" else None
        return OrderState("expired" if row.state in ("expired", "failed") else result, row.sent_ms, row.answered_ms)

    # ---- the walk test

    def begin_walk_test(self, number: int, node_id: str, minutes: int) -> int:
        """Begin one, and note it in record `number`, in one transaction: whoever carries the record on goes on with it.
        Returns its number.
        """
        now_ms = self._now_ms()
        with self._writing("registry") as conn:
            made = walk_tests.begin(conn, node_id, minutes=minutes, by=self._installer, now_ms=now_ms)
            begun = commissioning.BEGUN
            commissioning.note(conn, number, "walk_test", begun, at_ms=now_ms, took_ms=0, walk_test_id=made)
        return made

    def walk_test(self, number: int) -> Row:
        """As walk_tests.show."""
        with self._store.read() as conn:
            return walk_tests.show(conn, number)

    def cancel_walk_test(self, number: int) -> None:
        """Nobody waits for it any more."""
        with self._writing("registry") as conn:
            walk_tests.cancel(conn, number, now_ms=self._now_ms())


def _node(conn: Connection, node_id: str) -> Any:
    n = schema.node.c
    query = select(n.site_id, n.unit_id, n.label, n.state).where(n.id == node_id)
    return conn.execute(query).first()
