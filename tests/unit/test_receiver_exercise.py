"""Exercises: alarms of the listed units ask first and go out after 60 s; all others are what they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from bongsu.receiver import desk as acts
from bongsu.receiver import exercises
from bongsu.receiver.fields import FieldError
from bongsu.receiver.incidents import IllegalMove, StaleAcknowledgement
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import schema
from bongsu.receiver.writer import Wake
from bongsu_wire import kinds
from tests.receiver_parts import SITE, Desk, Market, desk, make_market
from tests.registry_parts import bongsu
from tests.unit.test_receiver_dispatch import act, on_verified, second_node, texted, told

MINUTE_MS = 60_000


def begin(d: Desk, *units: str, minutes: int = 30, **more: Any) -> int:
    """An exercise of these units begins, and the receiver hears of it."""
    with d.store.write() as conn:
        how = {"site_id": SITE, "note": "autumn drill", "by": "op", "now_ms": d.clock.now_ms(), **more}
        made = exercises.start(conn, units=units or ("u-0",), minutes=minutes, **how)
    d.writer.turn([Wake("registry")])
    return made


def audited(d: Desk) -> list[str]:
    return [r.action for r in d.rows(schema.audit) if r.action.startswith(("exercise", "incident"))]


def test_a_listed_units_alarm_asks_and_goes_out_after_60_s(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        number = begin(d)
        d.event(0, 1)
        assert told(d) == []
        with d.store.read() as conn:
            (row,) = acts.list_incidents(conn)
        assert (row["asks"], row["exercise"]["id"], row["exercise"]["note"]) == ("exercise", number, "autumn drill")
        (text,) = [r for r in d.rows(schema.delivery) if r.channel == "sms"]
        assert "훈련중" in text.body and "화재경보" not in text.body
        d.pass_time(59_000)
        assert told(d) == []
        d.pass_time(1_000)
        assert told(d) == [("bongsu.fire.alarm", False, 4)]
        (report,) = [r for r in d.rows(schema.delivery) if r.channel == "webhook"]
        assert report.body["data"]["exercise"] is True
        with d.store.write() as conn, pytest.raises(IllegalMove, match="dispatched already"):
            acts.answer_exercise(conn, 1, real=False, seen_event_id=1, by="op", now_ms=d.clock.now_ms())


def test_another_units_alarm_is_real(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        begin(d, "u-0")
        d.event(1, 1)
        assert told(d) == [("bongsu.fire.alarm", False, 4)]
        assert d.rows(schema.incident)[0].exercise_id is None


def test_a_drill_is_never_dispatched_and_the_next_alarm_asks_again(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        begin(d)
        d.event(0, 1)
        act(d, acts.answer_exercise, real=False)
        (incident,) = d.rows(schema.incident)
        assert (incident.state, incident.disposition, incident.closed_by) == ("closed", "test", "op")
        d.pass_time(120_000)
        assert told(d) == []
        d.event(0, 2, phenomena=kinds.SMOKE)
        d.pass_time(59_000)
        assert told(d) == []
        d.pass_time(1_000)
        assert told(d) == [("bongsu.fire.alarm", False, 4)]
        assert audited(d) == ["exercise.start", "incident.exercise"]


def test_real_goes_out_at_once_as_verified(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        begin(d)
        d.event(0, 1)
        act(d, acts.answer_exercise, real=True)
        assert told(d) == [("bongsu.fire.alarm", True, 4)]
        (report,) = [r for r in d.rows(schema.delivery) if r.channel == "webhook"]
        assert report.body["data"]["exercise"] is False
        d.pass_time(70_000)
        assert len(told(d)) == 1


@pytest.mark.parametrize("phenomena", [kinds.SMOKE, kinds.HEAT])
def test_an_answer_counts_only_for_what_was_seen(tmp_path: Path, phenomena: int) -> None:
    with desk(tmp_path, 2) as d:
        second_node(d, 0, 1)
        begin(d)
        d.event(0, 1)
        d.event(1, 1, phenomena=phenomena)  # another node: confirmed, and still asked
        assert told(d) == [] and d.rows(schema.incident)[0].verified_by == "node"
        with d.store.write() as conn, pytest.raises(StaleAcknowledgement):
            acts.answer_exercise(conn, 1, real=False, seen_event_id=1, by="op", now_ms=d.clock.now_ms())
        d.pass_time(60_000)
        assert told(d) == [("bongsu.fire.alarm", True, 4)]


def test_it_ends_by_itself_and_alarms_are_real_again(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        begin(d, minutes=1)
        d.pass_time(MINUTE_MS)
        (row,) = d.rows(schema.exercise)
        assert row.ended_by == "time" and audited(d) == ["exercise.start", "exercise.end"]
        d.event(0, 1)
        assert told(d) == [("bongsu.fire.alarm", False, 4)]


def test_what_it_asked_before_its_end_is_asked_on(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        number = begin(d, minutes=1)
        d.pass_time(50_000)
        d.event(0, 1)
        with d.store.write() as conn:
            exercises.end(conn, number, by="op", now_ms=d.clock.now_ms())
        d.pass_time(30_000)
        assert told(d) == []
        act(d, acts.answer_exercise, real=False)
        d.event(0, 2)
        assert told(d) == [("bongsu.fire.alarm", False, 4)]


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    market: Market = make_market(tmp_path / "data", 1)
    before = Desk(market)
    begin(before, minutes=2)
    before.close()
    after = Desk(market)
    try:
        after.event(0, 1)
        assert told(after) == []
        after.pass_time(60_000)
        assert told(after) == [("bongsu.fire.alarm", False, 4)]
        after.pass_time(61_000)
        assert after.rows(schema.exercise)[0].ended_by == "time"
    finally:
        after.close()


def test_it_goes_on_over_a_step_of_the_clock(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        if d.store.engine.dialect.name != "sqlite":
            pytest.skip("several receivers go by the database's time: a step of one machine's clock shifts nothing")
        begin(d, minutes=2)
        d.event(0, 1)
        for hours in (-1, 2):  # the receiver finds the step, and moves what is stored
            d.clock._now_ms += hours * 3_600_000
            d.writer.turn([Wake("registry")])
        with d.store.read() as conn:
            (row,) = [r for r in acts.list_incidents(conn) if r["class"] == "fire"]
        assert row["held_until_ms"] == d.clock.now_ms() + 60_000
        d.pass_time(59_000)
        assert told(d) == []
        d.pass_time(1_000)
        assert len(told(d)) == 1
        d.pass_time(60_000)
        assert d.rows(schema.exercise)[0].ended_by == "time"


def test_a_clock_set_back_does_not_prolong_it(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        begin(d, minutes=1)
        d.clock._now_ms -= 3_600_000
        d.writer.turn([Wake("registry")])
        d.pass_time(MINUTE_MS)
        assert d.rows(schema.exercise)[0].ended_by == "time"


def test_what_cannot_be_begun(tmp_path: Path) -> None:
    with desk(tmp_path, 3) as d:
        number = begin(d, "u-0", f"{SITE}/u-1")
        d.event(2, 1)
        with d.store.write() as conn:
            how: Any = {"site_id": SITE, "note": "", "by": "op", "now_ms": d.clock.now_ms()}
            with pytest.raises(RegistryError, match=f"part in exercise {number}"):
                exercises.start(conn, units=("u-1",), minutes=5, **how)
            with pytest.raises(RegistryError, match="open alarm"):
                exercises.start(conn, units=("u-2",), minutes=5, **how)
            with pytest.raises(RegistryError, match="no unit"):
                exercises.start(conn, units=("u-9",), minutes=5, **how)
            for minutes in (0, 241):
                with pytest.raises(FieldError):
                    exercises.start(conn, units=("u-1",), minutes=minutes, **how)
            with pytest.raises(FieldError):
                exercises.start(conn, units=(), minutes=5, **how)
            exercises.end(conn, number, by="op", now_ms=d.clock.now_ms())
            with pytest.raises(RegistryError, match="over already"):
                exercises.end(conn, number, by="op", now_ms=d.clock.now_ms())


def test_where_the_site_waits_for_verification_the_exercise_asks_first(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        on_verified(d)
        begin(d)
        d.event(0, 1)
        d.pass_time(16_000)
        assert told(d) == []
        d.event(0, 2, phenomena=kinds.SMOKE)
        assert told(d) == [] and texted(d) == ["contact:owner-0", "contact:deputy-0"][:1]
        d.pass_time(44_000)
        assert told(d) == [("bongsu.fire.alarm", True, 4)]


def test_the_commands(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        data = d.data
        ran = bongsu("exercise", "start", SITE, "--units", "u-0,u-1", "--minutes", 30, "--note", "n", "--data", data)
        assert ran.code == 0 and "Exercise 1 runs until" in ran.out
        (row,) = json.loads(bongsu("exercise", "list", "--json", "--running", "--data", data).out)
        assert row["units"] == ["u-0", "u-1"] and row["running"]
        d.writer.turn([Wake("registry")])
        d.event(0, 1)
        shown = bongsu("incident", "show", 1, "--data", data).out
        assert "exercise answer 1 --seen 1 drill|real" in shown
        assert bongsu("exercise", "answer", 1, "drill", "--seen", 0, "--data", data).code == 1
        ran = bongsu("exercise", "answer", 1, "drill", "--seen", 1, "--data", data)
        assert ran.code == 0 and "closed as a test" in ran.out
        assert bongsu("exercise", "end", 1, "--data", data).code == 0
        assert bongsu("exercise", "end", 1, "--data", data).code == 1
        assert bongsu("exercise", "list", "--running", "--json", "--data", data).out.strip() == "[]"
        assert bongsu("exercise", "start", SITE, "--units", "u-0", "--minutes", 300, "--data", data).code == 2
        d.writer.turn([Wake("registry")])
        d.event(1, 1)
        ran = bongsu("incident", "verify", 2, "--seen", 2, "--data", data)
        assert ran.code == 0 and "verified by" in ran.out
        assert bongsu("incident", "verify", 2, "--seen", 2, "--data", data).code == 1
