"""The registry: sites, units, contacts, responders and nodes. Plain functions over a connection in a transaction of the
caller.

They check what they are given and raise FieldError or RegistryError; ids are slugs, a unit is addressed "site/unit", a
node by its MAC. Listing functions return dicts that can be shown as they are: phone numbers masked, no secrets.
"""

from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, update

from bongsu.errors import BongsuError
from bongsu.receiver import audit as audit_rows
from bongsu.receiver import fields, phone
from bongsu.receiver.keys import retire_node_keys
from bongsu.receiver.store import schema

NAME_MAX = 100
PLACE_MAX = 200

Row = dict[str, Any]


class RegistryError(BongsuError):
    """The registry refuses: something is there already, is missing, or is in use."""


# ---- sites and units


def add_site(conn: Connection, *, site_id: str, name: str, kind: str, address: str, tz: str, now_ms: int) -> str:
    """Add a market or a block of homes; returns its id."""
    values = {
        "id": fields.slug("site id", site_id),
        "name": fields.words("name", name, NAME_MAX),
        "kind": fields.one_of("kind", kind, schema.SITE_KINDS),
        "address": fields.words("address", address, PLACE_MAX, required=False),
        "tz": fields.time_zone(tz),
        "created_ms": now_ms,
    }
    _refuse_taken(conn, schema.site, values["id"], "site")
    conn.execute(insert(schema.site).values(values))
    return str(values["id"])


def add_unit(conn: Connection, *, site_id: str, unit_id: str, name: str, place: str, now_ms: int) -> str:
    """Add a shop or home; returns its address "site/unit"."""
    site, unit = fields.slug("site id", site_id), fields.slug("unit id", unit_id)
    values = {
        "site_id": site,
        "id": unit,
        "name": fields.words("name", name, NAME_MAX),
        "place": fields.words("place", place, PLACE_MAX, required=False),
        "created_ms": now_ms,
    }
    require_site(conn, site)
    if unit_exists(conn, site, unit):
        raise RegistryError(f"unit {site}/{unit} is already registered", f"See it: bongsu unit show {site}/{unit}")
    conn.execute(insert(schema.unit).values(values))
    return f"{site}/{unit}"


def require_site(conn: Connection, site_id: str) -> None:
    """Raises RegistryError if there is no such site."""
    if conn.execute(select(schema.site.c.id).where(schema.site.c.id == site_id)).first() is None:
        raise RegistryError(f"there is no site {fields.shown(site_id)}", "See them: bongsu site list")


def unit_exists(conn: Connection, site_id: str, unit_id: str) -> bool:
    """True if the unit is registered."""
    c = schema.unit.c
    return conn.execute(select(c.id).where(c.site_id == site_id, c.id == unit_id)).first() is not None


def require_unit(conn: Connection, site_id: str, unit_id: str) -> None:
    """Raises RegistryError if there is no such unit."""
    if not unit_exists(conn, site_id, unit_id):
        raise RegistryError(f"there is no unit {site_id}/{unit_id}", "See them: bongsu unit list")


def list_sites(conn: Connection) -> list[Row]:
    """All sites with the number of their units."""
    units = select(func.count()).where(schema.unit.c.site_id == schema.site.c.id).scalar_subquery().label("units")
    c = schema.site.c
    return _rows(conn.execute(select(c.id, c.name, c.kind, c.address, c.tz, units).order_by(c.id)))


def show_site(conn: Connection, site_id: str) -> Row:
    """One site with its units."""
    require_site(conn, site_id)
    row = next(s for s in list_sites(conn) if s["id"] == site_id)
    return {**row, "units": list_units(conn, site_id)}


def list_units(conn: Connection, site_id: str | None = None) -> list[Row]:
    """Units of one site or of all, with owner and nodes."""
    c = schema.unit.c
    query = select(c.site_id, c.id, c.name, c.place).order_by(c.site_id, c.id)
    if site_id is not None:
        query = query.where(c.site_id == site_id)
    owners = {(p["site_id"], p["unit_id"]): p for p in _people(conn) if p["role"] == "owner"}
    nodes: dict[tuple[str, str], list[str]] = {}
    for row in conn.execute(select(schema.node).where(schema.node.c.site_id.is_not(None)).order_by(schema.node.c.id)):
        nodes.setdefault((row.site_id, row.unit_id), []).append(row.id)
    return [
        _unit_row(row, owners.get((row.site_id, row.id)), nodes.get((row.site_id, row.id), []))
        for row in conn.execute(query)
    ]


def _unit_row(row: Any, owner: Row | None, nodes: list[str]) -> Row:
    return {
        "unit": f"{row.site_id}/{row.id}",
        "name": row.name,
        "place": row.place,
        "owner": owner["name"] if owner else None,
        "owner_phone": phone.masked(owner["phone"]) if owner else None,
        "nodes": nodes,
    }


