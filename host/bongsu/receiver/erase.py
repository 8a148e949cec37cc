"""Erasing a person: name and phone go everywhere, and the history stays readable.

First the links to units and duties go, so that no new incident copies the person; then the history is cleaned, a little
at a time, found by reading so that no alarm waits; last the contact itself, with a word in the audit. Broken off half
way, it is begun anew with the same command. On SQLite freed space is overwritten, the write-ahead log is emptied, and
the file is looked through for the number in the end.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, Text, cast, delete, func, or_, select, update

from bongsu.channels import numbers
from bongsu.receiver import audit, fields
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import Store, changes, schema

ERASED = "erased"
_AT_ONCE = 20
_CHECKPOINT_S = 10.0
# Where a number or a name may stand: (table, column).
_PLACES: tuple[tuple[Table, str], ...] = (
    (schema.incident, "snapshot"),
    (schema.incident, "note"),
    (schema.delivery, "target"),
    (schema.delivery, "body"),
    (schema.delivery, "last_error"),
    (schema.delivery, "ref"),
    (schema.delivery_attempt, "detail"),
    (schema.audit, "detail"),
    (schema.commissioning, "installer"),
    (schema.commissioning, "steps"),
)
_TOPICS = {"incident": "incident", "delivery": "delivery"}


@dataclass(frozen=True)
class Person:
    """Who is to be erased, and every form in which the number may stand."""

    id: str
    name: str
    phone: str
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()

    @property
    def all_ids(self) -> tuple[str, ...]:
        """The contact's id and those that were merged into it."""
        return tuple(dict.fromkeys(one for one in (self.id, *self.ids) if one))

    @property
    def all_phones(self) -> tuple[str, ...]:
        """Every number that the contact ever had, as stored."""
        return tuple(dict.fromkeys(one for one in (self.phone, *self.phones) if one))

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name that the contact ever had, the longest first."""
        found = dict.fromkeys(one for one in (self.name, *self.names) if one)
        return tuple(sorted(found, key=len, reverse=True))

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numbers as stored, as they are dialled at home, and with separators."""
        return tuple(dict.fromkeys(form for one in self.all_phones for form in self._forms(one)))

    @staticmethod
    def _forms(phone: str) -> tuple[str, ...]:
        digits = phone.removeprefix("+")
        found = [phone, digits]
        if digits.startswith("82"):
            home = "0" + digits[2:]
            found.append(home)
            if len(home) in (10, 11):
                parts = (home[:3], home[3:-4], home[-4:])
                found += [glue.join(parts) for glue in ("-", " ", ".")]
                found.append(f"+82 {home[1:3]} {home[3:-4]} {home[-4:]}")
        return tuple(dict.fromkeys(found))


@dataclass
class Erased:
    """What was done. `left`: the database's file still holds the number, in space that nobody uses."""

    rows: int = 0
    units: int = 0
    duties: int = 0
    left: bool = False


def erase_contact(
    store: Store,
    contact_id: str,
    *,
    key: bytes,
    actor: str,
    now_ms: int,
    force: bool,
    told: Callable[[], object],
    folder: Path | None = None,
    phone: str | None = None,
) -> Erased:
    """Erase a contact. `key`: of the audit's chain; `told`: tells the running receiver that something was committed;
    `folder`: the data folder, which remembers how far it has seen the chain.

    Raises RegistryError if there is none, and without `force` while an open incident has the person or a unit has
    nobody else.
    """
    done = Erased()
    with store.write() as conn:
        person = _person(conn, contact_id, phone)
        if not force:
            _refuse_needed(conn, person)
        done.units, done.duties = _unlink(conn, person)
    told()
    with store.read() as conn:
        found = list(_history(conn, person))
    for start in range(0, len(found), _AT_ONCE):
        with store.write() as conn:
            for table, column, row_id in found[start : start + _AT_ONCE]:
                done.rows += _clean(conn, person, table, column, row_id, key)
    with store.write() as conn:
        for table, column, row_id in list(_history(conn, person, only_open=True)):
            done.rows += _clean(conn, person, table, column, row_id, key)
        conn.execute(delete(schema.contact).where(schema.contact.c.id == contact_id))
        if contact_id:
            changes.note(conn, "contact", contact_id)
        subject = f"contact:{contact_id}" if contact_id else ""
        detail = f"{done.rows} records, {done.units} units, {done.duties} duties"
        audit.write(conn, actor=actor, action="contact.erase", subject=subject, detail=detail, now_ms=now_ms)
        audit.seal(conn, key, folder=folder)
    with store.read() as conn:
        audit.remember(conn, key, folder)
    told()
    if store.is_sqlite:
        done.left = _scrub_file(store, person)
    return done


