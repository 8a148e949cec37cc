"""Responders: fire stations and control centres, each with the secret that signs the messages to it (Standard
Webhooks).
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from bongsu.channels.address import url_problem
from bongsu.errors import BongsuError
from bongsu.receiver import fields
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.registry_base import NAME_MAX, Changed, RegistryError, Row, audit, changed, said
from bongsu.receiver.registry_sites import area_name, require_site
from bongsu.receiver.store import changes, schema

SECRET_PREFIX = "whsec_"
# Standard Webhooks: 24 to 64 random bytes.
SECRET_MIN_LEN, SECRET_MAX_LEN = 24, 64


class SecretFault(BongsuError):
    """A file holds no signing secret."""


def new_secret() -> str:
    """A new signing secret in the form of Standard Webhooks: "whsec_" + base64 of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def checked_secret(text: str) -> str:
    """The secret as stored. Raises SecretFault, which does not repeat it."""
    secret_bytes(text)
    return text.strip()


def secret_bytes(text: str) -> bytes:
    """What a secret's text stands for. Raises SecretFault, which does not repeat it."""
    value = text.strip()
    try:
        raw = base64.b64decode(value.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not value.startswith(SECRET_PREFIX) or not SECRET_MIN_LEN <= len(raw) <= SECRET_MAX_LEN:
        raise SecretFault(
            "the secret is not of the form whsec_ + base64 of 24 to 64 bytes",
            "Leave --secret-file out: a new secret is made and written to a file.",
        )
    return raw


def add_responder(
    conn: Connection,
    master: MasterKey,
    *,
    responder_id: str,
    kind: str,
    name: str,
    url: str,
    secret: str,
    sites: tuple[str, ...],
    rank: int,
    now_ms: int,
    areas: tuple[str, ...] = (),
) -> str:
    """Add a station or centre for the named sites and areas, or for all sites if none is named; returns its id. `rank`:
    0 first.
    """
    values: dict[str, Any] = {
        "id": fields.slug("responder id", responder_id),
        "kind": fields.one_of("kind", kind, schema.RESPONDER_KINDS),
        "name": fields.words("name", name, NAME_MAX),
        "url": _checked_url(url),
        "rank": rank,
        "all_sites": not sites and not areas,
        "created_ms": now_ms,
    }
    table = schema.responder
    if conn.execute(select(table.c.id).where(table.c.id == values["id"])).first() is not None:
        raise RegistryError(
            f"responder {values['id']} is already registered", f"See it: bongsu responder show {values['id']}"
        )
    values["secret_wrapped"] = master.wrap(checked_secret(secret).encode(), secret_purpose(values["id"]))
    conn.execute(insert(table).values(values))
    _cover(conn, values["id"], sites, areas)
    changes.note(conn, "responder", values["id"])
    return str(values["id"])


def _cover(conn: Connection, responder_id: str, sites: tuple[str, ...], areas: tuple[str, ...]) -> None:
    """Write down what a responder covers."""
    for site in sorted(set(sites)):
        require_site(conn, site)
        conn.execute(insert(schema.responder_site).values(responder_id=responder_id, site_id=site))
    for area in sorted({area_name(a) for a in areas}):
        if not area:
            raise fields.FieldError("empty", "the area is empty", "Name it as the sites do: bongsu site list")
        conn.execute(insert(schema.responder_area).values(responder_id=responder_id, area=area))


def _checked_url(text: str) -> str:
    """The address as stored: reports carry names and phone numbers, so they go over https. Raises FieldError."""
    url = fields.web_url("url", text)
    if problem := url_problem(url):
        raise fields.FieldError("bad_url", f"url: {problem}", "Write it as https://host/path.")
    return url


def secret_purpose(responder_id: str) -> str:
    """What a responder's secret is wrapped for (keys.MasterKey)."""
    return f"responder:{responder_id}"


def list_responders(conn: Connection, responder_id: str | None = None) -> list[Row]:
    """Responders without their secrets; sites is ["*"] for all, areas are those whose sites it covers."""
    c = schema.responder.c
    query = select(c.id, c.kind, c.name, c.url, c.rank, c.all_sites).order_by(c.rank, c.id)
    if responder_id is not None:
        query = query.where(c.id == responder_id)
    sites: dict[str, list[str]] = {}
    for row in conn.execute(select(schema.responder_site).order_by(schema.responder_site.c.site_id)):
        sites.setdefault(row.responder_id, []).append(row.site_id)
    areas: dict[str, list[str]] = {}
    for row in conn.execute(select(schema.responder_area).order_by(schema.responder_area.c.area)):
        areas.setdefault(row.responder_id, []).append(row.area)
    rows = [dict(row._mapping) for row in conn.execute(query)]
    return [_with_places(r, sites.get(r["id"], []), areas.get(r["id"], [])) for r in rows]


def _with_places(row: Row, sites: list[str], areas: list[str]) -> Row:
    """The row with `sites` and `areas` in the place of `all_sites`."""
    kept = {k: v for k, v in row.items() if k != "all_sites"}
    return kept | {"sites": ["*"] if row["all_sites"] else sites, "areas": areas}


def show_responder(conn: Connection, responder_id: str) -> Row:
    """One responder without its secret, with the sites that it `covers`. Raises RegistryError."""
    row = _require(conn, responder_id)
    sites = conn.execute(select(schema.site.c.id, schema.site.c.area).order_by(schema.site.c.id)).all()
    return {**row, "covers": [s.id for s in sites if covers(row["sites"], row["areas"], s.id, s.area)]}


def _require(conn: Connection, responder_id: str) -> Row:
    rows = list_responders(conn, responder_id)
    if not rows:
        raise RegistryError(f"there is no responder {fields.shown(responder_id)}", "See them: bongsu responder list")
    return rows[0]


def covers(sites: Collection[str], areas: Collection[str], site_id: str, area: str) -> bool:
    """Whether a responder with these sites ("*": all) and areas is told of a site in `area` ("": in none)."""
    return "*" in sites or site_id in sites or (area != "" and area in areas)


def stations_by_site(conn: Connection) -> dict[str, list[str]]:
    """The fire stations of every site, by rank; an empty list is a site whose fires no station is told of."""
    stations = [r for r in list_responders(conn) if r["kind"] == "station"]
    sites = conn.execute(select(schema.site.c.id, schema.site.c.area).order_by(schema.site.c.id))
    return {s.id: [r["id"] for r in stations if covers(r["sites"], r["areas"], s.id, s.area)] for s in sites}


# ---- changes


def edit_responder(
    conn: Connection,
    responder_id: str,
    given: Row,
    *,
    sites: tuple[str, ...] = (),
    areas: tuple[str, ...] = (),
    everywhere: bool = False,
    force: bool = False,
    actor: str,
    now_ms: int,
) -> Changed:
    """Change what is given of name, url, rank, and what it covers: these sites and areas, or everywhere. Returns what
    changed. `force`: although a site is left without any fire station.
    """
    before = _require(conn, responder_id)
    checks: dict[str, Callable[[Any], Any]] = {
        "name": lambda text: fields.words("name", text, NAME_MAX),
        "url": _checked_url,
        "rank": int,
    }
    values = {field: checks[field](value) for field, value in given.items()}
    before_stations = stations_by_site(conn)
    table = schema.responder
    if values:
        conn.execute(update(table).where(table.c.id == responder_id).values(values))
    if everywhere or sites or areas:
        conn.execute(update(table).where(table.c.id == responder_id).values(all_sites=everywhere))
        _uncover(conn, responder_id)
        if not everywhere:
            _cover(conn, responder_id, sites, areas)
    after = _require(conn, responder_id)
    done = changed(before, after)
    if done:
        _refuse_bare(conn, before_stations, f"responder {responder_id}", force)
        changes.note(conn, "responder", responder_id)
        subject = f"responder:{responder_id}"
        audit(conn, actor=actor, action="responder.edit", subject=subject, detail=said(done), now_ms=now_ms)
    return done


def _uncover(conn: Connection, responder_id: str) -> None:
    for table in (schema.responder_site, schema.responder_area):
        conn.execute(delete(table).where(table.c.responder_id == responder_id))


def _refuse_bare(conn: Connection, before: dict[str, list[str]], what: str, force: bool) -> None:
    """Raises RegistryError, which undoes the transaction, if a site that had a fire station has none any more."""
    bare = [site for site, stations in stations_by_site(conn).items() if not stations and before.get(site)]
    if bare and not force:
        raise RegistryError(
            f"{what} is the last fire station of {', '.join(bare[:5])}",
            "Add another first: bongsu responder add; if no station shall be told of fires there: --force",
        )


def remove_responder(conn: Connection, responder_id: str, *, force: bool, actor: str, now_ms: int) -> None:
    """Remove a responder. Refused while reports to it are under way, and without `force` if it is a site's last fire
    station.
    """
    _require(conn, responder_id)
    d = schema.delivery.c
    waiting = conn.execute(
        select(d.incident_id).where(d.recipient == f"responder:{responder_id}", d.state.in_(("pending", "sent")))
    ).first()
    if waiting is not None:
        raise RegistryError(
            f"a report to responder {responder_id} is under way (incident {waiting.incident_id})",
            f"Wait for it, or close the incident: bongsu incident close {waiting.incident_id}",
        )
    before = stations_by_site(conn)
    _uncover(conn, responder_id)
    conn.execute(delete(schema.responder).where(schema.responder.c.id == responder_id))
    _refuse_bare(conn, before, f"responder {responder_id}", force)
    changes.note(conn, "responder", responder_id)
    subject = f"responder:{responder_id}"
    audit(conn, actor=actor, action="responder.remove", subject=subject, detail="", now_ms=now_ms)
