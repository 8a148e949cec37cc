"""Walk tests: the node's next test event is one text to the unit's first contact, marked as an exercise; no responder
hears of it, whatever happens, and without a walk test nobody does.
"""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from bongsu.receiver import clock_watch, registry, settle, walk_tests
from bongsu.receiver.fields import FieldError
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import schema
from bongsu.receiver.writer import Wake
from bongsu_wire import kinds, payload
from tests.cluster_parts import desks
from tests.postgres_parts import Server
from tests.receiver_parts import SITE, Desk, desk, make_market, node_id

URLS = {"station-0": "http://127.0.0.1:9/s", "centre-0": "http://127.0.0.1:9/c", "sms": "http://127.0.0.1:9"}
MINUTE_MS = 60_000


def begin(d: Desk, i: int = 0, minutes: int = 5) -> int:
    """A walk test of node i begins, and the receiver hears of it."""
    with d.store.write() as conn:
        made = walk_tests.begin(conn, node_id(i), minutes=minutes, by="op", now_ms=d.clock.now_ms())
    d.writer.turn([Wake("registry")])
    return made


def press(d: Desk, number: int, i: int = 0, **more: Any) -> None:
    """Node i's test button."""
    d.event(i, number, kinds.TEST, 0, sustained_ms=0, temp_dk=payload.U16_UNKNOWN, **more)


def shown(d: Desk, number: int = 1) -> dict[str, Any]:
    with d.store.read() as conn:
        return walk_tests.show(conn, number)


def deliveries(d: Desk) -> list[tuple[str, str, str]]:
    """(channel, recipient, state) of everything that was ever to be sent."""
    return [(r.channel, r.recipient, r.state) for r in d.rows(schema.delivery)]


