"""Deliveries until the other side has them: retries, escalation, leases, order. A clock that stands; no waiting."""

from pathlib import Path
from typing import Any

from sqlalchemy import update

from bongsu.receiver import desk as operator
from bongsu.receiver.store import schema
from bongsu_wire import kinds
from tests.receiver_parts import Desk, Market, desk, make_market

URLS = {
    "station-0": "http://127.0.0.1:9/a",
    "station-1": "http://127.0.0.1:9/b",
    "centre-0": "http://127.0.0.1:9/c",
    "sms": "http://127.0.0.1:9",
}
# How the operator closes an incident in these tests.
BY: Any = {"note": "", "by": "operator", "now_ms": 1, "still_standing": True}


def delivery(d: Desk, recipient: str, purpose: str | None = None) -> Any:
    """The last delivery for a recipient."""
    return [r for r in d.rows(schema.delivery) if r.recipient == recipient and purpose in (None, r.purpose)][-1]


def faults(d: Desk) -> dict[str, list[str]]:
    """What stands in the unit's open fault incident."""
    for i in d.rows(schema.incident):
        if i.class_ == "fault" and i.subject == "unit:hannae/u-0" and i.restored_ms is None:
            active: dict[str, list[str]] = i.snapshot["active"]
            return active
    return {}