def show_unit(conn: Connection, site_id: str, unit_id: str) -> Row:
    """One unit with its contacts in calling order and its nodes."""
    require_unit(conn, site_id, unit_id)
    row = next(u for u in list_units(conn, site_id) if u["unit"] == f"{site_id}/{unit_id}")
    return {**row, "contacts": [_shown_person(p) for p in unit_people(conn, site_id, unit_id)]}


# ---- contacts


def add_contact(conn: Connection, *, contact_id: str, name: str, number: str, lang: str, now_ms: int) -> str:
    """Add a person; returns the id. A phone number belongs to one contact, so that nobody is texted twice."""
    values = {
        "id": fields.slug("contact id", contact_id),
        "name": fields.words("name", name, NAME_MAX),
        "phone": phone.normal(number),
        "lang": fields.one_of("language", lang, schema.LANGS),
        "created_ms": now_ms,
    }
    _refuse_taken(conn, schema.contact, values["id"], "contact")
    holder = contact_by_phone(conn, str(values["phone"]))
    if holder is not None:
        raise RegistryError(
            f"the phone number {phone.masked(holder['phone'])} is already that of contact {holder['id']}",
            f"Use that contact: bongsu contact assign {holder['id']} SITE/UNIT",
        )
    conn.execute(insert(schema.contact).values(values))
    return str(values["id"])


def contact_by_phone(conn: Connection, e164: str) -> Row | None:
    """The contact with this number (not masked), or None."""
    rows = _rows(conn.execute(select(schema.contact).where(schema.contact.c.phone == e164)))
    return rows[0] if rows else None


def assign_contact(conn: Connection, *, contact_id: str, site_id: str, unit_id: str, role: str) -> int:
    """Make a contact a unit's owner (called first; one per unit) or the next of its deputies; returns the rank."""
    fields.one_of("role", role, schema.CONTACT_ROLES)
    require_unit(conn, site_id, unit_id)
    if conn.execute(select(schema.contact.c.id).where(schema.contact.c.id == contact_id)).first() is None:
        raise RegistryError(f"there is no contact {fields.shown(contact_id)}", "See them: bongsu contact list")
    people = unit_people(conn, site_id, unit_id)
    if any(p["id"] == contact_id for p in people):
        raise RegistryError(
            f"contact {contact_id} belongs to {site_id}/{unit_id} already", f"See: bongsu unit show {site_id}/{unit_id}"
        )
    if role == "owner" and any(p["role"] == "owner" for p in people):
        raise RegistryError(f"{site_id}/{unit_id} has an owner already", "Add this contact as a deputy: --role deputy")
    rank = 0 if role == "owner" else max([0, *(p["rank"] for p in people)]) + 1
    conn.execute(
        insert(schema.unit_contact).values(
            site_id=site_id, unit_id=unit_id, contact_id=contact_id, role=role, rank=rank
        )
    )
    return rank


def _people(conn: Connection) -> list[Row]:
    link, person = schema.unit_contact, schema.contact
    query = select(
        link.c.site_id,
        link.c.unit_id,
        link.c.role,
        link.c.rank,
        person.c.id,
        person.c.name,
        person.c.phone,
        person.c.lang,
    )
    return _rows(
        conn.execute(
            query.join(person, person.c.id == link.c.contact_id).order_by(link.c.site_id, link.c.unit_id, link.c.rank)
        )
    )


def unit_people(conn: Connection, site_id: str, unit_id: str) -> list[Row]:
    """A unit's contacts in calling order, with whole phone numbers: id, name, phone, lang, role, rank. For deliveries,
    not for showing.
    """
    link, person = schema.unit_contact, schema.contact
    query = (
        select(person.c.id, person.c.name, person.c.phone, person.c.lang, link.c.role, link.c.rank)
        .join(link, person.c.id == link.c.contact_id)
        .where(link.c.site_id == site_id, link.c.unit_id == unit_id)
        .order_by(link.c.rank)
    )
    return _rows(conn.execute(query))


def _shown_person(person: Row) -> Row:
    return {**person, "phone": phone.masked(person["phone"])}


def list_contacts(conn: Connection) -> list[Row]:
    """All contacts, numbers masked, with the units that they belong to."""
    units: dict[str, list[str]] = {}
    for p in _people(conn):
        units.setdefault(p["id"], []).append(f"{p['site_id']}/{p['unit_id']} ({p['role']})")
    c = schema.contact.c
    rows = _rows(conn.execute(select(c.id, c.name, c.phone, c.lang).order_by(c.id)))
    return [{**_shown_person(r), "units": units.get(r["id"], [])} for r in rows]


def show_contact(conn: Connection, contact_id: str) -> Row:
    """One contact, number masked, with the units that it belongs to."""
    found = [c for c in list_contacts(conn) if c["id"] == contact_id]
    if not found:
        raise RegistryError(f"there is no contact {fields.shown(contact_id)}", "See them: bongsu contact list")
    return found[0]


