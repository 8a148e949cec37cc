"""Sites of the registry: markets and blocks of homes."""

from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from bongsu.receiver import fields
from bongsu.receiver.registry_base import (
    NAME_MAX,
    PLACE_MAX,
    Changed,
    RegistryError,
    Row,
    audit,
    changed,
    refuse_open,
    refuse_taken,
    rows_of,
    said,
)
from bongsu.receiver.store import changes, schema

AREA_MAX = 64


def add_site(
    conn: Connection, *, site_id: str, name: str, kind: str, address: str, tz: str, now_ms: int, area: str = ""
) -> str:
    """Add a market or a block of homes; returns its id. `area`: whose responders cover it."""
    site = fields.slug("site id", site_id)
    values = _checked({"name": name, "kind": kind, "address": address, "tz": tz, "area": area})
    refuse_taken(conn, schema.site, site, "site")
    conn.execute(insert(schema.site).values(id=site, created_ms=now_ms, **values))
    changes.note(conn, "site", site)
    return site


def area_name(text: str) -> str:
    """The name of an area: words as people write them ("강서구"); capitals and spaces around do not count."""
    return " ".join(fields.words("area", text, AREA_MAX, required=False).lower().split())


def _checked(typed: dict[str, str]) -> Row:
    checks: dict[str, Any] = {
        "name": lambda text: fields.words("name", text, NAME_MAX),
        "kind": lambda text: fields.one_of("kind", text, schema.SITE_KINDS),
        "address": lambda text: fields.words("address", text, PLACE_MAX, required=False),
        "tz": fields.time_zone,
        "area": area_name,
    }
    return {field: checks[field](text) for field, text in typed.items()}


def require_site(conn: Connection, site_id: str) -> None:
    """Raises RegistryError if there is no such site."""
    if conn.execute(select(schema.site.c.id).where(schema.site.c.id == site_id)).first() is None:
        raise RegistryError(f"there is no site {fields.shown(site_id)}", "See them: bongsu site list")


def list_sites(conn: Connection) -> list[Row]:
    """All sites with the number of their units."""
    units = select(func.count()).where(schema.unit.c.site_id == schema.site.c.id).scalar_subquery().label("units")
    c = schema.site.c
    policy = c.dispatch_policy, c.unverified_after_s
    return rows_of(conn.execute(select(c.id, c.name, c.kind, c.address, c.tz, c.area, *policy, units).order_by(c.id)))


def edit_site(conn: Connection, site_id: str, typed: dict[str, str], *, actor: str, now_ms: int) -> Changed:
    """Change what is given of name, kind, address, tz, area; returns what changed."""
    require_site(conn, site_id)
    table = schema.site
    before = rows_of(conn.execute(select(table).where(table.c.id == site_id)))[0]
    done = changed(before, _checked(typed))
    if done:
        conn.execute(update(table).where(table.c.id == site_id).values({f: new for f, (_, new) in done.items()}))
        changes.note(conn, "site", site_id)
        audit(conn, actor=actor, action="site.edit", subject=f"site:{site_id}", detail=said(done), now_ms=now_ms)
    return done


def remove_site(conn: Connection, site_id: str, *, actor: str, now_ms: int) -> None:
    """Remove a site without units. Its closed incidents keep what they say of it; its ended exercises go with it."""
    require_site(conn, site_id)
    units = list(conn.execute(select(schema.unit.c.id).where(schema.unit.c.site_id == site_id).limit(3)).scalars())
    if units:
        raise RegistryError(
            f"site {site_id} has units ({', '.join(units)}, ...)",
            f"Remove them first: bongsu unit remove {site_id}/{units[0]}",
        )
    refuse_open(conn, f"site {site_id}", [f"site:{site_id}"])
    e = schema.exercise
    if conn.execute(select(e.c.id).where(e.c.site_id == site_id, e.c.ends_ms > now_ms, e.c.ended_ms.is_(None))).first():
        raise RegistryError(f"site {site_id} has an exercise", "End it first: bongsu exercise list")
    exercises = select(e.c.id).where(e.c.site_id == site_id)
    conn.execute(delete(schema.exercise_unit).where(schema.exercise_unit.c.exercise_id.in_(exercises)))
    for table in (e, schema.responder_site, schema.duty):
        conn.execute(delete(table).where(table.c.site_id == site_id))
    conn.execute(delete(schema.site).where(schema.site.c.id == site_id))
    for topic in ("responder", "duty"):
        changes.note(conn, topic)
    changes.note(conn, "site", site_id)
    audit(conn, actor=actor, action="site.remove", subject=f"site:{site_id}", detail="", now_ms=now_ms)
