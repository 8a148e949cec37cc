"""The audit: who did what by hand, and every phone number that was shown whole.

Its rows are a chain: each carries a keyed hash (HMAC-SHA256, key derived from the master key) over itself and the row
before it, so that a sealed row that was changed, put in or taken out afterwards shows, also to somebody who may write
the database. The head (the newest sealed row) and the anchor (the newest row that retention removed) stand in `meta`,
each with a keyed hash of its own, the head from the installation's first moment on; and the data folder remembers how
far it has seen the chain (audit_seen.py), so that a head that was taken away or put back shows as well.

A row is sealed at the end of its own transaction where the master key is at hand, else by the receiver seconds later.
So the chain proves what became of a row since it was sealed, not who wrote it: a row that somebody with the database's
password adds at the end is sealed like any other. Only who may write the audit may have that password.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from bongsu.receiver import audit_seen
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.store import changes, schema

KEY_PURPOSE = "audit-chain"
HEAD, ANCHOR = "audit_head", "audit_anchor"
_BEGIN = bytes(32)
_WRITTEN = "bongsu_audited"
_FIELDS = ("id", "at_ms", "actor", "action", "subject", "detail")
_FAULTS_SHOWN = 20


def chain_key(master: MasterKey) -> bytes:
    """The key of the chain."""
    return master.derive(KEY_PURPOSE)


def write(conn: Connection, *, actor: str, action: str, subject: str, detail: str, now_ms: int) -> None:
    """Write down who did what. `subject`: "contact:<id>", ...; `detail` must not hold a phone number or a secret."""
    values = {"at_ms": now_ms, "actor": actor[:100], "action": action[:40], "subject": subject[:100],
              "detail": detail[:300]}  # fmt: skip
    conn.execute(insert(schema.audit).values(values))
    conn.info[_WRITTEN] = True


def begin(conn: Connection) -> None:
    """A command's transaction begins: nothing was written down in it yet."""
    conn.info.pop(_WRITTEN, None)


def conclude(conn: Connection, *, actor: str, action: str, now_ms: int) -> None:
    """The end of a command's transaction: if it has not written down its act in words of its own, that is done here in
    general, so that nothing is ever changed by hand without a trace.
    """
    if not conn.info.pop(_WRITTEN, False):
        noted = changes.noted(conn)
        things = [f"{topic}:{name}" for topic, names in noted.items() for name in sorted(names)] or [""]
        write(conn, actor=actor, action=action, subject=things[0], detail=_some(things[1:]), now_ms=now_ms)


def _some(things: list[str]) -> str:
    shown = ", ".join(things[:10])
    return f"{shown} and {len(things) - 10} more"[:300] if len(things) > 10 else shown[:300]


# ---- the chain


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the chain: the row's id and its hash."""

    id: int
    chain: bytes


