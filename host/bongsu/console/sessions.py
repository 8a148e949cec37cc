"""Sessions of the console in the store: a random cookie of 256 bits, of which the store has the hash only.

A session ends by logging out, after `session_s`, when no page was open for `session_idle_s`, and with every change of
its operator's password or state. Functions over a connection; nothing here is a secret but the token.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from bongsu.receiver.store import schema

# The store learns so seldom that a session is used: each write costs a flush of the disk.
TOUCH_MS = 30_000
RANKS = {"viewer": 0, "operator": 1, "admin": 2}


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in. `key`: the token's hash, under which the store knows it."""

    key: str
    name: str
    full_name: str
    role: str
    lang: str
    created_ms: int
    last_ms: int
    ends_ms: int

    def may(self, role: str) -> bool:
        """Whether they may do what this role may."""
        return RANKS[self.role] >= RANKS[role]


def key_of(token: str) -> str:
    """The hash of a cookie's token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def form_token(token: str) -> str:
    """What a page of this session sends along with everything that it does (it can be read by our own pages only)."""
    return hmac.new(token.encode("utf-8", "replace"), b"bongsu console form", hashlib.sha256).hexdigest()


def begin(conn: Connection, name: str, *, now_ms: int, length_s: int, idle_s: int) -> str:
    """A new session; returns its token. Sessions that are over are removed on this occasion."""
    table = schema.console_session
    over = (table.c.ends_ms <= now_ms) | (table.c.last_ms <= now_ms - idle_s * 1000)
    conn.execute(delete(table).where(over))
    token = secrets.token_urlsafe(32)
    conn.execute(
        insert(table).values(
            token_hash=key_of(token), operator=name, created_ms=now_ms, last_ms=now_ms, ends_ms=now_ms + length_s * 1000
        )
    )
    return token


def find(conn: Connection, keys: set[str], *, now_ms: int, idle_s: int) -> dict[str, Session]:
    """Those of the sessions that are good now, by key."""
    s, o = schema.console_session.c, schema.operator.c
    query = (
        select(s.token_hash, o.name, o.full_name, o.role, o.lang, s.created_ms, s.last_ms, s.ends_ms)
        .join(schema.operator, o.name == s.operator)
        .where(s.token_hash.in_(sorted(keys)), o.disabled_ms.is_(None), s.created_ms >= o.changed_ms)
        .where(s.ends_ms > now_ms, s.last_ms > now_ms - idle_s * 1000)
    )
    return {row[0]: Session(*row) for row in conn.execute(query)}


def touch(conn: Connection, keys: set[str], now_ms: int) -> None:
    """These sessions are in use."""
    table = schema.console_session
    conn.execute(update(table).where(table.c.token_hash.in_(sorted(keys))).values(last_ms=now_ms))


def end(conn: Connection, key: str) -> None:
    """The session is over."""
    conn.execute(delete(schema.console_session).where(schema.console_session.c.token_hash == key))
