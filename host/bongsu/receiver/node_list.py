"""Many nodes moved, labelled or retired by a list: a plan that names every bad line, and its execution, in one
transaction or not at all.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from bongsu.receiver import csv_file, excel_file, fields, registry
from bongsu.receiver.registry_base import Changed, in_slices, open_incidents
from bongsu.receiver.registry_nodes import ALARMS
from bongsu.receiver.shop_list import Fault, Form, Line
from bongsu.receiver.store import changes, schema

FORM = Form(
    columns={
        "node": ("기기", "단말", "단말기", "노드", "mac"),
        "unit": ("호", "호수", "점포번호", "site/unit"),
        "label": ("기기위치", "단말위치", "노드위치"),
        "retire": ("폐기", "retired"),
    },
    required=("node",),
)
_YES = ("yes", "y", "1", "true", "예", "폐기")


@dataclass
class Plan:
    """What a list would do; it may be executed only if `faults` is empty. `changes`: by node."""

    lines: int = 0
    changes: dict[str, Changed] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """The changes, one field a row."""
        return [
            {"node": node, "field": name, "old": old, "new": new}
            for node, found in self.changes.items()
            for name, (old, new) in found.items()
        ]


def make_plan(conn: Connection, data: bytes, sheet: str | None = None) -> Plan:
    """Check a CSV or Excel list against itself and the registry; what is wrong is in the plan's faults."""
    book = excel_file.is_workbook(data)
    lines, faults = excel_file.parse(data, sheet, FORM) if book else csv_file.parse(data, FORM)
    plan = Plan(len(lines), faults=faults)
    n, u = schema.node.c, schema.unit.c
    nodes = {r.id: r for r in conn.execute(select(n.id, n.site_id, n.unit_id, n.label, n.state))}
    units = {f"{r.site_id}/{r.id}" for r in conn.execute(select(u.site_id, u.id))}
    seen: dict[str, int] = {}
    for line in lines:
        try:
            node = fields.listed_node_id(line.values["node"])
            if node in seen:
                raise fields.FieldError("duplicate_node", f"node {node} is in line {seen[node]} already", "Keep one.")
            seen[node] = line.number
            found = _wanted(line, nodes.get(node), units)
        except fields.FieldError as err:
            column = "unit" if err.code in ("bad_address", "no_unit", "bad_slug", "retire_move") else "node"
            column = "label" if err.code in ("too_long", "control_character") else column
            faults.append(Fault(line.number, column, err.code, f"{err.message}. {err.next_step}"))
            continue
        if found:
            plan.changes[node] = found
    _refuse_alarms(conn, plan, nodes, seen)
    plan.faults.sort(key=lambda f: (f.line, f.column))
    return plan


def _wanted(line: Line, row: Any, units: set[str]) -> Changed:
    """What a line changes of a node. Raises FieldError."""
    if row is None:
        raise fields.FieldError("no_node", "the node is not registered", "Register it: bongsu node add MAC")
    if row.state == "retired":
        raise fields.FieldError("node_retired", "the node is retired", "Take it out of the list.")
    at = f"{row.site_id}/{row.unit_id}" if row.site_id else None
    typed, found = line.values["unit"].strip(), Changed()
    if line.values["retire"].strip().lower() in _YES:
        if typed:
            raise fields.FieldError(
                "retire_move", "a node is retired or moved, not both", "Empty the one or the other."
            )
        return {"state": (row.state, "retired")}
    if typed:
        unit = "/".join(fields.unit_address(typed))
        if unit not in units:
            raise fields.FieldError("no_unit", f"there is no unit {unit}", "See them: bongsu unit list")
        if unit != at:
            found["unit"] = (at, unit)
    if "label" in line.has:
        label = fields.words("label", line.values["label"], registry.NAME_MAX, required=False)
        if label != row.label:
            found["label"] = (row.label, label)
    return found


def _refuse_alarms(conn: Connection, plan: Plan, nodes: dict[str, Any], seen: dict[str, int]) -> None:
    """A node whose alarm, or whose unit's alarm, is open is not moved (DESIGN section 7); it may be retired."""
    moving = [node for node, found in plan.changes.items() if "unit" in found]
    subjects = {f"node:{node}" for node in moving}
    subjects |= {f"unit:{plan.changes[node]['unit'][0]}" for node in moving if nodes[node].site_id}
    if not open_incidents(conn, subjects, ALARMS):
        return
    c = schema.incident.c
    alarming: dict[str, int] = {}
    for some in in_slices(sorted(subjects)):
        query = select(c.subject, c.id).where(c.state == "open", c.class_.in_(ALARMS), c.subject.in_(some))
        alarming.update({r.subject: r.id for r in conn.execute(query)})
    for node in moving:
        found = alarming.get(f"node:{node}") or alarming.get(f"unit:{plan.changes[node]['unit'][0]}")
        if found is not None:
            said = f"node {node} has an open alarm (incident {found}); close it first"
            plan.faults.append(Fault(seen[node], "node", "node_alarm", said))


def execute(conn: Connection, plan: Plan, *, actor: str, now_ms: int) -> None:
    """Write a plan made in the same transaction. Raises ValueError for one with faults."""
    if plan.faults:
        raise ValueError("a plan with faults is not executed")
    table, key = schema.node, schema.node_key
    mine = table.c.id == bindparam("key")
    moved, labelled, retired = ([n for n, c in plan.changes.items() if f in c] for f in ("unit", "label", "state"))
    if moved:
        places = [(n, *plan.changes[n]["unit"][1].split("/")) for n in moved]
        values: dict[str, Any] = {"site_id": bindparam("site"), "unit_id": bindparam("unit")}
        rows = [{"key": n, "site": site, "unit": unit} for n, site, unit in places]
        conn.execute(update(table).where(mine).values(values), rows)
    if labelled:
        label: dict[str, Any] = {"label": bindparam("new")}
        conn.execute(
            update(table).where(mine).values(label), [{"key": n, "new": plan.changes[n]["label"][1]} for n in labelled]
        )
    for some in in_slices(retired):  # as registry.retire_node
        gone = {"state": "retired", "site_id": None, "unit_id": None}
        conn.execute(update(table).where(table.c.id.in_(some)).values(gone))
        conn.execute(update(key).where(key.c.node_id.in_(some)).values(state="retired", valid_until_ms=None))
        conn.execute(delete(schema.node_broker).where(schema.node_broker.c.node_id.in_(some)))
    if plan.changes:
        changes.note(conn, "node", *plan.changes)
        detail = f"{len(moved)} moved, {len(labelled)} labelled, {len(retired)} retired: {', '.join(plan.changes)}"
        registry.audit(conn, actor=actor, action="node.bulk", subject="", detail=detail, now_ms=now_ms)
