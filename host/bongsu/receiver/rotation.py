"""Another key for a node, over the air: made and stored here, sealed to the node under the key in force when the node
is heard (orders.py), in force itself from the node's first authentic frame under it (keys.activate).

The node goes over to it at a quiet moment: no alarm stands, nothing waits for its receipt. Until then, and for 24 h
after, the old key is accepted; a node that refused, or never heard of it, goes on as before. A key that may be in the
node already is given again rather than another one made.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from bongsu.receiver import keys, orders, registry
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.store import changes, schema
from bongsu_wire import kinds

# What has become of it: not answered yet; the node has it, and waits for a quiet moment; in force; ...
ASKED, GIVEN, ACTIVE = "asked", "given", "active"
# ... the node does not take it; it could not store it for sure; it was not heard, or did not answer.
REFUSED, UNSUPPORTED, FAILED, EXPIRED = "refused", "unsupported", "failed", "expired"
ENDED = (ACTIVE, REFUSED, UNSUPPORTED, FAILED, EXPIRED)


# A node believes a command for 60 s after the frame that it quotes; without an answer by then it did not get it, or its
# answer was lost.
GIVE_AGAIN_MS = 75_000


@dataclass(frozen=True)
class Rotation:
    """A key on its way to a node. `is_new`: made just now, not found under way."""

    node_id: str
    epoch: int
    order_id: int
    is_new: bool


def begin(conn: Connection, master: MasterKey, node_id: str, *, actor: str, now_ms: int) -> Rotation:
    """Make a key for a node and ask for it to be given. One that is under way is waited for, or given again if it was
    lost. Raises RegistryError (not registered, not in service), KeyFault (epochs used up).
    """
    last = _last(conn, node_id)
    if last is not None and not is_overdue(conn, last, now_ms):
        return last
    if last is not None and keys.is_pending(conn, node_id, last.epoch):
        return _place(conn, node_id, last.epoch, actor, now_ms, is_new=False)
    c = schema.node_key.c
    if conn.execute(select(c.epoch).where(c.node_id == node_id, c.state == "active")).first() is None:
        registry.get_node(conn, node_id)
        raise registry.RegistryError(
            f"node {node_id} has not been heard under a key yet, so it can be told nothing",
            f"Provision it at its serial port: bongsu device provision {node_id}",
        )
    key = keys.make_node_key(conn, master, node_id, now_ms)
    changes.note(conn, "node", node_id)
    return _place(conn, node_id, key.epoch, actor, now_ms, is_new=True)


def _place(conn: Connection, node_id: str, epoch: int, actor: str, now_ms: int, *, is_new: bool) -> Rotation:
    args, said = orders.rotation_args(epoch), f"epoch {epoch}"
    order_id = orders.place(conn, node_id, "rotate_key", actor=actor, now_ms=now_ms, args=args, said=said)
    return Rotation(node_id, epoch, order_id, is_new)


def _last(conn: Connection, node_id: str) -> Rotation | None:
    c = schema.command.c
    query = select(c.id, c.args).where(c.node_id == node_id, c.code == kinds.CMD_ROTATE_KEY).order_by(c.id.desc())
    row = conn.execute(query.limit(1)).first()
    return Rotation(node_id, orders.ordered_epoch(bytes(row.args)), row.id, is_new=False) if row is not None else None


def is_overdue(conn: Connection, rotation: Rotation, now_ms: int) -> bool:
    """It has come to an end, or went out so long ago that no answer is to be expected any more: begin() goes on."""
    stands = state(conn, rotation)
    c = schema.command.c
    sent_ms = conn.execute(select(c.sent_ms).where(c.id == rotation.order_id)).scalar_one()
    return stands in ENDED or (stands == ASKED and sent_ms is not None and now_ms - sent_ms >= GIVE_AGAIN_MS)


def state(conn: Connection, rotation: Rotation) -> str:
    """What has become of it: ASKED, ... as above."""
    c = schema.node_key.c
    query = select(c.state).where(c.node_id == rotation.node_id, c.epoch == rotation.epoch)
    key = conn.execute(query).scalar_one_or_none()
    if key in ("active", "old"):  # another may have followed
        return ACTIVE
    answer = orders.answer_of(conn, rotation.order_id)
    if answer == "done":
        return GIVEN if key == "pending" else EXPIRED
    return ASKED if answer is None else answer if answer in ENDED else FAILED


def in_service(conn: Connection, site_id: str) -> tuple[list[str], list[str]]:
    """Nodes of a site that can be told of a key: (those that are heard, those that are silent), in order."""
    n, k, live = schema.node.c, schema.node_key.c, schema.node_live.c
    active = select(k.node_id).where(k.state == "active")
    query = (
        select(n.id, live.silent)
        .join(schema.node_live, live.node_id == n.id, isouter=True)
        .where(n.site_id == site_id, n.state == "provisioned", n.id.in_(active))
        .order_by(n.unit_id, n.id)
    )
    rows = conn.execute(query).all()
    return [r.id for r in rows if not r.silent], [r.id for r in rows if r.silent]
