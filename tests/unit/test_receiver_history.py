"""The minute before an alarm: committed before it is receipted, once however often it comes, shown, exported, and gone
with its event; and never in an alarm's way.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from bongsu.cli import minutes
from bongsu.console import views
from bongsu.console.words import load_words
from bongsu.receiver import desk as acts
from bongsu.receiver import histories, records
from bongsu.receiver.inbox import Inbox
from bongsu.receiver.mqtt_edge import Arrived
from bongsu.receiver.retention import DAY_MS
from bongsu.receiver.store import schema
from bongsu_wire import kinds, measured, payload, topics
from tests.history_parts import ROWS, minute, part, parts
from tests.receiver_parts import Desk, desk
from tests.registry_parts import bongsu
from tests.unit.test_records_retention import _close_all, _sweep


def send(d: Desk, i: int, *made: measured.History) -> list[int]:
    """Node i's parts arrive together; their counters."""
    node = d.nodes[i]
    before = node.counter
    d.arrive(*[(node.id, node.history(one)) for one in made])
    return list(range(before + 1, node.counter + 1))


def proofs(d: Desk, i: int = 0) -> list[int]:
    """Counters that receipts without event numbers answered."""
    return [r.answers for r in d.receipts(i) if not r.numbers]


def contradictions(d: Desk) -> int:
    d.pass_time(6_000)
    return sum(r.count for r in d.rows(schema.refused_frame) if r.reason == "history_contradicts")


def of_event(d: Desk, incident_id: int = 1) -> list[Any]:
    with d.store.read() as conn:
        return [e["history"] for e in acts.show_incident(conn, incident_id)["events"]]


