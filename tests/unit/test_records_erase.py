"""Erasing a person: the number is nowhere, and the history can be read."""

import json
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from bongsu.receiver import audit, erase, registry
from bongsu.receiver import desk as incidents_desk
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.roster import add_duty
from bongsu.receiver.store import schema
from bongsu_wire import kinds
from tests.receiver_parts import SITE, Desk, desk

NUMBER = "01012340000"  # of owner-0


def _alarms(room: Desk) -> None:
    room.event(0, 1)
    room.end_all()
    room.event(0, 2, kinds.RESTORE)
    room.end_all()
    with room.store.write() as conn:
        for i, number in enumerate(("+821012340000", "010-1234-0000")):
            row = {"delivery_id": i + 1, "at_ms": 1, "took_ms": 1, "outcome": "retry", "detail": f"{number} is busy"}
            conn.execute(insert(schema.delivery_attempt).values(row))
        conn.execute(update(schema.delivery).values(last_error="no answer of +821012340000"))
        audit.write(conn, actor="x", action="test", subject="contact:owner-0", detail="typed 010 1234 0000", now_ms=1)
        audit.write(conn, actor="x", action="test", subject="", detail="after it", now_ms=1)
        audit.seal(conn, room.writer.books.audit_key)


def _close(room: Desk) -> None:
    with room.store.write() as conn:
        values = {
            "state": "closed",
            "closed_ms": room.clock.now_ms(),
            "disposition": "fire",
            "note": "rang 01012340000",
        }
        conn.execute(update(schema.incident).values(values))
    room.pass_time(100)


def _erase(room: Desk, contact: str = "owner-0", **more: bool) -> erase.Erased:
    return erase.erase_contact(room.store, contact, key=room.writer.books.audit_key, actor="test", now_ms=7,
                               force=more.get("force", False), told=lambda: None)  # fmt: skip


def _everything(room: Desk) -> str:
    """All text of all tables."""
    return "\n".join(
        json.dumps([str(v) for v in row], ensure_ascii=False)
        for table in schema.metadata.sorted_tables
        for row in room.rows(table)
    )


def test_the_number_is_nowhere_and_the_history_is_readable(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _alarms(room)
        _close(room)
        person = erase.Person("owner-0", "owner-0", "+821012340000")
        assert any(number in _everything(room) for number in person.numbers)
        done = _erase(room)
        assert done.rows >= 8 and done.units == 1 and not done.left
        left = _everything(room)
        assert not [number for number in person.numbers if number in left]
        assert "5678-0000" in left or "1056780000" in left  # the deputy's stays
        with room.store.read() as conn:
            shown = incidents_desk.show_incident(conn, 1)
            assert not audit.verify(conn, room.writer.books.audit_key).faults
            last = list(audit.entries(conn, newest=1))[0]
        assert {c["name"] for c in shown["contacts"]} == {"erased", "deputy-0"}
        assert len(shown["deliveries"]) == 4
        assert (last["action"], last["subject"]) == ("contact.erase", "contact:owner-0")
        body = next(d.body for d in room.rows(schema.delivery) if d.channel == "webhook")
        assert body["data"]["owner"] == {"name": "erased", "phone": "erased", "role": "owner"}
        room.event(0, 3)
        texted = [job for job in room.jobs if job.channel == "sms" and job.message.kind == "alarm"]
        assert [job.message.target["phone"] for job in texted] == ["+821056780000"]


@pytest.mark.sqlite
def test_no_file_holds_the_number(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        for _ in range(3):
            _alarms(room)
        _close(room)
        person = erase.Person("owner-0", "owner-0", "+821012340000")
        files = [room.data / "bongsu.db", room.data / "bongsu.db-wal"]
        assert any(erase.holds(path, person) for path in files)
        assert not _erase(room).left
        assert not any(erase.holds(path, person) for path in room.data.rglob("*") if path.is_file())


def test_who_is_on_duty_is_not_erased_unasked_and_the_duty_is_counted(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        with room.store.write() as conn:
            add_duty(
                conn, duty_id="night", contact_id="owner-0", site_id=SITE, days="daily", hours="20:00-06:00", now_ms=1
            )
        with pytest.raises(RegistryError, match=r"on duty \(night\)"):
            _erase(room)
        assert [d.id for d in room.rows(schema.duty)] == ["night"]
        done = _erase(room, force=True)
        assert (done.units, done.duties) == (1, 1)
        assert room.rows(schema.duty) == []
        acts = [a.detail for a in room.rows(schema.audit) if a.action == "contact.erase"]
        assert acts[-1].endswith("1 units, 1 duties")


def test_it_is_refused_while_somebody_needs_the_number(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        room.event(0, 1)
        with pytest.raises(RegistryError, match="open incident 1 needs"):
            _erase(room)
        _close(room)
        with room.store.write() as conn:
            conn.execute(schema.unit_contact.delete().where(schema.unit_contact.c.contact_id == "deputy-0"))
        with pytest.raises(RegistryError, match=f"{SITE}/u-0 would have nobody"):
            _erase(room)
        assert _erase(room, force=True).units == 1
        with pytest.raises(RegistryError, match="no contact"):
            _erase(room)


def test_with_force_an_open_incident_forgets_too_and_goes_on(tmp_path: Path) -> None:
    """The receiver has the incident in memory: what it writes next must not bring the number back."""
    with desk(tmp_path) as room:
        room.event(0, 1)
        _erase(room, force=True)
        room.pass_time(1000)
        room.event(0, 2, kinds.ALARM, kinds.SMOKE)
        room.end_all()
        snapshots = json.dumps([r.snapshot for r in room.rows(schema.incident)])
        assert "821012340000" not in snapshots and "erased" in snapshots


def test_broken_off_half_way_it_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path, units=2) as room:
        _alarms(room)
        _close(room)
        with monkeypatch.context() as patched:
            patched.setattr(erase, "_clean", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                _erase(room)
        with room.store.read() as conn:
            assert registry.show_contact(conn, "owner-0")["units"] == []
            assert conn.execute(select(schema.contact.c.phone).where(schema.contact.c.id == "owner-0")).scalar_one()
        _erase(room)
        assert "821012340000" not in _everything(room)


def test_every_number_that_the_contact_ever_had_goes_also_of_merged_ones_and_of_the_removed(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _alarms(room)
        with room.store.write() as conn:
            registry.edit_contact(conn, "owner-0", {"phone": "010-7777-6666", "name": "New"}, actor="x", now_ms=1)
            registry.merge_contacts(conn, "owner-0", "owner-1", actor="x", now_ms=2)
            registry.remove_contact(conn, "owner-1", force=True, actor="x", now_ms=3)
        _close(room)
        with room.store.write() as conn:
            conn.execute(update(schema.incident).values(note="rang (010) 1234 - 0000 twice"))
        assert _erase(room, "owner-1").rows >= 8
        left = _everything(room)
        assert "12340000" not in left and "1234 - 0000" not in left and '"name": "owner-0"' not in left
        with pytest.raises(RegistryError, match="history knows of none"):
            _erase(room, "owner-1")


def test_a_number_alone_can_be_erased(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        _alarms(room)
        with room.store.write() as conn:
            registry.remove_contact(conn, "owner-0", force=True, actor="x", now_ms=3)
        _close(room)
        key = room.writer.books.audit_key
        erase.erase_contact(
            room.store, "", key=key, actor="x", now_ms=7, force=False, told=lambda: None, phone="+821012340000"
        )
        left = _everything(room)
        assert "1012340000" not in left and "010-1234-0000" not in left
