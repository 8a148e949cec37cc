"""Several receivers on one database: each event once, each delivery by one of them, and what one does all know."""

import io
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from bongsu.receiver import books
from bongsu.receiver import desk as acts
from bongsu.receiver.cluster import DatabaseClock, LineWatch
from bongsu.receiver.log import Log
from bongsu.receiver.store import StoreError, changes, open_store, schema
from bongsu.receiver.store import postgres as db
from bongsu.receiver.turn import SILENT
from bongsu_wire import kinds
from tests.cluster_parts import Desks, desks
from tests.postgres_parts import Server
from tests.receiver_parts import Desk


def incidents_of(d: Desk) -> list[tuple[str, str, int]]:
    """(subject, state, round) of all incidents."""
    return [(i.subject, i.state, i.round) for i in d.rows(schema.incident)]


def states(d: Desk) -> list[tuple[str, str]]:
    """(recipient, state) of all deliveries."""
    return [(r.recipient, r.state) for r in d.rows(schema.delivery)]


def frame_to_all(c: Desks, i: int, number: int, **more: Any) -> None:
    """One frame of node i reaches every receiver."""
    node = c.desks[0].nodes[i]
    data = node.event(number, **more)
    for d in c.desks:
        d.arrive((node.id, data))


def test_an_alarm_that_all_hear_is_one_incident_and_each_receipts_it(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres, count=3) as c:
        frame_to_all(c, 0, 1)
        a, *others = c.desks
        assert incidents_of(a) == [("unit:hannae/u-0", "open", 1)]
        assert len(a.rows(schema.event)) == 1 and len(a.jobs) == 2
        assert all(not d.jobs for d in others)
        for d in c.desks:
            assert [r.numbers for r in d.receipts(0)] == [[1]] and len(d.edge.acked) == 1
        senders = {c.desks[i].nodes[0].open(c.desks[i].edge.published[-1][1])[0].sender for i in range(3)}
        assert senders == set(c.senders)


def test_ids_stay_one_row_and_are_never_given_again(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres, units=4) as c:
        a, b = c.desks
        a.event(0, 1)
        b.event(1, 1)
        a.event(2, 1)
        assert [i.id for i in a.rows(schema.incident)] == [1, 2, 3]
        assert [e.id for e in a.rows(schema.event)] == [1, 2, 3]
        a.end_all()
        b.end_all()
        with a.store.write() as conn:  # what no command does: the newest go
            conn.execute(update(schema.event).values(incident_id=None))
            for table in (schema.delivery_attempt, schema.delivery, schema.incident):
                conn.execute(delete(table))
        c.kill(1)
        c.restart(1)
        c.desks[1].event(3, 1)
        assert [i.id for i in a.rows(schema.incident)] == [4]


