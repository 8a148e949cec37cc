"""Faults of this program's own parts, and of the clock: alarms go on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from bongsu.receiver.mqtt_edge import Arrived
from bongsu.receiver.store import changes, schema
from bongsu_wire import topics
from tests.receiver_parts import Desk, desk


class _Bad:
    def __init__(self, room: Desk) -> None:
        self.room, self.acts, self.good = room, 0, False
        self.due = True

    def load(self, conn: Connection) -> None:
        pass

    def note(self, item: object) -> None:
        pass

    def due_ms(self) -> int | None:
        return self.room.clock.mono_ms() if self.due else None

    def act(self, conn: Connection, turn: object) -> None:
        self.acts += 1
        self.due = not self.good
        if not self.good:
            raise RuntimeError("a chore that fails")


def _pass(room: Desk, ms: int) -> None:
    """Let time pass, and take what the writer put for itself."""
    room.pass_time(ms)
    while room.writer.waiting:
        room.writer.turn(room.writer._gather(0))


def _own_faults(room: Desk) -> set[str]:
    subject = room.writer.books.downlink.subject
    return {
        name
        for row in room.rows(schema.incident)
        if row.subject == subject and row.restored_ms is None
        for names in row.snapshot["active"].values()
        for name in names
    }


def test_a_chore_that_always_fails_costs_no_alarm_and_is_told_of(tmp_path: Path) -> None:
    with desk(tmp_path, 1) as room:
        bad = _Bad(room)
        room.writer.books.chores.append(bad)
        room.event(0, 1)
        assert len(room.rows(schema.event)) == 1
        assert room.receipts(0)
        _pass(room, 1000)
        assert "chore_failed" in _own_faults(room)
        acts = bad.acts
        _pass(room, 1000)
        assert bad.acts == acts, "it rests"
        bad.good = True
        _pass(room, 60_000)
        _pass(room, 1000)
        assert bad.acts > acts
        assert "chore_failed" not in _own_faults(room)


def test_alarms_that_come_while_a_fault_pauses_the_writer_are_taken_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk(tmp_path, 1) as room:
        monkeypatch.setattr("bongsu.receiver.writer._STORE_PAUSE_S", 0.05)
        writer, node, real = room.writer, room.nodes[0], room.writer._attempt
        failures = iter([RuntimeError("what is due fails once")])

        def attempt(*args: Any, **kwargs: Any) -> None:
            for failure in failures:
                raise failure
            real(*args, **kwargs)

        monkeypatch.setattr(writer, "_attempt", attempt)
        writer.put(Arrived(topics.up_events(node.id), node.event(1), room.clock.now_ms(), 1, 1, 1))
        writer.turn([])
        assert writer.waiting == 1
        assert not writer._held


@pytest.mark.parametrize("topic", ["all", "contact", "unit", "site", "responder", "duty", "node"])
def test_contacts_changed_under_any_topic_as_a_whole_are_known(tmp_path: Path, topic: str) -> None:
    with desk(tmp_path, 1) as room:
        with room.store.write() as conn:
            conn.execute(update(schema.contact).where(schema.contact.c.id == "owner-0").values(phone="+821099999999"))
            changes.note(conn, topic)
            if topic != "all":
                changes.note(conn, "contact")
        room.pass_time(2000)
        room.event(0, 1)
        assert [j.message.target for j in room.jobs if j.channel == "sms"] == [{"phone": "+821099999999"}]


def test_the_registry_is_read_again_after_any_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path, 1) as room:
        monkeypatch.setattr("bongsu.receiver.writer._STORE_PAUSE_S", 0.01)
        writer, read = room.writer, room.writer._store_of.read
        failures = iter([RuntimeError("unexpected")])

        @contextlib.contextmanager
        def failing() -> Iterator[Connection]:
            for failure in failures:
                raise failure
            with read() as conn:
                yield conn

        monkeypatch.setattr(writer._store_of, "read", failing)
        writer._read_directory()
        assert writer.waiting == 1
