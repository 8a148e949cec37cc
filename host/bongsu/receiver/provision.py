"""Provisioning a node: a new key and key epoch, its broker login, and the bundle that goes onto the board (DESIGN
section 5).
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, update

from bongsu.install.boards import Board
from bongsu.install.bundle import Bundle
from bongsu.receiver import detector, fitting, registry
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


@dataclass(frozen=True)
class Settings:
    """What a node is told: its node.json. said: the part of it that the audit names."""

    node_json: dict[str, Any] = field(repr=False)
    said: str


def settings_for(
    conn: Connection,
    master: MasterKey,
    *,
    node_id: str,
    broker: BrokerAddress,
    board: Board,
    wifi: list[dict[str, str]],
    now_ms: int,
    profile: str | None = None,
    wish: fitting.Wish = fitting.Wish(),  # noqa: B008 - it is frozen
    role: str | None = None,
) -> Settings:
    """A registered node's settings, kept in the store as what it is provisioned with; its key stays as it is.

    `profile`: of its detector; without one it keeps what it was told, and a new node gets its site's kind's. `wish`:
    what is fitted to it. `role`: None: its board's. Raises RegistryError (not registered, retired),
    profiles.ProfileError and sensors.SensorError.
    """
    row = registry.get_node(conn, node_id)
    if row["state"] == "retired":
        raise RegistryError(f"node {node_id} is retired", "Register another board.")
    setting = detector.wanted(detector.standing(conn, node_id), profile, {})
    detector.keep(conn, node_id, setting)
    fitted = fitting.wanted(row, board, wish)
    fitting.keep(conn, node_id, fitted)
    login = ensure_broker_login(conn, master, node_id, now_ms)
    conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(state="provisioned"))
    node_json = _node_json(row, broker, login, board, wifi, now_ms)
    node_json |= {"profile": setting.profile, "detector": setting.numbers}
    node_json |= {"sensors": fitted.fitted, "reading_s": fitted.reading_s, "role": role or board.role}
    return Settings(node_json, f"profile {setting.profile}, sensors {fitted.types}")


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
    wish: fitting.Wish = fitting.Wish(),  # noqa: B008 - it is frozen
) -> Bundle:
    """Make a new key and epoch for a registered node and return its bundle, with the settings of `settings_for`; the
    caller commits once the bundle is saved.

    Raises what settings_for raises, and KeyFault (epochs used up).
    """
    settings = settings_for(
        conn, master, node_id=node_id, broker=broker, board=board, wifi=wifi, now_ms=now_ms, profile=profile,
        wish=wish,
    )  # fmt: skip
    key = make_node_key(conn, master, node_id, now_ms)
    note(conn, node_id, f"epoch {key.epoch}, {settings.said}", actor=actor, now_ms=now_ms)
    return Bundle(node_id, key.epoch, key.key, settings.node_json, ca_der)


def note(conn: Connection, node_id: str, detail: str, *, actor: str, now_ms: int) -> None:
    """A provisioning into the audit."""
    registry.audit(conn, actor=actor, action="node.provision", subject=f"node:{node_id}", detail=detail, now_ms=now_ms)


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
