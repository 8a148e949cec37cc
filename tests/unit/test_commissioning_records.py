"""Records of commissioning: one open one a node, carried on, closed only when everything is done, kept and erased."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from bongsu.receiver import audit, commissioning, erase, registry, walk_tests
from bongsu.receiver.config import RetentionConfig
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.retention import DAY_MS, Limits, Sweep
from bongsu.receiver.store import Store, schema
from tests.receiver_parts import Desk, desk
from tests.registry_parts import NODE, NOW_MS, fill, new_store

UNIT = ("hannae", "a-07")


@pytest.fixture
def store(tmp_path: Path):
    with new_store(tmp_path) as made:
        fill(made)
        yield made


def begin(store: Store, node: str = NODE, unit: tuple[str, str] | None = UNIT, **more: Any) -> int:
    how = {"board": "esp32-devkitc", "installer": "kim", "version": "0.1", "now_ms": NOW_MS, **more}
    with store.write() as conn:
        return commissioning.begin(conn, node, unit=unit, **how)


def note(store: Store, number: int, step: str, state: str = "done", **more: Any) -> None:
    with store.write() as conn:
        commissioning.note(conn, number, step, state, **{"at_ms": NOW_MS, "took_ms": 7, **more})


def get(store: Store, number: int) -> dict[str, Any]:
    with store.read() as conn:
        return commissioning.get(conn, number)


def test_a_record_is_carried_on_and_closed_when_all_is_done(store: Store) -> None:
    number = begin(store)
    note(store, number, "find")
    note(store, number, "flash", "failed", said="no sync")
    assert begin(store, board="esp32-s3-devkitc", unit=("hannae", "a-08"), installer="lee") == number
    row = get(store, number)
    assert (row["installer"], row["board"], row["unit"]) == ("kim", "esp32-s3-devkitc", "hannae/a-08")
    assert row["left"] == ["flash", "register", "provision", "measure", "walk_test", "label", "record"]
    with store.write() as conn, pytest.raises(RegistryError, match="flash is not done"):
        commissioning.finish(conn, number, actor="kim", now_ms=NOW_MS)
    note(store, number, "flash", "already", image="x.bin", image_sha256="ab" * 32)
    note(store, number, "find", "already", took_ms=900)  # when it was done, and how long that took, stays
    for step in ("register", "provision", "measure", "walk_test"):
        note(store, number, step, rssi_dbm=-61)
    note(store, number, "label", "left")
    with store.write() as conn:
        commissioning.finish(conn, number, actor="kim", now_ms=NOW_MS + 5)
    row = get(store, number)
    assert (row["left"], row["done_ms"], row["rssi_dbm"], row["image"]) == ([], NOW_MS + 5, -61, "x.bin")
    assert row["took_ms"] == 49 and list(row["steps"]) == list(commissioning.STEPS)
    assert begin(store) == number + 1  # the next time is another record
    with store.read() as conn:
        acts = [r["action"] for r in audit.entries(conn, subject=f"node:{NODE}")]
    assert acts == ["commission.begin", "commission.done", "commission.begin"]


def test_the_board_need_not_be_registered_yet(store: Store) -> None:
    number = begin(store, "a0b1c2d3e400")
    assert get(store, number)["node"] == "a0b1c2d3e400"
    with store.read() as conn, pytest.raises(RegistryError, match="not registered"):
        registry.get_node(conn, "a0b1c2d3e400")
    with pytest.raises(IntegrityError), store.write() as conn:  # the store itself allows one open record a node
        row = conn.execute(select(schema.commissioning)).mappings().one()
        conn.execute(schema.commissioning.insert().values({**row, "id": 9}))


def test_what_is_no_step_or_fact_is_refused(store: Store) -> None:
    number = begin(store)
    for step, facts in (("paint", {}), ("flash", {"done_ms": 1}), ("flash", {"colour": 1})):
        with pytest.raises(ValueError, match="no step or fact"):
            note(store, number, step, **facts)


def test_they_are_listed_by_node_and_site_and_what_is_left(store: Store) -> None:
    first, second = begin(store), begin(store, "a0b1c2d3e400", None)
    with store.write() as conn:
        conn.execute(update(schema.commissioning).where(schema.commissioning.c.id == first).values(done_ms=NOW_MS))
    with store.read() as conn:
        assert [r["id"] for r in commissioning.records(conn)] == [second, first]
        assert [r["id"] for r in commissioning.records(conn, node_id=NODE)] == [first]
        assert [r["id"] for r in commissioning.records(conn, site_id="hannae")] == [first]
        assert [r["id"] for r in commissioning.records(conn, only_open=True)] == [second]
        assert commissioning.done_nodes(conn) == {"hannae/a-07": [NODE]}
        assert commissioning.units_left(conn, "hannae") == ["hannae/a-08"]
    begin(store)  # once more
    with store.read() as conn:
        assert commissioning.done_nodes(conn) == {}


def test_a_node_that_was_registered_by_mistake_takes_its_record_along(store: Store) -> None:
    begin(store)
    with store.write() as conn:
        registry.remove_node(conn, NODE, actor="kim", now_ms=NOW_MS)
    with store.read() as conn:
        assert commissioning.records(conn) == []


def _sweep(d: Desk, days: int, *, dry: bool = False) -> dict[str, int]:
    sweep = Sweep(Limits.of(RetentionConfig(), d.clock.now_ms() + days * DAY_MS), d.writer.books.audit_key, dry=dry)
    with d.store.write() as conn:
        assert sweep.work(conn, float("inf"))
    return dict(sweep.removed)


def test_old_records_go_but_not_a_nodes_newest_nor_an_open_one(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        nodes = [node.id for node in d.nodes]
        for node in (nodes[0], nodes[0], nodes[1], "a0b1c2d3e400", nodes[1]):
            number = begin(d.store, node, None)
            with d.store.write() as conn:
                walk = walk_tests.begin(conn, nodes[0], minutes=1, by="kim", now_ms=NOW_MS + number)
                values = {"done_ms": d.clock.now_ms(), "walk_test_id": walk}
                conn.execute(update(schema.commissioning).where(schema.commissioning.c.id == number).values(values))
        begin(d.store, "a0b1c2d3e401", None)
        with d.store.write() as conn:
            registry.retire_node(conn, node_id=nodes[1])
            conn.execute(
                update(schema.walk_test).where(schema.walk_test.c.id == 5).values(ended_ms=1, outcome="expired")
            )
        assert _sweep(d, 300).get("commissioning") is None
        assert [w.id for w in d.rows(schema.walk_test)] == [5]  # 90 days; the newest stays
        assert _sweep(d, 2000, dry=True)["commissioning"] == _sweep(d, 2000)["commissioning"] == 4
        left = [(r.node_id, r.id) for r in d.rows(schema.commissioning)]
        assert left == [(nodes[0], 2), ("a0b1c2d3e401", 6)]
        with d.store.read() as conn:
            assert commissioning.get(conn, 2)["walk_test"] is None


def test_who_is_erased_stands_in_no_record(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        number = begin(d.store, installer="Kim 010-1234-0000")
        note(d.store, number, "walk_test", said="called 01012340000")
        erase.erase_contact(d.store, "owner-0", key=d.writer.books.audit_key, actor="x", now_ms=7, force=True,
                            told=lambda: None)  # fmt: skip
        row = get(d.store, number)
        assert row["installer"] == "Kim erased" and row["steps"]["walk_test"]["said"] == "called erased"
