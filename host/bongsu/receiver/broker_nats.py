"""NATS server's configuration: the embedded broker's, one server's of its own, and that of three that are one cluster.

Pure: text in, text out. MQTT's topics are subjects in NATS: "/" is ".", "+" is "*".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bongsu.receiver.broker_access import Access

# How many alarms may be with the receiver, not yet committed. The server allows 65,535 for all of a session.
_MAX_ACK_PENDING = 8192
_MAX_CONNECTIONS = 100_000
_SYNC_INTERVAL = '"1s"'
# A frame has at most 255 bytes; the server's own session records need a little more. The smaller, the longer a login
# that floods the broker takes to fill its store.
_MAX_PAYLOAD = 4 * 1024
# How long a CONNECT may take; the server's own 2 s are too short for a city that comes back at once, and each node that
# is turned away comes back for another try (tools/bench_fleet.py: 10,000 nodes in 16 s instead of 5).
_CONNECT_S = 10
# How long a TLS handshake may take: a chip computes for seconds, an emulated one for many.
_HANDSHAKE_S = 30
_ROUTE_USER = "route"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens for MQTT, and where its files are. `tls`: (certificate, key) or None."""

    host: str
    port: int
    store_dir: str
    log_file: str
    tls: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Member:
    """One server of a cluster: name, address, and the ports of MQTT and of the cluster's own traffic."""

    name: str
    host: str
    port: int
    route_port: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """The whole of it, as one of its members sees it. `ca`: file of the CA that signed the members' certificates."""

    members: tuple[Member, ...]
    me: Member
    password: str
    ca: str | None


def configuration(
    name: str, place: Place, users: Iterable[Access], *, max_store_mb: int, cluster: Cluster | None = None
) -> str:
    """The text of nats.conf."""
    tls = ""
    if place.tls is not None:
        cert, key = map(_quoted, place.tls)
        tls = f"\n  tls {{ cert_file: {cert}, key_file: {key}, timeout: {_HANDSHAKE_S} }}"
    replicas = "" if cluster is None else f"\n  stream_replicas: {len(cluster.members)}"
    # Not `sync_interval: always`: a flush a message costs more than half of the broker's rate and proves nothing to
    # anybody, because a node keeps its alarm until the receiver's own receipt and sends it again after 5 s.
    # Not `consumer_inactive_threshold`: it leaves sessions that look present and deliver nothing.
    return f"""\
# Written by bongsu at every change of the registry; changes made here are lost.
server_name: {_quoted(name)}
# The server's own protocol: loopback only, and no login may use it.
host: "127.0.0.1"
port: -1
log_file: {_quoted(place.log_file)}
log_size_limit: 10MB
log_max_num: 3
max_connections: {_MAX_CONNECTIONS}
max_payload: {_MAX_PAYLOAD}
jetstream {{
  store_dir: {_quoted(place.store_dir)}
  max_memory_store: 64MB
  max_file_store: {max_store_mb}MB
  sync_interval: {_SYNC_INTERVAL}
}}
mqtt {{
  host: {_quoted(place.host)}
  port: {place.port}
  ack_wait: "5s"
  max_ack_pending: {_MAX_ACK_PENDING}
  reject_qos2_publish: true{replicas}{tls}
}}
{_cluster_block(cluster, place) if cluster is not None else ""}authorization {{ timeout: {_CONNECT_S}, users: [
{"".join(_user(access) for access in users)}] }}
"""


def _cluster_block(cluster: Cluster, place: Place) -> str:
    """The cluster's own traffic. A member that stops answering is given up after about 4 s: routes are pinged every
    2 s, because to a frozen peer they look open for a minute otherwise.
    """
    tls = ""
    if place.tls is not None and cluster.ca is not None:
        cert, key, ca = map(_quoted, (*place.tls, cluster.ca))
        tls = f"\n  tls {{ cert_file: {cert}, key_file: {key}, ca_file: {ca}, verify: true, timeout: 5 }}"
    password = _quoted(cluster.password)
    routes = "\n".join(
        f'    "nats-route://{_ROUTE_USER}:{cluster.password}@{_bracketed(m.host)}:{m.route_port}"'
        for m in cluster.members
        if m is not cluster.me
    )
    return f"""\
cluster {{
  name: "bongsu"
  host: {_quoted(cluster.me.host)}
  port: {cluster.me.route_port}
  authorization {{ user: {_quoted(_ROUTE_USER)}, password: {password}, timeout: 5 }}{tls}
  no_advertise: true
  ping_interval: "2s"
  ping_max: 2
  routes: [
{routes}
  ]
}}
"""


def _user(access: Access) -> str:
    publish, subscribe = (", ".join(_quoted(_subject(f)) for f in fs) for fs in (access.publish, access.subscribe))
    return (
        f"  {{ user: {_quoted(access.user)}, password: {_quoted(access.password)}, allowed_connection_types: [MQTT],"
        f" permissions: {{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }} }}\n"
    )


def _subject(mqtt_filter: str) -> str:
    return mqtt_filter.replace("/", ".").replace("+", "*")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
