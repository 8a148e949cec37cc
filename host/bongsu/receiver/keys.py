"""Node keys: made per node and key epoch, kept wrapped by the master key, and their life: pending -> active -> old ->
retired (DESIGN section 5).

A secret is wrapped by AES-256-GCM under the master key; its purpose ("node-key:<node>:<epoch>", "responder:<id>", ...)
is the associated data, so that a wrapped value moved to another row does not open.
"""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, delete, func, insert, select, update

from bongsu.errors import BongsuError
from bongsu.receiver.store import changes, schema

MASTER_KEY_NAME = "master.key"
NODE_KEY_LEN = 16
MASTER_KEY_LEN = 32
EPOCH_MAX = 255
# An old key stays valid on the uplink this long after the new one's first authentic frame (DESIGN section 5).
OLD_KEY_VALID_MS = 24 * 3600 * 1000
_NONCE_LEN = 12
_DERIVED_LEN = 24
_WRAP_VERSION = b"\x01"


class KeyFault(BongsuError):
    """A key is missing, does not open, or cannot be made."""


class MasterKey:
    """The installation's master key; its repr hides it."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != MASTER_KEY_LEN:
            raise KeyFault(
                f"the master key has {len(raw)} bytes, not {MASTER_KEY_LEN}",
                "Name the installation's own master.key, of which a copy is kept apart.",
            )
        self._gcm = AESGCM(raw)
        self._raw = raw

    def __repr__(self) -> str:
        return "MasterKey(hidden)"

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for another use than wrapping."""
        return hmac.new(self._raw, f"bongsu derived key:{purpose}".encode(), hashlib.sha256).digest()

    def wrap(self, secret: bytes, purpose: str) -> bytes:
        """`secret` sealed for one purpose: version (1) + nonce (12) + ciphertext + tag (16)."""
        nonce = os.urandom(_NONCE_LEN)
        return _WRAP_VERSION + nonce + self._gcm.encrypt(nonce, secret, purpose.encode())

    def derive_text(self, purpose: str) -> str:
        """A secret of 192 bits as text, always the same for one purpose: for what every receiver of an installation has
        to know without asking another (HKDF-SHA-256; who has it learns nothing of the master key).
        """
        raw = HKDF(hashes.SHA256(), length=_DERIVED_LEN, salt=None, info=purpose.encode()).derive(self._raw)
        return base64.urlsafe_b64encode(raw).decode()

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes:
        """The secret. Raises KeyFault if it was changed, or wrapped for another purpose or under another key."""
        try:
            if wrapped[:1] != _WRAP_VERSION:
                raise InvalidTag
            return self._gcm.decrypt(wrapped[1 : 1 + _NONCE_LEN], wrapped[1 + _NONCE_LEN :], purpose.encode())
        except (InvalidTag, ValueError):
            raise KeyFault(
                f"a stored secret ({purpose}) does not open with this master key",
                "Put back the master.key that belongs to this database.",
            ) from None


def load_master(path: Path) -> MasterKey:
    """Read master.key. Raises KeyFault if it is missing, unreadable, of a wrong length, or open to other users."""
    try:
        mode = path.stat().st_mode
        raw = path.read_bytes()
    except OSError as err:
        raise KeyFault(
            f"cannot read the master key {path}: {err.strerror}",
            "Name the data folder by --data, or run `bongsu init`.",
        ) from None
    if mode & 0o077:
        raise KeyFault(f"{path} may be read by other users", f"Run: chmod 600 {path}")
    return MasterKey(raw)


@dataclass(frozen=True)
class NodeKey:
    """A usable uplink key of a node."""

    node_id: str
    epoch: int
    state: str
    valid_until_ms: int | None
    key: bytes = field(repr=False)

    def usable_at(self, now_ms: int) -> bool:
        """True while frames under this key may be accepted."""
        return self.state in ("pending", "active") or (
            self.state == "old" and self.valid_until_ms is not None and now_ms < self.valid_until_ms
        )


