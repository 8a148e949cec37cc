"""Who may do what at the broker: one user a node, one a receiver, each bound to its own topics. Every broker's
configuration is written from this list.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from bongsu.receiver import canary
from bongsu.receiver.keys import BrokerLogin, MasterKey, broker_logins
from bongsu.receiver.store import schema
from bongsu_wire import topics

_DOWN_FILTER = topics.down("+")


@dataclass(frozen=True, slots=True)
class Access:
    """A broker's user: MQTT filters that it may publish to and subscribe. `client_id`: the one that it uses; secret
    too, because who knows it can take over the session.
    """

    user: str
    password: str = field(repr=False)
    client_id: str = field(repr=False)
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def node_access(login: BrokerLogin) -> Access:
    """A node may send its own events and heartbeats and hear what is meant for it, nothing else."""
    node = login.node_id
    up = (topics.up_events(node), topics.up_beats(node))
    return Access(login.username, login.password, login.client_id, up, (topics.down(node),))


def receiver_access(user: str, password: str, client_id: str, sender: int | None) -> Access:
    """A receiver hears every node, and tells any. `sender`: its own, for its canary; None: any receiver's."""
    canaries = canary.topic(sender) if sender is not None else _any_canary()
    up = (topics.UP_EVENTS_FILTER, topics.UP_BEATS_FILTER)
    return Access(user, password, client_id, (_DOWN_FILTER, canaries), (*up, canaries))


def _any_canary() -> str:
    return canary.topic(1).rpartition("/")[0] + "/+"


def receiver_user(sender: int) -> str:
    """The broker user of a receiver."""
    return f"r-{sender}"


def receiver_password(master: MasterKey, sender: int) -> str:
    """Its password: derived, so that each receiver of an installation knows its own, and whoever writes the broker's
    configuration all of them.
    """
    return master.derive_text(f"broker-receiver:{sender}")


def read_accesses(conn: Connection, master: MasterKey) -> list[Access]:
    """All users that the broker has to let in: receivers and nodes in service."""
    table = schema.receiver
    rows = conn.execute(select(table).where(table.c.retired_ms.is_(None)).order_by(table.c.sender))
    receivers = [
        receiver_access(receiver_user(r.sender), receiver_password(master, r.sender), r.mqtt_client_id, r.sender)
        for r in rows
    ]
    return [*receivers, *nodes_access(broker_logins(conn, master))]


def nodes_access(logins: Iterable[BrokerLogin]) -> list[Access]:
    """The nodes' users."""
    return [node_access(login) for login in logins]
