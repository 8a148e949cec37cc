"""Restoring into a running system: alarms flow, a backup is taken in the middle, the machine dies, and a receiver
starts on what was restored while the nodes keep trying.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bongsu.receiver import audit
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.store import open_store, schema
from bongsu.sim.hostnode import HostNode
from bongsu_wire import frame
from tests import postgres_parts
from tests.receiver_parts import DEADLINE_S, Hall, hall
from tests.registry_parts import bongsu

UNITS = 6


def _wait(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


class _Heard:
    """What came down to a node: (sender, counter) of every authentic frame."""

    def __init__(self, node: HostNode) -> None:
        self.frames: list[tuple[int, int]] = []
        before = node._client.on_message

        def on_message(client: Any, data: Any, message: Any) -> None:
            header = frame.parse(bytes(message.payload))
            self.frames.append((header.sender, header.counter))
            assert before is not None
            before(client, data, message)

        node._client.on_message = on_message


def _move(room: Hall, folder: Path, backup: Path) -> None:
    """Restore into another folder (and database), and have the receiver run there, at the broker's old address."""
    url = postgres_parts.store_url(folder)
    words = ["--store", "sqlite" if url.startswith("sqlite") else url]
    port = room.port
    master = room.data / MASTER_KEY_NAME
    ran = bongsu("restore", backup, "--data", folder, "--passphrase-file", backup.with_name("words"), "--master-key",
                 master, *words)  # fmt: skip
    assert ran.code == 0, ran.err
    (folder / "run").mkdir(mode=0o700)
    (folder / "run" / "broker.port").write_text(f"{port}\n")
    room.data = folder
    room.start_receiver()
    assert int((folder / "run" / "broker.port").read_text()) == port


def test_no_alarm_is_lost_over_a_restore(tmp_path: Path) -> None:
    words, backup = tmp_path / "words", tmp_path / "backup"
    words.write_text("six words nobody will guess")
    words.chmod(0o600)
    with hall(tmp_path / "hall", UNITS) as room:
        heard = [_Heard(node) for node in room.nodes]
        old = room.rows(schema.receiver)[0].sender
        numbers = {0: room.nodes[0].alarm(), 1: room.nodes[1].alarm()}
        assert all(room.nodes[i].wait_receipt(n, DEADLINE_S) for i, n in numbers.items())
        # In the middle of it: one alarm before, others while it is made.
        late = room.nodes[2].alarm()
        ran = bongsu("backup", "--data", room.data, "--out", backup, "--passphrase-file", words)
        assert ran.code == 0, ran.err
        assert room.nodes[2].wait_receipt(late, DEADLINE_S)
        room.nodes[0].restore()
        after = room.nodes[3].alarm()  # receipted, and not in the backup: it was told when it happened
        assert room.nodes[3].wait_receipt(after, DEADLINE_S)
        _wait(lambda: len(room.reports()) >= 5, "four alarms and a restore")
        room.kill_receiver()
        waiting = {4: room.nodes[4].alarm(), 5: room.nodes[5].alarm(), 0: room.nodes[0].alarm()}
        _move(room, tmp_path / "new", backup)
        assert all(room.nodes[i].wait_receipt(n, DEADLINE_S) for i, n in waiting.items())
        _wait(lambda: len({d.id for d in room.rows(schema.delivery) if d.state == "pending"}) == 0, "deliveries")
        _check_new(room, waiting)
        _check_counters(heard, old)


def _check_new(room: Hall, waiting: dict[int, int]) -> None:
    """Each alarm that had no receipt: one event, an open incident, told once to station and centre."""
    incidents = {i.subject: i for i in room.rows(schema.incident) if i.class_ == "fire"}
    for i, number in waiting.items():
        events = [e for e in room.rows(schema.event) if e.node_id == room.nodes[i].node and e.number == number]
        assert len(events) == 1
        incident = incidents[f"unit:hannae/u-{i}"]
        assert incident.state == "open" and events[0].incident_id == incident.id
        told = [d for d in room.rows(schema.delivery) if d.incident_id == incident.id and d.round == incident.round]
        assert sorted(d.channel for d in told if d.purpose == "alarm") == ["sms", "webhook", "webhook"]
    assert incidents["unit:hannae/u-0"].round == 2  # it was open in the backup: told again
    ids = [report["id"] for report in room.reports()]
    assert len(ids) == len(set(ids)) == 5 + len(waiting)  # four alarms and a restore before; each one after it once


def _check_counters(heard: list[_Heard], old: int) -> None:
    frames = [pair for one in heard for pair in one.frames]
    senders = {sender for sender, _ in frames}
    assert old in senders and len(senders) == 2
    for one in heard:
        assert len(one.frames) == len(set(one.frames))  # no counter twice
    first_new = [next((k for k, (s, _) in enumerate(one.frames) if s != old), len(one.frames)) for one in heard]
    assert all(s != old for one, k in zip(heard, first_new, strict=True) for s, _ in one.frames[k:])


def test_the_audit_goes_on_in_its_chain(tmp_path: Path) -> None:
    words, backup = tmp_path / "words", tmp_path / "backup"
    words.write_text("six words nobody will guess")
    words.chmod(0o600)
    with hall(tmp_path / "hall", 1) as room:
        assert bongsu("backup", "--data", room.data, "--out", backup, "--passphrase-file", words).code == 0
        ran = bongsu("restore", backup, "--data", room.data, "--passphrase-file", words, "--force", "--master-key",
                     room.data / MASTER_KEY_NAME, "--store", postgres_parts.store_url(room.data))  # fmt: skip
        assert ran.code == 1 and "a receiver runs on" in ran.err
        room.kill_receiver()
        _move(room, tmp_path / "new", backup)
        store = open_store(postgres_parts.store_url(tmp_path / "new"))
        try:
            with store.read() as conn:
                key = audit.chain_key(load_master(tmp_path / "new" / MASTER_KEY_NAME))
                assert not audit.verify(conn, key).faults
                assert [row["action"] for row in audit.entries(conn)][-1] == "restore"
        finally:
            store.close()
