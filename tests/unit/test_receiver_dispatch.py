"""When responders are told: at once, or when the alarm is verified, and never later than the site's setting says."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from bongsu.receiver import desk as acts
from bongsu.receiver import incidents, policy, registry
from bongsu.receiver.dispatch_setting import set_dispatch_policy
from bongsu.receiver.fields import FieldError
from bongsu.receiver.incidents import BEATS, IllegalMove, StaleAcknowledgement
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import schema
from bongsu.receiver.writer import Wake
from bongsu_wire import kinds
from tests.receiver_parts import SITE, Desk, Market, desk, make_market, node_id

URLS = {"station-0": "http://127.0.0.1:9/s", "centre-0": "http://127.0.0.1:9/c", "sms": "http://127.0.0.1:9"}


def on_verified(d: Desk, after_s: int = 15) -> None:
    """The site's alarms wait for a verification."""
    with d.store.write() as conn:
        set_dispatch_policy(
            conn, SITE, wanted="on_verified", unverified_after_s=after_s, actor="op", now_ms=d.clock.now_ms()
        )
    d.writer.turn([Wake("registry")])


def act(d: Desk, done: Callable[..., Any], incident_id: int = 1, **more: Any) -> None:
    """A person acts, as the console does, having seen the newest event; the receiver hears of it."""
    with d.store.write() as conn:
        c = schema.incident.c
        seen = conn.execute(select(c.last_event_id, c.snapshot).where(c.id == incident_id)).one()
        more.setdefault("seen_event_id", seen.last_event_id)
        more.setdefault("seen_beats", seen.snapshot.get(BEATS, 0))
        done(conn, incident_id, by="op", now_ms=d.clock.now_ms(), **more)
    d.writer.turn([Wake("outbox")])


def second_node(d: Desk, first: int, second: int) -> None:
    """Node `second` hangs in the unit of node `first`."""
    with d.store.write() as conn:
        registry.assign_node(conn, node_id=node_id(second), unit=(SITE, f"u-{first}"))
    d.writer.turn([Wake("registry")])


def told(d: Desk, recipient: str = "responder:station-0") -> list[tuple[str, bool, int]]:
    """(type, verified, sequence) of what this responder was told, in order."""
    bodies = [r.body for r in d.rows(schema.delivery) if r.recipient == recipient]
    return [(b["type"], b["data"]["verified"], b["data"]["sequence"]) for b in bodies]


def texted(d: Desk) -> list[str]:
    return [r.recipient for r in d.rows(schema.delivery) if r.channel == "sms"]


# ---- on_alarm


