"""From frame to incident and deliveries: the writer over a real store, with a clock that stands."""

from pathlib import Path
from typing import Any

import pytest

from bongsu.receiver import desk as operator
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master, make_node_key
from bongsu.receiver.store import schema
from bongsu_wire import kinds, payload
from tests.receiver_parts import Desk, FrameMaker, desk

# How the operator closes an incident in these tests.
BY: Any = {"note": "", "by": "operator", "now_ms": 1, "still_standing": True}


def incidents_of(d: Desk, class_: str = "fire") -> list[tuple[str, str, int, bool]]:
    """(subject, state, round, restored) of all incidents of a class."""
    return [
        (i.subject, i.state, i.round, i.restored_ms is not None) for i in d.rows(schema.incident) if i.class_ == class_
    ]


def deliveries_of(d: Desk) -> list[tuple[str, str, str]]:
    """(purpose, recipient, state) of all deliveries."""
    return [(r.purpose, r.recipient, r.state) for r in d.rows(schema.delivery)]


def test_an_alarm_is_committed_whole_then_receipted_acknowledged_and_dispatched(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, temp_dk=3353, age_ms=400)
        (event,) = d.rows(schema.event)
        (incident,) = d.rows(schema.incident)
        assert (event.kind, event.number, event.incident_id) == ("alarm", 1, incident.id)
        assert event.event_ms == d.clock.now_ms() - 400 and event.readings["temp_dk"] == 3353
        assert (incident.subject, incident.class_, incident.round) == ("unit:hannae/u-0", "fire", 1)
        assert incident.snapshot["unit"]["name"] == "가게 0"
        assert [r.numbers for r in d.receipts(0)] == [[1]]
        assert d.receipts(0)[0].answers == d.nodes[0].counter
        assert len(d.edge.acked) == 1
        assert deliveries_of(d) == [
            ("alarm", "responder:station-0", "pending"),
            ("alarm", "contact:owner-0", "pending"),
        ]
        assert {(j.channel, j.action) for j in d.jobs} == {("webhook", "send"), ("sms", "send")}


def test_nothing_leaves_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path) as d:

        def no_commit(*_args: object) -> None:
            assert not d.edge.published and not d.edge.acked and not d.jobs
            raise RuntimeError("the power fails here")

        monkeypatch.setattr("bongsu.receiver.casebook.Casebook.save", no_commit)
        d.event(0, 1)
        assert d.rows(schema.event) == [] and d.rows(schema.incident) == []
        assert d.receipts(0) == [] and d.jobs == []
        monkeypatch.undo()
        node = d.nodes[0]
        d.arrive((node.id, node.event(1)))  # the node sends it again
        assert len(d.rows(schema.event)) == 1 and [r.numbers for r in d.receipts(0)] == [[1]]


def test_a_repeat_is_receipted_again_and_changes_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        first = node.event(1)
        d.arrive((node.id, first))
        d.arrive((node.id, first), (node.id, first))  # the broker brings the same bytes again
        d.event(0, 1, age_ms=9000)  # the node sends the event anew
        assert len(d.rows(schema.event)) == 1 and incidents_of(d) == [("unit:hannae/u-0", "open", 1, False)]
        assert len(deliveries_of(d)) == 2
        assert [r.numbers for r in d.receipts(0)] == [[1], [1], [1]]
        assert d.rows(schema.refused_frame) == []


def test_events_of_one_group_share_a_transaction_and_a_receipt(tmp_path: Path) -> None:
    with desk(tmp_path, units=3) as d:
        frames = [(n.id, n.event(k)) for n in d.nodes for k in (1, 2)]
        d.arrive(*frames, frames[0])
        assert len(d.rows(schema.event)) == 6 and len(incidents_of(d)) == 3
        assert [sorted(r.numbers) for i in range(3) for r in d.receipts(i)] == [[1, 2]] * 3


def test_a_known_key_with_other_content_is_a_new_event_and_a_fault(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, temp_dk=3302)
        d.event(0, 1, temp_dk=3303)
        assert [e.number for e in d.rows(schema.event)] == [1, 1]
        assert incidents_of(d, "fault") == [("node:a0b1c2000000", "open", 1, False)]
        assert [r.numbers for r in d.receipts(0)] == [[1], [1]]
        d.event(0, 1, temp_dk=3303)
        assert len(d.rows(schema.event)) == 2