def test_a_dispatch_ends_with_its_acceptance(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end(d.job("responder:station-0"))
        row = delivery(d, "responder:station-0")
        assert (row.state, row.attempts, row.lease_token) == ("accepted", 1, None) and row.accepted_ms
        d.pass_time(120_000)
        assert not [j for j in d.jobs if j.channel == "webhook"]


def test_a_text_is_delivered_only_by_its_report(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end(d.job("contact:owner-0"), "sent", "77")
        assert delivery(d, "contact:owner-0").state == "sent"
        d.pass_time(1000)
        job = d.job("contact:owner-0", "check")
        assert job.ref == "77"
        d.end(job, "sent")
        assert delivery(d, "contact:owner-0").state == "sent"
        d.pass_time(10_000)
        d.end(d.job("contact:owner-0", "check"), "accepted")
        row = delivery(d, "contact:owner-0")
        assert (row.state, row.ref) == ("delivered", "77") and row.sent_ms < row.delivered_ms


def test_a_delivery_goes_on_at_least_once_a_minute_under_one_key(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        keys, tries = set(), 0
        d.end(d.job("contact:owner-0"))
        for _ in range(20 * 60):
            for job in list(d.jobs):
                keys.add(job.message.idempotency_key)
                tries += 1
                d.end(job, "refused" if tries % 2 else "retry")
            d.pass_time(1000)
        assert len(keys) == 1 and 20 <= tries < 40
        row = delivery(d, "responder:station-0")
        assert (row.state, row.attempts) == ("pending", tries) and row.last_error


def test_no_acceptance_within_20_s_tells_the_next_and_is_a_fault_until_it_comes(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        d.event(0, 1)
        assert {r.recipient for r in d.rows(schema.delivery)} == {
            "responder:station-0",
            "responder:centre-0",
            "contact:owner-0",
        }
        d.end(d.job("responder:centre-0"))
        d.end(d.job("contact:owner-0"), "accepted")
        d.end(d.job("responder:station-0"), "retry")
        d.pass_time(19_000)
        assert faults(d) == {}
        d.pass_time(1_000)
        assert faults(d) == {"responder:station-0": ["dispatch_late"]}
        row = delivery(d, "responder:station-1")
        assert (row.purpose, row.state, row.round) == ("escalation", "pending", 1)
        assert row.body["type"] == "bongsu.fire.alarm"
        d.end(d.job("responder:station-1"))
        assert delivery(d, "responder:station-0").state == "pending"  # the first one's goes on
        d.end(d.job("responder:station-0"))
        assert delivery(d, "responder:station-0").state == "accepted" and faults(d) == {}


def test_a_refused_text_goes_to_the_deputy_at_once_and_the_owners_goes_on(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end(d.job("responder:station-0"))
        d.end(d.job("contact:owner-0"), "refused", detail="HTTP 403")
        assert delivery(d, "contact:deputy-0").purpose == "escalation"
        assert "점주 미확인" in delivery(d, "contact:deputy-0").body
        assert faults(d) == {"contact:owner-0": ["text_late"]}
        d.pass_time(1_000)
        d.end(d.job("contact:owner-0"), "sent", "1")
        d.pass_time(1_000)
        d.end(d.job("contact:owner-0", "check"))
        assert delivery(d, "contact:owner-0").state == "delivered" and faults(d) == {}


def test_a_text_without_report_for_a_minute_goes_to_the_deputy(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end(d.job("responder:station-0"))
        d.end(d.job("contact:owner-0"), "sent", "1")
        for _ in range(60):
            d.pass_time(1_000)
            for job in [j for j in d.jobs if j.action == "check"]:
                d.end(job, "sent")
        assert delivery(d, "contact:deputy-0").purpose == "escalation"
        assert delivery(d, "contact:owner-0").state == "sent"


def test_a_restore_waits_until_its_alarm_has_arrived(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        alarm = d.job("responder:station-0")
        d.event(0, 2, kinds.RESTORE)
        d.end(alarm, "retry")
        assert [j.message.kind for j in d.jobs if j.channel == "webhook"] == []
        d.pass_time(5_000)
        again = d.job("responder:station-0")
        assert again.message.kind == "alarm"
        d.end(again)
        d.pass_time(1_000)
        assert d.job("responder:station-0").message.kind == "restore"


def test_closing_the_incident_ends_what_waits(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end(d.job("contact:owner-0"), "retry")
        with d.store.write() as conn:
            now = {**BY, "now_ms": d.clock.now_ms()}
            assert operator.close(conn, 1, **now, disposition="dust", seen_event_id=1) == 1, (
                "the report under way gets its own end"
            )
        d.end(d.job("responder:station-0"), "retry")  # was under way
        d.pass_time(120_000)
        assert d.jobs == []
        assert {r.state for r in d.rows(schema.delivery)} == {"cancelled"}


def test_what_was_sent_is_asked_about_after_the_closing_but_never_sent_again(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.event(0, 2, kinds.RESTORE)
        d.end(d.job("contact:owner-0"), "sent", "1")
        with d.store.write() as conn:
            operator.close(conn, 1, **BY, disposition="dust", seen_event_id=2)
        d.pass_time(1_000)
        d.end(d.job("contact:owner-0", "check"), "sent")
        d.pass_time(10_000)
        d.end(d.job("contact:owner-0", "check"), "refused")
        assert delivery(d, "contact:owner-0", "alarm").state == "failed"
        d.pass_time(120_000)
        assert not [j for j in d.jobs if j.channel == "sms"]


def test_a_restores_report_is_asked_for_although_a_new_round_began(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end(d.job("contact:owner-0"))
        d.event(0, 2, kinds.RESTORE)
        d.end(d.job("contact:owner-0"), "sent", "2")
        d.event(0, 3)
        d.end(d.job("contact:owner-0"))
        d.pass_time(1_000)
        d.end(d.job("contact:owner-0", "check"))
        assert delivery(d, "contact:owner-0", "restore").state == "delivered"


def test_what_was_under_way_at_a_crash_goes_out_at_once_after_the_restart(tmp_path: Path) -> None:
    market = make_market(tmp_path / "data", 1)
    before = Desk(market)
    before.event(0, 1)
    keys = {j.message.idempotency_key for j in before.jobs}
    before.close()  # nothing was said about them
    after = Desk(market)
    try:
        after.pass_time(1_000)
        assert {j.message.idempotency_key for j in after.jobs} == keys and len(after.jobs) == 2
        after.end_all()
        assert delivery(after, "responder:station-0").state == "accepted"
    finally:
        after.close()


def test_a_lost_lease_changes_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        with d.store.write() as conn:  # another receiver has taken it over, and has brought it home
            values = {"state": "accepted", "lease_token": None, "accepted_ms": 5, "attempts": 7}
            conn.execute(update(schema.delivery).where(schema.delivery.c.channel == "webhook").values(values))
        d.end(d.job("responder:station-0"), "retry")
        row = delivery(d, "responder:station-0")
        assert (row.state, row.attempts, row.accepted_ms) == ("accepted", 7, 5)
        d.pass_time(120_000)
        assert not [j for j in d.jobs if j.channel == "webhook"]


def test_a_lease_is_renewed_while_the_other_side_thinks(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        for _ in range(30):
            d.pass_time(1_000)
            row = delivery(d, "responder:station-0")
            assert row.lease_until_ms > d.clock.now_ms()
        assert d.writer.books.lease.holds()


def test_a_restart_goes_on_counting_the_time_to_escalation(tmp_path: Path) -> None:
    market: Market = make_market(tmp_path / "data", 1, urls=URLS)
    before = Desk(market)
    before.event(0, 1)
    before.end(before.job("responder:centre-0"))
    before.close()
    after = Desk(market)
    try:
        after.clock.advance(21_000)  # away for so long
        after.close()
        after = Desk(market)
        after.clock.advance(21_000)
        after.writer.turn([])
        assert delivery(after, "responder:station-1").purpose == "escalation"
        assert (
            len([r for r in after.rows(schema.delivery) if r.purpose == "escalation" and r.channel == "webhook"]) == 1
        )
    finally:
        after.close()


def test_who_is_told_late_of_an_alarm_that_is_over_hears_that_it_is_over(tmp_path: Path) -> None:
    with desk(tmp_path, urls={**URLS, "centre-1": "http://127.0.0.1:9/d"}) as d:
        d.event(0, 1)
        d.end(d.job("responder:station-0"))
        d.event(0, 2, kinds.RESTORE)
        d.pass_time(25_000)  # centre-0 stays silent: centre-1 is told
        (late,) = {r.recipient for r in d.rows(schema.delivery) if r.purpose == "escalation" and r.channel == "webhook"}
        for _ in range(3):
            d.end_all()
            d.pass_time(1_000)
        told = [(r.purpose, r.state) for r in d.rows(schema.delivery) if r.recipient == late]
        assert told == [("escalation", "accepted"), ("restore", "accepted")]