def test_at_once_and_unverified_then_an_update_when_a_second_phenomenon_confirms_it(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        d.event(0, 1)
        assert told(d) == [("bongsu.fire.alarm", False, 4)]
        d.end_all()
        d.event(0, 2, phenomena=kinds.SMOKE)
        both = [("bongsu.fire.alarm", False, 4), ("bongsu.fire.update", True, 5)]
        assert told(d) == told(d, "responder:centre-0") == both
        assert texted(d) == ["contact:owner-0"]  # the owner knows
        (incident,) = d.rows(schema.incident)
        assert incident.verified_by == "phenomenon" and incident.round == 1
        update = d.rows(schema.delivery)[-1]
        assert update.purpose == "alarm" and update.body["data"]["phenomena"] == ["heat", "smoke"]
        d.event(0, 3, phenomena=kinds.SMOKE)
        assert told(d) == both  # once
        d.event(0, 4, kinds.RESTORE, phenomena=0)
        assert told(d)[-1] == ("bongsu.fire.restore", True, 6)


def test_an_alarm_of_two_phenomena_is_verified_from_the_start(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, phenomena=kinds.HEAT | kinds.SMOKE, criterion=kinds.CRIT_FUSION)
        assert told(d) == [("bongsu.fire.alarm", True, 4)]


def test_a_second_node_of_the_unit_confirms_it(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        second_node(d, 0, 1)
        d.event(0, 1)
        d.event(1, 1)
        assert told(d) == [("bongsu.fire.alarm", False, 4), ("bongsu.fire.update", True, 5)]
        (incident,) = d.rows(schema.incident)
        assert incident.verified_by == "node"


def test_a_person_confirms_what_went_out_unverified(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        act(d, acts.verify)
        assert told(d) == [("bongsu.fire.alarm", False, 4), ("bongsu.fire.update", True, 5)]
        (incident,) = d.rows(schema.incident)
        assert incident.verified_by == "operator:op"
        with d.store.write() as conn, pytest.raises(IllegalMove, match="verified already"):
            acts.verify(conn, 1, seen_event_id=1, by="b", now_ms=1)
        d.pass_time(30_000)
        assert len(told(d)) == 2


def test_an_update_that_nobody_takes_wakes_nobody_else(tmp_path: Path) -> None:
    urls = {**URLS, "station-1": "http://127.0.0.1:9/s1"}
    with desk(tmp_path, urls=urls) as d:
        d.event(0, 1)
        d.end_all()
        act(d, acts.verify)
        d.end(d.job("responder:station-0"), "refused")
        d.pass_time(40_000)
        assert told(d, "responder:station-1") == []


def test_who_is_told_in_place_of_another_hears_what_is_true_now(tmp_path: Path) -> None:
    urls = {**URLS, "station-1": "http://127.0.0.1:9/s1"}
    with desk(tmp_path, urls=urls) as d:
        d.event(0, 1)
        act(d, acts.verify)
        d.pass_time(20_000)
        assert told(d, "responder:station-1") == [("bongsu.fire.alarm", True, 4)]


def test_a_new_round_is_verified_anew(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, phenomena=kinds.HEAT | kinds.SMOKE)
        d.end_all()
        d.event(0, 2, kinds.RESTORE, phenomena=0)
        d.end_all()
        d.event(0, 3)
        assert told(d)[-1] == ("bongsu.fire.alarm", False, 8)
        act(d, acts.verify)
        assert told(d)[-1] == ("bongsu.fire.update", True, 9)


# ---- on_verified


def test_it_waits_for_its_verification_and_the_owner_does_not(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        on_verified(d)
        d.event(0, 1)
        assert told(d) == [] and texted(d) == ["contact:owner-0"]
        with d.store.read() as conn:
            (row,) = acts.list_incidents(conn)
        assert row["asks"] == "verify" and row["held_until_ms"] == d.clock.now_ms() + 15_000 and not row["verified"]
        d.event(0, 2, phenomena=kinds.SMOKE)
        assert told(d) == told(d, "responder:centre-0") == [("bongsu.fire.alarm", True, 4)]
        d.pass_time(20_000)
        assert len(told(d)) == 1


def test_after_its_time_it_goes_out_unverified(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        on_verified(d, 9)
        d.event(0, 1)
        d.pass_time(8_000)
        assert told(d) == []
        d.pass_time(1_000)
        assert told(d) == [("bongsu.fire.alarm", False, 4)]
        (row,) = [r for r in d.rows(schema.delivery) if r.channel == "webhook"]
        assert row.body["data"]["criterion"] == "none" and row.body["data"]["held_s"] == 5.0  # of its alarm
        act(d, acts.verify)
        assert told(d)[1:] == [("bongsu.fire.update", True, 5)]


def test_a_person_verifies_what_waits(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        on_verified(d)
        d.event(0, 1)
        with d.store.write() as conn, pytest.raises(StaleAcknowledgement):
            acts.verify(conn, 1, seen_event_id=99, by="op", now_ms=1)
        act(d, acts.verify)
        assert told(d) == [("bongsu.fire.alarm", True, 4)]


def test_what_ended_while_it_waited_is_told_with_its_end(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        on_verified(d)
        d.event(0, 1)
        d.event(0, 2, kinds.RESTORE, phenomena=0)
        assert told(d) == []
        d.pass_time(15_000)
        assert told(d) == [("bongsu.fire.alarm", False, 4), ("bongsu.fire.restore", False, 6)]
        names = [r.body["data"]["phenomena"] for r in d.rows(schema.delivery) if r.channel == "webhook"]
        assert names == [["heat"], ["heat"]]
        first = d.job("responder:station-0")  # one: the restore waits for the alarm
        d.end(first)
        d.end(d.job("responder:station-0"))


def test_a_round_that_begins_while_one_waits_puts_nothing_off(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        on_verified(d)
        d.event(0, 1)
        d.pass_time(10_000)
        d.event(0, 2, kinds.RESTORE, phenomena=0)
        d.event(0, 3)
        d.pass_time(5_000)
        assert told(d) == [("bongsu.fire.alarm", False, 8)]


def test_closing_it_while_it_waits_is_a_persons_decision(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        on_verified(d)
        d.event(0, 1)
        act(d, acts.close, disposition="cooking", note="", still_standing=True)
        d.pass_time(20_000)
        assert told(d) == []
        (row,) = [r for r in d.rows(schema.audit) if r.action == "incident.close"]
        assert "before it was dispatched" in row.detail


def test_a_restart_neither_forgets_nor_prolongs_the_wait(tmp_path: Path) -> None:
    market: Market = make_market(tmp_path / "data", 1)
    before = Desk(market)
    on_verified(before)
    before.event(0, 1)
    before.pass_time(5_000)
    before.close()
    after = Desk(market)
    try:
        # The test's clocks do not go on by themselves: the second receiver begins where the wall clock is.
        after.clock.advance(before.clock.now_ms() - after.clock.now_ms())
        after.writer.books.reload(after.writer._conn)
        after.writer._conn.rollback()
        after.pass_time(9_000)
        assert told(after) == []
        after.pass_time(1_000)
        assert told(after) == [("bongsu.fire.alarm", False, 4)]
    finally:
        after.close()


def test_a_clock_that_is_set_back_holds_nothing_up(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        on_verified(d)
        d.event(0, 1)
        d.clock._now_ms -= 3_600_000
        d.writer.turn([Wake("outbox")])  # read anew
        d.pass_time(15_000)
        assert told(d) == [("bongsu.fire.alarm", False, 4)]


def test_a_failed_transaction_loses_no_dispatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path) as d:
        on_verified(d)
        d.event(0, 1)
        book = d.writer.books.casebook
        save, failures = book.save, [sqlite3.OperationalError("disk I/O error")]

        def failing(*args: Any) -> None:
            if failures:
                raise OperationalError("x", None, failures.pop())
            save(*args)

        monkeypatch.setattr(book, "save", failing)
        d.pass_time(16_000)
        assert told(d) == [("bongsu.fire.alarm", False, 4)] and not failures


def test_an_unassigned_node_waits_for_nothing_and_goes_to_everybody(tmp_path: Path) -> None:
    urls = {**URLS, "station-1": "http://127.0.0.1:9/s1"}
    with desk(tmp_path, urls=urls) as d:
        on_verified(d)
        with d.store.write() as conn:
            registry.assign_node(conn, node_id=node_id(0), unit=None)
        d.writer.turn([Wake("registry")])
        d.event(0, 1)
        assert all(told(d, f"responder:{name}") for name in ("station-0", "station-1", "centre-0"))
        (incident,) = d.rows(schema.incident)
        assert incident.subject == f"node:{node_id(0)}"
        with d.store.read() as conn:
            (row,) = acts.list_incidents(conn)
        assert row["unassigned"] and row["site"] is None


# ---- the setting


def test_where_119_is_told_15_s_are_the_most(tmp_path: Path) -> None:
    with desk(tmp_path) as d, d.store.write() as conn:
        how: Any = {"actor": "op", "now_ms": 1}
        with pytest.raises(FieldError, match="1 to 15 s .* fire station"):
            set_dispatch_policy(conn, SITE, wanted="on_verified", unverified_after_s=16, **how)
        with pytest.raises(RegistryError):
            set_dispatch_policy(conn, "nowhere", wanted="on_verified", unverified_after_s=5, **how)
        with pytest.raises(FieldError):
            set_dispatch_policy(conn, SITE, wanted="never", unverified_after_s=5, **how)
        assert set_dispatch_policy(conn, SITE, wanted="on_verified", unverified_after_s=15, **how)
        assert not set_dispatch_policy(conn, SITE, wanted=None, unverified_after_s=None, **how)


def test_without_a_station_it_may_wait_longer_until_there_is_one(tmp_path: Path) -> None:
    with desk(tmp_path, urls={"centre-0": URLS["centre-0"]}) as d, d.store.write() as conn:
        assert set_dispatch_policy(conn, SITE, wanted="on_verified", unverified_after_s=60, actor="op", now_ms=1)
    site = {"dispatch_policy": "on_verified", "unverified_after_s": 60}
    assert policy.unverified_after_ms({"site": site, "responders": [{"kind": "centre"}]}) == 60_000
    assert policy.unverified_after_ms({"site": site, "responders": [{"kind": "station"}]}) == 15_000
    assert policy.unverified_after_ms({"site": {**site, "dispatch_policy": "on_alarm"}}) == 0


def test_every_class_has_its_rule_and_a_fault_is_told_to_nobody(tmp_path: Path) -> None:
    assert set(incidents.CLASSES) == set(schema.INCIDENT_CLASSES)
    assert set(incidents.DISPATCHED) == {"fire", "co_gas"}
    with desk(tmp_path) as d:
        d.event(0, 1, kinds.FAULT, phenomena=0, detail=kinds.FAULT_BATTERY)
        d.event(0, 2, kinds.TEST, phenomena=0)
        d.event(0, 3, phenomena=kinds.CO)
        classes = {r.class_: (r.state, r.disposition) for r in d.rows(schema.incident)}
        assert classes == {"fault": ("open", None), "exercise": ("closed", "test"), "co_gas": ("open", None)}
        assert {r.incident_id for r in d.rows(schema.delivery)} == {3}
        with d.store.write() as conn, pytest.raises(IllegalMove, match="fault"):
            acts.verify(conn, 1, seen_event_id=1, by="op", now_ms=1)
