"""What goes wrong in the wrong order: events that overtake each other, transactions that fail, links that blink."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from bongsu.channels.webhook import signed_headers
from bongsu.receiver import orders, registry, responders
from bongsu.receiver.keys import MASTER_KEY_NAME, KeyFault, load_master
from bongsu.receiver.mqtt_edge import LinkChanged
from bongsu.receiver.own_faults import Standing
from bongsu.receiver.store import open_store, schema
from bongsu_wire import kinds, topics
from tests import postgres_parts
from tests.receiver_parts import SECRET, SITE, Desk, desk, make_market

ALARM, RESTORE, FAULT, CLEAR = kinds.ALARM, kinds.RESTORE, kinds.FAULT, kinds.FAULT_CLEAR
HEAT, SMOKE = kinds.HEAT, kinds.SMOKE
# Each event's number, kind and phenomena or fault code, in the order in which they happened.
Story = tuple[tuple[int, int, int], ...]


def standing(d: Desk, class_: str = "fire", node: str | None = None) -> list[str]:
    """Names of what stands in the open incidents of a class (by this node only)."""
    found = [r.snapshot["active"] for r in d.rows(schema.incident) if r.class_ == class_ and r.state == "open"]
    return sorted(n for active in found for who, names in active.items() if node in (None, who) for n in names)


def purposes(d: Desk) -> list[str]:
    """What the deliveries are for."""
    return [r.purpose for r in d.rows(schema.delivery)]


def faults(d: Desk) -> list[tuple[str, bool]]:
    """(subject, is it over) of the fault incidents."""
    return [(r.subject, r.restored_ms is not None) for r in d.rows(schema.incident) if r.class_ == "fault"]


def happen(d: Desk, number: int, kind: int, what: int, node: int = 0) -> None:
    """An event of a node arrives: `what` are phenomena, of a fault its code."""
    if kind in (FAULT, CLEAR):
        d.event(node, number, kind, 0, detail=what)
    else:
        d.event(node, number, kind, what)


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
    orders_ = list(itertools.permutations(story))
    with desk(tmp_path, units=len(orders_)) as d:
        for i, order in enumerate(orders_):
            for event in order:
                happen(d, *event, node=i)
            assert standing(d, class_, d.nodes[i].id) == stands, order


def test_what_stands_is_known_again_after_a_restart(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        for number, kind, what in ((3, ALARM, HEAT), (6, FAULT, 1)):
            happen(d, number, kind, what)
        with d.store.read() as conn:
            d.writer.books.reload(conn)
        for number, kind, what in ((2, RESTORE, HEAT), (5, CLEAR, 1), (1, ALARM, HEAT), (4, FAULT, 1)):
            happen(d, number, kind, what)
        assert standing(d) == ["heat"] and standing(d, "fault") == ["heat_sensor"]


def test_a_restore_between_two_alarms_of_one_group_is_told_to_nobody(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        d.arrive(*((node.id, node.event(n, kind)) for n, kind in ((1, ALARM), (2, RESTORE), (3, ALARM))))
        for _ in range(4):
            d.end_all()
            d.pass_time(1_000)
        assert standing(d) == ["heat"] and "restore" not in purposes(d)
        assert sorted(r.round for r in d.rows(schema.delivery)) == [1, 1, 2, 2]
        d.event(0, 4, RESTORE)
        assert [r.round for r in d.rows(schema.delivery) if r.purpose == "restore"] == [2, 2]


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


# ---- nobody to tell


def test_an_alarm_that_nobody_can_be_told_of_is_a_fault_until_somebody_is_told(tmp_path: Path) -> None:
    with desk(tmp_path, urls={}) as d:
        d.event(0, 1)
        assert d.jobs == [] and standing(d, "fault") == ["nobody_told"] and faults(d) == [("unit:hannae/u-0", False)]
        d.event(0, 2, RESTORE)
        assert standing(d, "fault") == ["nobody_told"]
        with d.store.write() as conn:
            registered = {"responder_id": "station-1", "kind": "station", "name": "S", "url": "http://127.0.0.1:9/s"}
            rank: dict[str, Any] = {"secret": SECRET, "sites": (), "rank": 0, "now_ms": d.clock.now_ms()}
            responders.add_responder(conn, load_master(d.data / MASTER_KEY_NAME), **registered, **rank)
        d.event(0, 3)
        assert [r.recipient for r in d.rows(schema.delivery)] == [] and standing(d, "fault") == ["nobody_told"]
        with d.store.write() as conn:
            table = schema.incident
            closed = {"state": "closed", "closed_ms": d.clock.now_ms()}
            conn.execute(update(table).where(table.c.class_ == "fire").values(**closed))
        d.event(0, 4)
        assert [r.recipient for r in d.rows(schema.delivery)] == ["responder:station-1"]
        assert faults(d) == [("unit:hannae/u-0", True)]
        d.log.close()
        assert d.lines.getvalue().count("alarm.nobody_told") == 2


def test_an_alarm_of_a_unit_with_somebody_to_tell_is_no_fault(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        assert faults(d) == []


# ---- secrets that are damaged


def spoil(d: Desk, table: Any, column: str, **where: Any) -> bytes:
    """Damage a wrapped secret; returns what it was."""
    mine = [table.c[name] == value for name, value in where.items()]
    with d.store.write() as conn:
        before: bytes = conn.execute(select(table.c[column]).where(*mine)).scalar_one()
        conn.execute(update(table).where(*mine).values({column: b"\x01" + bytes(44)}))
    return before


def test_a_damaged_node_key_is_a_fault_and_stops_nobody_elses_alarm(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        key = {"node_id": d.nodes[1].id, "epoch": 1}
        before = spoil(d, schema.node_key, "wrapped", **key)
        d.event(1, 1)
        d.event(0, 1)
        assert standing(d) == ["heat"] and [r.numbers for r in d.receipts(0)] == [[1]] and d.receipts(1) == []
        assert faults(d) == [("node:a0b1c2000001", False)] and standing(d, "fault") == ["key_damaged"]
        d.log.close()
        assert "secret.damaged" in d.lines.getvalue()
        with d.store.write() as conn:
            conn.execute(
                update(schema.node_key).where(schema.node_key.c.node_id == key["node_id"]).values(wrapped=before)
            )
        d.event(1, 2)
        assert faults(d) == [("node:a0b1c2000001", True)] and [r.numbers for r in d.receipts(1)] == [[2]]


def test_a_damaged_responder_secret_is_a_fault_and_its_messages_are_refused_not_signed_with_nothing(
    tmp_path: Path,
) -> None:
    urls = {"station-0": "http://127.0.0.1:9/s", "centre-0": "http://127.0.0.1:9/c", "sms": "http://127.0.0.1:9"}
    with desk(tmp_path, urls=urls) as d:
        spoil(d, schema.responder, "secret_wrapped", id="station-0")
        d.event(0, 1)
        assert standing(d, "fault") == ["secret_damaged"]
        assert [s for s, _ in faults(d)] == [f"receiver:{d.rows(schema.receiver)[0].sender}"]
        assert d.job("responder:centre-0").message.target["secret"].startswith("whsec_")
        with pytest.raises(ValueError, match="damaged"):
            signed_headers(d.job("responder:station-0").message.target["secret"], "key", 0, b"")
        d.end(d.job("responder:station-0"), "refused")
        d.end_all()
        assert {r.recipient: r.state for r in d.rows(schema.delivery)}["responder:centre-0"] == "accepted"


def test_with_the_wrong_master_key_the_receiver_does_not_begin(tmp_path: Path) -> None:
    market = make_market(tmp_path / "data", 2)
    (market.data / MASTER_KEY_NAME).write_bytes(bytes(32))
    with pytest.raises(KeyFault, match="no stored secret opens"):
        Desk(market)


# ---- counters that are used up


def test_used_up_counters_give_a_fresh_sender_number_and_cost_no_alarm(tmp_path: Path) -> None:
    market = make_market(tmp_path / "data", 1)
    store = open_store(postgres_parts.store_url(market.data))
    with store.write() as conn:
        conn.execute(update(schema.receiver).values(counter_ceiling=2**32 - 2000))
    store.close()
    d = Desk(market)
    try:
        (old,) = d.rows(schema.receiver)
        d.writer.turn([Standing("disk", ("disk_low",))])
        with failing_once(d) as tried:
            d.event(0, 1)
            assert [r.sender for r in d.rows(schema.receiver)] == [old.sender] and d.jobs == []
            d.event(0, 1)  # the node sends it again
        assert tried[0] == 2 and len(d.jobs) == 2 and [r.numbers for r in d.receipts(0)] == [[1]]
        rows = {r.sender: r for r in d.rows(schema.receiver)}
        retired = rows.pop(old.sender)
        (new,) = rows.values()
        assert retired.retired_ms is not None and new.retired_ms is None
        assert new.mqtt_client_id == old.mqtt_client_id and new.counter_ceiling < 10_000
        d.event(0, 2)
        headers = [d.nodes[0].open(data)[0] for _, data in d.edge.published]
        assert [(h.sender, h.counter) for h in headers] == [(new.sender, 1), (new.sender, 2)]
        said = {i.subject: dict(i.snapshot["active"]) for i in d.rows(schema.incident) if i.class_ == "fault"}
        stands = {"disk": ["disk_low"]}
        assert said == {f"receiver:{old.sender}": {}, f"receiver:{new.sender}": stands}, "its faults go along"
        d.log.close()
        assert d.lines.getvalue().count("receiver.new_sender") == 1
    finally:
        d.close()


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
