"""Contacts of the registry: owners and deputies, and the units that they are called for."""

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, delete, insert, select, update

from bongsu.receiver import fields, phone
from bongsu.receiver.registry_base import (
    NAME_MAX,
    Changed,
    RegistryError,
    Row,
    audit,
    changed,
    refuse_taken,
    rows_of,
    said,
)
from bongsu.receiver.store import changes, schema

# Called one after the other; who would be called tenth is never reached in time.
DEPUTIES_MAX = 9


def add_contact(conn: Connection, *, contact_id: str, name: str, number: str, lang: str, now_ms: int) -> str:
    """Add a person; returns the id. A phone number belongs to one contact, so that nobody is texted twice."""
    contact = fields.slug("contact id", contact_id)
    values = _checked({"name": name, "phone": number, "lang": lang})
    refuse_taken(conn, schema.contact, contact, "contact")
    _refuse_number(conn, str(values["phone"]))
    conn.execute(insert(schema.contact).values(id=contact, created_ms=now_ms, **values))
    changes.note(conn, "contact", contact)
    return contact


def _checked(typed: dict[str, str]) -> Row:
    checks: dict[str, Callable[[str], str]] = {
        "name": lambda text: fields.words("name", text, NAME_MAX),
        "phone": phone.normal,
        "lang": lambda text: fields.one_of("language", text, schema.LANGS),
    }
    return {field: checks[field](text) for field, text in typed.items()}


def _refuse_number(conn: Connection, e164: str) -> None:
    holder = contact_by_phone(conn, e164)
    if holder is not None:
        raise RegistryError(
            f"the phone number {phone.masked(holder['phone'])} is already that of contact {holder['id']}",
            f"Use that contact: bongsu contact assign {holder['id']} SITE/UNIT; or merge the two: bongsu contact merge",
        )


def contact_by_phone(conn: Connection, e164: str) -> Row | None:
    """The contact with this number (not masked), or None."""
    rows = rows_of(conn.execute(select(schema.contact).where(schema.contact.c.phone == e164)))
    return rows[0] if rows else None


def require_contact(conn: Connection, contact_id: str) -> Row:
    """The contact's row, number not masked. Raises RegistryError if there is none."""
    rows = rows_of(conn.execute(select(schema.contact).where(schema.contact.c.id == contact_id)))
    if not rows:
        raise RegistryError(f"there is no contact {fields.shown(contact_id)}", "See them: bongsu contact list")
    return rows[0]


def assign_contact(conn: Connection, *, contact_id: str, site_id: str, unit_id: str, role: str) -> int:
    """Make a contact a unit's owner (called first; one per unit) or the next of its deputies; returns the rank."""
    from bongsu.receiver.registry_units import require_unit

    fields.one_of("role", role, schema.CONTACT_ROLES)
    require_unit(conn, site_id, unit_id)
    require_contact(conn, contact_id)
    have, where = unit_people(conn, site_id, unit_id), f"{site_id}/{unit_id}"
    if any(p["id"] == contact_id for p in have):
        raise RegistryError(f"contact {contact_id} belongs to {where} already", f"See: bongsu unit show {where}")
    if role == "owner" and any(p["role"] == "owner" for p in have):
        raise RegistryError(f"{where} has an owner already", "Add this contact as a deputy: --role deputy")
    if role == "deputy" and sum(p["role"] == "deputy" for p in have) >= DEPUTIES_MAX:
        raise RegistryError(
            f"{where} has {DEPUTIES_MAX} deputies already", f"Take one away: bongsu contact unassign ID {where}"
        )
    rank = 0 if role == "owner" else max([0, *(p["rank"] for p in have)]) + 1
    values = {"site_id": site_id, "unit_id": unit_id, "contact_id": contact_id, "role": role, "rank": rank}
    conn.execute(insert(schema.unit_contact).values(values))
    _note(conn, contact_id, [where])
    return rank


