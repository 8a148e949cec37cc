"""A fire alarm is verified by one in the unit next to it: by an explicit list, for both, while both stand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bongsu.receiver import exercises, incidents, policy, registry
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import schema
from bongsu.receiver.writer import Wake
from bongsu_wire import kinds
from tests.receiver_parts import SITE, Desk, desk, node_id
from tests.registry_parts import bongsu
from tests.unit.test_receiver_dispatch import on_verified

BOTH = "unit:hannae/u-0", "unit:hannae/u-1"


def beside(d: Desk, unit: str, next_to: str) -> None:
    with d.store.write() as conn:
        registry.edit_units(conn, SITE, [unit], {"next_to": next_to}, actor="t", now_ms=d.clock.now_ms())
    d.writer.turn([Wake("registry")])


def verified(d: Desk) -> dict[str, str | None]:
    return {r.subject: r.verified_by for r in d.rows(schema.incident) if r.class_ == "fire"}


def told(d: Desk, incident_id: int) -> list[tuple[str, bool]]:
    """(type, verified) of what the station was told of an incident, in order."""
    rows = [r for r in d.rows(schema.delivery) if r.incident_id == incident_id and r.recipient == "responder:station-0"]
    return [(r.body["type"].rpartition(".")[2], r.body["data"]["verified"]) for r in rows]


@pytest.mark.parametrize("names", ["u-0", "u-1"])
def test_both_are_verified_whichever_names_the_other(tmp_path: Path, names: str) -> None:
    with desk(tmp_path, 3) as d:
        beside(d, names, "u-1" if names == "u-0" else "u-0")
        d.event(0, 1)
        d.event(2, 1)  # another shop somewhere: proves nothing
        assert set(verified(d).values()) == {None}
        d.event(1, 1)
        neighbours = {BOTH[0]: "neighbour:hannae/u-1", BOTH[1]: "neighbour:hannae/u-0"}
        assert verified(d) == {**neighbours, "unit:hannae/u-2": None}
        assert told(d, 1) == [("alarm", False), ("update", True)]
        assert told(d, 3) == [("alarm", True)]
        d.event(1, 2, phenomena=kinds.SMOKE)
        d.event(0, 2, phenomena=kinds.SMOKE)
        assert (told(d, 1), told(d, 3)) == ([("alarm", False), ("update", True)], [("alarm", True)])  # once


def test_what_is_held_for_a_verification_goes_out_at_once(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        on_verified(d)
        beside(d, "u-0", "u-1")
        d.event(0, 1)
        assert told(d, 1) == []
        d.clock.advance(3_000)
        d.event(1, 1)
        d.pass_time(1_000)  # far below the 15 s after which it would have gone out unverified
        assert told(d, 1) == told(d, 2) == [("alarm", True)]


def test_an_alarm_that_ended_before_confirms_nothing(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        beside(d, "u-0", "u-1")
        d.event(0, 1)
        d.event(0, 2, kinds.RESTORE)
        d.event(1, 1)
        assert set(verified(d).values()) == {None}
        d.event(0, 3)  # a new round: now they stand together
        assert verified(d) == {BOTH[0]: "neighbour:hannae/u-1", BOTH[1]: "neighbour:hannae/u-0"}


@pytest.mark.parametrize("bits", [kinds.CO, kinds.GAS, kinds.AIR])
def test_only_a_fire_confirms_a_fire(tmp_path: Path, bits: int) -> None:
    with desk(tmp_path, 2) as d:
        beside(d, "u-0", "u-1")
        d.event(0, 1)
        d.event(1, 1, phenomena=bits)
        assert {r.verified_by for r in d.rows(schema.incident)} == {None}


@pytest.mark.parametrize("kind", [kinds.PREALARM, kinds.TEST, kinds.FAULT])
def test_what_is_no_alarm_confirms_nothing(tmp_path: Path, kind: int) -> None:
    with desk(tmp_path, 2) as d:
        beside(d, "u-0", "u-1")
        d.event(0, 1)
        d.event(1, 1, kind, kinds.SMOKE if kind == kinds.PREALARM else 0, detail=1 if kind == kinds.FAULT else 0)
        assert set(verified(d).values()) == {None}


def test_a_drill_next_door_confirms_nothing(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        beside(d, "u-0", "u-1")
        with d.store.write() as conn:
            exercises.start(conn, site_id=SITE, units=("u-1",), minutes=10, note="", by="op", now_ms=d.clock.now_ms())
        d.writer.turn([Wake("registry")])
        d.event(0, 1)
        d.event(1, 1)
        assert set(verified(d).values()) == {None}
        d.event(0, 2)
        assert set(verified(d).values()) == {None}


def test_an_alarm_of_before_a_backup_confirms_nothing() -> None:
    """Nobody knows whether it stands still."""
    made = incidents.opened(BOTH[0], incidents.FIRE, source="n", names=("heat",), now_ms=1, snapshot={})
    assert policy.confirms_beside(made)
    assert not policy.confirms_beside(replace(made, snapshot={**made.snapshot, incidents.AS_OF_BACKUP: 1}))


def test_a_node_without_a_unit_has_no_neighbours(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        beside(d, "u-0", "u-1")
        with d.store.write() as conn:
            registry.assign_node(conn, node_id=node_id(1), unit=None)
        d.writer.turn([Wake("registry")])
        d.event(0, 1)
        d.event(1, 1)
        assert set(verified(d).values()) == {None}


def test_neighbours_that_are_taken_back_or_removed(tmp_path: Path) -> None:
    with desk(tmp_path, 3) as d:
        beside(d, "u-0", "u-1 u-2")
        beside(d, "u-0", "u-2")
        d.event(0, 1)
        d.event(1, 1)
        assert set(verified(d).values()) == {None}
        with d.store.write() as conn:
            registry.add_unit(conn, site_id=SITE, unit_id="u-9", name="n", place="", now_ms=1, next_to="u-2")
            registry.assign_node(conn, node_id=node_id(2), unit=(SITE, "u-9"))
            registry.remove_unit(conn, SITE, "u-2", actor="t", now_ms=1)
            assert {u["unit"]: u["next_to"] for u in registry.list_units(conn, SITE)} == dict.fromkeys(
                ("hannae/u-0", "hannae/u-1", "hannae/u-9"), ""
            )


def test_merged_units_have_the_neighbours_of_both(tmp_path: Path) -> None:
    with desk(tmp_path, 4) as d:
        beside(d, "u-0", "u-1")
        beside(d, "u-1", "u-2")
        beside(d, "u-3", "u-1")
        with d.store.write() as conn:
            registry.merge_units(conn, (SITE, "u-1"), (SITE, "u-0"), actor="t", now_ms=1)
            found = {u["unit"]: u["next_to"] for u in registry.list_units(conn, SITE)}
        assert found == {"hannae/u-0": "u-2 u-3", "hannae/u-2": "", "hannae/u-3": ""}


def test_the_list_is_checked(tmp_path: Path) -> None:
    with desk(tmp_path, 2) as d:
        data = ("--data", d.data)
        assert bongsu(*data, "unit", "edit", "hannae/u-0", "--next-to", "u-1, U-1").code == 0
        assert "u-1" in bongsu(*data, "unit", "show", "hannae/u-0").out
        for wrong, said in (("u-0", "next to itself"), ("u-7", "there is no unit hannae/u-7")):
            ran = bongsu(*data, "unit", "edit", "hannae/u-0", "--next-to", wrong)
            assert ran.code == 1 and said in ran.err
        with d.store.write() as conn, pytest.raises(RegistryError, match="u-8"):
            registry.add_unit(conn, site_id=SITE, unit_id="u-9", name="n", place="", now_ms=1, next_to="u-8")
        assert bongsu(*data, "unit", "edit", "hannae/u-0", "--next-to", "").code == 0
        assert d.rows(schema.unit)[0].next_to == ""


def _imported(d: Desk, folder: Path, *lines: str) -> Any:
    file = folder / "shops.csv"
    file.write_text("unit,name,place,owner,owner_phone,옆 점포\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return bongsu("--data", d.data, "import", file, "--site", SITE)


def test_it_is_imported_and_exported(tmp_path: Path) -> None:
    with desk(tmp_path, 1) as d:
        good = ('n-1,A,1,O,010-2222-0001,"n-2, u-0"', "n-2,B,1,P,010-2222-0002,")
        ran = _imported(d, tmp_path, *good)
        assert ran.code == 0, ran.err + ran.out
        assert {r.id: r.next_to for r in d.rows(schema.unit)} == {"n-1": "n-2 u-0", "n-2": "", "u-0": ""}
        exported = bongsu("--data", d.data, "export", "--site", SITE, "--out", tmp_path / "out.csv")
        assert exported.code == 0 and "n-2 u-0" in (tmp_path / "out.csv").read_text(encoding="utf-8")
        for wrong in ("n-9", "n-1"):
            ran = _imported(d, tmp_path, f"n-1,A,1,O,010-2222-0001,{wrong}")
            assert ran.code == 1 and "next_to" in ran.out
        assert _imported(d, tmp_path, "n-1,A,1,O,010-2222-0001,").code == 0
        assert {r.id: r.next_to for r in d.rows(schema.unit)}["n-1"] == ""


# ---- one event that carries two phenomena


@pytest.mark.parametrize("order", [(kinds.HEAT, kinds.SMOKE), (kinds.SMOKE, kinds.HEAT)])
def test_restores_of_one_phenomenon_each_end_an_alarm_of_two(tmp_path: Path, order: tuple[int, int]) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1, phenomena=kinds.HEAT | kinds.SMOKE, criterion=kinds.CRIT_FUSION)
        assert verified(d) == {BOTH[0]: "phenomenon"} and told(d, 1) == [("alarm", True)]
        d.event(0, 2, kinds.RESTORE, phenomena=order[0])
        (incident,) = d.rows(schema.incident)
        assert incident.restored_ms is None and told(d, 1) == [("alarm", True)]
        d.event(0, 3, kinds.RESTORE, phenomena=order[1])
        (incident,) = d.rows(schema.incident)
        assert incident.restored_ms is not None and incident.snapshot["active"] == {}
        assert told(d, 1) == [("alarm", True), ("restore", True)]
        d.event(0, 4, phenomena=kinds.SMOKE)  # one phenomenon alone begins a round that nothing confirms yet
        (incident,) = d.rows(schema.incident)
        assert incident.round == 2 and incident.verified_ms is None and told(d, 1)[-1] == ("alarm", False)


def test_a_restore_of_one_that_overtook_its_alarm_leaves_the_other_standing(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 2, kinds.RESTORE, phenomena=kinds.HEAT)
        d.event(0, 1, phenomena=kinds.HEAT | kinds.SMOKE, criterion=kinds.CRIT_FUSION)
        (incident,) = d.rows(schema.incident)
        assert incident.snapshot["active"] == {node_id(0): ["smoke"]} and incident.restored_ms is None
        d.event(0, 3, kinds.RESTORE, phenomena=kinds.SMOKE)
        (incident,) = d.rows(schema.incident)
        assert incident.restored_ms is not None
