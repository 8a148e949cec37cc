"""Units of the registry: shops and homes, addressed "site/unit"."""

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from bongsu.receiver import fields, opening_hours, phone
from bongsu.receiver.registry_base import (
    NAME_MAX,
    PLACE_MAX,
    Changed,
    RegistryError,
    Row,
    audit,
    changed,
    refuse_open,
    rows_of,
    said,
)
from bongsu.receiver.registry_people import people, shown_person, unit_people
from bongsu.receiver.registry_sites import require_site
from bongsu.receiver.store import changes, schema

FLOOR_MAX = 20
# What of a unit can be edited, in the order in which it is shown. lat and lon are degrees, WGS 84; next_to: ids of the
# units beside it, which holds for both.
UNIT_FIELDS = ("name", "place", "floor", "stall", "hours", "lat", "lon", "next_to")
NEXT_TO_MAX = 400


def checked_fields(typed: dict[str, str]) -> Row:
    """Fields of a unit as stored, of those that are given. Raises FieldError."""
    checks: dict[str, Any] = {
        "name": lambda text: fields.words("name", text, NAME_MAX),
        "place": lambda text: fields.words("place", text, PLACE_MAX, required=False),
        "floor": lambda text: fields.words("floor", text, FLOOR_MAX, required=False),
        "stall": lambda text: fields.words("stall", text, FLOOR_MAX, required=False),
        "hours": opening_hours.normal,
        "next_to": unit_ids,
    }
    found = {field: checks[field](text) for field, text in typed.items() if field in checks}
    if "lat" in typed or "lon" in typed:
        found["lat"], found["lon"] = fields.position(typed.get("lat", ""), typed.get("lon", ""))
    return found


def unit_ids(text: str) -> str:
    """A list of unit ids as stored: each once, in order, a space between them. Raises FieldError."""
    found = sorted({fields.slug("unit id", one) for one in re.split(r"[\s,;]+", text.strip()) if one})
    return fields.words("next_to", " ".join(found), NEXT_TO_MAX, required=False)


def _require_beside(conn: Connection, site_id: str, unit_id: str, listed: str) -> None:
    """Raises RegistryError if a unit is to be next to itself, or to one that is not registered."""
    for other in listed.split():
        if other == unit_id:
            raise RegistryError(f"unit {site_id}/{unit_id} cannot be next to itself", "Name the units beside it.")
        require_unit(conn, site_id, other)


def add_unit(conn: Connection, *, site_id: str, unit_id: str, name: str, place: str, now_ms: int, **more: str) -> str:
    """Add a shop or home; returns its address "site/unit". `more`: floor, stall, hours, lat, lon as typed."""
    site, unit = fields.slug("site id", site_id), fields.slug("unit id", unit_id)
    values = checked_fields({"name": name, "place": place, **more})
    require_site(conn, site)
    if unit_exists(conn, site, unit):
        raise RegistryError(f"unit {site}/{unit} is already registered", f"See it: bongsu unit show {site}/{unit}")
    _require_beside(conn, site, unit, values.get("next_to", ""))
    conn.execute(insert(schema.unit).values(site_id=site, id=unit, created_ms=now_ms, **values))
    changes.note(conn, "unit", f"{site}/{unit}")
    return f"{site}/{unit}"


def unit_exists(conn: Connection, site_id: str, unit_id: str) -> bool:
    """True if the unit is registered."""
    c = schema.unit.c
    return conn.execute(select(c.id).where(c.site_id == site_id, c.id == unit_id)).first() is not None


def require_unit(conn: Connection, site_id: str, unit_id: str) -> None:
    """Raises RegistryError if there is no such unit."""
    if not unit_exists(conn, site_id, unit_id):
        raise RegistryError(f"there is no unit {site_id}/{unit_id}", "See them: bongsu unit list")


