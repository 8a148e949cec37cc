"""Promise 5: who falls silent is a fault in less than 200 s, never an alarm; old frames keep no dead node alive."""

from pathlib import Path

from bongsu.receiver.liveness import Liveness, echo_is_fresh
from bongsu.receiver.mqtt_edge import LinkChanged
from bongsu.receiver.store import schema
from bongsu_wire import topics
from tests.receiver_parts import Desk, Market, desk

NOW_MS = 1_800_000_000_000


def beat(d: Desk, i: int = 0, held_ms: int = 0) -> None:
    """Node i's heartbeat, made `held_ms` ago with the newest server time."""
    node = d.nodes[i]
    data = node.heartbeat(d.clock.now_ms() - 30_000 - held_ms, 30_000)
    d.arrive((node.id, data), topic=topics.up_beats(node.id))


def silent(d: Desk) -> list[tuple[str, bool]]:
    """(subject, is it over) of the fault incidents of nodes and of the receiver."""
    found = [i for i in d.rows(schema.incident) if i.class_ == "fault" and not i.subject.startswith("unit:")]
    return [(i.subject, i.restored_ms is not None) for i in found]


def test_a_silent_node_is_a_fault_between_180_and_200_s(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        beat(d, 0)
        beat(d, 1)
        for _ in range(179):
            d.pass_time(1_000)
            if d.clock.now_ms() % 45_000 < 1_000:
                beat(d, 1)
        assert silent(d) == []
        d.pass_time(2_000)
        assert silent(d) == [("node:a0b1c2000000", False)]
        live = {r.node_id: (r.silent, r.silent_since_ms is not None) for r in d.rows(schema.node_live)}
        assert live == {"a0b1c2000000": (True, True), "a0b1c2000001": (False, False)}
        beat(d, 0)
        assert silent(d) == [("node:a0b1c2000000", True)]
        assert not d.rows(schema.node_live)[0].silent
        assert d.rows(schema.delivery) == []


def test_an_alarm_is_a_sign_of_life_its_repeat_is_none(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        beat(d)
        d.pass_time(170_000)
        d.event(0, 1)
        d.pass_time(170_000)
        assert silent(d) == []
        d.event(0, 1)
        d.pass_time(11_000)
        assert silent(d) == [("node:a0b1c2000000", False)]


def test_heartbeats_that_somebody_held_back_keep_nobody_alive(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        beat(d)
        for _ in range(9):
            d.pass_time(20_000)
            beat(d, held_ms=125_000)
        d.pass_time(1_000)
        assert silent(d) == [("node:a0b1c2000000", False)]


def test_a_replayed_heartbeat_is_no_sign_of_life_and_counted_when_old(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        old = node.heartbeat(d.clock.now_ms(), 0)
        d.arrive((node.id, old))
        answers = len(d.receipts(0))
        d.arrive((node.id, old), (node.id, old))
        assert len(d.receipts(0)) == answers
        for _ in range(70):
            beat(d)
        d.arrive((node.id, old))
        d.pass_time(6_000)
        assert [(r.node, r.reason, r.count) for r in d.rows(schema.refused_frame)] == [(node.id, "replay", 1)]


def test_the_window_outlives_a_restart(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        frames = [node.heartbeat(d.clock.now_ms(), 0) for _ in range(3)]
        d.arrive(*[(node.id, f) for f in frames])
        d.pass_time(6_000)
        row = d.rows(schema.node_window)[0]
        assert (row.high, row.bitmap) == (3, 0b111)
        again = Desk(Market(d.data, []))
        try:
            again.arrive(*[(node.id, f) for f in frames])
            assert again.edge.published == []
        finally:
            again.close()


def test_a_heartbeat_is_answered_with_the_time_and_no_numbers(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        beat(d)
        (receipt,) = d.receipts(0)
        assert (receipt.numbers, receipt.server_ms, receipt.answers) == ([], d.clock.now_ms(), d.nodes[0].counter)


def test_heartbeats_are_written_together_every_few_seconds(tmp_path: Path) -> None:
    with desk(tmp_path, units=3) as d:
        for i in range(3):
            beat(d, i)
        assert all(r.last_seen_ms is None for r in d.rows(schema.node_live))
        d.pass_time(5_000)
        assert all(r.last_seen_ms and r.heartbeat["battery_mv"] == 0xFFFF for r in d.rows(schema.node_live))


def test_the_receivers_own_link_replaces_the_nodes_faults_and_grants_grace(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        beat(d, 0)
        beat(d, 1)
        d.writer.turn([LinkChanged(False)])
        d.pass_time(600_000)
        (link,) = silent(d)
        assert link[0].startswith("receiver:") and not link[1]
        d.writer.turn([LinkChanged(True)])
        assert silent(d) == [(link[0], True)]
        d.pass_time(179_000)
        beat(d, 1)
        assert len(silent(d)) == 1
        d.pass_time(2_000)
        assert silent(d)[1:] == [("node:a0b1c2000000", False)]


def test_a_short_break_of_the_link_is_no_fault(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.writer.turn([LinkChanged(False)])
        d.pass_time(10_000)
        d.writer.turn([LinkChanged(True)])
        d.pass_time(30_000)
        assert silent(d) == []


def test_a_node_that_never_spoke_is_not_missed(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.pass_time(400_000)
        assert silent(d) == []


def test_an_echo_is_fresh_within_120_s_on_either_side() -> None:
    assert echo_is_fresh(NOW_MS, NOW_MS - 100_000, 99_000)
    assert echo_is_fresh(NOW_MS, NOW_MS - 119_999, 0) and not echo_is_fresh(NOW_MS, NOW_MS - 120_000, 0)
    assert echo_is_fresh(NOW_MS, NOW_MS - 500_000, 490_000)  # its downlink is bad, its heartbeat is young
    assert not echo_is_fresh(NOW_MS, 0, 0xFFFFFFFF)
    assert not echo_is_fresh(NOW_MS, NOW_MS + 120_000, 0)


def test_liveness_knows_when_to_look_next() -> None:
    watch = Liveness(180_000)
    assert watch.due_ms() is None
    watch.watch("a", 0)
    watch.watch("b", 10)
    assert watch.due_ms() == 180_000
    assert not watch.seen("a", 50)
    assert watch.due_ms() == 180_010
    assert watch.expire(180_009) == ([], False) and watch.expire(180_010) == (["b"], False)
    assert watch.seen("b", 200_000) and not watch.seen("b", 200_001)
    watch.forget("a")
    assert watch.watched() == {"b"}


def test_a_link_fault_that_stood_over_a_restart_ends_when_the_link_is_back(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.writer.turn([LinkChanged(False)])
        d.pass_time(30_000)
        (link,) = silent(d)
        again = Desk(Market(d.data, []), d.clock)
        try:
            again.pass_time(30_000)
            assert silent(again) == [(link[0], True)]
        finally:
            again.close()


def test_a_link_fault_ends_although_the_transaction_that_was_to_say_so_failed(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.writer.turn([LinkChanged(False)])
        d.pass_time(30_000)
        (link,) = silent(d)
        save, left = d.writer.books.casebook.save, [1]

        def once(*args: object) -> None:
            if left:
                left.pop()
                raise RuntimeError("the disk is full")
            save(*args)  # type: ignore[arg-type]

        d.writer.books.casebook.save = once  # type: ignore[method-assign, assignment]
        d.writer.turn([LinkChanged(True)])
        d.pass_time(10_000)
        assert silent(d) == [(link[0], True)]