def test_a_second_phenomenon_at_another_receiver_carries_on_the_incident(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        a.event(0, 1, phenomena=kinds.HEAT)
        b.event(0, 2, phenomena=kinds.SMOKE)
        a.event(0, 3, kinds.RESTORE, 0)
        assert incidents_of(a) == [("unit:hannae/u-0", "open", 1)]
        b.event(0, 4)
        assert incidents_of(a) == [("unit:hannae/u-0", "open", 2)]


def test_what_a_dead_receiver_had_under_way_is_taken_over_within_six_seconds(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        frame_to_all(c, 0, 1)
        keys = {job.message.idempotency_key for job in a.jobs}
        c.kill(0)
        b.pass_time(4_000)
        assert not b.jobs
        b.pass_time(2_000)
        assert {job.message.idempotency_key for job in b.jobs} == keys and len(b.jobs) == 2
        b.end_all()
        b.pass_time(1_000)
        b.end_all()
        assert {state for _, state in states(b)} <= {"accepted", "delivered"}
        c.restart(0)


def test_who_lives_keeps_what_it_has_under_way(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        frame_to_all(c, 0, 1)
        for _ in range(20):
            c.clock.advance(1000)
            a.writer.turn([])
            b.writer.turn([])
        assert len(a.jobs) == 2 and not b.jobs
        a.end_all()
        a.pass_time(1_000)
        a.end_all()
        b.pass_time(10_000)
        assert not b.jobs


def test_a_receiver_that_stood_still_changes_nothing(tmp_path: Path, postgres: Server) -> None:
    """Its lease ended, another one delivered: its late result is not written."""
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        frame_to_all(c, 0, 1)
        b.pass_time(6_000)
        b.end(b.job("responder:station-0"))
        a.end(a.job("responder:station-0"), "retry")
        (row,) = [r for r in a.rows(schema.delivery) if r.recipient == "responder:station-0"]
        assert row.state == "accepted" and row.attempts == 1
        a.pass_time(70_000)
        assert not [j for j in a.jobs if j.message.target.get("url")]


def test_a_retry_is_left_to_who_tried_and_taken_over_when_that_one_is_gone(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        frame_to_all(c, 0, 1)
        a.end(a.job("responder:station-0"), "retry")
        b.writer.turn([])
        c.clock.advance(1_000)
        a.writer.turn([])
        b.writer.turn([])
        assert a.job("responder:station-0") and not b.jobs
        a.end(a.job("responder:station-0"), "retry")
        b.pass_time(1_000)
        c.kill(0)
        b.pass_time(7_000)
        assert b.job("responder:station-0")
        c.restart(0)


def test_a_restore_waits_for_the_alarm_that_another_receiver_delivers(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        a.event(0, 1)
        b.event(0, 2, kinds.RESTORE, 0)
        b.pass_time(3_000)
        assert not b.jobs
        for _ in range(4):
            for d in c.desks:
                d.end_all()
                d.pass_time(1_000)
        done = [(r.purpose, r.state, r.attempts) for r in a.rows(schema.delivery)]
        assert sorted(done) == [
            ("alarm", "accepted", 1), ("alarm", "delivered", 1), ("restore", "accepted", 1), ("restore", "delivered", 1)
        ]  # fmt: skip


def test_an_acknowledgement_and_a_closing_reach_all(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        frame_to_all(c, 0, 1)
        with a.store.write() as conn:
            acts.acknowledge(conn, 1, seen_event_id=1, by="operator", now_ms=c.clock.now_ms())
        for d in c.desks:
            d.pass_time(1_000)
            assert d.writer.books.casebook.by_id[1].incident.ack_by == "operator"
        with a.store.write() as conn:
            acts.close(
                conn, 1, disposition="steam", note="", by="operator", now_ms=c.clock.now_ms(), seen_event_id=1,
                still_standing=True,
            )  # fmt: skip
        for d in c.desks:
            d.pass_time(1_000)
            assert not d.writer.books.casebook.by_id
        b.event(0, 2)
        assert [i[1] for i in incidents_of(a)] == ["closed", "open"]


def test_a_silent_node_is_found_once_and_not_while_another_hears_it(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres, units=2) as c:
        a, b = c.desks
        for i in range(2):
            frame_to_all(c, i, 1, kind=kinds.TEST, phenomena=0)
        node = a.nodes[0]
        for _ in range(5):  # b's broker brings it nothing of node 0, and nobody hears node 1
            c.clock.advance(60_000)
            for _ in range(7):
                c.clock.advance(1_000)
                a.writer.turn([])
                b.writer.turn([])
            a.arrive((node.id, node.heartbeat(c.clock.now_ms() - 1_000, 1_000)), topic=f"bongsu/v1/up/{node.id}/h")
            for _ in range(6):
                c.clock.advance(1_000)
                a.writer.turn([])
                b.writer.turn([])
        faults = [i for i in a.rows(schema.incident) if SILENT in str(i.snapshot.get("active"))]
        assert [i.subject for i in faults] == [f"node:{a.nodes[1].id}"] and faults[0].round == 1


def test_a_registry_change_reaches_all_by_what_it_names(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        before = b.writer.books.directory
        with a.store.write() as conn:
            conn.execute(update(schema.unit).where(schema.unit.c.id == "u-1").values(name="renamed"))
            changes.note(conn, "unit", "hannae/u-1")
        b.event(1, 1)
        assert b.writer.books.directory is before  # nothing was read whole
        assert b.rows(schema.incident)[0].snapshot["unit"]["name"] == "renamed"


@pytest.mark.parametrize("topic", ["unit", "node"])
def test_what_was_not_noted_is_read_whole(tmp_path: Path, postgres: Server, topic: str) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        before = b.writer.books.directory
        table = schema.unit if topic == "unit" else schema.node
        with a.store.write() as conn:
            conn.execute(update(table).values({"name" if topic == "unit" else "label": "renamed"}))
        b.event(1, 1)
        assert b.writer.books.directory is not before
        snapshot = b.rows(schema.incident)[0].snapshot
        assert "renamed" in (snapshot["unit"]["name"], snapshot["node"]["label"])


def test_who_was_away_for_longer_than_changes_are_kept_reads_everything(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        frame_to_all(c, 0, 1)
        a.event(0, 2, kinds.RESTORE, 0)
        c.clock.advance(changes.KEEP_MS + 1)
        with a.store.write() as conn:
            conn.execute(update(schema.unit).values(name="renamed"))
        with a.store.write() as conn:
            changes.prune(conn, c.clock.now_ms() + 10 * changes.KEEP_MS)
        with a.store.read() as conn:
            assert len(conn.execute(select(schema.change)).all()) <= 2
        b.event(0, 3)
        assert incidents_of(b)[0] == ("unit:hannae/u-0", "open", 2)


def test_a_large_registry_is_read_aside_while_alarms_go_on(
    tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "READ_ASIDE", 0)
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        before = b.writer.books.directory
        with a.store.write() as conn:
            conn.execute(update(schema.unit).values(name="renamed"))
        b.event(0, 1)
        assert b.writer.books.directory is before and len(b.rows(schema.incident)) == 1  # an alarm waits for nothing
        with a.store.write() as conn:
            conn.execute(update(schema.unit).where(schema.unit.c.id == "u-1").values(name="renamed again"))
            changes.note(conn, "unit", "hannae/u-1")
        b.writer.turn([b.writer.inbox.get(10)])
        assert b.writer.books.directory is not before
        b.event(1, 1)
        assert b.rows(schema.incident)[1].snapshot["unit"]["name"] == "renamed again"


def test_a_statement_that_the_database_does_not_answer_is_given_up(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "SILENCE_S", 0.5)
    store = open_store(postgres.create())
    lines = io.StringIO()
    log = Log("json", lines)
    watch = LineWatch(store.engine, log)
    watch.start()
    try:
        with store.read() as conn:
            conn.execute(select(schema.site))
        postgres.freeze()
        try:
            with pytest.raises(StoreError), store.read() as conn:
                conn.execute(select(schema.site))
        finally:
            postgres.thaw()
        with store.read() as conn:
            assert conn.execute(select(schema.site)).all() == []
    finally:
        watch.close()
        log.close()
        store.close()
    assert "store.silent" in lines.getvalue()


def test_the_databases_time_counts(postgres: Server) -> None:
    store = open_store(postgres.create())
    clock = DatabaseClock()
    clock._offset_ms += 3_600_000  # this machine's clock is an hour wrong
    with store.read() as conn:
        clock.measure(conn)
        there = conn.execute(text("SELECT extract(epoch FROM clock_timestamp()) * 1000")).scalar_one()
    assert abs(clock.now_ms() - float(there)) < 1_000
    store.close()