def test_its_test_event_is_one_text_to_the_first_contact_and_nothing_to_responders(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        begin(d)
        assert shown(d)["outcome"] is None
        press(d, 1)
        assert deliveries(d) == [("sms", "contact:owner-0", "pending")]
        (row,) = d.rows(schema.delivery)
        assert row.body.startswith("[훈련]") and "화재 아님" in row.body and "경보" not in row.body
        assert (row.purpose, row.round, row.incident_id) == ("test", 1, 1)
        (incident,) = d.rows(schema.incident)
        assert (incident.class_, incident.state, incident.disposition) == ("exercise", "closed", "test")
        d.end_all()
        assert shown(d)["delivery"]["state"] == "sent"  # not delivered yet
        d.pass_time(1_000)
        d.end_all()
        found = shown(d)
        assert (found["outcome"], found["event"], found["incident"]) == ("texted", 1, 1)
        assert found["delivery"]["state"] == "delivered" and found["delivery"]["recipient"] == "contact:owner-0"
        assert [r.numbers for r in d.receipts(0)] == [[1]]
        press(d, 2)  # it is over
        assert len(deliveries(d)) == 1 and d.jobs == []


def test_without_one_the_button_tells_nobody(tmp_path: Path) -> None:
    with desk(tmp_path, 2, urls=URLS) as d:
        begin(d, 1)  # another node's
        press(d, 1)
        assert deliveries(d) == [] and shown(d)["outcome"] is None


def test_the_text_speaks_the_contacts_language(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        with d.store.write() as conn:
            conn.execute(update(schema.contact).where(schema.contact.c.id == "owner-0").values(lang="en"))
        begin(d)
        press(d, 1)
        (row,) = d.rows(schema.delivery)
        assert row.body.startswith("EXERCISE 한내시장 U-0 가게 0: installation test,") and row.body.endswith("No fire.")


def test_an_alarm_in_a_walk_test_is_an_alarm_and_the_text_does_not_belittle_it(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        begin(d)
        d.event(0, 1)
        told = sorted(r for _, r, _ in deliveries(d))
        assert told == ["contact:owner-0", "responder:centre-0", "responder:station-0"]
        press(d, 2)
        assert len(deliveries(d)) == 3
        assert (shown(d)["outcome"], shown(d)["event"]) == ("alarm_open", 2)
        with pytest.raises(RegistryError, match="is open"):
            begin(d)


@pytest.mark.parametrize("what", ["no_contact", "no_sms"])
def test_where_nobody_can_be_texted_it_ends_with_the_event_and_says_so(tmp_path: Path, what: str) -> None:
    urls = URLS if what == "no_contact" else {"station-0": "http://127.0.0.1:9/s"}
    with desk(tmp_path, urls=urls) as d:
        if what == "no_contact":
            with d.store.write() as conn:
                conn.execute(schema.unit_contact.delete())
        begin(d)
        press(d, 1)
        found = shown(d)
        assert (found["outcome"], found["event"], found["delivery"]) == (what, 1, None)
        assert deliveries(d) == [] and what in walk_tests.UNTEXTED


def test_an_unassigned_nodes_reaches_no_responder_either(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        with d.store.write() as conn:
            registry.assign_node(conn, node_id=node_id(0), unit=None)
        begin(d)
        press(d, 1)
        assert (shown(d)["outcome"], deliveries(d)) == ("no_contact", [])


def test_it_ends_by_itself(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        begin(d, minutes=1)
        d.pass_time(MINUTE_MS)
        assert shown(d)["outcome"] == "expired"
        press(d, 1)
        assert deliveries(d) == []


def test_a_repeated_event_is_one_text_and_an_old_one_is_not_its_own(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        node = d.nodes[0]
        early = node.event(1, kinds.TEST, 0, age_ms=30_000)
        lost = node.event(2, kinds.TEST, 0, age_ms=payload.AGE_UNKNOWN)
        begin(d)
        d.arrive((node.id, early), (node.id, lost))
        assert deliveries(d) == [] and shown(d)["outcome"] is None
        again = node.event(3, kinds.TEST, 0)
        d.arrive((node.id, again), (node.id, again))
        d.arrive((node.id, node.event(3, kinds.TEST, 0, age_ms=900)))
        assert len(deliveries(d)) == 1 and len(d.rows(schema.event)) == 3


def test_a_restart_changes_nothing_and_the_text_is_tried_on(tmp_path: Path) -> None:
    market = make_market(tmp_path / "data", 1, urls=URLS)
    before = Desk(market)
    try:
        begin(before)
    finally:
        before.close()
    middle = Desk(market, before.clock)
    try:
        press(middle, 1)
        middle.end(middle.job("contact:owner-0"), "retry")
    finally:
        middle.close()
    after = Desk(market, before.clock)
    try:
        after.nodes = middle.nodes
        after.pass_time(2_000)
        after.end(after.job("contact:owner-0"), "accepted")
        assert deliveries(after) == [("sms", "contact:owner-0", "accepted")]
        press(after, 2)
        assert len(deliveries(after)) == 1
    finally:
        after.close()


def test_a_text_that_cannot_be_sent_is_given_up_when_nobody_waits_any_more(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        begin(d)
        press(d, 1)
        for _ in range(12):
            for job in list(d.jobs):
                d.end(job, "retry", detail="no route")
            d.pass_time(60_000)
        (row,) = d.rows(schema.delivery)
        assert row.state == "cancelled" and 5 < row.attempts < 12 and row.last_error == "no route"
        told_late = [i for i in d.rows(schema.incident) if i.class_ == "fault" and i.subject.startswith("unit:")]
        assert d.jobs == [] and told_late == []


def test_an_alarm_ends_the_tries_of_the_text_that_says_no_fire(tmp_path: Path) -> None:
    """Whoever reads it after the alarm's text would believe it. Another unit's alarm does not."""
    with desk(tmp_path, 2, urls=URLS) as d:
        begin(d)
        press(d, 1)
        d.end(d.job("contact:owner-0"), "retry", detail="no route")
        d.event(1, 1)
        d.pass_time(5_000)
        d.end(d.job("contact:owner-0"), "retry", detail="no route")
        d.event(0, 2)
        d.pass_time(10_000)
        test, *others = [r for r in d.rows(schema.delivery) if r.recipient == "contact:owner-0"]
        assert (test.purpose, test.state, test.attempts, test.last_error) == ("test", "cancelled", 2, "no route")
        assert [r.purpose for r in others] == ["alarm"] and d.job("contact:owner-0").delivery_id == others[0].id
        assert shown(d)["delivery"]["state"] == "cancelled"


def test_a_failed_transaction_leaves_it_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path, urls=URLS) as d:
        begin(d)
        book = d.writer.books.casebook
        whole = book.save

        def broken(*args: Any) -> None:
            whole(*args)
            raise ValueError("a fault of this program")

        monkeypatch.setattr(book, "save", broken)
        press(d, 1)
        assert d.rows(schema.event) == [] and shown(d)["outcome"] is None
        monkeypatch.undo()
        press(d, 1)
        assert len(deliveries(d)) == 1 and shown(d)["outcome"] == "texted"


def test_a_second_one_takes_the_place_of_the_first(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        assert (begin(d), begin(d)) == (1, 2)
        assert shown(d)["outcome"] == "cancelled"
        press(d, 1)
        assert shown(d, 2)["outcome"] == "texted" and shown(d)["event"] is None
        with d.store.write() as conn:
            assert not walk_tests.cancel(conn, 2, now_ms=1)
        third = begin(d)
        with d.store.write() as conn:
            assert walk_tests.cancel(conn, third, now_ms=d.clock.now_ms())
        press(d, 2)
        assert shown(d, third)["outcome"] == "cancelled" and len(deliveries(d)) == 1


def test_who_is_not_in_service_and_what_is_too_long_is_refused(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        with d.store.write() as conn:
            registry.add_node(conn, node_id="a0b1c2ffffff", unit=(SITE, "u-0"), label="", now_ms=1)
            with pytest.raises(RegistryError, match="is registered: it cannot be tested"):
                walk_tests.begin(conn, "a0b1c2ffffff", minutes=5, by="op", now_ms=1)
            with pytest.raises(RegistryError, match="not registered"):
                walk_tests.begin(conn, "a0b1c2fffffe", minutes=5, by="op", now_ms=1)
            with pytest.raises(RegistryError, match="no walk test 7"):
                walk_tests.show(conn, 7)
        for minutes in (0, walk_tests.MAX_MINUTES + 1):
            with pytest.raises(FieldError, match="1 to 15 minutes"):
                begin(d, minutes=minutes)


def test_a_clock_that_is_set_takes_no_time_from_it(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        begin(d, minutes=1)
        with d.store.write() as conn:
            clock_watch.shift_stored(conn, 3_600_000, d.clock.now_ms())
        with d.store.read() as conn:
            row = conn.execute(select(schema.walk_test)).one()
        assert row.ends_ms - d.clock.now_ms() == 3_660_000 and row.ends_ms - row.begun_ms == MINUTE_MS


def test_after_a_restore_it_is_over_with_its_text(tmp_path: Path) -> None:
    with desk(tmp_path, urls=URLS) as d:
        begin(d)
        press(d, 1)
        begin(d)
        with d.store.write() as conn:
            settle.settle(conn, d.clock.now_ms(), d.clock.now_ms(), settle.RESEND_WITHIN_MS)
        assert [r.outcome for r in d.rows(schema.walk_test)] == ["texted", "cancelled"]
        assert deliveries(d) == [("sms", "contact:owner-0", "cancelled")]


def test_several_receivers_send_one_text(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres, count=3) as c:
        begin(c.desks[0])
        node = c.desks[0].nodes[0]
        data = node.event(1, kinds.TEST, 0)
        for d in reversed(c.desks):
            d.arrive((node.id, data))
        a, b, last = c.desks
        assert [len(d.jobs) for d in (a, b, last)] == [0, 0, 1]
        assert [(r.recipient, r.purpose) for r in a.rows(schema.delivery)] == [("contact:owner-0", "test")]
        data = node.event(2, kinds.TEST, 0)
        for d in c.desks:
            d.arrive((node.id, data))
        assert len(a.rows(schema.delivery)) == 1 and shown(a)["event"] == 1
