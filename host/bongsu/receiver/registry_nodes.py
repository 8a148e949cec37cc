"""Nodes of the registry: boards by their MAC, and the units in which they hang."""

from sqlalchemy import Connection, delete, func, insert, select, update

from bongsu.receiver import fields, fitting
from bongsu.receiver.keys import retire_node_keys
from bongsu.receiver.registry_base import (
    NAME_MAX,
    Changed,
    RegistryError,
    Row,
    audit,
    changed,
    open_incidents,
    refuse_taken,
    rows_of,
    said,
)
from bongsu.receiver.registry_units import require_unit
from bongsu.receiver.store import changes, schema
from bongsu_wire import kinds

ALARMS = ("fire", "co_gas")
_EVENTS_SHOWN = 10
# What belongs to the place where a board hangs, and not to the board.
_MOVES_ALONG = ("label", "profile", "detector", "sensors", "reading_s")


def add_node(conn: Connection, *, node_id: str, unit: tuple[str, str] | None, label: str, now_ms: int) -> str:
    """Register a board by its MAC, in a unit or not yet; returns the id."""
    node = fields.node_id(node_id)
    if unit is not None:
        require_unit(conn, *unit)
    refuse_taken(conn, schema.node, node, "node")
    site, place = unit if unit is not None else (None, None)
    shown_label = fields.words("label", label, NAME_MAX, required=False)
    conn.execute(
        insert(schema.node).values(
            id=node, site_id=site, unit_id=place, label=shown_label, state="registered", created_ms=now_ms
        )
    )
    conn.execute(insert(schema.node_live).values(node_id=node, silent=False))
    changes.note(conn, "node", node)
    return node


def get_node(conn: Connection, node_id: str) -> Row:
    """The node's row. Raises RegistryError if it is not registered."""
    rows = rows_of(conn.execute(select(schema.node).where(schema.node.c.id == node_id)))
    if not rows:
        raise RegistryError(
            f"node {node_id} is not registered",
            f"See those that are: bongsu node list. If it is new: bongsu node add {node_id} --unit SITE/UNIT",
        )
    return rows[0]


def assign_node(conn: Connection, *, node_id: str, unit: tuple[str, str] | None) -> None:
    """Move a node into a unit, or out of one (None). Refused while an alarm of it, or of its unit, is open (DESIGN
    section 7).
    """
    row = _in_service(conn, node_id)
    if unit is not None:
        require_unit(conn, *unit)
    if unit == (row["site_id"], row["unit_id"]):
        return
    _refuse_alarm(conn, row)
    _place(conn, node_id, unit)


def edit_node(conn: Connection, node_id: str, *, label: str, actor: str, now_ms: int) -> Changed:
    """Change where in its unit a node hangs; returns what changed."""
    row = get_node(conn, node_id)
    done = changed(row, {"label": fields.words("label", label, NAME_MAX, required=False)})
    if done:
        conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(label=done["label"][1]))
        changes.note(conn, "node", node_id)
        audit(conn, actor=actor, action="node.edit", subject=f"node:{node_id}", detail=said(done), now_ms=now_ms)
    return done


def remove_node(conn: Connection, node_id: str, *, actor: str, now_ms: int) -> None:
    """Forget a board that was registered by mistake. One that ever had a key or sent something is retired instead, so
    that its events keep their node.
    """
    row = get_node(conn, node_id)
    for table in (schema.node_key, schema.event, schema.command, schema.node_window):
        if conn.execute(select(table.c.node_id).where(table.c.node_id == node_id).limit(1)).first() is not None:
            raise RegistryError(
                f"node {node_id} has been in service: its keys and events are kept",
                f"Take it out of service: bongsu node retire {node_id}" if row["state"] != "retired" else "",
            )
    for live in (schema.node_live, schema.node_broker, schema.walk_test, schema.commissioning):
        conn.execute(delete(live).where(live.c.node_id == node_id))
    conn.execute(delete(schema.node).where(schema.node.c.id == node_id))
    changes.note(conn, "node", node_id)
    audit(conn, actor=actor, action="node.remove", subject=f"node:{node_id}", detail="", now_ms=now_ms)


def retire_node(conn: Connection, *, node_id: str) -> list[int]:
    """The node leaves service: its keys and broker login end, its unit is free for another.

    Returns the open alarm incidents of it and its unit. They stay open, and hinder nothing: a stolen node could else
    ward off its end by alarming on and on.
    """
    still_open = _open_alarms(conn, _in_service(conn, node_id))
    _place(conn, node_id, None)
    retire_node_keys(conn, node_id)
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(state="retired"))
    return still_open


