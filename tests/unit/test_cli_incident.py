"""Incidents at the operator's desk: shown without phone numbers and secrets, acknowledged by compare and set, closed
with their deliveries.
"""

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from bongsu.receiver import desk, incidents, registry
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import Store, schema
from tests.registry_parts import NODE, NOW_MS, bongsu, fill, new_store, on_this_engine, open_incident

SEEN = ("--seen", 7, "--still-standing")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    assert bongsu("init", "--data", folder, *on_this_engine(folder)).code == 0
    return folder


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    with new_store(data) as made:
        fill(made)
        yield made


def test_list_and_show(store: Store, data: Path) -> None:
    incident_id = open_incident(store)
    with store.write() as conn:
        conn.execute(
            insert(schema.event).values(
                node_id=NODE,
                epoch=1,
                number=5,
                received_ms=NOW_MS,
                event_ms=NOW_MS - 900,
                kind="alarm",
                phenomena=1,
                criterion="heat_fixed",
                detail=0,
                count=1,
                sustained_ms=5000,
                readings={"temp_dk": 3402, "gas": 65535, "humidity_half": 255},
                content=b"x",
                incident_id=incident_id,
            )
        )
    listed = bongsu("incident", "list", "--data", data).out
    assert "봉수 떡집" in listed and "standing" in listed and "heat" in listed
    shown = bongsu("incident", "show", incident_id, "--data", data).out
    assert "010-****-5678" in shown and "heat_fixed" in shown and "responder:119" in shown
    assert f"incident ack {incident_id} --seen 7" in shown
    assert "temperature=67 degC" in shown and "65535" not in shown and "255" not in shown  # unknown values
    row = json.loads(bongsu("incident", "show", incident_id, "--json", "--data", data).out)
    assert row["events"][0]["phenomena"] == "heat" and len(row["deliveries"]) == 2 and row["deliveries_waiting"] == 1
    assert "first alarm" in shown and "heat, heat_fixed: temperature 67 degC (event 1, a0b1c2d3e4f5)" in shown
    assert row["first_alarm"] == row["last_alarm"] and row["last_alarm"]["values"] == {"temperature": "67 degC"}
    assert row["owner"]["phone"] == "010-****-5678" and not row["verified"] and row["asks"] is None
    assert sum(n for by in row["delivery_states"].values() for states in by.values() for n in states.values()) == 2
    for text in (shown, json.dumps(row)):
        assert "12345678" not in text and "127.0.0.1:1" not in text


def test_filters(store: Store, data: Path) -> None:
    first = open_incident(store)
    open_incident(store, subject=f"node:{NODE}")
    assert bongsu("incident", "close", first, *SEEN, "--disposition", "steam", "--data", data).code == 0
    rows = json.loads(bongsu("incident", "list", "--open", "--json", "--data", data).out)
    assert [r["subject"] for r in rows] == [f"node:{NODE}"]
    rows = json.loads(bongsu("incident", "list", "--site", "hannae", "--json", "--data", data).out)
    assert [(r["id"], r["state"], r["disposition"]) for r in rows] == [(first, "closed", "steam")]
    assert len(json.loads(bongsu("incident", "list", "--limit", 1, "--json", "--data", data).out)) == 1
    assert bongsu("incident", "list", "--site", "zz", "--data", data).code == 1


def test_acknowledging_names_the_last_event_seen(store: Store, data: Path) -> None:
    incident_id = open_incident(store, last_event=7)
    stale = bongsu("incident", "ack", incident_id, "--seen", 6, "--data", data)
    assert stale.code == 1 and "newest event 7" in stale.err and f"incident show {incident_id}" in stale.err
    done = bongsu("incident", "ack", incident_id, "--seen", 7, "--by", "Operator", "--data", data)
    assert done.code == 0 and "Operator" in done.out
    row = json.loads(bongsu("incident", "show", incident_id, "--json", "--data", data).out)
    assert (row["phase"], row["ack_by"]) == ("acknowledged", "Operator")


def test_two_who_take_it_on_at_once_hear_who_was_first(store: Store, data: Path) -> None:
    incident_id = open_incident(store, last_event=7)
    words = ("incident", "ack", incident_id, "--seen", 7, "--data", data)
    assert bongsu(*words, "--by", "east desk").code == 0
    second = bongsu(*words, "--by", "west desk")
    assert second.code == 1 and "taken on by east desk before you" in second.err
    assert bongsu(*words, "--by", "east desk").code == 0  # the same one again: nothing changes


def test_acknowledging_one_without_an_event(store: Store, data: Path) -> None:
    incident_id = open_incident(store, subject=f"node:{NODE}", class_="fault", last_event=None)
    assert bongsu("incident", "ack", incident_id, "--seen", 3, "--data", data).code == 1
    assert bongsu("incident", "ack", incident_id, "--seen", 0, "--data", data).code == 0


