"""Who is on duty is texted at once beside the owner; areas decide which responders are told."""

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bongsu.receiver import fields, registry, responders, roster
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.store import schema
from bongsu.receiver.writer import Wake
from bongsu_wire import kinds
from tests.receiver_parts import SECRET, SITE, Desk, desk

SEOUL = ZoneInfo("Asia/Seoul")
HOUR_MS = 3_600_000


def _told(d: Desk) -> list[tuple[int, str]]:
    return [(r.round, r.recipient) for r in d.rows(schema.delivery) if r.channel == "sms" and r.purpose == "alarm"]


def _change(d: Desk, act: Any, *args: Any, **more: Any) -> None:
    with d.store.write() as conn:
        act(conn, *args, **more)
    d.writer.turn([Wake("registry")])


def _guard(d: Desk, name: str, number: str) -> None:
    _change(d, registry.add_contact, contact_id=name, name=name, number=number, lang="en", now_ms=1)


def _shift(d: Desk, duty_id: str, contact: str, first_hour: int, hours: int, site: str | None = SITE) -> None:
    """A daily shift that began so many hours from now by the site's clock."""
    now = dt.datetime.fromtimestamp(d.clock.now_ms() / 1000, SEOUL)
    begin, end = (now.hour + first_hour) % 24, (now.hour + first_hour + hours) % 24
    text = f"{begin:02}:00-{end:02}:00"
    _change(d, roster.add_duty, duty_id=duty_id, contact_id=contact, site_id=site, days="daily", hours=text, now_ms=1)