def replace_node(conn: Connection, *, old: str, new: str, actor: str, now_ms: int) -> Row:
    """Another board takes a node's place: unit, label, profile, sensors and the interval of readings move to `new`,
    registered or not yet, and `old` is retired: its keys end. Returns {"old", "new", "unit", "label", "registered"};
    `registered`: `new` is registered by this.

    Refused while an alarm of either, or of the unit, is open; if `new` hangs in another unit; and if one is retired.
    """
    new_id = fields.node_id(new)
    if new_id == old:
        raise RegistryError(f"node {old} cannot replace itself", "Name the new board's MAC as the second one.")
    before = _in_service(conn, old)
    there = conn.execute(select(schema.node.c.id).where(schema.node.c.id == new_id)).first() is not None
    if not there:
        add_node(conn, node_id=new_id, unit=None, label="", now_ms=now_ms)
    after, place = _in_service(conn, new_id), (before["site_id"], before["unit_id"])
    hangs = (after["site_id"], after["unit_id"])
    if hangs not in ((None, None), place):
        raise RegistryError(
            f"node {new_id} hangs in {'/'.join(hangs)} already", f"Take it out first: bongsu node unassign {new_id}"
        )
    for row in (before, after):
        _refuse_alarm(conn, row)
    unit = None if place == (None, None) else place
    retire_node(conn, node_id=old)
    moved = {field: before[field] for field in _MOVES_ALONG}
    conn.execute(update(schema.node).where(schema.node.c.id == new_id).values(**moved))
    _place(conn, new_id, unit)
    where = "/".join(unit) if unit else None
    detail = f"by {new_id}; unit: {where or '-'}; label: {before['label'] or '-'}"
    audit(conn, actor=actor, action="node.replace", subject=f"node:{old}", detail=detail, now_ms=now_ms)
    return {"old": old, "new": new_id, "unit": where, "label": before["label"], "registered": not there}


def _refuse_alarm(conn: Connection, row: Row) -> None:
    """Raises RegistryError while an alarm of the node or of its unit is open."""
    still_open = _open_alarms(conn, row)
    if still_open:
        raise RegistryError(
            f"node {row['id']} has an open alarm (incident {still_open[0]})",
            f"Close it first: bongsu incident close {still_open[0]}",
        )


def _in_service(conn: Connection, node_id: str) -> Row:
    row = get_node(conn, node_id)
    if row["state"] == "retired":
        raise RegistryError(f"node {node_id} is retired", "Register another board.")
    return row


def _open_alarms(conn: Connection, node: Row) -> list[int]:
    """Open fire and gas incidents of a node or of its unit, oldest first."""
    subjects = [f"node:{node['id']}"]
    if node["site_id"] is not None:
        subjects.append(f"unit:{node['site_id']}/{node['unit_id']}")
    return open_incidents(conn, subjects, ALARMS)


def _place(conn: Connection, node_id: str, unit: tuple[str, str] | None) -> None:
    site, place = unit if unit is not None else (None, None)
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(site_id=site, unit_id=place))
    changes.note(conn, "node", node_id)


def list_nodes(conn: Connection, node_id: str | None = None, *, site_id: str | None = None) -> list[Row]:
    """Nodes with their unit, newest key epoch and when they were last seen: all, one, or a site's."""
    node, live, key = schema.node.c, schema.node_live.c, schema.node_key.c
    epoch = select(func.max(key.epoch)).where(key.node_id == node.id).scalar_subquery().label("epoch")
    query = (
        select(node.id, node.site_id, node.unit_id, node.label, node.state, epoch, live.last_seen_ms, live.silent)
        .join(schema.node_live, live.node_id == node.id, isouter=True)
        .order_by(node.id)
    )
    if node_id is not None:
        query = query.where(node.id == node_id)
    if site_id is not None:
        query = query.where(node.site_id == site_id)
    out = []
    for row in rows_of(conn.execute(query)):
        site, place = row.pop("site_id"), row.pop("unit_id")
        out.append(
            {"node": row.pop("id"), "unit": f"{site}/{place}" if site else None, **row, "silent": bool(row["silent"])}
        )
    return out


def show_node(conn: Connection, node_id: str) -> Row:
    """One node with its keys' states, the fields of its last heartbeat, and what its detector was told: its `profile`
    (None: it was never provisioned with one), and the numbers that differ from it (`detector`); what is
    fitted to it (`sensors`, None: it was never provisioned) and the interval of its readings; `events`: the newest
    that it sent, so that prealarms, which open no incident, are seen too.
    """
    row = get_node(conn, node_id)
    key = schema.node_key.c
    keys = select(key.epoch, key.state, key.created_ms, key.activated_ms, key.valid_until_ms)
    heartbeat = select(schema.node_live.c.heartbeat).where(schema.node_live.c.node_id == node_id)
    return {
        **list_nodes(conn, node_id)[0],
        "profile": row["profile"] or None,
        "detector": row["detector"] or {},
        **fitting.shown(row),
        "keys": rows_of(conn.execute(keys.where(key.node_id == node_id).order_by(key.epoch))),
        "heartbeat": conn.execute(heartbeat).scalar_one_or_none(),
        "events": _newest_events(conn, node_id),
    }


def _newest_events(conn: Connection, node_id: str) -> list[Row]:
    c = schema.event.c
    query = select(c.id, c.kind, c.phenomena, c.criterion, c.event_ms, c.received_ms, c.incident_id)
    found = conn.execute(query.where(c.node_id == node_id).order_by(c.id.desc()).limit(_EVENTS_SHOWN))
    return [
        {
            "event": r.id,
            "kind": r.kind,
            "phenomena": kinds.phenomena_text(r.phenomena),
            "criterion": r.criterion,
            "event_ms": r.event_ms,
            "received_ms": r.received_ms,
            "incident": r.incident_id,
        }
        for r in found
    ]