def test_an_event_between_reading_and_writing_is_not_hidden(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another receiver may do in PostgreSQL: the row changes after it was read."""
    incident_id = open_incident(store, last_event=7)
    with store.write() as conn:
        seen = desk._load(conn, incident_id)
        conn.execute(update(schema.incident).values(last_event_id=8))
        monkeypatch.setattr(desk, "_load", lambda *_: seen)
        with pytest.raises(incidents.StaleAcknowledgement, match="this very moment"):
            desk.acknowledge(conn, incident_id, seen_event_id=7, by="x", now_ms=NOW_MS)
        with pytest.raises(incidents.StaleAcknowledgement):
            how: Any = {"disposition": "fire", "note": "", "by": "x", "now_ms": NOW_MS}
            desk.close(conn, incident_id, **how, seen_event_id=7, still_standing=True)


def test_closing_cancels_what_was_not_sent(store: Store, data: Path) -> None:
    incident_id = open_incident(store)
    ran = bongsu(
        "incident", "close", incident_id, *SEEN, "--disposition", "cooking", "--note", "grilled fish", "--data", data
    )
    assert ran.code == 0 and "1 messages were cancelled" in ran.out
    with store.read() as conn:
        row = conn.execute(select(schema.incident)).one()
        states = list(conn.execute(select(schema.delivery.c.state).order_by(schema.delivery.c.id)).scalars())
    assert (row.state, row.disposition, row.note) == ("closed", "cooking", "grilled fish") and row.closed_ms > NOW_MS
    assert row.closed_by
    assert states == ["cancelled", "accepted"]
    again = bongsu("incident", "close", incident_id, *SEEN, "--disposition", "fire", "--data", data)
    assert again.code == 1 and "is closed" in again.err
    assert bongsu("incident", "ack", incident_id, "--seen", 7, "--data", data).code == 1


def test_closing_only_what_was_seen(store: Store, data: Path) -> None:
    incident_id = open_incident(store, last_event=7)
    words = ("incident", "close", incident_id, "--disposition", "fire", "--still-standing", "--data", data)
    assert bongsu(*words).code == 2  # an alarm that came meanwhile must not be closed unseen, and its dispatch with it
    assert bongsu(*words, "--seen", 6).code == 1
    assert bongsu(*words, "--seen", 7).code == 0


def test_what_still_stands_is_closed_only_on_purpose(store: Store, data: Path) -> None:
    incident_id = open_incident(store, last_event=7)
    words = ("incident", "close", incident_id, "--seen", 7, "--disposition", "fire", "--data", data)
    refused = bongsu(*words)
    assert refused.code == 1 and "still stands" in refused.err and "--still-standing" in refused.err
    with store.write() as conn:
        conn.execute(update(schema.incident).values(restored_ms=NOW_MS))
    assert bongsu(*words).code == 0


def test_a_report_under_way_keeps_the_state_that_it_ends_in(store: Store, data: Path) -> None:
    incident_id = open_incident(store, last_event=7)
    with store.write() as conn:
        far = time.time_ns() // 1_000_000 + 60_000
        conn.execute(update(schema.delivery).where(schema.delivery.c.state == "pending").values(lease_until_ms=far))
    done = bongsu("incident", "close", incident_id, *SEEN, "--disposition", "fire", "--data", data)
    assert done.code == 0 and "cancelled" not in done.out


@pytest.mark.sqlite
def test_decisions_are_audited_and_wake_the_receiver(store: Store, data: Path) -> None:
    incident_id = open_incident(store)
    closing = ("incident", "close", incident_id, *SEEN, "--disposition", "fire", "--data", data)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(data / "control.sock"))
        listener.settimeout(5)
        assert bongsu("incident", "ack", incident_id, "--seen", 7, "--by", "Op", "--data", data).code == 0
        assert bongsu(*closing, "--by", "Op").code == 0
        assert [listener.recv(64), listener.recv(64)] == [b"outbox", b"outbox"]
    conn = sqlite3.connect(data / "bongsu.db")
    rows = conn.execute("SELECT actor, action, subject FROM audit ORDER BY id").fetchall()
    conn.close()
    assert rows == [
        ("Op", "incident.ack", f"incident:{incident_id}"),
        ("Op", "incident.close", f"incident:{incident_id}"),
    ]


@pytest.mark.parametrize(
    "words", [("show", 9), ("ack", 9, "--seen", 1), ("close", 9, "--seen", 1, "--disposition", "fire")]
)
def test_unknown_incident(data: Path, words: tuple[object, ...]) -> None:
    ran = bongsu("incident", *words, "--data", data)
    assert ran.code == 1 and "there is no incident 9" in ran.err


def test_unknown_disposition(data: Path) -> None:
    ran = bongsu("incident", "close", 1, *SEEN, "--disposition", "boredom", "--data", data)
    assert ran.code == 2 and "device_fault" in ran.err


def test_node_with_an_open_alarm_stays_where_it_is(store: Store) -> None:
    incident_id = open_incident(store)
    with pytest.raises(RegistryError, match=f"open alarm .incident {incident_id}"), store.write() as conn:
        registry.assign_node(conn, node_id=NODE, unit=("hannae", "a-08"))
    with store.write() as conn:
        how: Any = {"disposition": "test", "note": "", "by": "x", "now_ms": NOW_MS}
        desk.close(conn, incident_id, **how, seen_event_id=7, still_standing=True)
        registry.assign_node(conn, node_id=NODE, unit=("hannae", "a-08"))


def test_snapshot_data_is_shown_without_secrets() -> None:
    shown = desk.without_secrets(
        {
            "contacts": [{"phone": "+821012345678"}],
            "responders": [{"secret_wrapped": "x", "url": "u"}],
            "owner_phone": "+821012345678",
        }
    )
    assert shown == {
        "contacts": [{"phone": "010-****-5678"}],
        "responders": [{"url": "u"}],
        "owner_phone": "010-****-5678",
    }