def test_who_is_on_duty_is_texted_beside_the_owner(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        for name, number in (("guard", "010-9000-0001"), ("off", "010-9000-0002")):
            _guard(d, name, number)
        _shift(d, "now", "guard", -1, 3)
        _shift(d, "later", "off", 5, 3)
        d.event(0, 1)
        assert _told(d) == [(1, "contact:owner-0"), (1, "contact:guard")]
        (incident,) = d.rows(schema.incident)
        assert [(p["id"], p["role"], p["phone"]) for p in incident.snapshot["duty"]] == [
            ("guard", "duty", "+821090000001")
        ]
        d.event(0, 2, kinds.RESTORE)
        over = [r.recipient for r in d.rows(schema.delivery) if r.purpose == "restore"]
        assert "contact:guard" in over


def test_a_new_round_tells_the_shift_of_its_own_time(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        _guard(d, "early", "010-9000-0001")
        _guard(d, "late", "010-9000-0002")
        _shift(d, "one", "early", -1, 3)
        _shift(d, "two", "late", 5, 3, site=None)
        d.event(0, 1)
        d.event(0, 2, kinds.RESTORE)
        d.clock.advance(6 * HOUR_MS)
        d.event(0, 3)
        assert [who for round_, who in _told(d) if round_ == 2] == ["contact:owner-0", "contact:late"]


def test_nobody_is_texted_twice(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        _shift(d, "one", "owner-0", -1, 3)
        _shift(d, "two", "owner-0", -2, 4, site=None)
        d.event(0, 1)
        assert _told(d) == [(1, "contact:owner-0")]


def test_a_changed_number_reaches_the_roster(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        _guard(d, "guard", "010-9000-0001")
        _shift(d, "one", "guard", -1, 3)
        _change(d, registry.edit_contact, "guard", {"phone": "010-9000-0009"}, actor="op", now_ms=2)
        d.event(0, 1)
        assert d.rows(schema.incident)[0].snapshot["duty"][0]["phone"] == "+821090000009"


def test_a_shift_that_is_removed_or_over_tells_nobody(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        _guard(d, "guard", "010-9000-0001")
        _shift(d, "one", "guard", -1, 3)
        _change(d, roster.remove_duty, "one", actor="op", now_ms=2)
        how: dict[str, Any] = {"contact_id": "guard", "site_id": SITE, "days": "daily", "hours": "00:00-24:00"}
        _change(d, roster.add_duty, duty_id="past", valid_until="2020-01-01", now_ms=1, **how)
        d.event(0, 1)
        assert _told(d) == [(1, "contact:owner-0")]


def test_dates_are_the_sites_own_and_the_last_day_counts(tmp_path: Path) -> None:
    with desk(tmp_path) as d, d.store.write() as conn:
        how: dict[str, Any] = {"contact_id": "owner-0", "site_id": SITE, "days": "daily", "hours": "00:00-24:00"}
        roster.add_duty(conn, duty_id="one", valid_from="2026-03-01", valid_until="2026-03-02", now_ms=1, **how)
        (row,) = roster.load(conn)
        assert row["valid_from_ms"] == round(dt.datetime(2026, 3, 1, tzinfo=SEOUL).timestamp() * 1000)
        assert row["valid_until_ms"] == round(dt.datetime(2026, 3, 3, tzinfo=SEOUL).timestamp() * 1000)
        for bad in ("2026-13-01", "tomorrow", "0000-01-01"):
            with pytest.raises(fields.FieldError, match="is no date"):
                roster.add_duty(conn, duty_id="two", valid_from=bad, now_ms=1, **how)
        with pytest.raises(fields.FieldError, match="ends before"):
            roster.add_duty(conn, duty_id="two", valid_from="2026-03-02", valid_until="2026-03-01", now_ms=1, **how)


def _station(d: Desk, name: str, **where: Any) -> None:
    master = load_master(d.data / MASTER_KEY_NAME)
    more = {"sites": (), "areas": (), **where}
    _change(
        d,
        responders.add_responder,
        master,
        responder_id=name,
        kind="station",
        name=name,
        url="http://127.0.0.1:9/",
        secret=SECRET,
        rank=0,
        now_ms=1,
        **more,
    )


def test_responders_by_area(tmp_path: Path) -> None:
    with desk(tmp_path, urls={"sms": "http://127.0.0.1:9"}) as d:
        _station(d, "gangseo", areas=("강서구",))
        _station(d, "mapo", areas=("마포구",))
        with d.store.read() as conn:
            assert responders.stations_by_site(conn) == {SITE: []}
            assert responders.show_responder(conn, "gangseo")["covers"] == []
        _change(d, registry.edit_site, SITE, {"area": " 강서구 "}, actor="op", now_ms=1)
        with d.store.read() as conn:
            assert responders.stations_by_site(conn) == {SITE: ["gangseo"]}
            assert responders.show_responder(conn, "gangseo")["covers"] == [SITE]
        d.event(0, 1)
        told = [r.recipient for r in d.rows(schema.delivery) if r.channel == "webhook"]
        assert told == ["responder:gangseo"]


def test_the_last_station_of_a_site_stays_unless_it_is_forced(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        by: dict[str, Any] = {"actor": "op", "now_ms": 1}
        with pytest.raises(registry.RegistryError, match="last fire station of hannae"), d.store.write() as conn:
            responders.remove_responder(conn, "station-0", force=False, **by)
        with pytest.raises(registry.RegistryError, match="last fire station of hannae"), d.store.write() as conn:
            responders.edit_responder(conn, "station-0", {}, areas=("elsewhere",), **by)
        with d.store.read() as conn:
            assert responders.stations_by_site(conn) == {SITE: ["station-0"]}
        d.event(0, 1)
        with pytest.raises(registry.RegistryError, match="under way"), d.store.write() as conn:
            responders.remove_responder(conn, "station-0", force=True, **by)
        d.end_all()
        with d.store.write() as conn:
            responders.remove_responder(conn, "station-0", force=True, **by)
            assert responders.stations_by_site(conn) == {SITE: []}


def test_a_duty_needs_a_mobile_number(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        _guard(d, "land", "02-123-4567")
        with pytest.raises(registry.RegistryError, match="no mobile number"):
            _shift(d, "one", "land", 0, 1)
        assert d.rows(schema.duty) == []