def _link(key: bytes, before: bytes, row: "Row[Any]") -> bytes:
    plain = json.dumps([getattr(row, name) for name in _FIELDS], ensure_ascii=False, separators=(",", ":"))
    return hmac.new(key, before + plain.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def _mac(key: bytes, name: str, mark: Mark) -> str:
    return hmac.new(key, f"{name}:{mark.id}:".encode() + mark.chain, hashlib.sha256).hexdigest()


def _mark(conn: Connection, key: bytes, name: str) -> Mark | None:
    """The head or the anchor; None if there is none. Raises ValueError if it was not written with this key."""
    table = schema.meta
    text = conn.execute(select(table.c.value).where(table.c.key == name)).scalar_one_or_none()
    if text is None:
        return None
    try:
        kept = json.loads(text)
        mark = Mark(int(kept["id"]), bytes.fromhex(kept["chain"]))
        true = hmac.compare_digest(_mac(key, name, mark), str(kept["mac"]))
    except (KeyError, TypeError, ValueError):
        true = False
    if not true:
        raise ValueError(f"{name} was changed by another hand")
    return mark


def _keep(conn: Connection, key: bytes, name: str, mark: Mark) -> None:
    value = json.dumps({"id": mark.id, "chain": mark.chain.hex(), "mac": _mac(key, name, mark)})
    set_meta(conn, name, value)


def set_meta(conn: Connection, key: str, value: str) -> None:
    """Set one value of the installation."""
    table = schema.meta
    if conn.execute(update(table).where(table.c.key == key).values(value=value)).rowcount == 0:
        conn.execute(insert(table).values(key=key, value=value))


def _marks(conn: Connection, key: bytes, folder: Path | None = None) -> tuple[Mark, Mark]:
    """(anchor, head), compared with what `folder` has seen. Only a database of an older version, of whose chain nobody
    has seen anything, begins it without a head. Raises ValueError, which says what is wrong.
    """
    seen = audit_seen.read(folder)
    anchor = _mark(conn, key, ANCHOR) or Mark(0, _BEGIN)
    head = _mark(conn, key, HEAD)
    if head is None:
        if seen is not None:
            raise ValueError("the head of the chain was taken away")
        head = anchor
    if seen is not None and head.id < seen:
        raise ValueError(
            f"row {seen} was sealed, and the chain ends at row {head.id}: it was put back to an older state"
        )
    return anchor, head


def begin_chain(conn: Connection, key: bytes) -> None:
    """The head of a new installation's chain, before its first row."""
    _keep(conn, key, HEAD, Mark(0, _BEGIN))


def trouble(conn: Connection, key: bytes, folder: Path | None) -> str | None:
    """What is wrong with the chain's head (None: nothing), so that nothing is sealed. Cheap; `verify` reads all."""
    try:
        _marks(conn, key, folder)
    except ValueError as err:
        return str(err)
    return None


def remember(conn: Connection, key: bytes, folder: Path | None) -> None:
    """Let the data folder remember how far the chain goes. Only of what is committed."""
    try:
        _, head = _marks(conn, key, folder)
    except ValueError:
        return
    audit_seen.keep(folder, head.id)


def seal(conn: Connection, key: bytes, most: int = 1000, folder: Path | None = None) -> int:
    """Seal rows that are not yet, at most so many; returns how many. In a writing transaction. If the head was changed,
    taken away or put back by another hand (`folder`: what this data folder has seen), it is left as it is and nothing
    is sealed: `trouble` and `verify` tell of it.
    """
    try:
        _, head = _marks(conn, key, folder)
    except ValueError:
        return 0
    table = schema.audit
    mark = head
    rows = conn.execute(select(table).where(table.c.id > head.id).order_by(table.c.id).limit(most)).all()
    if any(row.chain is not None for row in rows):
        return 0
    for row in rows:
        mark = Mark(row.id, _link(key, mark.chain, row))
        conn.execute(update(table).where(table.c.id == row.id).values(chain=mark.chain))
    if rows:
        _keep(conn, key, HEAD, mark)
    return len(rows)


@dataclass
class Verdict:
    """What `verify` found. `unsealed`: rows so new that no receiver has sealed them yet."""

    rows: int = 0
    first_id: int | None = None
    last_id: int | None = None
    unsealed: int = 0
    faults: list[str] = field(default_factory=list)


def verify(conn: Connection, key: bytes, folder: Path | None = None) -> Verdict:
    """Go through the whole chain, in a reading transaction. `folder`: what this data folder has seen is compared."""
    found = Verdict()
    try:
        anchor, head = _marks(conn, key, folder)
    except ValueError as err:
        found.faults.append(str(err))
        return found
    mark = anchor
    table = schema.audit
    query = select(table).order_by(table.c.id).execution_options(yield_per=1000)
    for row in conn.execute(query):
        found.rows += 1
        found.first_id = found.first_id or row.id
        found.last_id = row.id
        if row.id > head.id:
            found.unsealed += 1
            if row.chain is not None:
                found.faults.append(f"row {row.id} is sealed, and the head of the chain does not know it")
            continue
        right = row.id > anchor.id and row.chain is not None
        if not right or not hmac.compare_digest(_link(key, mark.chain, row), bytes(row.chain)):
            found.faults.append(f"row {row.id} was changed, or rows before it were put in or taken out")
        mark = Mark(row.id, bytes(row.chain or _BEGIN))  # the chain goes on behind it: one fault is told once
    if mark != head:
        found.faults.append(f"rows up to {head.id} were there, and the last of them are gone")
    del found.faults[_FAULTS_SHOWN:]
    return found


def prune(conn: Connection, key: bytes, before_ms: int, most: int) -> int:
    """Remove the oldest rows, written before `before_ms`, at most so many; the chain stays whole from the anchor on.
    The newest row stays always. Returns how many.
    """
    try:
        anchor, head = _marks(conn, key)
    except ValueError:
        return 0
    table = schema.audit
    query = select(table.c.id, table.c.at_ms, table.c.chain).where(table.c.id > anchor.id, table.c.id < head.id)
    last: Mark | None = None
    count = 0
    for row in conn.execute(query.order_by(table.c.id).limit(most)).all():
        if row.at_ms >= before_ms or row.chain is None:
            break
        last, count = Mark(row.id, bytes(row.chain)), count + 1
    if last is not None:
        conn.execute(delete(table).where(table.c.id <= last.id))
        _keep(conn, key, ANCHOR, last)
    return count


def rewrite(conn: Connection, key: bytes, changed: Mapping[int, Mapping[str, str]]) -> None:
    """Change rows on purpose (a person's data is erased) and seal the chain anew from the first of them on."""
    anchor, head = _marks(conn, key)
    table = schema.audit
    for row_id, values in changed.items():
        conn.execute(update(table).where(table.c.id == row_id).values(**values))
    first = min(changed)
    before = conn.execute(
        select(table.c.id, table.c.chain)
        .where(table.c.id < first, table.c.id > anchor.id)
        .order_by(table.c.id.desc())
        .limit(1)
    ).first()
    mark = Mark(before.id, bytes(before.chain)) if before is not None and before.chain is not None else anchor
    for row in conn.execute(
        select(table).where(table.c.id > mark.id, table.c.id <= head.id).order_by(table.c.id)
    ).all():
        mark = Mark(row.id, _link(key, mark.chain, row))
        conn.execute(update(table).where(table.c.id == row.id).values(chain=mark.chain))
    if mark.id > anchor.id:
        _keep(conn, key, HEAD, mark)


# ---- reading


def entries(
    conn: Connection,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    subject: str | None = None,
    newest: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of the audit by id; with `newest`, only the last so many. `subject`: only what begins so."""
    table = schema.audit
    query = select(*(table.c[name] for name in _FIELDS))
    if since_ms is not None:
        query = query.where(table.c.at_ms >= since_ms)
    if until_ms is not None:
        query = query.where(table.c.at_ms < until_ms)
    if subject is not None:
        query = query.where(table.c.subject.startswith(subject, autoescape=True))
    if newest is not None:
        last = conn.execute(query.order_by(table.c.id.desc()).limit(newest)).all()
        yield from (dict(row._mapping) for row in reversed(last))
        return
    for row in conn.execute(query.order_by(table.c.id).execution_options(yield_per=1000)):
        yield dict(row._mapping)
