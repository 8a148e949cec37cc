"""Retention: what is too old goes, and nothing that anybody still needs; a late repeat is known all the same."""

from collections import Counter
from pathlib import Path
from time import perf_counter

import pytest
from sqlalchemy import insert, select, update

from bongsu.receiver import audit, upkeep
from bongsu.receiver.config import ConfigError, RetentionConfig, load
from bongsu.receiver.retention import DAY_MS, Limits, Sweep
from bongsu.receiver.store import schema
from bongsu_wire import kinds
from tests.receiver_parts import Desk, desk

SETTINGS = RetentionConfig(alarms_days=365, faults_days=30, tests_days=7, audit_days=365)


def _sweep(room: Desk, days: float, *, dry: bool = False) -> Counter[str]:
    """One pass, so many days from now."""
    limits = Limits.of(SETTINGS, room.clock.now_ms() + round(days * DAY_MS))
    sweep = Sweep(limits, room.writer.books.audit_key, dry=dry)
    with room.store.write() as conn:
        while not sweep.work(conn, 0.002):
            pass
    return sweep.removed


def _close_all(room: Desk) -> None:
    table = schema.incident
    with room.store.write() as conn:
        values = {"state": "closed", "closed_ms": room.clock.now_ms(), "disposition": "fire"}
        conn.execute(update(table).where(table.c.state == "open").values(values))
    room.pass_time(1000)


def _life(room: Desk) -> None:
    """Two alarms and their restores, a fault and its end, two tests, on each of two nodes."""
    for i in (0, 1):
        events = (
            (kinds.ALARM, kinds.HEAT, 0),
            (kinds.RESTORE, kinds.HEAT, 0),
            (kinds.FAULT, 0, 1),
            (kinds.FAULT_CLEAR, 0, 1),
            (kinds.TEST, 0, 0),
            (kinds.TEST, 0, 0),
        ) * 2
        for number, (kind, phenomena, detail) in enumerate(events, 1):
            room.event(i, number, kind, phenomena, detail=detail)
            room.end_all()
            room.end_all()  # texts: sent, then delivered


def test_open_incidents_stay_for_ever(tmp_path: Path) -> None:
    with desk(tmp_path) as room:
        room.event(0, 1)
        room.event(0, 2)
        room.event(0, 3)
        before = {t: len(room.rows(t)) for t in (schema.incident, schema.event, schema.delivery)}
        _sweep(room, 5000)
        assert {t: len(room.rows(t)) for t in before} == before