def contact_phone(conn: Connection, contact_id: str, *, actor: str, now_ms: int) -> str:
    """A contact's whole number; that it was shown is written into the audit."""
    found = conn.execute(select(schema.contact.c.phone).where(schema.contact.c.id == contact_id)).scalar_one_or_none()
    if found is None:
        raise RegistryError(f"there is no contact {fields.shown(contact_id)}", "See them: bongsu contact list")
    audit(conn, actor=actor, action="phone.unmasked", subject=f"contact:{contact_id}", detail="", now_ms=now_ms)
    return str(found)


# ---- nodes


def add_node(conn: Connection, *, node_id: str, unit: tuple[str, str] | None, label: str, now_ms: int) -> str:
    """Register a board by its MAC, in a unit or not yet; returns the id."""
    node = fields.node_id(node_id)
    if unit is not None:
        require_unit(conn, *unit)
    _refuse_taken(conn, schema.node, node, "node")
    site, place = unit if unit is not None else (None, None)
    shown_label = fields.words("label", label, NAME_MAX, required=False)
    conn.execute(
        insert(schema.node).values(
            id=node, site_id=site, unit_id=place, label=shown_label, state="registered", created_ms=now_ms
        )
    )
    conn.execute(insert(schema.node_live).values(node_id=node, silent=False))
    return node


def get_node(conn: Connection, node_id: str) -> Row:
    """The node's row. Raises RegistryError if it is not registered."""
    rows = _rows(conn.execute(select(schema.node).where(schema.node.c.id == node_id)))
    if not rows:
        raise RegistryError(
            f"node {node_id} is not registered", f"Register it: bongsu node add {node_id} --unit SITE/UNIT"
        )
    return rows[0]


def assign_node(conn: Connection, *, node_id: str, unit: tuple[str, str] | None) -> None:
    """Move a node into a unit, or out of one (None). Refused while an alarm of it, or of its unit, is open (DESIGN
    section 7).
    """
    row = _in_service(conn, node_id)
    if unit is not None:
        require_unit(conn, *unit)
    still_open = _open_alarms(conn, row)
    if still_open:
        raise RegistryError(
            f"node {node_id} has an open alarm (incident {still_open[0]})",
            f"Close it first: bongsu incident close {still_open[0]}",
        )
    _place(conn, node_id, unit)


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
    c = schema.incident.c
    query = select(c.id).where(c.subject.in_(subjects), c.state == "open", c.class_.in_(("fire", "co_gas")))
    return list(conn.execute(query.order_by(c.id)).scalars())


def _place(conn: Connection, node_id: str, unit: tuple[str, str] | None) -> None:
    site, place = unit if unit is not None else (None, None)
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(site_id=site, unit_id=place))


def list_nodes(conn: Connection, node_id: str | None = None) -> list[Row]:
    """Nodes with their unit, newest key epoch and when they were last seen."""
    node, live, key = schema.node.c, schema.node_live.c, schema.node_key.c
    epoch = select(func.max(key.epoch)).where(key.node_id == node.id).scalar_subquery().label("epoch")
    query = (
        select(node.id, node.site_id, node.unit_id, node.label, node.state, epoch, live.last_seen_ms, live.silent)
        .join(schema.node_live, live.node_id == node.id, isouter=True)
        .order_by(node.id)
    )
    if node_id is not None:
        query = query.where(node.id == node_id)
    out = []
    for row in _rows(conn.execute(query)):
        site, place = row.pop("site_id"), row.pop("unit_id")
        out.append(
            {"node": row.pop("id"), "unit": f"{site}/{place}" if site else None, **row, "silent": bool(row["silent"])}
        )
    return out


def show_node(conn: Connection, node_id: str) -> Row:
    """One node with its keys' states and the fields of its last heartbeat."""
    get_node(conn, node_id)
    key = schema.node_key.c
    keys = select(key.epoch, key.state, key.created_ms, key.activated_ms, key.valid_until_ms)
    heartbeat = select(schema.node_live.c.heartbeat).where(schema.node_live.c.node_id == node_id)
    return {
        **list_nodes(conn, node_id)[0],
        "keys": _rows(conn.execute(keys.where(key.node_id == node_id).order_by(key.epoch))),
        "heartbeat": conn.execute(heartbeat).scalar_one_or_none(),
    }


# ---- audit and small things


def audit(conn: Connection, *, actor: str, action: str, subject: str, detail: str, now_ms: int) -> None:
    """Write down who did what by hand (audit.py)."""
    audit_rows.write(conn, actor=actor, action=action, subject=subject, detail=detail, now_ms=now_ms)


def _refuse_taken(conn: Connection, table: Table, wanted: Any, what: str) -> None:
    if conn.execute(select(table.c.id).where(table.c.id == wanted)).first() is not None:
        raise RegistryError(f"{what} {wanted} is already registered", f"See it: bongsu {what} show {wanted}")


def _rows(result: Any) -> list[Row]:
    return [dict(row._mapping) for row in result]