def _note(conn: Connection, contact_id: str, units: Iterable[str]) -> None:
    changes.note(conn, "contact", contact_id)
    if where := list(units):
        changes.note(conn, "unit", *where)


def people(conn: Connection, site_id: str | None = None, *, contact_id: str | None = None) -> list[Row]:
    """Who is called for which unit, in calling order, with whole phone numbers: of all units, of a site's, or of one
    contact.
    """
    link, person = schema.unit_contact.c, schema.contact.c
    query = select(
        link.site_id, link.unit_id, link.role, link.rank, person.id, person.name, person.phone, person.lang
    ).join(schema.contact, person.id == link.contact_id)
    if site_id is not None:
        query = query.where(link.site_id == site_id)
    if contact_id is not None:
        query = query.where(link.contact_id == contact_id)
    return rows_of(conn.execute(query.order_by(link.site_id, link.unit_id, link.rank)))


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
    return rows_of(conn.execute(query))


def shown_person(person: Row) -> Row:
    """The person with a masked number."""
    return {**person, "phone": phone.masked(person["phone"])}


def list_contacts(conn: Connection, contact_id: str | None = None) -> list[Row]:
    """All contacts or one, numbers masked, with the units that they belong to."""
    units: dict[str, list[str]] = {}
    for p in people(conn, contact_id=contact_id):
        units.setdefault(p["id"], []).append(f"{p['site_id']}/{p['unit_id']} ({p['role']})")
    c = schema.contact.c
    query = select(c.id, c.name, c.phone, c.lang).order_by(c.id)
    if contact_id is not None:
        query = query.where(c.id == contact_id)
    return [{**shown_person(r), "units": units.get(r["id"], [])} for r in rows_of(conn.execute(query))]


def show_contact(conn: Connection, contact_id: str) -> Row:
    """One contact, number masked, with the units that it belongs to."""
    require_contact(conn, contact_id)
    return list_contacts(conn, contact_id)[0]


def contact_phone(conn: Connection, contact_id: str, *, actor: str, now_ms: int) -> str:
    """A contact's whole number; that it was shown is written into the audit."""
    found = require_contact(conn, contact_id)
    audit(conn, actor=actor, action="phone.unmasked", subject=f"contact:{contact_id}", detail="", now_ms=now_ms)
    return str(found["phone"])


# ---- changes


def edit_contact(conn: Connection, contact_id: str, typed: dict[str, str], *, actor: str, now_ms: int) -> Changed:
    """Change what is given of name, phone, lang; returns what changed, numbers masked."""
    before = require_contact(conn, contact_id)
    done = changed(before, _checked(typed))
    if not done:
        return {}
    if "phone" in done:
        _refuse_number(conn, done["phone"][1])
    values = {field: new for field, (_, new) in done.items()}
    conn.execute(update(schema.contact).where(schema.contact.c.id == contact_id).values(values))
    _note(conn, contact_id, _units_of(conn, contact_id))
    changes.note(conn, "duty")
    if "phone" in done:
        done["phone"] = (phone.masked(done["phone"][0]), phone.masked(done["phone"][1]))
    subject = f"contact:{contact_id}"
    audit(conn, actor=actor, action="contact.edit", subject=subject, detail=said(done), now_ms=now_ms)
    return done


def _units_of(conn: Connection, contact_id: str) -> list[str]:
    return [f"{p['site_id']}/{p['unit_id']}" for p in people(conn, contact_id=contact_id)]