def list_units(conn: Connection, site_id: str | None = None) -> list[Row]:
    """Units of one site or of all, with owner and nodes."""
    c, n = schema.unit.c, schema.node.c
    query = select(schema.unit).order_by(c.site_id, c.id)
    placed = select(n.id, n.site_id, n.unit_id).where(n.site_id.is_not(None)).order_by(n.id)
    if site_id is not None:
        query, placed = query.where(c.site_id == site_id), placed.where(n.site_id == site_id)
    owners = {(p["site_id"], p["unit_id"]): p for p in people(conn, site_id) if p["role"] == "owner"}
    nodes: dict[tuple[str, str], list[str]] = {}
    for row in conn.execute(placed):
        nodes.setdefault((row.site_id, row.unit_id), []).append(row.id)
    return [
        _unit_row(row, owners.get((row.site_id, row.id)), nodes.get((row.site_id, row.id), []))
        for row in conn.execute(query)
    ]


def _unit_row(row: Any, owner: Row | None, nodes: list[str]) -> Row:
    return {
        "unit": f"{row.site_id}/{row.id}",
        **{field: getattr(row, field) for field in UNIT_FIELDS},
        "owner": owner["name"] if owner else None,
        "owner_phone": phone.masked(owner["phone"]) if owner else None,
        "nodes": nodes,
    }


def show_unit(conn: Connection, site_id: str, unit_id: str) -> Row:
    """One unit with its contacts in calling order and its nodes."""
    require_unit(conn, site_id, unit_id)
    row = next(u for u in list_units(conn, site_id) if u["unit"] == f"{site_id}/{unit_id}")
    return {**row, "contacts": [shown_person(p) for p in unit_people(conn, site_id, unit_id)]}


def edit_units(
    conn: Connection, site_id: str, unit_ids: Iterable[str], typed: dict[str, str], *, actor: str, now_ms: int
) -> dict[str, Changed]:
    """Change what is given of UNIT_FIELDS in all of these units, or in none; returns what changed, by unit id.

    Raises RegistryError if one is not registered, FieldError.
    """
    wanted, table = checked_fields(typed), schema.unit
    known = {r["id"]: r for r in rows_of(conn.execute(select(table).where(table.c.site_id == site_id)))}
    done: dict[str, Changed] = {}
    for unit_id in unit_ids:
        if unit_id not in known:
            raise RegistryError(f"there is no unit {site_id}/{unit_id}", "See them: bongsu unit list")
        _require_beside(conn, site_id, unit_id, wanted.get("next_to", ""))
        if differs := changed(known[unit_id], wanted):
            done[unit_id] = differs
    for unit_id, differs in done.items():
        values = {field: new for field, (_, new) in differs.items()}
        conn.execute(update(table).where(table.c.site_id == site_id, table.c.id == unit_id).values(values))
        subject = f"unit:{site_id}/{unit_id}"
        audit(conn, actor=actor, action="unit.edit", subject=subject, detail=said(differs), now_ms=now_ms)
    if done:
        changes.note(conn, "unit", *(f"{site_id}/{unit_id}" for unit_id in done))
    return done


def remove_unit(conn: Connection, site_id: str, unit_id: str, *, actor: str, now_ms: int) -> None:
    """Remove a unit without nodes and open incidents; its contacts stay registered. Closed incidents keep what they say
    of it.
    """
    require_unit(conn, site_id, unit_id)
    n = schema.node.c
    nodes = list(conn.execute(select(n.id).where(n.site_id == site_id, n.unit_id == unit_id)).scalars())
    if nodes:
        raise RegistryError(
            f"unit {site_id}/{unit_id} has nodes ({', '.join(nodes)})",
            f"Move or retire them first: bongsu node move {nodes[0]} SITE/UNIT",
        )
    refuse_open(conn, f"unit {site_id}/{unit_id}", [f"unit:{site_id}/{unit_id}"])
    drop_units(conn, site_id, [unit_id])
    subject = f"unit:{site_id}/{unit_id}"
    audit(conn, actor=actor, action="unit.remove", subject=subject, detail="", now_ms=now_ms)


