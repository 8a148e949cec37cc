"""Alarms that ride in heartbeats: one whose event never came is dispatched, one that was closed is not told again."""

from pathlib import Path
from typing import Any

import pytest

from bongsu.receiver import desk as acts
from bongsu.receiver.beat_alarms import EVENT_WITHIN_MS
from bongsu.receiver.incidents import StaleAcknowledgement
from bongsu.receiver.store import schema
from bongsu_wire import kinds, payload, topics
from tests.receiver_parts import Desk, desk
from tests.unit.test_receiver_dispatch import act, second_node, told
from tests.unit.test_receiver_exercise import begin

CLOSED: Any = {"disposition": "cooking", "note": "", "still_standing": True}


def beat(d: Desk, active: int = kinds.HEAT, event: int = 1, fresh: bool = True) -> None:
    """Node 0's heartbeat says that this stands, and event is its newest alarm."""
    node, now_ms = d.nodes[0], d.clock.now_ms()
    echo_ms = now_ms if fresh else now_ms - 600_000
    made = payload.Heartbeat(active=active, active_event=event, temp_dk=3402, echo_server_ms=echo_ms, echo_age_ms=5)
    data = node.seal(kinds.UP_HEARTBEAT, payload.encode_heartbeat(made))
    d.arrive_on([(topics.up_beats(node.id), data)])


def classes(d: Desk) -> list[tuple[str, str]]:
    return [(r.class_, r.state) for r in d.rows(schema.incident)]


def faults(d: Desk) -> dict[str, Any]:
    found = [r for r in d.rows(schema.incident) if r.class_ == "fault"]
    return dict(found[0].snapshot["active"]) if found else {}


def test_an_alarm_whose_event_never_comes_is_dispatched(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        beat(d)
        d.pass_time(EVENT_WITHIN_MS - 1000)
        assert classes(d) == []
        d.pass_time(1000)
        assert classes(d) == [("fire", "open")] and told(d) == [("bongsu.fire.alarm", False, 4)]
        (report,) = [r for r in d.rows(schema.delivery) if r.channel == "webhook"]
        assert report.body["data"]["values"] == [{"name": "temperature", "value": 67.0, "unit": "degC"}]
        d.end_all()
        for _ in range(2):
            beat(d)
            d.pass_time(45_000)
        assert len(told(d)) == 1
        d.event(0, 1)  # it comes after all: the same incident, nobody is told again
        assert [c for c in classes(d) if c[0] == "fire"] == [("fire", "open")] and len(told(d)) == 1
        d.event(0, 2, kinds.RESTORE, phenomena=0)
        assert told(d)[-1][0] == "bongsu.fire.restore"


def test_an_event_that_is_on_its_way_is_waited_for(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        beat(d)
        d.pass_time(EVENT_WITHIN_MS - 2000)
        d.event(0, 1)
        d.pass_time(60_000)
        assert len(told(d)) == 1
        d.event(0, 2, kinds.RESTORE, phenomena=0)
        beat(d, event=1)  # older than the restore, which overtook it
        d.pass_time(60_000)
        beat(d, active=0, event=0)
        d.pass_time(900_000)
        assert classes(d)[0] == ("fire", "open") and len(d.rows(schema.event)) == 2
        assert [t for t, _, _ in told(d)] == ["bongsu.fire.alarm", "bongsu.fire.restore"]


def test_an_alarm_that_ended_before_its_event_was_missed_opens_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        beat(d)
        beat(d, active=0, event=0)
        d.pass_time(60_000)
        assert classes(d) == []


def test_a_second_phenomenon_that_only_heartbeats_tell_of_confirms(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        beat(d, kinds.HEAT | kinds.SMOKE, event=2)
        d.pass_time(EVENT_WITHIN_MS)
        assert told(d) == [("bongsu.fire.alarm", False, 4), ("bongsu.fire.update", True, 5)]


def test_one_that_was_closed_as_it_stood_does_not_come_back_but_is_a_fault_in_time(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        act(d, acts.close, **CLOSED)
        for _ in range(12):
            beat(d)
            d.pass_time(45_000)
        assert classes(d) == [("fire", "closed")]
        for _ in range(3):
            beat(d)
            d.pass_time(45_000)
        assert faults(d) == {"heartbeat": ["still_in_alarm"]} and len(told(d)) == 1
        beat(d, event=2)  # it burns anew, and that event is lost
        d.pass_time(EVENT_WITHIN_MS)
        assert [c for c in classes(d) if c[0] == "fire"] == [("fire", "closed"), ("fire", "open")]
        beat(d, active=0, event=0)
        d.pass_time(1_000)
        assert faults(d) == {}


def test_one_that_only_heartbeats_told_of_stays_closed_as_well(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        beat(d)
        d.pass_time(EVENT_WITHIN_MS)
        act(d, acts.close, **CLOSED)
        for _ in range(5):
            beat(d)
            d.pass_time(45_000)
        assert classes(d) == [("fire", "closed")] and len(told(d)) == 1


def test_a_heartbeat_that_was_held_back_raises_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        beat(d, fresh=False)
        d.pass_time(60_000)
        assert classes(d) == []


@pytest.mark.parametrize("what", ["acknowledge", "close", "verify"])
def test_what_was_seen_before_a_heartbeat_told_of_an_alarm_is_out_of_date(tmp_path: Path, what: str) -> None:
    how: dict[str, Any] = CLOSED if what == "close" else {}
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.event(0, 2, kinds.RESTORE)
        beat(d, event=3)
        d.pass_time(12_000)
        (one,) = [r for r in d.rows(schema.incident) if r.class_ == "fire"]
        assert one.round == 2
        with d.store.read() as conn:
            assert acts.show_incident(conn, 1)["seen"] == f"{one.last_event_id}+1"
        seen = {"seen_event_id": one.last_event_id, "by": "op", "now_ms": d.clock.now_ms()}
        with d.store.write() as conn, pytest.raises(StaleAcknowledgement):
            getattr(acts, what)(conn, 1, **seen, **how)
        with d.store.write() as conn:
            getattr(acts, what)(conn, 1, **seen, seen_beats=1, **how)


def test_a_second_node_that_only_a_heartbeat_tells_of_is_not_part_of_an_older_answer(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        second_node(d, 1, 0)
        begin(d, "u-1")
        d.event(1, 1)
        beat(d)
        d.pass_time(12_000)
        how: dict[str, Any] = {"real": False, "seen_event_id": 1, "by": "op", "now_ms": d.clock.now_ms()}
        with d.store.write() as conn, pytest.raises(StaleAcknowledgement):
            acts.answer_exercise(conn, 1, **how)
        with d.store.write() as conn:
            acts.answer_exercise(conn, 1, **how, seen_beats=1)
