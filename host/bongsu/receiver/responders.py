"""Responders: fire stations and control centres, each with the secret that signs the messages to it (Standard
Webhooks).
"""

import base64
import binascii
import secrets
from typing import Any

from sqlalchemy import Connection, insert, select

from bongsu.channels.address import url_problem
from bongsu.errors import BongsuError
from bongsu.receiver import fields
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.registry import NAME_MAX, RegistryError, Row, require_site
from bongsu.receiver.store import schema

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
    return value


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
) -> str:
    """Add a station or centre for the named sites, or for all if none is named; returns its id. `rank`: 0 first."""
    values: dict[str, Any] = {
        "id": fields.slug("responder id", responder_id),
        "kind": fields.one_of("kind", kind, schema.RESPONDER_KINDS),
        "name": fields.words("name", name, NAME_MAX),
        "url": _checked_url(url),
        "rank": rank,
        "all_sites": not sites,
        "created_ms": now_ms,
    }
    table = schema.responder
    if conn.execute(select(table.c.id).where(table.c.id == values["id"])).first() is not None:
        raise RegistryError(
            f"responder {values['id']} is already registered", f"See it: bongsu responder show {values['id']}"
        )
    values["secret_wrapped"] = master.wrap(checked_secret(secret).encode(), secret_purpose(values["id"]))
    conn.execute(insert(table).values(values))
    for site in sorted(set(sites)):
        require_site(conn, site)
        conn.execute(insert(schema.responder_site).values(responder_id=values["id"], site_id=site))
    return str(values["id"])


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
    """Responders without their secrets; sites is ["*"] for all."""
    c = schema.responder.c
    query = select(c.id, c.kind, c.name, c.url, c.rank, c.all_sites).order_by(c.rank, c.id)
    if responder_id is not None:
        query = query.where(c.id == responder_id)
    sites: dict[str, list[str]] = {}
    for row in conn.execute(select(schema.responder_site).order_by(schema.responder_site.c.site_id)):
        sites.setdefault(row.responder_id, []).append(row.site_id)
    rows = [dict(row._mapping) for row in conn.execute(query)]
    return [_with_sites(r, sites.get(r["id"], [])) for r in rows]


def _with_sites(row: Row, sites: list[str]) -> Row:
    """The row with `sites` in the place of `all_sites`."""
    return {k: v for k, v in row.items() if k != "all_sites"} | {"sites": ["*"] if row["all_sites"] else sites}


def show_responder(conn: Connection, responder_id: str) -> Row:
    """One responder without its secret. Raises RegistryError."""
    rows = list_responders(conn, responder_id)
    if not rows:
        raise RegistryError(f"there is no responder {fields.shown(responder_id)}", "See them: bongsu responder list")
    return rows[0]
