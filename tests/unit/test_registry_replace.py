"""A board takes another's place: everything of the place moves, the old board's key ends, in one transaction or not at
all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from bongsu.receiver import registry
from bongsu.receiver.keys import MasterKey, make_node_key, usable_keys
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import Store, schema
from tests.registry_parts import NODE, NOW_MS, fill, new_store, open_incident

NEW = "a0b1c2d3e4f6"
BY: dict[str, Any] = {"actor": "op", "now_ms": NOW_MS}
MASTER = MasterKey(bytes(32))
OF_THE_PLACE = {
    "label": "over the door",
    "profile": "market_kitchen",
    "detector": {"smoke_alarm_e4": 550},
    "sensors": {"fitted": [{"type": "lm75"}], "told": True},
    "reading_s": 60,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        with made.write() as conn:
            conn.execute(
                update(schema.node).where(schema.node.c.id == NODE).values(**OF_THE_PLACE, state="provisioned")
            )
            make_node_key(conn, MASTER, NODE, NOW_MS)
        yield made


def _row(store: Store, node: str) -> dict[str, Any]:
    with store.read() as conn:
        return registry.get_node(conn, node)


def _state(store: Store) -> list[Any]:
    with store.read() as conn:
        tables = (schema.node, schema.node_key, schema.node_live, schema.audit, schema.change)
        return [list(conn.execute(select(table))) for table in tables]


@pytest.mark.parametrize("registered", [False, True])
def test_everything_of_the_place_moves(store: Store, registered: bool) -> None:
    with store.write() as conn:
        if registered:
            registry.add_node(conn, node_id=NEW, unit=None, label="spare", now_ms=1)
    with store.write() as conn:
        said = registry.replace_node(conn, old=NODE, new=NEW.upper(), **BY)
    assert said == {
        "old": NODE, "new": NEW, "unit": "hannae/a-07", "label": "over the door", "registered": not registered,
    }  # fmt: skip
    old, new = _row(store, NODE), _row(store, NEW)
    assert (new["site_id"], new["unit_id"], new["state"]) == ("hannae", "a-07", "registered")
    assert {field: new[field] for field in OF_THE_PLACE} == OF_THE_PLACE
    assert (old["state"], old["site_id"], old["unit_id"]) == ("retired", None, None)
    with store.read() as conn:
        assert usable_keys(conn, MASTER, NOW_MS) == []
        audited = [(r.action, r.subject, r.detail) for r in conn.execute(select(schema.audit))]
        noted = {
            r.topic: set(r.what["node"]) if "node" in r.what else r.what for r in conn.execute(select(schema.change))
        }
    assert ("node.replace", f"node:{NODE}", f"by {NEW}; unit: hannae/a-07; label: over the door") in audited
    assert any(NODE in str(what) and NEW in str(what) for what in noted.values()), "the receivers hear of both"


def test_a_spare_in_no_unit_goes_to_no_unit(store: Store) -> None:
    with store.write() as conn:
        registry.assign_node(conn, node_id=NODE, unit=None)
        assert registry.replace_node(conn, old=NODE, new=NEW, **BY)["unit"] is None
    assert _row(store, NEW)["site_id"] is None


def test_a_board_that_hangs_beside_it_already_takes_over(store: Store) -> None:
    with store.write() as conn:
        registry.add_node(conn, node_id=NEW, unit=("hannae", "a-07"), label="", now_ms=1)
        registry.replace_node(conn, old=NODE, new=NEW, **BY)
    assert _row(store, NEW)["profile"] == "market_kitchen"


@pytest.mark.parametrize(
    ("subject", "class_"), [("unit:hannae/a-07", "fire"), (f"node:{NODE}", "co_gas"), (f"node:{NEW}", "fire")]
)
def test_not_while_an_alarm_is_open(store: Store, subject: str, class_: str) -> None:
    with store.write() as conn:
        registry.add_node(conn, node_id=NEW, unit=None, label="", now_ms=1)
    number = open_incident(store, subject=subject, class_=class_)
    _refused(store, NODE, NEW, f"open alarm .incident {number}")


def test_a_fault_hinders_nothing(store: Store) -> None:
    open_incident(store, class_="fault")
    with store.write() as conn:
        registry.replace_node(conn, old=NODE, new=NEW, **BY)


def _refused(store: Store, old: str, new: str, why: str) -> None:
    before = _state(store)
    with pytest.raises(RegistryError, match=why) as caught:
        with store.write() as conn:
            registry.replace_node(conn, old=old, new=new, **BY)
    assert caught.value.next_step
    assert _state(store) == before


def test_what_cannot_be_is_refused_and_nothing_changes(store: Store) -> None:
    with store.write() as conn:
        for node, unit in (("0200000000a1", ("hannae", "a-08")), ("0200000000a2", None)):
            registry.add_node(conn, node_id=node, unit=unit, label="", now_ms=1)
        registry.retire_node(conn, node_id="0200000000a2")
    _refused(store, NODE, NODE, "cannot replace itself")
    _refused(store, NODE, "0200000000a1", "hangs in hannae/a-08")
    _refused(store, NODE, "0200000000a2", "is retired")
    _refused(store, "0200000000a2", NEW, "is retired")
    _refused(store, "0200000000ff", NEW, "is not registered")