def drop_units(conn: Connection, site_id: str, unit_ids: list[str]) -> None:
    """Take units out of the store that nothing hinders any more."""
    _forget_beside(conn, site_id, unit_ids)
    link, unit = schema.unit_contact.c, schema.unit.c
    for unit_id in unit_ids:
        conn.execute(delete(schema.unit_contact).where(link.site_id == site_id, link.unit_id == unit_id))
        conn.execute(delete(schema.unit).where(unit.site_id == site_id, unit.id == unit_id))
    changes.note(conn, "unit", *(f"{site_id}/{unit_id}" for unit_id in unit_ids))


def _forget_beside(conn: Connection, site_id: str, gone: list[str]) -> None:
    """No unit is next to one that is not there: its id may be given to another shop."""
    c = schema.unit.c
    for row in conn.execute(select(c.id, c.next_to).where(c.site_id == site_id, c.next_to != "")).all():
        left = [other for other in row.next_to.split() if other not in gone]
        if len(left) < len(row.next_to.split()):
            mine = update(schema.unit).where(c.site_id == site_id, c.id == row.id)
            conn.execute(mine.values(next_to=" ".join(left)))
            changes.note(conn, "unit", f"{site_id}/{row.id}")


def _join_beside(conn: Connection, site_id: str, gone: str, into: str) -> None:
    """Whatever was next to either is next to what they become."""
    c = schema.unit.c
    listed = conn.execute(select(c.id, c.next_to).where(c.site_id == site_id, c.next_to != "")).all()
    found = {other for row in listed if row.id in (gone, into) for other in row.next_to.split()}
    found |= {row.id for row in listed if gone in row.next_to.split()}
    joined = " ".join(sorted(found - {gone, into}))
    conn.execute(update(schema.unit).where(c.site_id == site_id, c.id == into).values(next_to=joined))


def merge_units(conn: Connection, source: tuple[str, str], into: tuple[str, str], *, actor: str, now_ms: int) -> Row:
    """Two shops became one, or one was registered twice: nodes and contacts of `source` go to `into`, and `source` is
    removed. Refused while either has an open incident. Returns what moved: {"nodes": [ids], "contacts": [ids]}.
    """
    (site_id, unit_id), (to_site, to_unit) = source, into
    if source == into:
        raise RegistryError("a unit cannot be merged into itself", "Name two units.")
    require_unit(conn, *source)
    require_unit(conn, *into)
    n, link = schema.node, schema.unit_contact
    there = (n.c.site_id == site_id) & (n.c.unit_id == unit_id)
    nodes = list(conn.execute(select(n.c.id).where(there).order_by(n.c.id)).scalars())
    subjects = [f"unit:{site_id}/{unit_id}", f"unit:{to_site}/{to_unit}", *(f"node:{node}" for node in nodes)]
    refuse_open(conn, f"one of {site_id}/{unit_id} and {to_site}/{to_unit}", subjects)
    conn.execute(update(n).where(there).values(site_id=to_site, unit_id=to_unit))
    have = unit_people(conn, *into)
    moved = [p for p in unit_people(conn, *source) if p["id"] not in {h["id"] for h in have}]
    owned, rank = any(p["role"] == "owner" for p in have), max([0, *(p["rank"] for p in have)])
    for p in moved:
        role = "owner" if p["role"] == "owner" and not owned else "deputy"
        rank += role == "deputy"
        values = {"contact_id": p["id"], "role": role, "rank": 0 if role == "owner" else rank}
        conn.execute(insert(link).values(site_id=to_site, unit_id=to_unit, **values))
    if nodes:
        changes.note(conn, "node", *nodes)
    if site_id == to_site:
        _join_beside(conn, site_id, unit_id, to_unit)
    drop_units(conn, site_id, [unit_id])
    changes.note(conn, "unit", f"{to_site}/{to_unit}")
    row = {"nodes": nodes, "contacts": [p["id"] for p in moved]}
    detail = (
        f"into {to_site}/{to_unit}; nodes: {', '.join(nodes) or '-'}; contacts: {', '.join(row['contacts']) or '-'}"
    )
    audit(conn, actor=actor, action="unit.merge", subject=f"unit:{site_id}/{unit_id}", detail=detail, now_ms=now_ms)
    return row
