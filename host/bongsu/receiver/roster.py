"""Duty rosters: who is told at once of a site's alarms at which hours, by the site's own clock, beside the unit owner.

A shift begins on its days at `from_min` and ends at `to_min`, on the next day if that is not later; `valid_from_ms` and
`valid_until_ms` bound when it holds (the latter is no part of it). Without a site it holds for all of them, by each
one's clock. `rank`: who comes first.
"""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, insert, select

from bongsu.receiver import fields, phone, week
from bongsu.receiver.registry_base import RegistryError, Row, audit, rows_of
from bongsu.receiver.registry_people import require_contact
from bongsu.receiver.registry_sites import require_site
from bongsu.receiver.store import changes, schema

RANK_MAX = 1000
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def is_on(shift: Mapping[str, Any], tz: str, at_ms: int) -> bool:
    """Whether a shift (a row of `duty`) holds at a UTC time in ms, by the clock of the zone (IANA name). Pure."""
    if shift["valid_from_ms"] is not None and at_ms < shift["valid_from_ms"]:
        return False
    if shift["valid_until_ms"] is not None and at_ms >= shift["valid_until_ms"]:
        return False
    clock = week.wall_clock(tz, at_ms)
    return week.covers(week.days(shift["days"]), shift["from_min"], shift["to_min"], clock)


def on_duty(shifts: list[Row], tz: str, at_ms: int) -> list[Row]:
    """The people of those shifts that hold, each once, by rank: id, name, phone, lang, role "duty", rank. Pure.

    A shift carries its person's name, phone and lang beside its own columns, as `load` has them.
    """
    found: dict[str, Row] = {}
    for shift in sorted(shifts, key=lambda s: (s["rank"], s["id"])):
        if shift["contact_id"] not in found and is_on(shift, tz, at_ms):
            person = {"id": shift["contact_id"], **{f: shift[f] for f in ("name", "phone", "lang", "rank")}}
            found[shift["contact_id"]] = person | {"role": "duty"}
    return list(found.values())


def load(conn: Connection, duty_id: str | None = None) -> list[Row]:
    """All shifts or one, each with its person; whole phone numbers: for deliveries, not for showing."""
    duty, person = schema.duty, schema.contact.c
    query = select(duty, person.name, person.phone, person.lang).join(schema.contact, person.id == duty.c.contact_id)
    if duty_id is not None:
        query = query.where(duty.c.id == duty_id)
    return rows_of(conn.execute(query.order_by(duty.c.rank, duty.c.id)))


def add_duty(
    conn: Connection,
    *,
    duty_id: str,
    contact_id: str,
    site_id: str | None,
    days: str,
    hours: str,
    valid_from: str = "",
    valid_until: str = "",
    rank: int = 0,
    now_ms: int,
) -> str:
    """Put a contact on a site's roster (None: on that of all sites); returns its id.

    `days`, `hours`: as week.days and week.span read them. `valid_from`, `valid_until`: dates such as 2026-03-01, in the
    site's zone (UTC for all sites); the last one is part of it.
    """
    duty = fields.slug("duty id", duty_id)
    which, (begin, end) = week.days_text(week.days(days)), week.span(hours)
    person = require_contact(conn, contact_id)
    tz = "UTC"
    if site_id is not None:
        require_site(conn, site_id)
        tz = conn.execute(select(schema.site.c.tz).where(schema.site.c.id == site_id)).scalar_one()
    first, last = _midnight(valid_from, tz, 0), _midnight(valid_until, tz, 1)
    if first is not None and last is not None and last <= first:
        raise fields.FieldError("bad_date", "the duty ends before it begins", "Correct --from-date or --until-date.")
    if not phone.takes_texts(person["phone"]):
        raise RegistryError(
            f"contact {contact_id} has no mobile number, and people on duty are told by text",
            f"Change it: bongsu contact edit {contact_id} --phone NUMBER",
        )
    if conn.execute(select(schema.duty.c.id).where(schema.duty.c.id == duty)).first() is not None:
        raise RegistryError(f"duty {duty} is there already", "See them: bongsu duty list")
    conn.execute(
        insert(schema.duty).values(
            id=duty,
            site_id=site_id,
            contact_id=contact_id,
            days=which,
            from_min=begin,
            to_min=end,
            valid_from_ms=first,
            valid_until_ms=last,
            rank=rank,
            created_ms=now_ms,
        )
    )
    changes.note(conn, "duty", duty)
    return duty


def _midnight(text: str, tz: str, days_later: int) -> int | None:
    """UTC ms at which a date begins in a zone (or so many days later); None for an empty text. Raises FieldError."""
    if not text.strip():
        return None
    try:
        if not _DATE.fullmatch(text.strip()):
            raise ValueError
        day = dt.datetime.fromisoformat(text.strip()) + dt.timedelta(days=days_later)
        return round(day.replace(tzinfo=ZoneInfo(tz)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise fields.FieldError("bad_date", f"{fields.shown(text)} is no date", "Write it as 2026-03-01.") from None


def remove_duty(conn: Connection, duty_id: str, *, actor: str, now_ms: int) -> None:
    """Take a shift off the roster. Raises RegistryError."""
    rows = load(conn, duty_id)
    if not rows:
        raise RegistryError(f"there is no duty {fields.shown(duty_id)}", "See them: bongsu duty list")
    conn.execute(delete(schema.duty).where(schema.duty.c.id == duty_id))
    changes.note(conn, "duty", duty_id)
    detail = f"{rows[0]['contact_id']} at {rows[0]['site_id'] or 'all sites'}"
    audit(conn, actor=actor, action="duty.remove", subject=f"duty:{duty_id}", detail=detail, now_ms=now_ms)


def list_duties(conn: Connection, site_id: str | None = None) -> list[Row]:
    """The roster as people see it: of all, or what holds for one site. Phone numbers are masked."""
    if site_id is not None:
        require_site(conn, site_id)
    return [_shown(r) for r in load(conn) if site_id is None or r["site_id"] in (None, site_id)]


def _shown(row: Row) -> Row:
    return {
        "id": row["id"],
        "site": row["site_id"] or "*",
        "contact": row["contact_id"],
        "name": row["name"],
        "phone": phone.masked(row["phone"]),
        "days": row["days"],
        "hours": week.span_text(row["from_min"], row["to_min"]),
        "rank": row["rank"],
        "valid_from_ms": row["valid_from_ms"],
        "valid_until_ms": row["valid_until_ms"],
    }


def now_on_duty(conn: Connection, site_id: str, at_ms: int) -> list[Row]:
    """Who is on duty for a site at a UTC time in ms, numbers masked. Raises RegistryError if there is no such site."""
    require_site(conn, site_id)
    tz = conn.execute(select(schema.site.c.tz).where(schema.site.c.id == site_id)).scalar_one()
    people = on_duty([r for r in load(conn) if r["site_id"] in (None, site_id)], tz, at_ms)
    return [{**p, "phone": phone.masked(p["phone"])} for p in people]
