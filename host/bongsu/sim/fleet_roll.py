"""Who is in a fleet: nodes with their keys and logins from an installation's store, or from the bundles that
`bongsu node provision` wrote; and who carries whom.
"""

import ipaddress
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bongsu.errors import BongsuError
from bongsu.install.bundle import Bundle
from bongsu.receiver.certificates import BROKER_NAME
from bongsu.sim.fleet_carrier import Broker, Carrier
from bongsu.sim.fleet_node import FleetNode

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bongsu.receiver.config import Config
    from bongsu.receiver.keys import MasterKey

# How many runs were made with these nodes. Each begins with counters and event numbers of its own, for the receiver
# refuses what it has seen.
RUNS_FILE = "fleet.runs"
_COUNTERS_A_RUN, _NUMBERS_A_RUN = 1 << 20, 1 << 16
_RUNS_MAX = 4095
NODES_A_GATEWAY = 500


@dataclass(frozen=True)
class Login:
    """A login at the broker; the client id is secret, too."""

    user: str
    password: str = field(repr=False)
    client_id: str = field(repr=False)


@dataclass(frozen=True)
class Member:
    """A node of the fleet. `login`: None if only a gateway can carry it."""

    node: str
    site: str
    epoch: int
    key: bytes = field(repr=False)
    login: Login | None = field(repr=False, default=None)


def next_run(folder: Path) -> tuple[int, int]:
    """The first counter and the first event number of a new run, which is noted in the folder."""
    path = folder / RUNS_FILE
    try:
        run = int(path.read_text()) + 1
    except FileNotFoundError:
        run = 1
    except (OSError, ValueError):
        raise BongsuError(f"cannot read {path}", "Remove it if these nodes were never used in a fleet.") from None
    if run > _RUNS_MAX:
        raise BongsuError(f"{path}: the counters of these nodes are used up", "Provision them anew, and remove it.")
    path.write_text(f"{run}\n")
    return run * _COUNTERS_A_RUN + 1, run * _NUMBERS_A_RUN + 1


def of_store(conn: "Connection", master: "MasterKey", now_ms: int, logins: int) -> list[Member]:
    """Provisioned nodes of an installation, by site; of the first `logins` of them the logins, too."""
    from sqlalchemy import select

    from bongsu.receiver.keys import broker_logins, usable_keys
    from bongsu.receiver.store import schema

    table = schema.node
    found = conn.execute(select(table.c.id, table.c.site_id).where(table.c.state == "provisioned"))
    sites = {r.id: r.site_id or "" for r in found}
    keys = {k.node_id: k for k in reversed(usable_keys(conn, master, now_ms)) if k.node_id in sites}  # the newest stays
    ordered = sorted(keys, key=lambda node: (sites[node], node))
    known = {}
    if logins:
        wanted = set(ordered[:logins]) if logins < len(ordered) else None
        rows = (login for login in broker_logins(conn, master) if wanted is None or login.node_id in wanted)
        known = {login.node_id: Login(login.username, login.password, login.client_id) for login in rows}
    return [Member(node, sites[node], keys[node].epoch, keys[node].key, known.get(node)) for node in ordered]


def of_bundles(folder: Path) -> tuple[list[Member], Broker]:
    """The nodes of a folder of bundles, and the broker that they name."""
    bundles = [Bundle.load(path.parent) for path in sorted(folder.glob("*/ident.json"))]
    if not bundles:
        raise BongsuError(f"there are no bundles in {folder}", "Make some: bongsu node provision MAC --out FOLDER/MAC")
    members = []
    for bundle in bundles:
        broker = bundle.node_json["broker"]
        login = Login(broker["user"], broker["password"], broker["client_id"])
        members.append(Member(bundle.node_id, bundle.node_json.get("site", ""), bundle.key_epoch, bundle.key, login))
    first = bundles[0].node_json["broker"]
    tls = client_tls(bundles[0].ca_der) if first["tls"] else None
    return sorted(members, key=lambda m: (m.site, m.node)), Broker(
        ((first["ip"], first["port"]),), tls, first["server_hostname"]
    )