def _purpose(node_id: str, epoch: int) -> str:
    return f"node-key:{node_id}:{epoch}"


def make_node_key(conn: Connection, master: MasterKey, node_id: str, now_ms: int, after: int = 0) -> NodeKey:
    """Make and store a new key under the next epoch, pending until its first authentic frame. `after`: the epoch that
    the board has, of which the store may know nothing; none comes twice on a board, unless it has the last one. Raises
    KeyFault when the store's are used up.
    """
    table = schema.node_key
    last = conn.execute(select(func.max(table.c.epoch)).where(table.c.node_id == node_id)).scalar_one()
    epoch = max(last or 0, after if after < EPOCH_MAX else 0) + 1
    if epoch > EPOCH_MAX:
        raise KeyFault(
            f"node {node_id} has used all {EPOCH_MAX} key epochs",
            "Replace the board: another board has another node id.",
        )
    key = secrets.token_bytes(NODE_KEY_LEN)
    conn.execute(
        insert(table).values(
            node_id=node_id,
            epoch=epoch,
            wrapped=master.wrap(key, _purpose(node_id, epoch)),
            state="pending",
            created_ms=now_ms,
        )
    )
    return NodeKey(node_id, epoch, "pending", None, key)


def usable_keys(
    conn: Connection,
    master: MasterKey,
    now_ms: int,
    node_id: str | Collection[str] | None = None,
    damaged: list[tuple[str, int]] | None = None,
) -> list[NodeKey]:
    """Keys whose uplink frames may be accepted now, of one node, of some or of all, newest epoch first per node.

    With `damaged`, (node, epoch) of keys that do not open are put there. Raises KeyFault for them otherwise.
    """
    table = schema.node_key
    query = (
        select(table)
        .where(
            (table.c.state.in_(("pending", "active"))) | ((table.c.state == "old") & (table.c.valid_until_ms > now_ms))
        )
        .order_by(table.c.node_id, table.c.epoch.desc())
    )
    if node_id is not None:
        query = query.where(table.c.node_id.in_([node_id] if isinstance(node_id, str) else node_id))
    found = []
    for r in conn.execute(query):
        try:
            raw = master.unwrap(r.wrapped, _purpose(r.node_id, r.epoch))
        except KeyFault:
            if damaged is None:
                raise
            damaged.append((r.node_id, r.epoch))
            continue
        found.append(NodeKey(r.node_id, r.epoch, r.state, r.valid_until_ms, raw))
    return found


def newest_key(conn: Connection, master: MasterKey, node_id: str, now_ms: int) -> NodeKey | None:
    """The key that the node has, or is to get: the newest one that is pending or active; None if there is none that
    opens.
    """
    found = usable_keys(conn, master, now_ms, node_id, damaged=[])
    return found[0] if found and found[0].state in ("pending", "active") else None


def is_ours(conn: Connection, master: MasterKey, node_id: str, epoch: int, is_it: Callable[[bytes], bool]) -> bool:
    """Did this store ever make the node's key of this epoch, be it retired? `is_it`: compares. A key that does not open
    counts as ours: what it is cannot be told.
    """
    c = schema.node_key.c
    wrapped = conn.execute(select(c.wrapped).where(c.node_id == node_id, c.epoch == epoch)).scalar_one_or_none()
    if wrapped is None:
        return False
    try:
        return is_it(master.unwrap(wrapped, _purpose(node_id, epoch)))
    except KeyFault:
        return True


