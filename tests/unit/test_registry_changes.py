"""Edit, remove, merge and bulk changes: only what is given changes; what would hurt is refused with a way out; each is
noted for the receivers and stands in the audit.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from bongsu.receiver import fields, node_list, registry, roster
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import Store, schema
from tests.registry_parts import NODE, NOW_MS, fill, new_store, open_incident

BY: dict[str, Any] = {"actor": "op", "now_ms": NOW_MS}
A7, A8 = ("hannae", "a-07"), ("hannae", "a-08")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        yield made


def _rows(store: Store, table: Any) -> list[Any]:
    with store.read() as conn:
        return list(conn.execute(select(table).order_by(*table.primary_key.columns)))


def _audited(store: Store) -> list[tuple[str, str, str]]:
    return [(r.action, r.subject, r.detail) for r in _rows(store, schema.audit)]


def _noted(store: Store) -> dict[str, list[str]]:
    """What the last transaction told."""
    rows = _rows(store, schema.change)
    at = rows[-1].at_ms
    return {r.topic: r.what for r in rows if r.at_ms == at}


def _more_people(conn: Connection) -> None:
    for name, number in (("dep-1", "010-1234-0001"), ("dep-2", "010-1234-0002")):
        registry.add_contact(conn, contact_id=name, name=name, number=number, lang="en", now_ms=NOW_MS)


def test_an_edit_changes_only_what_is_given(store: Store) -> None:
    typed = {"floor": "B1", "hours": "daily 9:00-18:00", "lat": "37.5", "lon": "126.9"}
    with store.write() as conn:
        done = registry.edit_units(conn, "hannae", ["a-07"], typed, **BY)
        assert done["a-07"]["floor"] == ("", "B1") and done["a-07"]["hours"] == ("", "mon-sun 09:00-18:00")
    with store.write() as conn:
        assert registry.edit_units(conn, "hannae", ["a-07"], typed, **BY) == {}  # as it is already: no trace
        row = registry.show_unit(conn, *A7)
    assert (row["name"], row["floor"], row["stall"], row["lat"]) == ("봉수 떡집", "B1", "", 37.5)
    assert [a[:2] for a in _audited(store)] == [("unit.edit", "unit:hannae/a-07")]
    with store.write() as conn:
        registry.edit_site(conn, "hannae", {"name": "새 시장"}, **BY)
        registry.edit_node(conn, NODE, label="above the oven", **BY)
        assert registry.show_site(conn, "hannae")["address"] == "한내로 12"
        assert registry.get_node(conn, NODE)["label"] == "above the oven"
    assert set(_noted(store)) >= {"site", "node"} and _noted(store)["node"] == [NODE]


def test_a_bulk_edit_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(RegistryError, match="no unit hannae/zz"), store.write() as conn:
        registry.edit_units(conn, "hannae", ["a-07", "zz"], {"floor": "2"}, **BY)
    with pytest.raises(fields.FieldError), store.write() as conn:
        registry.edit_units(conn, "hannae", ["a-07", "a-08"], {"floor": "2", "hours": "never"}, **BY)
    assert {u.floor for u in _rows(store, schema.unit)} == {""}


def test_a_unit_with_nodes_or_an_open_incident_stays(store: Store) -> None:
    with pytest.raises(RegistryError, match=NODE) as caught, store.write() as conn:
        registry.remove_unit(conn, *A7, **BY)
    assert "bongsu node move" in caught.value.next_step
    incident = open_incident(store, subject="unit:hannae/a-08", class_="fault")
    with pytest.raises(RegistryError, match=f"open incident .{incident}"), store.write() as conn:
        registry.remove_unit(conn, *A8, **BY)
    with pytest.raises(RegistryError, match="has units"), store.write() as conn:
        registry.remove_site(conn, "hannae", **BY)


def test_what_is_removed_leaves_history_readable(store: Store) -> None:
    incident = open_incident(store, subject="unit:hannae/a-07")
    with store.write() as conn:
        conn.execute(schema.incident.update().values(state="closed", closed_ms=NOW_MS))
        registry.retire_node(conn, node_id=NODE)
        registry.remove_contact(conn, "owner-1", force=True, **BY)
        for unit in ("a-07", "a-08"):
            registry.remove_unit(conn, "hannae", unit, **BY)
        registry.remove_site(conn, "hannae", **BY)
        assert registry.list_sites(conn) == [] and registry.list_contacts(conn) == []
    (row,) = _rows(store, schema.incident)
    assert row.id == incident and row.snapshot["unit"]["name"] == "봉수 떡집"
    actions = [a[0] for a in _audited(store)]
    assert actions == ["contact.remove", "unit.remove", "unit.remove", "site.remove"]


def test_the_only_contact_of_a_unit_stays_unless_forced(store: Store) -> None:
    for act in (registry.remove_contact, lambda conn, who, **more: registry.unassign_contact(conn, who, A7, **more)):
        with pytest.raises(RegistryError, match="only one of hannae/a-07") as caught, store.write() as conn:
            act(conn, "owner-1", force=False, **BY)
        assert "--force" in caught.value.next_step
    with store.write() as conn:
        _more_people(conn)
        registry.assign_contact(conn, contact_id="dep-1", site_id="hannae", unit_id="a-07", role="deputy")
        registry.unassign_contact(conn, "owner-1", A7, force=False, **BY)
        assert [p["id"] for p in registry.unit_people(conn, *A7)] == ["dep-1"]


def test_who_is_on_duty_is_not_removed_by_the_way(store: Store) -> None:
    with store.write() as conn:
        _more_people(conn)
        roster.add_duty(
            conn, duty_id="night", contact_id="dep-1", site_id=None, days="daily", hours="22:00-06:00", now_ms=1
        )
    with pytest.raises(RegistryError, match="on duty .night"), store.write() as conn:
        registry.remove_contact(conn, "dep-1", force=False, **BY)
    with store.write() as conn:
        registry.remove_contact(conn, "dep-1", force=True, **BY)
    assert _rows(store, schema.duty) == []


def test_contacts_merge(store: Store) -> None:
    with store.write() as conn:
        _more_people(conn)
        registry.assign_contact(conn, contact_id="dep-1", site_id="hannae", unit_id="a-07", role="deputy")
        registry.assign_contact(conn, contact_id="dep-1", site_id="hannae", unit_id="a-08", role="owner")
        how: dict[str, Any] = {"site_id": None, "days": "daily", "hours": "22:00-06:00", "now_ms": 1}
        roster.add_duty(conn, duty_id="night", contact_id="owner-1", **how)
    with store.write() as conn:
        assert registry.merge_contacts(conn, "owner-1", "dep-1", **BY) == ["hannae/a-07"]
        found = registry.show_contact(conn, "dep-1")
        assert found["units"] == ["hannae/a-07 (owner)", "hannae/a-08 (owner)"]
        assert roster.load(conn)[0]["contact_id"] == "dep-1"
        with pytest.raises(RegistryError, match="no contact"):
            registry.show_contact(conn, "owner-1")
        with pytest.raises(RegistryError, match="into itself"):
            registry.merge_contacts(conn, "dep-1", "dep-1", **BY)
    told = _noted(store)
    assert set(told["contact"]) == {"owner-1", "dep-1"} and "hannae/a-07" in told["unit"]


def test_units_merge(store: Store) -> None:
    with store.write() as conn:
        _more_people(conn)
        registry.assign_contact(conn, contact_id="dep-1", site_id="hannae", unit_id="a-08", role="owner")
        registry.assign_contact(conn, contact_id="owner-1", site_id="hannae", unit_id="a-08", role="deputy")
        registry.assign_contact(conn, contact_id="dep-2", site_id="hannae", unit_id="a-07", role="deputy")
    incident = open_incident(store, subject=f"node:{NODE}", class_="fault")
    with pytest.raises(RegistryError, match="open incident"), store.write() as conn:
        registry.merge_units(conn, A7, A8, **BY)
    with store.write() as conn:
        conn.execute(schema.incident.update().values(state="closed", closed_ms=NOW_MS))
        assert registry.merge_units(conn, A7, A8, **BY) == {"nodes": [NODE], "contacts": ["dep-2"]}
        row = registry.show_unit(conn, *A8)
        assert row["nodes"] == [NODE]
        assert [(p["id"], p["role"], p["rank"]) for p in row["contacts"]] == [
            ("dep-1", "owner", 0),
            ("owner-1", "deputy", 1),
            ("dep-2", "deputy", 2),
        ]
        assert not registry.unit_exists(conn, *A7)
    assert incident and {"unit", "node"} <= set(_noted(store))
    assert set(_noted(store)["unit"]) == {"hannae/a-07", "hannae/a-08"}


def test_a_contacts_number_is_masked_wherever_its_edit_shows(store: Store) -> None:
    with store.write() as conn:
        _more_people(conn)
        done = registry.edit_contact(conn, "owner-1", {"phone": "010-7777-8888"}, **BY)
        assert done == {"phone": ("010-****-5678", "010-****-8888")}
        with pytest.raises(RegistryError, match="already that of contact dep-1"):
            registry.edit_contact(conn, "owner-1", {"phone": "010-1234-0001"}, **BY)
    assert "7777" not in repr(_audited(store)) and set(_noted(store)) >= {"contact", "unit", "duty"}


def test_a_node_in_service_is_retired_not_removed(store: Store) -> None:
    with store.write() as conn:
        registry.add_node(conn, node_id="0200000000aa", unit=None, label="", now_ms=1)
        registry.remove_node(conn, "0200000000aa", **BY)
        conn.execute(
            schema.node_key.insert().values(node_id=NODE, epoch=1, wrapped=b"x", state="pending", created_ms=1)
        )
        with pytest.raises(RegistryError, match="has been in service"):
            registry.remove_node(conn, NODE, **BY)
        assert [n["node"] for n in registry.list_nodes(conn)] == [NODE]


# ---- many nodes by a list


def _bulk(store: Store, text: str) -> node_list.Plan:
    with store.write() as conn:
        plan = node_list.make_plan(conn, text.encode())
        if not plan.faults:
            node_list.execute(conn, plan, **BY)
    return plan


def test_many_nodes_are_moved_labelled_and_retired_by_a_list(store: Store) -> None:
    ids = [f"0200000000{i:02x}" for i in range(4)]
    with store.write() as conn:
        for node in ids:
            registry.add_node(conn, node_id=node, unit=A7, label="", now_ms=1)
    text = f"node,unit,label,retire\n{ids[0]},hannae/a-08,door,\n{ids[1]},,,yes\n{ids[2]},hannae/a-07,,\n"
    plan = _bulk(store, text)
    assert plan.faults == [] and len(plan.changes) == 2 and plan.lines == 3
    with store.read() as conn:
        rows = {n["node"]: (n["unit"], n["label"], n["state"]) for n in registry.list_nodes(conn)}
    assert rows[ids[0]] == ("hannae/a-08", "door", "registered") and rows[ids[1]] == (None, "", "retired")
    assert rows[ids[2]] == rows[ids[3]] == ("hannae/a-07", "", "registered")
    assert set(_noted(store)["node"]) == set(ids[:2]) and _audited(store)[-1][0] == "node.bulk"


def test_a_list_of_nodes_with_anything_wrong_changes_nothing(store: Store) -> None:
    open_incident(store, subject="unit:hannae/a-07")
    with store.write() as conn:
        registry.add_node(conn, node_id="0200000000aa", unit=None, label="", now_ms=1)
    lines = [
        "0200000000aa,hannae/a-08,",
        "0200000000aa,hannae/a-08,",
        f"{NODE},hannae/a-08,",
        "0200000000bb,hannae/a-08,",
        "xyz,hannae/a-08,",
    ]
    plan = _bulk(store, "node,unit,retire\n" + "\n".join(lines) + "\n")
    assert [(f.line, f.code) for f in plan.faults] == [
        (3, "duplicate_node"),
        (4, "node_alarm"),
        (5, "no_node"),
        (6, "bad_node"),
    ]
    other = _bulk(store, "node,unit,retire\n0200000000aa,hannae/zz,\n").faults
    both = _bulk(store, "node,unit,retire\n0200000000aa,hannae/a-08,yes\n").faults
    assert [(f.column, f.code) for f in (*other, *both)] == [("unit", "no_unit"), ("unit", "retire_move")]
    assert {n.unit_id for n in _rows(store, schema.node)} == {"a-07", None}
