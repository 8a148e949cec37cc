"""The people who may use the console, and their passwords (argon2id). Functions over a connection in a transaction of
the caller; making and checking a hash takes 0.1 s of a processor, so neither is done on an event loop.
"""

from functools import cache
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, delete, func, insert, select, update

from bongsu.receiver import fields
from bongsu.receiver.registry import RegistryError, Row, audit
from bongsu.receiver.store import changes, schema

# NIST SP 800-63B asks for 8 at least where there is no second factor it asks for 15; a control centre is in between:
# tries are limited, and the console is not open to the world.
PASSWORD_MIN, PASSWORD_MAX = 10, 200
_HASHER = PasswordHasher()


def add_operator(
    conn: Connection, *, name: str, full_name: str, role: str, lang: str, password_hash: str, actor: str, now_ms: int
) -> str:
    """Add a person; returns the name to log in with. Raises FieldError, RegistryError."""
    values = {
        "name": fields.slug("name", name),
        "full_name": fields.words("full name", full_name, 100, required=False),
        "role": fields.one_of("role", role, schema.OPERATOR_ROLES),
        "lang": fields.one_of("language", lang, schema.LANGS),
        "password_hash": password_hash,
        "created_ms": now_ms,
        "changed_ms": now_ms,
    }
    if find(conn, str(values["name"])) is not None:
        raise RegistryError(f"operator {values['name']} is there already", "See them: bongsu operator list")
    conn.execute(insert(schema.operator).values(values))
    _note(conn, str(values["name"]), "operator.add", actor, now_ms, str(values["role"]))
    return str(values["name"])


def set_password(conn: Connection, *, name: str, password_hash: str, actor: str, now_ms: int) -> None:
    """Give a person another password; all their sessions end."""
    _change(conn, name, now_ms, password_hash=password_hash)
    _note(conn, name, "operator.password", actor, now_ms)


def set_disabled(conn: Connection, *, name: str, disabled: bool, actor: str, now_ms: int) -> None:
    """Shut a person out, or let them in again; all their sessions end."""
    _change(conn, name, now_ms, disabled_ms=now_ms if disabled else None)
    _note(conn, name, "operator.disable" if disabled else "operator.enable", actor, now_ms)


def edit_operator(
    conn: Connection,
    *,
    name: str,
    role: str | None = None,
    full_name: str | None = None,
    lang: str | None = None,
    actor: str,
    now_ms: int,
) -> None:
    """Change what is given (None: stays); all their sessions end, so that a role taken away is gone at once. Raises
    FieldError, RegistryError.
    """
    new: dict[str, Any] = {}
    if role is not None:
        new["role"] = fields.one_of("role", role, schema.OPERATOR_ROLES)
    if full_name is not None:
        new["full_name"] = fields.words("full name", full_name, 100, required=False)
    if lang is not None:
        new["lang"] = fields.one_of("language", lang, schema.LANGS)
    _change(conn, name, now_ms, **new)
    _note(conn, name, "operator.edit", actor, now_ms, ", ".join(f"{k}: {v}" for k, v in new.items()))


def set_lang(conn: Connection, *, name: str, lang: str) -> None:
    """Remember a person's language; sessions go on."""
    one = fields.one_of("language", lang, schema.LANGS)
    conn.execute(update(schema.operator).where(schema.operator.c.name == name).values(lang=one))


def _change(conn: Connection, name: str, now_ms: int, **values: Any) -> None:
    table = schema.operator
    if conn.execute(update(table).where(table.c.name == name).values(**values, changed_ms=now_ms)).rowcount != 1:
        raise RegistryError(f"there is no operator {fields.shown(name)}", "See them: bongsu operator list")
    conn.execute(delete(schema.console_session).where(schema.console_session.c.operator == name))


def _note(conn: Connection, name: str, action: str, actor: str, now_ms: int, detail: str = "") -> None:
    changes.note(conn, "operator", name)
    audit(conn, actor=actor, action=action, subject=f"operator:{name}", detail=detail, now_ms=now_ms)


def find(conn: Connection, name: str) -> Row | None:
    """A person's row, with the hash; None if there is none of this name."""
    row = conn.execute(select(schema.operator).where(schema.operator.c.name == name)).first()
    return dict(row._mapping) if row is not None else None


def list_operators(conn: Connection) -> list[Row]:
    """All of them, without hashes, with the number of their sessions that have not ended."""
    c, session = schema.operator.c, schema.console_session.c
    sessions = select(func.count()).where(session.operator == c.name).scalar_subquery().label("sessions")
    query = select(c.name, c.full_name, c.role, c.lang, c.created_ms, c.changed_ms, c.disabled_ms, sessions)
    return [dict(row._mapping) for row in conn.execute(query.order_by(c.name))]


def is_anybody(conn: Connection) -> bool:
    """Whether there is anybody who could log in."""
    c = schema.operator.c
    return conn.execute(select(c.name).where(c.disabled_ms.is_(None)).limit(1)).first() is not None


# ---- passwords


def checked_password(text: str) -> str:
    """A new password as it is kept. Raises FieldError if it is too short or too long; nothing else is asked of it."""
    if len(text) < PASSWORD_MIN:
        raise fields.FieldError(
            "too_short", f"the password has fewer than {PASSWORD_MIN} characters", "Take a longer one: a few words."
        )
    if len(text) > PASSWORD_MAX:
        raise fields.FieldError(
            "too_long", f"the password has more than {PASSWORD_MAX} characters", "Take a shorter one."
        )
    return text


def hash_password(text: str) -> str:
    """Its argon2id hash, with salt and parameters. Takes 0.1 s."""
    return _HASHER.hash(text)


@cache
def _nobodys_hash() -> str:
    """What the password of a name that nobody has is compared with, so that it takes as long as somebody's."""
    return _HASHER.hash("nobody has this password")


def is_right(stored: str | None, typed: str) -> bool:
    """Whether the password is that of the hash (None: there is no such person). Takes 0.1 s in each case."""
    wanted = stored if stored is not None else _nobodys_hash()
    try:
        return _HASHER.verify(wanted, typed[: PASSWORD_MAX + 1]) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def prepare() -> None:
    """Do beforehand what the first login would else take longer for."""
    _nobodys_hash()