def test_each_part_is_receipted_by_its_own_counter_after_the_commit(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        counters = send(d, 0, *parts(1))
        assert len(counters) == 3 and proofs(d) == counters
        assert [len(bytes(r.content)) <= 235 for r in d.rows(schema.event_history)] == [True] * 3
        (shown,) = of_event(d)
        assert (shown["rows"], shown["step_ms"], shown["missing"]) == (60, 1000, 0)
        assert shown["columns"]["temp_c"][:3] == [20, 20.5, 21] and shown["columns"]["temp_c"][-1] == 49.5
        assert shown["columns"]["smoke_od_per_m"][:2] == [0, 0.002]
        assert shown["columns"]["rh_pct"] == [40] * 60 and shown["columns"]["co_ppm"] == [None] * 60


def test_an_alarm_and_parts_in_one_turn_have_receipts_apart(tmp_path: Path) -> None:
    """A node must not take the answer to a newer frame for the proof of an older one."""
    with desk(tmp_path) as d:
        node = d.nodes[0]
        first, alarm, second = node.history(part(1, 0, 20)), node.event(1), node.history(part(1, 20, 20))
        d.arrive((node.id, first), (node.id, alarm), (node.id, second))
        assert [(r.answers, r.numbers) for r in d.receipts(0)] == [(2, [1]), (1, []), (3, [])]


def test_no_receipt_without_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        tried = []

        def fails(*_: Any) -> Any:
            tried.append(1)
            d.writer._stopping = True  # or it would wait for the store to come back
            raise OperationalError("x", None, sqlite3.OperationalError("disk I/O error"))

        with monkeypatch.context() as broken:
            broken.setattr(histories, "store", fails)
            send(d, 0, part(1, 0, 20))
        assert tried and not proofs(d) and not d.rows(schema.event_history)
        d.writer._stopping = False
        assert send(d, 0, part(1, 0, 20)) == proofs(d)


def test_a_repeat_changes_nothing_and_is_receipted_again(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        node = d.nodes[0]
        same = node.history(part(1, 0, 20))
        for _ in range(3):
            d.arrive((node.id, same))
        again = send(d, 0, part(1, 0, 20), part(1, 5, 10))  # under new counters; and a piece of what is known
        assert proofs(d) == [2, 2, 2, *again] and len(d.rows(schema.event_history)) == 1


@pytest.mark.parametrize(
    "other",
    [
        part(1, 0, 20, minute(seed=1)),
        part(1, 10, 20, minute(seed=1)),
        part(1, 0, 25),
        part(1, 0, 20, minute(61)),
        measured.History(1, 500, ROWS, 0, [kinds.Q_TEMP_DK], [2932]),
        measured.History(1, 500, ROWS, 30, [1, 2, 3, 4], [1, 2, 3, 4]),
    ],
)
def test_what_contradicts_is_not_taken_and_counted(tmp_path: Path, other: measured.History) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        send(d, 0, part(1, 0, 20))
        before, known = d.rows(schema.event_history), proofs(d)
        send(d, 0, other)
        assert d.rows(schema.event_history) == before and proofs(d) == known
        assert contradictions(d) == 1
        assert send(d, 0, part(1, 20, 20)) == proofs(d)[len(known) :]  # and the node itself goes on


def test_a_part_may_come_before_its_event(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        sent = send(d, 0, *parts(1))
        assert proofs(d) == sent and not d.rows(schema.incident)
        d.event(0, 1)
        assert of_event(d)[0]["missing"] == 0


def test_a_node_that_means_harm_fills_no_disk(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        d.event(0, 1)
        send(d, 0, *parts(1))
        d.event(1, 1)
        send(d, 1, *parts(1))
        for start in range(100, 2_500, 100):
            d.clock.advance(10)
            send(d, 0, *(part(number, 0, 1) for number in range(start, start + 100)))
        kept = [r for r in d.rows(schema.event_history) if r.node_id == d.nodes[0].id]
        assert histories.PARTS_MAX - 150 <= len(kept) <= histories.PARTS_MAX
        assert [r.number for r in kept][:3] == [1, 1, 1]  # of an alarm that there was
        assert max(r.number for r in kept) == 2_499  # the oldest of the others went
        assert of_event(d, 2)[0]["missing"] == 0


def test_it_is_no_sign_of_life(tmp_path: Path) -> None:
    """It may be held back, and come when its sender wants it to."""
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.pass_time(10_000)
        seen = d.rows(schema.node_live)[0].last_seen_ms
        send(d, 0, *parts(1))
        d.pass_time(10_000)
        assert d.rows(schema.node_live)[0].last_seen_ms == seen


def test_an_alarm_among_many_parts_is_first() -> None:
    inbox = Inbox()
    up = topics.up_events("a0b1c2000000")

    def message(kind: int, at: int) -> Arrived:
        return Arrived(up, bytes((1 << 6 | kind,)) + bytes(60), 0, at, 1, 1)

    def kinds_of(group: list[Any]) -> list[int]:
        return [one.data[0] & 0x1F for one in group]

    for at in range(2_000):
        inbox.put(message(kinds.UP_HISTORY, at))
    inbox.put(message(kinds.UP_EVENT, 2_000))
    first = inbox.gather(0, lambda most: [])
    assert kinds_of(first).count(kinds.UP_EVENT) == 1 and len(first) <= 17
    order = [one.mid for one in first if one.mid != 2_000]
    while group := inbox.gather(0, lambda most: []):
        assert len(group) <= 16
        order += [one.mid for one in group]
    assert order == list(range(2_000))  # none is lost, and they keep their order


def test_it_goes_with_its_event_and_a_late_repeat_is_not_kept_again(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        old = d.nodes[0].history(part(1, 0, 20))
        for number, kind in enumerate((kinds.ALARM, kinds.RESTORE) * 2, 1):
            d.event(0, number, kind)
            d.end_all()
            d.end_all()
        d.arrive((d.nodes[0].id, old))
        send(d, 0, *parts(3))
        d.event(1, 1)  # the newest event and delivery of all stay, whatever their age
        d.end_all()
        d.end_all()
        _close_all(d)
        assert _sweep(d, 2000)["event_history"] == 1
        assert {r.number for r in d.rows(schema.event) if r.node_id == d.nodes[0].id} == {3, 4}
        assert {r.number for r in d.rows(schema.event_history)} == {3}
        known = proofs(d)
        d.arrive((d.nodes[0].id, old))
        assert proofs(d) == [*known, known[0]]  # the node may forget it
        assert {r.number for r in d.rows(schema.event_history)} == {3}


def test_parts_whose_alarm_never_came_go_after_a_week(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        send(d, 0, part(1, 0, 20), part(9, 0, 20))
        assert not _sweep(d, histories.ORPHANS_KEPT_MS / DAY_MS - 1)
        assert _sweep(d, histories.ORPHANS_KEPT_MS / DAY_MS + 1) == {"event_history": 1}
        assert [r.number for r in d.rows(schema.event_history)] == [1]


def test_shown_and_exported(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        send(d, 0, *parts(1)[:2])
        with d.store.read() as conn:
            view = views.view(conn, 1)
            (event,) = [row for row in records.incident_rows(conn) if row["what"] == "event"]
            before = views.open_now(conn).signatures[1]
        assert view["history"]["missing"] == 60 - 2 * measured.history_rows(4)
        assert event["history"] == view["history"] and "history" in records.COLUMNS
        send(d, 0, *parts(1))
        with d.store.read() as conn:
            assert views.open_now(conn).signatures[1] != before  # so the page gets it
        text = bongsu("--data", d.data, "incident", "show", "1")
        assert text.code == 0 and "59 s before event 1" in text.out and "temp_c" in text.out and "▁" in text.out
        whole = json.loads(bongsu("--data", d.data, "incident", "show", "1", "--json").out)
        assert whole["events"][0]["history"]["columns"]["temp_c"][-1] == 49.5


def test_an_incident_without_it_is_shown_as_before(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, kinds.TEST, 0)
        d.event(0, 2)
        with d.store.read() as conn:
            assert views.view(conn, 2)["history"] is None
        assert " before event" not in bongsu("--data", d.data, "incident", "show", "2").out


def test_the_curve_of_a_minute() -> None:
    assert minutes.curve([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert minutes.curve([3, None, 3]) == "▁·▁" and minutes.curve([None, None]) == "··"


def test_every_quantity_of_the_wire_has_a_name_and_words() -> None:
    assert set(histories.SHOWN) == set(kinds.QUANTITY_NAMES)
    assert {name for name, _ in histories.SHOWN.values()} == set(load_words()["quantities"])


def test_a_prealarm_has_no_minute_and_is_shown_but_never_dispatched(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, kinds.PREALARM, kinds.SMOKE, criterion=kinds.CRIT_SMALL)
        assert not d.rows(schema.incident) and not d.jobs and not d.rows(schema.delivery)
        d.event(0, 2)
        told = len(d.rows(schema.delivery))
        d.event(0, 3, kinds.PREALARM, kinds.SMOKE, criterion=kinds.CRIT_SMALL)
        assert len(d.rows(schema.delivery)) == told
        (incident,) = d.rows(schema.incident)
        assert incident.verified_ms is None  # a small change confirms nothing
        with d.store.read() as conn:
            events = acts.show_incident(conn, 1)["events"]
            kept = conn.execute(select(schema.event.c.kind).order_by(schema.event.c.id)).scalars().all()
        assert [e["kind"] for e in events] == ["alarm", "prealarm"] and kept == ["prealarm", "alarm", "prealarm"]
        shown = json.loads(bongsu("--data", d.data, "node", "show", d.nodes[0].id, "--json").out)["events"]
        assert [(e["kind"], e["incident"]) for e in shown] == [("prealarm", 1), ("alarm", 1), ("prealarm", None)]
        assert "small_change" in bongsu("--data", d.data, "node", "show", d.nodes[0].id).out


def test_the_minute_of_a_reused_number_stays_with_the_event_that_stays(tmp_path: Path) -> None:
    """Two alarms under one number: nobody knows whose minute it is; both show it."""
    with desk(tmp_path) as d:
        d.event(0, 1)
        send(d, 0, *parts(1))
        d.event(0, 1, phenomena=kinds.SMOKE)
        assert [h is not None for h in of_event(d)] == [True, True]
        assert payload.RECEIPT_MAX_EVENTS > 1