def client_tls(ca_der: bytes) -> ssl.SSLContext:
    """What a node trusts: one CA, nothing else; TLS 1.2 as an ESP32 speaks it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_der)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def broker_of(config: "Config") -> Broker:
    """Where the nodes of an installation find the broker, as receiver.toml and the running receiver have it."""
    from bongsu.receiver.broker_link import addresses, uses_tls
    from bongsu.receiver.certificates import der_of_pem

    settings = config.broker
    own_ca = config.data_dir / "ca" / "ca.crt"
    if settings.mode == "external":
        places, secure = tuple(addresses(settings)), uses_tls(settings)
        ca = config.path(settings.ca_file) if settings.ca_file else own_ca
        name = settings.server_hostname or places[0][0]
    else:
        host = "127.0.0.1" if ipaddress.ip_address(settings.host).is_unspecified else settings.host
        ca, secure, name = own_ca, settings.tls, BROKER_NAME
        places = ((host, settings.port or _running_port(config.data_dir)),)
    try:
        tls = client_tls(der_of_pem(ca.read_bytes())) if secure else None
    except (OSError, ValueError):
        raise BongsuError(f"cannot read the CA certificate {ca}", "Restore it from the backup.") from None
    return Broker(places, tls, name)


def _running_port(data: Path) -> int:
    try:
        return int((data / "run" / "broker.port").read_text())
    except (OSError, ValueError):
        raise BongsuError(
            "the broker's port is picked when the receiver starts, and it does not run", "Run: bongsu receiver run"
        ) from None


def carriers(
    members: list[Member], connections: int, gateway: Login | None, first: tuple[int, int], gateways: int | None = None
) -> list[Carrier]:
    """Who carries whom, in `connections` connections: each of the first members its own, the others behind gateways
    (`gateways`, else one for every 500 nodes; never over two sites), which use the one login. Raises BongsuError if
    nodes are left over and there is no such login.
    """
    wanted = gateways if gateways is not None else -(-max(0, len(members) - connections) // NODES_A_GATEWAY)
    own = members if len(members) <= connections else members[: max(0, connections - wanted)]
    rest = members[len(own) :]
    if rest and gateway is None:
        raise BongsuError(
            f"{len(rest)} of {len(members)} nodes have no connection of their own, and no gateway carries them",
            "Raise --connections, or name a login that may carry other nodes' frames: --gateway-user and"
            " --gateway-password-file.",
        )
    made = [_own(member, first) for member in own]
    if gateway is not None:
        made += [_behind(group, gateway, first) for group in _groups(rest, max(1, wanted))]
    return made


def _own(member: Member, first: tuple[int, int]) -> Carrier:
    login = member.login
    if login is None:
        raise BongsuError(f"node {member.node} has no login at the broker", "Run: bongsu node provision")
    return Carrier((login.client_id, login.user, login.password), [_node(member, first)])


def _behind(group: list[Member], gateway: Login, first: tuple[int, int]) -> Carrier:
    client_id = f"{gateway.client_id}{secrets.token_hex(8)}"
    return Carrier((client_id, gateway.user, gateway.password), [_node(m, first) for m in group], gateway=True)


def _node(member: Member, first: tuple[int, int]) -> FleetNode:
    return FleetNode(member.node, member.site, member.key, member.epoch, first)


def _groups(members: list[Member], gateways: int) -> list[list[Member]]:
    """Members in about so many groups of about one size, each within one site."""
    size = max(1, -(-len(members) // gateways))
    groups: list[list[Member]] = []
    for member in members:
        if not groups or len(groups[-1]) >= size or groups[-1][0].site != member.site:
            groups.append([])
        groups[-1].append(member)
    return groups
