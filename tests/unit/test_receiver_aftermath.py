"""Faults end when their cause is gone: the incident is closed, the node or the receiver retired; and a late event of an
older key ends nothing that a newer key's began.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import insert, update

from bongsu.receiver import desk as acts
from bongsu.receiver import registry
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master, make_node_key
from bongsu.receiver.store import schema
from bongsu.receiver.writer import Wake
from bongsu_wire import kinds
from tests.receiver_parts import Desk, FrameMaker, desk, node_id
from tests.unit.test_receiver_dispatch import act

LOOK_MS = 6_000


def active(d: Desk, subject: str) -> dict[str, Any]:
    """What stands in this subject's fault."""
    (row,) = [r for r in d.rows(schema.incident) if r.class_ == "fault" and r.subject == subject]
    return dict(row.snapshot["active"])


def test_a_late_dispatch_is_no_fault_any_more_once_its_fire_is_closed(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.pass_time(61_000)
        assert set(active(d, "unit:hannae/u-0")) == {"responder:station-0", "contact:owner-0"}
        act(d, acts.close, disposition="fire", note="", still_standing=True)
        d.pass_time(LOOK_MS)
        assert active(d, "unit:hannae/u-0") == {}


def test_nobody_told_ends_with_its_alarm(tmp_path: Path) -> None:
    with desk(tmp_path, urls={}) as d:
        d.event(0, 1)
        assert active(d, "unit:hannae/u-0") == {"dispatch:fire": ["nobody_told"]}
        d.pass_time(LOOK_MS)
        assert active(d, "unit:hannae/u-0") == {"dispatch:fire": ["nobody_told"]}
        act(d, acts.close, disposition="fire", note="", still_standing=True)
        d.pass_time(LOOK_MS)
        assert active(d, "unit:hannae/u-0") == {}


def test_a_retired_nodes_faults_end_and_anothers_stay(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        for i in (0, 1):
            d.event(i, 1, kinds.FAULT, phenomena=0, detail=kinds.FAULT_BATTERY)
        with d.store.write() as conn:
            registry.retire_node(conn, node_id=node_id(0))
        d.writer.turn([Wake("registry")])
        d.pass_time(LOOK_MS)
        assert active(d, f"node:{node_id(0)}") == {}
        assert active(d, f"node:{node_id(1)}") == {node_id(1): ["battery_low"]}


def test_a_retired_receivers_faults_end_and_a_living_ones_stay(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        with d.store.write() as conn:
            base = {"name": "r", "mqtt_client_id": "x", "counter_ceiling": 0, "created_ms": 1}
            conn.execute(insert(schema.receiver), [{**base, "sender": n} for n in (40001, 40002)])
            one = {"class_": "fault", "state": "open", "round": 1, "opened_ms": 1, "last_event_ms": 1, "note": ""}
            kept = {"snapshot": {"active": {"link": ["broker_unreachable"]}}}
            conn.execute(
                insert(schema.incident), [{**one, **kept, "subject": f"receiver:{n}"} for n in (40001, 40002, 40003)]
            )
            old = update(schema.receiver).where(schema.receiver.c.sender == 40001)
            conn.execute(old.values(retired_ms=2))
        d.writer.turn([Wake("registry")])
        d.pass_time(LOOK_MS)
        assert active(d, "receiver:40001") == {} == active(d, "receiver:40003")
        assert active(d, "receiver:40002") == {"link": ["broker_unreachable"]}


def test_a_late_end_of_an_older_key_ends_nothing_of_a_newer_one(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        d.event(0, 50)
        late = node.event(60, kinds.RESTORE, 0)
        late_fault_clear = node.event(61, kinds.FAULT_CLEAR, 0)
        with d.store.write() as conn:
            made = make_node_key(conn, load_master(d.data / MASTER_KEY_NAME), node.id, d.clock.now_ms())
        d.writer.turn([Wake("registry")])
        new = FrameMaker(node.id, made.key, made.epoch)
        d.arrive((new.id, new.event(1)))
        d.arrive((new.id, new.event(2, kinds.FAULT, 0, detail=kinds.FAULT_BATTERY)))
        d.arrive((node.id, late), (node.id, late_fault_clear))
        (fire,) = [r for r in d.rows(schema.incident) if r.class_ == "fire"]
        assert fire.restored_ms is None and fire.snapshot["active"] == {node.id: ["heat"]}
        assert active(d, f"node:{node.id}") == {node.id: ["battery_low"]}
        d.arrive((new.id, new.event(3, kinds.RESTORE, 0)))
        (fire,) = [r for r in d.rows(schema.incident) if r.class_ == "fire"]
        assert fire.restored_ms is not None