def _person(conn: Connection, contact_id: str, phone: str | None) -> Person:
    """Who it is: what the registry says, and everything that the history says of this id. Raises RegistryError if both
    know nothing.
    """
    ids = _merged_ids(conn, contact_id) if contact_id else ()
    names, phones = _ever(conn, ids)
    if phone is not None:
        phones.append(phone)
    row = conn.execute(select(schema.contact).where(schema.contact.c.id == contact_id)).first()
    if row is not None:
        return Person(row.id, row.name, row.phone, ids, tuple(names), tuple(phones))
    if not phones:
        raise RegistryError(
            f"there is no contact {fields.shown(contact_id)}, and the history knows of none",
            "See them: bongsu contact list; for a number: bongsu contact erase --phone NUMBER",
        )
    return Person(contact_id, names[0] if names else "", phones[0], ids, tuple(names), tuple(phones))


def _merged_ids(conn: Connection, contact_id: str) -> tuple[str, ...]:
    """This id and those that were merged into it, as the audit says."""
    c, found = schema.audit.c, [contact_id]
    for one in found:
        query = select(c.subject).where(
            c.action == "contact.merge", c.detail.startswith(f"into {one};", autoescape=True)
        )
        for subject in conn.execute(query).scalars():
            if (other := subject.removeprefix("contact:")) not in found:
                found.append(other)
    return tuple(found)


