"""Import of a market's shop list: a plan that names every bad line and column and says what would change, and its
execution, in one transaction or not at all.

The list is how the shops shall be: a unit that is not registered is added, one that is gets what differs. A column that
the file lacks changes nothing; an empty cell under floor, stall, hours, lat, lon, next_to or a deputy clears it. Nodes
are added and placed, never taken away. Units that the list does not name are removed only if that is asked for.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from bongsu.receiver import csv_file, excel_file, phone, registry
from bongsu.receiver.registry_base import Changed, Row, changed
from bongsu.receiver.registry_units import drop_units
from bongsu.receiver.shop_check import Checker, Known, Person, Shop
from bongsu.receiver.shop_list import Fault
from bongsu.receiver.store import changes, schema

ADDED, CHANGED, UNCHANGED, REMOVED = "added", "changed", "unchanged", "removed"


@dataclass(frozen=True)
class Change:
    """What happens to one unit: `what` is one of added, changed, unchanged, removed; `fields`: (old, new) of what
    differs, phone numbers masked.
    """

    unit: str
    what: str
    fields: Changed


@dataclass
class Plan:
    """What an import would do; it may be executed only if `faults` is empty. `warnings` hinder nothing."""

    site_id: str
    shops: list[Shop] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    people: dict[str, list[Person]] = field(default_factory=dict, repr=False)  # unit -> whom to call now, in order
    known: Known = field(default_factory=Known, repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """How many units are in the list, what happens to how many, and how many contacts and nodes are new to them."""
        done = Counter(c.what for c in self.changes)
        new = {p.phone for people in self.people.values() for p in people if p.contact_id is None}
        placed = sum(n.is_new or n.moves for s in self.shops for n in s.nodes)
        return {
            "units": len(self.shops),
            **{what: done[what] for what in (ADDED, CHANGED, UNCHANGED, REMOVED)},
            "new_contacts": len(new),
            "nodes": placed,
        }


def make_plan(
    conn: Connection, site_id: str, data: bytes, *, sheet: str | None = None, remove_missing: bool = False
) -> Plan:
    """Check a CSV or Excel file against itself and against the registry. Raises RegistryError if there is no such site;
    all else is in the plan's faults. `sheet`: of a workbook with several. `remove_missing`: units that it does not name
    are removed.
    """
    registry.require_site(conn, site_id)
    plan = Plan(site_id, known=Known.of(conn, site_id))
    book = excel_file.is_workbook(data)
    lines, faults = excel_file.parse(data, sheet) if book else csv_file.parse(data)
    check = Checker(site_id, plan.known, faults, plan.warnings)
    for line in lines:
        shop = check.shop(line)
        if shop is not None:
            plan.shops.append(shop)
    check.beside(plan.shops)
    plan.changes = [_change(plan, shop) for shop in plan.shops]
    if remove_missing and lines:
        _plan_removal(conn, plan, faults, check.units)
    plan.faults = _each_once(faults)
    return plan


def _each_once(faults: list[Fault]) -> list[Fault]:
    """In the order of the file; a field that could not be read is not called empty as well."""
    unread = {(f.line, f.column) for f in faults if f.code != "empty"}
    kept = [f for f in faults if f.code != "empty" or (f.line, f.column) not in unread]
    return sorted(kept, key=lambda f: (f.line, f.column))


def _change(plan: Plan, shop: Shop) -> Change:
    before = plan.known.units.get(shop.unit)
    had = plan.known.people.get(shop.unit, [])
    people = _people(shop, had)
    fields = changed(before, shop.fields) if before is not None else {}
    for role in ("owner", "deputy"):
        old, new = _named(had, role), _named(people, role)
        if old != new:
            fields[f"{role}s" if role == "deputy" else role] = (", ".join(old) or None, ", ".join(new) or None)
    nodes = [n for n in shop.nodes if n.is_new or n.moves or n.relabels]
    if nodes:
        fields["nodes"] = (None, ", ".join(f"+{n.id}" if n.is_new or n.moves else n.id for n in nodes))
    if before is None or had != people:
        plan.people[shop.unit] = people
    if before is None:
        return Change(shop.unit, ADDED, {})
    return Change(shop.unit, CHANGED if fields else UNCHANGED, fields)


def _people(shop: Shop, had: list[Person]) -> list[Person]:
    """Who is to be called: the list's owner and deputies, and registered deputies for whom it has no column: those
    after its last one, if all are filled. An empty place says that there are no more: else they would move up into it,
    and the next import of the same list would do something else.
    """
    deputies = [p for p in had if p.role == "deputy"]
    owner = shop.owner or next((p for p in had if p.role == "owner"), None)
    full = len(shop.deputies) == shop.deputy_columns
    wanted = [*shop.deputies, *(deputies[shop.deputy_columns :] if full else [])]
    kept = {_who(p): p for p in reversed(wanted) if owner is None or _who(p) != _who(owner)}
    in_order = [p for p in wanted if kept.get(_who(p)) is p]
    return ([owner] if owner is not None else []) + in_order


def _who(person: Person) -> str:
    return person.contact_id or person.phone


def _named(people: list[Person], role: str) -> list[str]:
    return [f"{p.name} {phone.masked(p.phone)} ({p.lang})" for p in people if p.role == role]


def _plan_removal(conn: Connection, plan: Plan, faults: list[Fault], listed: set[str]) -> None:
    missing = [unit for unit in plan.known.units if unit not in listed]
    busy = plan.known.open_units(conn, plan.site_id, missing)
    for unit in missing:
        if nodes := plan.known.nodes_in.get(unit):
            said = f"unit {unit} is not in the list, but has nodes ({', '.join(nodes)}): move or retire them first"
            faults.append(Fault(0, "unit", "unit_has_nodes", said))
        elif unit in busy:
            said = f"unit {unit} is not in the list, but has an open incident: close it first"
            faults.append(Fault(0, "unit", "unit_open_incident", said))
        plan.changes.append(Change(unit, REMOVED, {}))


# ---- execution


def execute(conn: Connection, plan: Plan, *, actor: str = "import", now_ms: int) -> None:
    """Write a plan made in the same transaction. Raises ValueError for one with faults."""
    if plan.faults:
        raise ValueError("a plan with faults is not executed")
    what = {c.unit: c.what for c in plan.changes}
    ids = _write_contacts(conn, plan, now_ms)
    _write_units(conn, plan, what, now_ms)
    _write_links(conn, plan, ids)
    _write_nodes(conn, plan, now_ms)
    if gone := [unit for unit, done in what.items() if done == REMOVED]:
        drop_units(conn, plan.site_id, gone)
    touched = [f"{plan.site_id}/{unit}" for unit, done in what.items() if done in (ADDED, CHANGED)]
    if touched:
        changes.note(conn, "unit", *touched)
    if touched or gone:
        detail = ", ".join(f"{n} {name}" for name, n in plan.counts.items() if n)
        subject = f"site:{plan.site_id}"
        registry.audit(conn, actor=actor, action="import", subject=subject, detail=detail, now_ms=now_ms)


def _many(conn: Connection, statement: Any, rows: list[Row]) -> None:
    if rows:
        conn.execute(statement, rows)


def _write_contacts(conn: Connection, plan: Plan, now_ms: int) -> dict[str, str]:
    """Edit and add contacts; returns the ids of the new ones by phone number."""
    named = [p for people in plan.people.values() for p in people]
    registered = {p.contact_id: p for p in plan.known.contacts.values()}
    edited = {p.contact_id: p for p in named if p.contact_id is not None and _differs(p, registered[p.contact_id])}
    table = schema.contact
    values: Row = {f: bindparam(f"new_{f}") for f in ("name", "phone", "lang")}
    rows: list[Row] = [
        {"key": p.contact_id, "new_name": p.name, "new_phone": p.phone, "new_lang": p.lang} for p in edited.values()
    ]
    _many(conn, update(table).where(table.c.id == bindparam("key")).values(values), rows)
    if edited:
        changes.note(conn, "duty")
    new = {p.phone: p for p in named if p.contact_id is None}
    ids = dict(zip(new, _free_ids(conn, len(new)), strict=True))
    rows = [{"id": ids[n], "name": p.name, "phone": n, "lang": p.lang, "created_ms": now_ms} for n, p in new.items()]
    _many(conn, insert(table), rows)
    if touched := [*(i for i in edited if i is not None), *ids.values()]:
        changes.note(conn, "contact", *touched)
    return ids


def _differs(one: Person, other: Person) -> bool:
    return (one.name, one.phone, one.lang) != (other.name, other.phone, other.lang)


def _free_ids(conn: Connection, count: int) -> list[str]:
    """Ids c-1, c-2, ... that no contact has, nor had as far as the audit knows: history must not name another."""
    a = schema.audit.c
    taken = set(conn.execute(select(schema.contact.c.id)).scalars())
    gone = conn.execute(select(a.subject).where(a.subject.like("contact:c-%"))).scalars()
    taken.update(subject.removeprefix("contact:") for subject in gone)
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        if f"c-{number}" not in taken:
            found.append(f"c-{number}")
    return found


def _write_units(conn: Connection, plan: Plan, what: dict[str, str], now_ms: int) -> None:
    table = schema.unit
    blank: Row = dict.fromkeys(("floor", "stall", "hours", "next_to"), "") | dict.fromkeys(("lat", "lon"))
    new = [s for s in plan.shops if what[s.unit] == ADDED]
    fixed = {"site_id": plan.site_id, "created_ms": now_ms}
    _many(conn, insert(table), [{**blank, **s.fields, **fixed, "id": s.unit} for s in new])
    values: Row = {f: bindparam(f"new_{f}") for f in registry.UNIT_FIELDS}
    mine = update(table).where(table.c.site_id == plan.site_id, table.c.id == bindparam("key")).values(values)
    old = [s for s in plan.shops if what[s.unit] == CHANGED and changed(plan.known.units[s.unit], s.fields)]
    rows = [{"key": s.unit} | _renamed(plan.known.units[s.unit] | s.fields) for s in old]
    _many(conn, mine, rows)


def _renamed(row: Row) -> Row:
    return {f"new_{f}": row[f] for f in registry.UNIT_FIELDS}


def _write_links(conn: Connection, plan: Plan, ids: dict[str, str]) -> None:
    """Who is called for which unit: of those for whom that changes, all anew."""
    table = schema.unit_contact
    mine = delete(table).where(table.c.site_id == plan.site_id, table.c.unit_id == bindparam("key"))
    _many(conn, mine, [{"key": unit} for unit in plan.people if plan.known.people.get(unit)])
    rows: list[Row] = []
    for unit, people in plan.people.items():
        first = 0 if people and people[0].role == "owner" else 1
        for rank, p in enumerate(people, first):
            who = {"contact_id": p.contact_id or ids[p.phone], "role": p.role, "rank": rank}
            rows.append({"site_id": plan.site_id, "unit_id": unit, **who})
    _many(conn, insert(table), rows)


def _write_nodes(conn: Connection, plan: Plan, now_ms: int) -> None:
    table = schema.node
    placed = [(s.unit, n) for s in plan.shops for n in s.nodes if n.is_new or n.moves or n.relabels]
    new = [(unit, n) for unit, n in placed if n.is_new]
    fixed = {"site_id": plan.site_id, "state": "registered", "created_ms": now_ms}
    _many(conn, insert(table), [{"id": n.id, "unit_id": unit, "label": n.label or "", **fixed} for unit, n in new])
    _many(conn, insert(schema.node_live), [{"node_id": n.id, "silent": False} for _, n in new])
    values: Row = {"site_id": plan.site_id, "unit_id": bindparam("to"), "label": bindparam("new_label")}
    rows: list[Row] = [{"key": n.id, "to": unit, "new_label": n.label} for unit, n in placed if not n.is_new]
    _many(conn, update(table).where(table.c.id == bindparam("key")).values(values), rows)
    if placed:
        changes.note(conn, "node", *(n.id for _, n in placed))