def activate(conn: Connection, node_id: str, epoch: int, now_ms: int) -> bool:
    """The first authentic frame under `epoch` came: it becomes the active key, the one before it old for 24 h, earlier
    pending ones retired.

    True if this call changed it; False if it was not pending (any more), which is the usual case.
    """
    if not is_pending(conn, node_id, epoch):
        return False
    table = schema.node_key
    mine = table.c.node_id == node_id
    conn.execute(
        update(table)
        .where(mine, table.c.state == "active")
        .values(state="old", valid_until_ms=now_ms + OLD_KEY_VALID_MS)
    )
    conn.execute(update(table).where(mine, table.c.state == "pending", table.c.epoch < epoch).values(state="retired"))
    conn.execute(update(table).where(mine, table.c.epoch == epoch).values(state="active", activated_ms=now_ms))
    changes.note(conn, "node", node_id)
    return True


def is_pending(conn: Connection, node_id: str, epoch: int) -> bool:
    """Does this key wait for its first authentic frame?"""
    c = schema.node_key.c
    query = select(c.epoch).where(c.node_id == node_id, c.epoch == epoch, c.state == "pending")
    return conn.execute(query).first() is not None


def give_up(conn: Connection, node_id: str, epoch: int) -> bool:
    """A pending key that its node cannot have is accepted no more. True if it was pending."""
    table = schema.node_key
    mine = (table.c.node_id == node_id, table.c.epoch == epoch, table.c.state == "pending")
    given_up = conn.execute(update(table).where(*mine).values(state="retired")).rowcount > 0
    if given_up:
        changes.note(conn, "node", node_id)
    return given_up


def expire_old(conn: Connection, now_ms: int) -> int:
    """Retire old keys whose 24 h are over; returns how many."""
    table = schema.node_key
    result = conn.execute(
        update(table).where(table.c.state == "old", table.c.valid_until_ms <= now_ms).values(state="retired")
    )
    return result.rowcount


def retire_node_keys(conn: Connection, node_id: str) -> None:
    """No key of the node is accepted any more; its broker credentials go too."""
    conn.execute(
        update(schema.node_key).where(schema.node_key.c.node_id == node_id).values(state="retired", valid_until_ms=None)
    )
    conn.execute(delete(schema.node_broker).where(schema.node_broker.c.node_id == node_id))


@dataclass(frozen=True)
class BrokerLogin:
    """A node's login at the broker. The client id is secret too: who knows it can take over the session."""

    node_id: str
    username: str
    password: str = field(repr=False)
    client_id: str = field(repr=False)


def ensure_broker_login(conn: Connection, master: MasterKey, node_id: str, now_ms: int) -> BrokerLogin:
    """The node's login, made at first. Provisioning again keeps it, so that the node is not locked out before the new
    bundle is on it.
    """
    logins = broker_logins(conn, master, node_id)
    if logins:
        return logins[0]
    login = BrokerLogin(node_id, f"n-{node_id}", secrets.token_urlsafe(18), secrets.token_urlsafe(16))
    conn.execute(
        insert(schema.node_broker).values(
            node_id=node_id,
            username=login.username,
            password_wrapped=master.wrap(login.password.encode(), f"broker-password:{node_id}"),
            client_id_wrapped=master.wrap(login.client_id.encode(), f"broker-client:{node_id}"),
            created_ms=now_ms,
        )
    )
    return login


def broker_logins(conn: Connection, master: MasterKey, node_id: str | None = None) -> list[BrokerLogin]:
    """Logins of one node or of all, for the broker's configuration. Of all, one that is damaged is left out: its node
    falls silent, which is a fault, and the others go on. Raises KeyFault for one node's.
    """
    table = schema.node_broker
    query = select(table).order_by(table.c.node_id)
    if node_id is not None:
        query = query.where(table.c.node_id == node_id)
    logins = []
    for r in conn.execute(query):
        try:
            password = master.unwrap(r.password_wrapped, f"broker-password:{r.node_id}").decode()
            client_id = master.unwrap(r.client_id_wrapped, f"broker-client:{r.node_id}").decode()
        except KeyFault:
            if node_id is not None:
                raise
            continue
        logins.append(BrokerLogin(r.node_id, r.username, password, client_id))
    return logins
