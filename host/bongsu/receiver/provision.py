"""Provisioning a node: a new key and key epoch, its broker login, and the bundle that goes onto the board (DESIGN
section 5).
"""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, update

from bongsu.install.boards import Board
from bongsu.install.bundle import Bundle
from bongsu.receiver import detector, registry
from bongsu.receiver.certificates import BROKER_NAME
from bongsu.receiver.keys import BrokerLogin, MasterKey, ensure_broker_login, make_node_key
from bongsu.receiver.registry import RegistryError, Row
from bongsu.receiver.store import schema

HEARTBEAT_S = 45


@dataclass(frozen=True)
class BrokerAddress:
    """Where the node finds the broker: by IP address, because a name look-up blocks an ESP32. server_hostname: the name
    that the broker's certificate must bear; more: (ip, port) of the other members of its cluster.
    """

    ip: str
    port: int
    tls: bool = True
    server_hostname: str = BROKER_NAME
    more: tuple[tuple[str, int], ...] = ()


def provision_node(
    conn: Connection,
    master: MasterKey,
    *,
    node_id: str,
    broker: BrokerAddress,
    board: Board,
    wifi: list[dict[str, str]],
    ca_der: bytes,
    actor: str,
    now_ms: int,
    profile: str | None = None,
) -> Bundle:
    """Make a new key and epoch for a registered node and return its bundle; the caller commits once the bundle is
    saved. `profile`: of its detector; without one it keeps what it was told, and a new node gets its site's kind's.

    Raises RegistryError (not registered, retired), KeyFault (epochs used up) and profiles.ProfileError.
    """
    row = registry.get_node(conn, node_id)
    if row["state"] == "retired":
        raise RegistryError(f"node {node_id} is retired", "Register another board.")
    setting = detector.wanted(detector.standing(conn, node_id), profile, {})
    detector.keep(conn, node_id, setting)
    key = make_node_key(conn, master, node_id, now_ms)
    login = ensure_broker_login(conn, master, node_id, now_ms)
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(state="provisioned"))
    registry.audit(
        conn,
        actor=actor,
        action="node.provision",
        subject=f"node:{node_id}",
        detail=f"epoch {key.epoch}, profile {setting.profile}",
        now_ms=now_ms,
    )
    node_json = _node_json(row, broker, login, board, wifi, now_ms)
    node_json |= {"profile": setting.profile, "detector": setting.numbers}
    return Bundle(node_id, key.epoch, key.key, node_json, ca_der)


def _node_json(
    node: Row, broker: BrokerAddress, login: BrokerLogin, board: Board, wifi: list[dict[str, str]], now_ms: int
) -> dict[str, Any]:
    """What the node's configuration file holds; an unassigned node has no site and unit."""
    return {
        "v": 1,
        "node": node["id"],
        "site": node["site_id"] or "",
        "unit": node["unit_id"] or "",
        "wifi": wifi,
        "broker": {
            "ip": broker.ip,
            "port": broker.port,
            "tls": broker.tls,
            "server_hostname": broker.server_hostname,
            "user": login.username,
            "password": login.password,
            "client_id": login.client_id,
            **({"more": [{"ip": ip, "port": port} for ip, port in broker.more]} if broker.more else {}),
        },
        "board": board.name,
        "pins": board.pins,
        "smoke_head": msgspec.to_builtins(board.smoke_head),
        "heartbeat_s": HEARTBEAT_S,
        "provisioned_s": now_ms // 1000,
    }