def unassign_contact(
    conn: Connection, contact_id: str, unit: tuple[str, str], *, force: bool, actor: str, now_ms: int
) -> None:
    """Take a contact off a unit. `force`: although it is the unit's only one."""
    where = f"{unit[0]}/{unit[1]}"
    if where not in _units_of(conn, contact_id):
        raise RegistryError(
            f"contact {fields.shown(contact_id)} does not belong to {where}", f"See: bongsu unit show {where}"
        )
    if not force:
        _refuse_only(conn, contact_id, [where])
    c = schema.unit_contact.c
    mine = (c.site_id == unit[0], c.unit_id == unit[1], c.contact_id == contact_id)
    conn.execute(delete(schema.unit_contact).where(*mine))
    _note(conn, contact_id, [where])
    subject = f"contact:{contact_id}"
    audit(conn, actor=actor, action="contact.unassign", subject=subject, detail=where, now_ms=now_ms)


def _refuse_only(conn: Connection, contact_id: str, units: list[str]) -> None:
    """Raises RegistryError if one of the units has no other contact: nobody would be texted for it."""
    alone = [u for u in units if len(unit_people(conn, *fields.unit_address(u))) == 1]
    if alone:
        raise RegistryError(
            f"contact {contact_id} is the only one of {', '.join(alone[:5])}",
            f"Assign another first: bongsu contact assign ID {alone[0]}; if nobody shall be texted: --force",
        )


def remove_contact(conn: Connection, contact_id: str, *, force: bool, actor: str, now_ms: int) -> list[str]:
    """Remove a person from the registry and from duty rosters; returns the units that it belonged to.

    `force`: although a unit or a duty roster has nobody else. What closed and open incidents say of it stays.
    """
    require_contact(conn, contact_id)
    units = _units_of(conn, contact_id)
    duties = list(conn.execute(select(schema.duty.c.id).where(schema.duty.c.contact_id == contact_id)).scalars())
    if not force:
        _refuse_only(conn, contact_id, units)
        if duties:
            raise RegistryError(
                f"contact {contact_id} is on duty ({', '.join(duties[:5])})",
                f"Remove it there first: bongsu duty remove {duties[0]}, or give --force",
            )
    conn.execute(delete(schema.unit_contact).where(schema.unit_contact.c.contact_id == contact_id))
    conn.execute(delete(schema.duty).where(schema.duty.c.contact_id == contact_id))
    conn.execute(delete(schema.contact).where(schema.contact.c.id == contact_id))
    _note(conn, contact_id, units)
    if duties:
        changes.note(conn, "duty", *duties)
    subject, detail = f"contact:{contact_id}", ", ".join(units)
    audit(conn, actor=actor, action="contact.remove", subject=subject, detail=detail, now_ms=now_ms)
    return units


def merge_contacts(conn: Connection, source: str, into: str, *, actor: str, now_ms: int) -> list[str]:
    """One person was registered twice: units and duties of `source` go to `into`, and `source` is removed. In a unit
    that has both, the better place stays. Returns the units that moved.
    """
    if source == into:
        raise RegistryError("a contact cannot be merged into itself", "Name two contacts.")
    require_contact(conn, source)
    require_contact(conn, into)
    link, moved = schema.unit_contact, _units_of(conn, source)
    theirs = {f"{p['site_id']}/{p['unit_id']}": p for p in people(conn, contact_id=into)}
    for p in people(conn, contact_id=source):
        here = (link.c.site_id == p["site_id"]) & (link.c.unit_id == p["unit_id"])
        other = theirs.get(f"{p['site_id']}/{p['unit_id']}")
        if other is not None:
            worse = source if p["rank"] > other["rank"] else into
            conn.execute(delete(link).where(here, link.c.contact_id == worse))
        conn.execute(update(link).where(here, link.c.contact_id == source).values(contact_id=into))
    conn.execute(update(schema.duty).where(schema.duty.c.contact_id == source).values(contact_id=into))
    conn.execute(delete(schema.contact).where(schema.contact.c.id == source))
    changes.note(conn, "duty")
    _note(conn, source, moved)
    _note(conn, into, theirs)
    detail = f"into {into}; units: {', '.join(moved) or '-'}"
    audit(conn, actor=actor, action="contact.merge", subject=f"contact:{source}", detail=detail, now_ms=now_ms)
    return moved