def test_each_kind_goes_at_its_time(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _life(room)
        _close_all(room)
        assert not _sweep(room, 6)
        assert set(_sweep(room, 8)) == {"incident", "event"}
        left = {row.class_ for row in room.rows(schema.incident)}
        assert left <= {"fire", "fault", "exercise"} and "fire" in left and "fault" in left
        _sweep(room, 31)
        assert {r.class_ for r in room.rows(schema.incident) if r.class_ != "exercise"} == {"fire"}
        alarms = [r for r in room.rows(schema.event) if r.kind in ("alarm", "restore")]
        assert len(alarms) == 8  # NFPC 207: a year at least
        removed = _sweep(room, 366)
        assert removed["delivery"] > 0 and removed["delivery_attempt"] > 0
        kept = {(r.node_id, r.kind) for r in room.rows(schema.event)}
        assert len(kept) == 10  # the newest of each kind on each node
        assert len(room.rows(schema.event)) == 12  # and the incident of the newest delivery of all, whole


def test_what_stands_on_a_node_is_read_back_the_same(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _life(room)
        _close_all(room)
        with room.store.read() as conn:
            room.writer.books.casebook.load(conn)
            before = room.writer.books.casebook
            told = (before._top, before.alarms.__dict__, before.faults.__dict__)
        assert _sweep(room, 2000)["event"] == 12
        with room.store.read() as conn:
            room.writer.books.casebook.load(conn)
            after = room.writer.books.casebook
        assert (after._top, after.alarms.__dict__, after.faults.__dict__) == told


def test_a_late_repeat_of_a_removed_alarm_is_no_new_alarm(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _life(room)
        _close_all(room)
        _sweep(room, 2000)
        with room.store.read() as conn:
            room.writer.books.reload(conn)
        assert not [r for r in room.rows(schema.event) if r.node_id == room.nodes[0].id and r.number == 1]
        incidents, events = len(room.rows(schema.incident)), len(room.rows(schema.event))
        room.jobs.clear()
        room.event(0, 1, kinds.ALARM, kinds.HEAT, detail=0)
        assert not room.jobs
        assert (len(room.rows(schema.incident)), len(room.rows(schema.event))) == (incidents, events)
        assert room.receipts(0)[-1].numbers == [1]  # and the node may forget it
        room.event(0, 1, kinds.ALARM, kinds.SMOKE)  # its number, but another event: that is an alarm, and a fault
        assert room.jobs
        assert "event_number_reused" in str([r.snapshot for r in room.rows(schema.incident)])


def test_a_number_that_never_came_is_new_however_late(tmp_path: Path) -> None:
    with desk(tmp_path) as room:
        room.event(0, 1)
        room.event(0, 3)
        room.event(0, 2, kinds.RESTORE)
        _close_all(room)
        _sweep(room, 2000)
        with room.store.read() as conn:
            room.writer.books.reload(conn)
        room.end_all()
        room.event(0, 2, kinds.ALARM, kinds.SMOKE)
        assert room.jobs


def test_ids_are_never_given_again(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _life(room)
        _close_all(room)
        tables = (schema.incident, schema.event, schema.delivery)
        before = {t: max(r.id for r in room.rows(t)) for t in tables}
        _sweep(room, 4000)
        with room.store.read() as conn:
            room.writer.books.reload(conn)
        room.event(0, 99, kinds.ALARM, kinds.CO)
        assert all(max(r.id for r in room.rows(t)) > before[t] for t in tables)


def test_a_dry_run_counts_what_a_run_removes(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _life(room)
        _close_all(room)
        before = {t: room.rows(t) for t in schema.metadata.sorted_tables if t.name not in ("change", "meta")}
        planned = _sweep(room, 2000, dry=True)
        assert {t: room.rows(t) for t in before} == before
        assert planned == _sweep(room, 2000) and planned["event"]


def test_the_audit_is_kept_a_year_and_its_chain_stays_whole(tmp_path: Path) -> None:
    with desk(tmp_path) as room:
        key = room.writer.books.audit_key
        now_ms = room.clock.now_ms()
        with room.store.write() as conn:
            for i in range(60):
                audit.write(conn, actor="x", action="test", subject="", detail=str(i), now_ms=now_ms - i)
            audit.seal(conn, key)
        rows = len(room.rows(schema.audit))
        assert _sweep(room, 364)["audit"] == 0
        assert _sweep(room, 366)["audit"] == rows - 1
        with room.store.read() as conn:
            assert audit.verify(conn, key) == audit.Verdict(1, rows, rows, 0, [])
        with room.store.write() as conn:
            conn.execute(update(schema.meta).where(schema.meta.c.key == audit.ANCHOR).values(value="{}"))
        with room.store.read() as conn:
            assert audit.verify(conn, key).faults


def test_nothing_is_left_to_chance_by_the_settings(tmp_path: Path) -> None:
    for name in ("alarms_days", "audit_days"):
        (tmp_path / "receiver.toml").write_text(f"[retention]\n{name} = 364\n")
        with pytest.raises(ConfigError, match=name):
            load(tmp_path / "receiver.toml")


@pytest.mark.parametrize("beside", [0, 5])
def test_the_receiver_does_it_in_slices_and_alarms_go_on(tmp_path: Path, beside: int) -> None:
    with desk(tmp_path, units=2) as room:
        _life(room)
        for _ in range(beside):
            _life(room)
        _close_all(room)
        chore = next(c for c in room.writer.books.chores if isinstance(c, upkeep.Upkeep))
        before = len(room.rows(schema.event))
        longest_s = 0.0
        room.clock.advance(3000 * DAY_MS)
        for _ in range(3000):
            due_ms = chore.due_ms()
            assert due_ms is not None
            if due_ms > room.clock.mono_ms():
                room.clock.advance(due_ms - room.clock.mono_ms())
            begun_s = perf_counter()
            with room.store.write() as conn:
                chore.act(conn, _Quiet())  # type: ignore[arg-type]
            longest_s = max(longest_s, perf_counter() - begun_s)
            if chore._sweep is None and len(room.rows(schema.event)) < before:
                break
        assert len(room.rows(schema.event)) < before
        room.event(0, 999)
        assert room.jobs


class _Quiet:
    def say(self, *_: object, **__: object) -> None:
        """Nobody listens."""


def test_rows_of_others_in_the_way_are_no_fault(tmp_path: Path) -> None:
    """Two receivers may sweep at once: what is gone is gone."""
    with desk(tmp_path, units=2) as room:
        _life(room)
        _close_all(room)
        limits = Limits.of(SETTINGS, room.clock.now_ms() + 2000 * DAY_MS)
        sweeps = [Sweep(limits, room.writer.books.audit_key) for _ in (0, 1)]
        over = [False, False]
        while not all(over):
            for i, sweep in enumerate(sweeps):
                with room.store.write() as conn:
                    over[i] = over[i] or sweep.work(conn, 0.0)
        assert len(room.rows(schema.event)) == 12


def test_a_retired_key_leaves_no_digests(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _life(room)
        _close_all(room)
        _sweep(room, 2000)
        assert len(room.rows(schema.event_past)) == 12
        with room.store.write() as conn:
            mine = schema.node_key.c.node_id == room.nodes[0].id
            conn.execute(update(schema.node_key).where(mine).values(state="retired"))
            row = {"node": "", "reason": "old", "count": 1, "first_ms": 0, "last_ms": 0}
            conn.execute(insert(schema.refused_frame).values(row))
        assert _sweep(room, 2000)["refused_frame"] == 1
        with room.store.read() as conn:
            left = set(conn.execute(select(schema.event_past.c.node_id)).scalars())
        assert left == {room.nodes[1].id}
