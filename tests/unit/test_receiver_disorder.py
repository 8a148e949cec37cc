"""What goes wrong in the wrong order: events that overtake each other, transactions that fail, links that blink."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from bongsu.receiver import orders, registry
from bongsu.receiver.mqtt_edge import LinkChanged
from bongsu.receiver.store import schema
from bongsu_wire import kinds, topics
from tests.receiver_parts import SITE, Desk, desk

ALARM, RESTORE, FAULT, CLEAR = kinds.ALARM, kinds.RESTORE, kinds.FAULT, kinds.FAULT_CLEAR
HEAT, SMOKE = kinds.HEAT, kinds.SMOKE
# Each event's number, kind and phenomena or fault code, in the order in which they happened.
Story = tuple[tuple[int, int, int], ...]


def standing(d: Desk, class_: str = "fire") -> list[str]:
    """Names of what stands in the open incidents of a class."""
    found = [r.snapshot["active"] for r in d.rows(schema.incident) if r.class_ == class_ and r.state == "open"]
    return sorted(name for active in found for names in active.values() for name in names)


def purposes(d: Desk) -> list[str]:
    """What the deliveries are for."""
    return [r.purpose for r in d.rows(schema.delivery)]


def faults(d: Desk) -> list[tuple[str, bool]]:
    """(subject, is it over) of the fault incidents."""
    return [(r.subject, r.restored_ms is not None) for r in d.rows(schema.incident) if r.class_ == "fault"]


def happen(d: Desk, number: int, kind: int, what: int) -> None:
    """An event of node 0 arrives: `what` are phenomena, of a fault its code."""
    if kind in (FAULT, CLEAR):
        d.event(0, number, kind, 0, detail=what)
    else:
        d.event(0, number, kind, what)


@contextmanager
def failing_once(d: Desk) -> Iterator[list[int]]:
    """The next writing of a page fails as a full disk does; yields how often it was tried."""
    save, tried = d.writer.books.casebook.save, [0]

    def bad(*args: Any) -> None:
        tried[0] += 1
        if tried[0] == 1:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        save(*args)

    d.writer.books.casebook.save = bad  # type: ignore[method-assign]
    try:
        yield tried
    finally:
        d.writer.books.casebook.save = save  # type: ignore[method-assign]


# ---- events that overtake each other


def test_a_late_restore_ends_no_younger_alarm_and_tells_nobody(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end_all()
        d.end_all()
        d.event(0, 3)
        d.event(0, 2, RESTORE)
        assert standing(d) == ["heat"] and "restore" not in purposes(d)
        d.event(0, 4, RESTORE)
        assert standing(d) == [] and "restore" in purposes(d)


def test_a_late_alarm_that_is_over_ends_nothing_else(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 2, RESTORE, HEAT)
        d.event(0, 5, ALARM, SMOKE)
        d.event(0, 1, ALARM, HEAT)
        assert standing(d) == ["smoke"] and "restore" not in purposes(d)


def test_a_late_end_clears_no_younger_fault(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        for number, kind in ((1, FAULT), (3, FAULT), (2, CLEAR)):
            happen(d, number, kind, kinds.FAULT_HEAT_SENSOR)
        assert standing(d, "fault") == ["heat_sensor"]
        happen(d, 4, CLEAR, kinds.FAULT_HEAT_SENSOR)
        assert standing(d, "fault") == [] and faults(d) == [("node:a0b1c2000000", True)]


STORIES: dict[str, tuple[str, Story, list[str]]] = {
    "a new alarm": ("fire", ((1, ALARM, HEAT), (2, RESTORE, HEAT), (3, ALARM, HEAT)), ["heat"]),
    "all over": ("fire", ((1, ALARM, HEAT), (2, ALARM, SMOKE), (3, RESTORE, 0)), []),
    "smoke stays": ("fire", ((1, ALARM, HEAT | SMOKE), (2, RESTORE, HEAT), (3, ALARM, SMOKE)), ["smoke"]),
    "a button": ("fire", ((1, ALARM, 0), (2, RESTORE, 0), (3, ALARM, HEAT), (4, RESTORE, HEAT)), []),
    "a new fault": ("fault", ((1, FAULT, 1), (2, CLEAR, 1), (3, FAULT, 1)), ["heat_sensor"]),
    "another fault": ("fault", ((1, FAULT, 1), (2, FAULT, 2), (3, CLEAR, 1)), ["smoke_sensor"]),
    "all clear": ("fault", ((1, FAULT, 1), (2, FAULT, 2), (3, CLEAR, 0)), []),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_stands_in_the_end_does_not_depend_on_the_order_of_arrival(tmp_path: Path, name: str) -> None:
    class_, story, stands = STORIES[name]
    for i, order in enumerate(itertools.permutations(story)):
        with desk(tmp_path / str(i)) as d:
            for event in order:
                happen(d, *event)
            assert standing(d, class_) == stands, order


def test_what_stands_is_known_again_after_a_restart(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        for number, kind, what in ((3, ALARM, HEAT), (6, FAULT, 1)):
            happen(d, number, kind, what)
        with d.store.read() as conn:
            d.writer.books.reload(conn)
        for number, kind, what in ((2, RESTORE, HEAT), (5, CLEAR, 1), (1, ALARM, HEAT), (4, FAULT, 1)):
            happen(d, number, kind, what)
        assert standing(d) == ["heat"] and standing(d, "fault") == ["heat_sensor"]


# ---- transactions that fail


def test_a_silence_that_could_not_be_written_is_found_again(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, kinds.TEST, 0)
        d.pass_time(170_000)
        with failing_once(d) as tried:
            d.pass_time(20_000)
        assert tried[0] >= 2 and faults(d) == [("node:a0b1c2000000", False)]
        assert [r.silent for r in d.rows(schema.node_live)] == [True]


def test_a_link_fault_that_could_not_be_written_is_found_again(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.writer.turn([LinkChanged(False)])
        with failing_once(d) as tried:
            d.pass_time(30_000)
        assert tried[0] >= 2 and standing(d, "fault") == ["broker_unreachable"]
        d.writer.turn([LinkChanged(True)])
        assert standing(d, "fault") == []


def test_a_node_that_is_moved_while_its_alarm_waits_for_the_store_is_booked_on_its_new_unit(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        d.event(0, 1, kinds.TEST, 0)
        transaction = d.writer._transaction

        @contextmanager
        def moved_first() -> Iterator[Any]:
            d.writer._transaction = transaction  # type: ignore[method-assign]
            with d.store.write() as conn:
                registry.assign_node(conn, node_id=d.nodes[0].id, unit=(SITE, "u-1"))
            with transaction() as conn:
                yield conn

        d.writer._transaction = moved_first  # type: ignore[method-assign]
        d.event(0, 2)
        d.event(0, 3, RESTORE)
        fires = [(r.subject, r.restored_ms is not None) for r in d.rows(schema.incident) if r.class_ == "fire"]
        assert fires == [(f"unit:{SITE}/u-1", True)]


def test_a_command_does_not_take_the_counter_of_a_receipt(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        d.arrive((node.id, node.heartbeat(d.clock.now_ms())), topic=topics.up_beats(node.id))
        with d.store.write() as conn:
            orders.place(conn, node.id, "silence", actor="test", now_ms=d.clock.now_ms())
        downlink = d.writer.books.downlink
        downlink._next = downlink._ceiling - 1  # as after a block's other frames
        d.event(0, 1)
        assert [r.numbers for r in d.receipts(0)][-1] == [1] and len(d.edge.acked) == 2
        assert [r.state for r in d.rows(schema.command)] == ["sent"]


# ---- links that blink


def test_blips_of_the_brokers_link_hide_no_dead_node(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, kinds.TEST, 0)
        for _ in range(2):
            d.pass_time(150_000)
            d.writer.turn([LinkChanged(False)])
            d.pass_time(2_000)
            d.writer.turn([LinkChanged(True)])
        assert faults(d) == [("node:a0b1c2000000", False)]