def _ever(conn: Connection, ids: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """(names, numbers) that the history has of these contacts: of incidents' copies, and of what was sent to them."""
    found: list[dict[str, Any]] = []
    incident, delivery = schema.incident.c, schema.delivery.c
    for one in ids:
        holds_it = cast(incident.snapshot, Text).contains(f'"{one}"', autoescape=True)
        for snapshot in conn.execute(select(incident.snapshot).where(holds_it)).scalars():
            found += _copies(snapshot, ids)
        for target in conn.execute(select(delivery.target).where(delivery.recipient == f"contact:{one}")).scalars():
            found.append({"phone": target.get("phone")} if isinstance(target, dict) else {})
    return _all(found, "name"), _all(found, "phone")


def _copies(value: Any, ids: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The people with one of these ids inside a record."""
    if isinstance(value, dict):
        if value.get("id") in ids and "phone" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _copies(one, ids)


def _all(found: list[dict[str, Any]], key: str) -> list[str]:
    texts = [one.get(key) for one in found]
    return list(dict.fromkeys(one for one in texts if isinstance(one, str) and one and one != ERASED))


def _refuse_needed(conn: Connection, person: Person) -> None:
    incident, link = schema.incident, schema.unit_contact
    query = select(incident.c.id).where(incident.c.state == "open", _mentions(incident.c.snapshot, person))
    needed = list(conn.execute(query.order_by(incident.c.id).limit(1)).scalars())
    if needed:
        raise RegistryError(
            f"open incident {needed[0]} needs contact {person.id}",
            f"Close it first: bongsu incident close {needed[0]}; or erase all the same: --force",
        )
    alone = (
        select(link.c.site_id, link.c.unit_id)
        .group_by(link.c.site_id, link.c.unit_id)
        .having(func.count() == 1, func.max(link.c.contact_id) == person.id)
        .order_by(link.c.site_id, link.c.unit_id)
    )
    only = [f"{r.site_id}/{r.unit_id}" for r in conn.execute(alone.limit(4))]
    if only:
        raise RegistryError(
            f"{', '.join(only[:3])}{' and others' if len(only) > 3 else ''} would have nobody to be told",
            f"Give another contact first: bongsu contact assign ID {only[0]}; or erase all the same: --force",
        )
    duty = schema.duty.c
    duties = list(
        conn.execute(select(duty.id).where(duty.contact_id == person.id).order_by(duty.id).limit(1)).scalars()
    )
    if duties:
        raise RegistryError(
            f"contact {person.id} is on duty ({duties[0]})",
            f"Give the duty to somebody else, or remove it: bongsu duty remove {duties[0]}; "
            "or erase all the same: --force",
        )


def _unlink(conn: Connection, person: Person) -> tuple[int, int]:
    """Take the person from units and duties; how many each."""
    link = schema.unit_contact
    units = [f"{r.site_id}/{r.unit_id}" for r in conn.execute(select(link).where(link.c.contact_id == person.id))]
    conn.execute(delete(link).where(link.c.contact_id == person.id))
    gone = conn.execute(delete(schema.duty).where(schema.duty.c.contact_id == person.id)).rowcount
    if units:
        changes.note(conn, "unit", *units)
    if gone:
        changes.note(conn, "duty")
    return len(units), gone


# ---- the history


def _mentions(column: Any, person: Person) -> Any:
    """The column's text holds the number or the contact's id (as JSON or as it is)."""
    plain = cast(column, Text)
    wanted = [*person.numbers, *(f'"{one}"' for one in person.all_ids)]
    # Digit by digit with anything between them: `without` decides.
    spread = ["%" + "%".join(one.removeprefix("+82").removeprefix("+")) + "%" for one in person.all_phones]
    if column.name in ("snapshot", "body", "target"):  # what programs write has no separators; and it is long
        spread = []
    return or_(*(plain.contains(one, autoescape=True) for one in wanted), *(plain.like(one) for one in spread))


def _history(conn: Connection, person: Person, *, only_open: bool = False) -> Iterator[tuple[Table, str, int]]:
    """Where the person stands: (table, column, row)."""
    opened = select(schema.incident.c.id).where(schema.incident.c.state == "open")
    for table, column in _PLACES:
        wanted = _mentions(table.c[column], person)
        if table is schema.delivery and column == "target":
            wanted = wanted | table.c.recipient.in_(_recipients(person))
        if table is schema.delivery and column == "body":
            wanted = wanted | table.c.recipient.in_(_recipients(person))
        if table is schema.audit:
            wanted = wanted | table.c.subject.in_(_recipients(person))
        query = select(table.c.id).where(wanted)
        if only_open and table is schema.incident:
            query = query.where(table.c.state == "open")
        elif only_open and table is schema.delivery:
            query = query.where(table.c.incident_id.in_(opened))
        elif only_open:
            continue
        yield from ((table, column, row_id) for row_id in conn.execute(query.order_by(table.c.id)).scalars())


def _recipients(person: Person) -> list[str]:
    return [f"contact:{one}" for one in person.all_ids]


def _clean(conn: Connection, person: Person, table: Table, column: str, row_id: int, key: bytes) -> int:
    row = conn.execute(select(table).where(table.c.id == row_id)).first()
    if row is None:
        return 0
    before = getattr(row, column)
    mine = (table is schema.delivery and row.recipient in _recipients(person)) or (
        table is schema.audit and row.subject in _recipients(person)
    )
    after = without(before, person, is_theirs=mine)
    if after == before:
        return 0
    if table is schema.audit:
        audit.rewrite(conn, key, {row_id: {column: after}})
    else:
        conn.execute(update(table).where(table.c.id == row_id).values({column: after}))
    if table.name in _TOPICS:
        changes.note(conn, _TOPICS[table.name], row_id)
    return 1


def without(value: Any, person: Person, *, is_theirs: bool = False) -> Any:
    """A value of a record without the person. A name goes where it stands beside the number or the id, as a person's;
    `is_theirs`: the record is about nobody else.
    """
    if isinstance(value, str):
        for phone in person.all_phones:
            value = numbers.without(value, phone, ERASED)
        return _without_name(value, person) if is_theirs else value
    if isinstance(value, list):
        return [without(one, person, is_theirs=is_theirs) for one in value]
    if isinstance(value, dict):
        theirs = value.get("phone") in person.numbers or (value.get("id") in person.all_ids and "phone" in value)
        cleaned = {name: without(one, person, is_theirs=is_theirs) for name, one in value.items()}
        if theirs:
            cleaned |= {name: ERASED for name in ("name", "phone") if name in cleaned}
        return cleaned
    return value


def _without_name(value: str, person: Person) -> str:
    for name in person.all_names:
        value = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", ERASED, value)
    return value


# ---- the file


def _scrub_file(store: Store, person: Person) -> bool:
    """Empty the write-ahead log and look for the number in the file; True if it is still there."""
    file = Path(str(store.engine.url.database))
    end_s = time.monotonic() + _CHECKPOINT_S
    conn = store.engine.raw_connection()
    try:
        while True:
            cursor = conn.cursor()
            busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            cursor.close()
            if not busy or time.monotonic() > end_s:
                break
            time.sleep(0.05)
    finally:
        conn.close()
    return any(holds(path, person) for path in (file, file.with_name(f"{file.name}-wal")))


def holds(path: Path, person: Person) -> bool:
    """Does a file hold the person's number, in any of its forms?"""
    if not path.exists():
        return False
    wanted = [number.encode() for number in person.numbers]
    tail = b""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            data = tail + piece
            if any(one in data for one in wanted):
                return True
            tail = data[-32:]
    return False


def compact(store: Store) -> None:
    """Rewrite a SQLite database, so that nothing is left in unused space. Holds up whoever writes meanwhile."""
    with store.engine.connect() as conn:
        driver: Any = conn.connection.dbapi_connection
        driver.execute("VACUUM")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