def test_an_old_counter_never_refuses_an_event(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        late = node.event(1)
        node.counter += 5000
        d.arrive((node.id, node.event(2, kinds.RESTORE)))
        d.arrive((node.id, late))
        assert [e.number for e in d.rows(schema.event)] == [2, 1]
        # Its restore came before it: told, and over at once.
        assert incidents_of(d) == [("unit:hannae/u-0", "open", 1, True)]


def test_a_second_alarm_in_the_round_tells_nobody_twice(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.event(0, 2)
        (incident,) = d.rows(schema.incident)
        assert incident.round == 1 and incident.snapshot["active"] == {"a0b1c2000000": ["heat"]}
        assert len(deliveries_of(d)) == 2 and len(d.rows(schema.event)) == 2


def test_a_restore_closes_nothing_and_is_told_to_whoever_was_told(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end_all()
        d.pass_time(1000)
        d.end_all()
        d.event(0, 2, kinds.RESTORE)
        assert incidents_of(d) == [("unit:hannae/u-0", "open", 1, True)]
        assert deliveries_of(d)[2:] == [
            ("restore", "responder:station-0", "pending"),
            ("restore", "contact:owner-0", "pending"),
        ]
        bodies = [r.body for r in d.rows(schema.delivery)[2:]]
        assert bodies[0]["type"] == "bongsu.fire.restore" and bodies[0]["data"]["phenomena"] == ["heat"]
        assert "복구" in bodies[1]


def test_an_alarm_after_the_restore_is_a_new_round_that_clears_the_acknowledgement(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end_all()
        (incident,) = d.rows(schema.incident)
        with d.store.write() as conn:
            operator.acknowledge(conn, incident.id, seen_event_id=incident.last_event_id, by="owner-1", now_ms=1)
        d.event(0, 2, kinds.RESTORE)
        (incident,) = d.rows(schema.incident)
        assert incident.ack_by == "owner-1" and incident.restored_ms
        d.event(0, 3)
        (incident,) = d.rows(schema.incident)
        assert (incident.round, incident.ack_by, incident.restored_ms) == (2, None, None)
        assert [p for p, _, _ in deliveries_of(d)] == ["alarm", "alarm", "restore", "restore", "alarm", "alarm"]


def test_a_round_that_begins_takes_back_what_is_no_longer_true(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end(d.job("responder:station-0"), "retry")  # the station has not heard of it yet
        d.event(0, 2, kinds.RESTORE)
        d.event(0, 3)
        states = [(p, s) for p, r, s in deliveries_of(d) if r == "responder:station-0"]
        assert states == [("alarm", "pending"), ("restore", "cancelled"), ("alarm", "pending")]


def test_after_closing_an_alarm_opens_another_incident(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        with d.store.write() as conn:
            operator.close(conn, 1, **BY, disposition="cooking", seen_event_id=1)
        d.event(0, 2)
        assert [(i.id, i.state) for i in d.rows(schema.incident)] == [(1, "closed"), (2, "open")]
        d.log.close()
        assert '"event":"incident.closed","incident":1' in d.lines.getvalue()


def test_an_unassigned_nodes_alarm_opens_one_too_and_goes_to_everybody(tmp_path: Path) -> None:
    urls = {"station-0": "http://127.0.0.1:9/", "station-1": "http://127.0.0.1:9/", "sms": "http://127.0.0.1:9"}
    with desk(tmp_path, urls=urls) as d:
        with d.store.write() as conn:
            conn.execute(schema.node.update().values(site_id=None, unit_id=None))
        d.event(0, 1)
        assert incidents_of(d) == [("node:a0b1c2000000", "open", 1, False)]
        assert [r for _, r, _ in deliveries_of(d)] == ["responder:station-0", "responder:station-1"]
        assert d.rows(schema.incident)[0].snapshot["unassigned"] is True


def test_gas_is_another_incident_than_fire(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.event(0, 2, phenomena=kinds.CO)
        d.event(0, 3, kinds.RESTORE, kinds.CO)
        assert incidents_of(d) == [("unit:hannae/u-0", "open", 1, False)]
        assert incidents_of(d, "co_gas") == [("unit:hannae/u-0", "open", 1, True)]


@pytest.mark.parametrize(("kind", "name"), [(kinds.FAULT, "smoke_sensor"), (kinds.TAMPER, "tamper")])
def test_a_fault_stands_in_the_list_until_it_is_over_and_texts_nobody(tmp_path: Path, kind: int, name: str) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, kind, 0, detail=kinds.FAULT_SMOKE_SENSOR)
        (incident,) = d.rows(schema.incident)
        assert (incident.class_, incident.subject) == ("fault", "node:a0b1c2000000")
        assert incident.snapshot["active"] == {"a0b1c2000000": [name]}
        assert deliveries_of(d) == []
        d.event(0, 2, kinds.FAULT_CLEAR, 0, detail=0)
        assert incidents_of(d, "fault") == [("node:a0b1c2000000", "open", 1, True)]


def test_a_test_is_written_down_and_nobody_is_told(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, kinds.TEST, 0)
        assert incidents_of(d, "exercise") == [("unit:hannae/u-0", "closed", 1, False)]
        assert d.rows(schema.incident)[0].disposition == "test"
        assert deliveries_of(d) == [] and [r.numbers for r in d.receipts(0)] == [[1]]


def test_a_prealarm_is_kept_without_an_incident(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, kinds.PREALARM)
        assert d.rows(schema.incident) == [] and len(d.rows(schema.event)) == 1


def test_the_first_authentic_frame_activates_the_nodes_new_key(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        assert d.rows(schema.node_key)[0].state == "pending"
        node = d.nodes[0]
        d.arrive((node.id, node.heartbeat()))
        assert d.rows(schema.node_key)[0].state == "active"


def test_a_new_keys_first_frame_leaves_the_old_one_24_hours(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        old = d.nodes[0]
        d.event(0, 1, kinds.TEST, 0)
        with d.store.write() as conn:
            master = load_master(d.data / MASTER_KEY_NAME)
            made = make_node_key(conn, master, old.id, d.clock.now_ms())
        new = FrameMaker(old.id, made.key, made.epoch)
        d.arrive((old.id, old.event(2, kinds.TEST, 0)))  # the bundle is not on the node yet
        d.arrive((new.id, new.event(1, kinds.TEST, 0)))
        d.arrive((old.id, old.event(3, kinds.TEST, 0)))
        d.clock.advance(24 * 3600 * 1000)
        d.arrive((old.id, old.event(4, kinds.TEST, 0)), (new.id, new.event(2, kinds.TEST, 0)))
        d.pass_time(6_000)
        assert [(e.epoch, e.number) for e in d.rows(schema.event)] == [(1, 1), (1, 2), (2, 1), (1, 3), (2, 2)]
        assert [(r.reason, r.count) for r in d.rows(schema.refused_frame)] == [("unknown_epoch", 1)]


def test_an_event_whose_age_is_unknown_has_no_time(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, age_ms=payload.AGE_UNKNOWN)
        assert d.rows(schema.event)[0].event_ms is None


def test_a_message_that_the_program_stumbles_over_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk(tmp_path, units=3) as d:
        from bongsu.receiver import events

        real = events._alarm

        def stumble(book: object, page: object, h: events.Happening) -> object:
            if h.node.id == d.nodes[1].id:
                raise ZeroDivisionError
            return real(book, page, h)  # type: ignore[arg-type]

        monkeypatch.setitem(events._RULES, kinds.ALARM, stumble)
        d.arrive(*[(n.id, n.event(1)) for n in d.nodes])
        assert [e.node_id for e in d.rows(schema.event)] == [d.nodes[0].id, d.nodes[2].id]
        assert [bool(d.receipts(i)) for i in range(3)] == [True, False, True]  # that node keeps its alarm
        assert len(d.edge.acked) == 3


def test_a_store_that_refuses_acknowledges_nothing_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bongsu.receiver.casebook import Casebook
    from bongsu.receiver.store.engine import StoreError

    with desk(tmp_path) as d:
        node = d.nodes[0]

        def full(*_args: object) -> None:
            raise StoreError("the disk is full", "Free some space.")

        monkeypatch.setattr(Casebook, "save", full)
        frame_of_it = node.event(1)
        d.arrive((node.id, frame_of_it))
        assert not d.edge.acked and not d.edge.published
        monkeypatch.undo()
        d.arrive((node.id, frame_of_it))
        assert len(d.edge.acked) == 1 and [r.numbers for r in d.receipts(0)] == [[1]]
