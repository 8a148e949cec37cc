"""The fleet benchmark's data folder: a city of markets with up to 500 shops each, every shop with an owner and a
provisioned node in service, one fire station; written in bulk, a second or so for 10,000 nodes.
"""

import secrets
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from bongsu.receiver import registry, responders
from bongsu.receiver.init_data import init_data
from bongsu.receiver.keys import MASTER_KEY_NAME, NODE_KEY_LEN, MasterKey, load_master
from bongsu.receiver.store import open_store, schema

SHOPS_A_MARKET = 500
RECEIVER, GATEWAY = "receiver", "gateway"
Row = dict[str, Any]


def site_id(i: int) -> str:
    """The market of the i-th node."""
    return f"m-{i // SHOPS_A_MARKET:03d}"


def node_id(i: int) -> str:
    """The id of the i-th node: a locally administered MAC."""
    return f"{0x020000000000 + i:012x}"


def make(data: Path, nodes: int, logins: int, broker_port: int, station_port: int) -> dict[str, tuple[str, str]]:
    """Make the data folder; the first `logins` nodes have a login at the broker. Returns passwords and what they are
    for: {user: (node id or "", password)}, the receiver's and the bench's gateway's among them.
    """
    now_ms = time.time_ns() // 1_000_000
    init_data(data, now_ms=now_ms)
    users = {name: ("", secrets.token_urlsafe(18)) for name in (RECEIVER, GATEWAY)}
    for name in users:
        (data / f"{name}.password").write_text(users[name][1])
        (data / f"{name}.password").chmod(0o600)
    (data / "receiver.toml").write_text(
        f'[broker]\nmode = "external"\nurl = "mqtt://127.0.0.1:{broker_port}"\n'
        f'user = "{RECEIVER}"\npassword_file = "{RECEIVER}.password"\n'
    )
    master = load_master(data / MASTER_KEY_NAME)
    store = open_store(f"sqlite:///{data / 'bongsu.db'}")
    try:
        with store.write() as conn:
            _markets(conn, master, nodes, station_port, now_ms)
            _shops(conn, nodes, now_ms)
            _nodes(conn, master, nodes, now_ms)
            users.update(_logins(conn, master, logins, now_ms))
    finally:
        store.close()
    return users


def _markets(conn: Connection, master: MasterKey, nodes: int, station_port: int, now_ms: int) -> None:
    for site in sorted({site_id(i) for i in range(0, nodes, SHOPS_A_MARKET)}):
        registry.add_site(
            conn, site_id=site, name=f"Market {site}", kind="market", address="", tz="Asia/Seoul", now_ms=now_ms
        )
    responders.add_responder(
        conn,
        master,
        responder_id="119",
        kind="station",
        name="119",
        url=f"http://127.0.0.1:{station_port}/",
        secret=responders.new_secret(),
        sites=(),
        rank=0,
        now_ms=now_ms,
    )


def _shops(conn: Connection, nodes: int, now_ms: int) -> None:
    """A shop and its owner for each node."""
    conn.execute(
        insert(schema.unit),
        [
            {"site_id": site_id(i), "id": f"u-{i}", "name": f"Shop {i}", "place": f"row {i % 20}", "created_ms": now_ms}
            for i in range(nodes)
        ],
    )
    conn.execute(
        insert(schema.contact),
        [
            {"id": f"o-{i}", "name": f"owner of {i}", "phone": f"+8210{i:08d}", "lang": "ko", "created_ms": now_ms}
            for i in range(nodes)
        ],
    )
    conn.execute(
        insert(schema.unit_contact),
        [
            {"site_id": site_id(i), "unit_id": f"u-{i}", "contact_id": f"o-{i}", "role": "owner", "rank": 0}
            for i in range(nodes)
        ],
    )


def _nodes(conn: Connection, master: MasterKey, nodes: int, now_ms: int) -> None:
    """Nodes in service: each has proven its key."""
    rows: list[Row] = []
    keys: list[Row] = []
    for i in range(nodes):
        node = node_id(i)
        rows.append(
            {"id": node, "site_id": site_id(i), "unit_id": f"u-{i}", "label": "", "state": "provisioned"}
            | {"created_ms": now_ms}
        )
        wrapped = master.wrap(secrets.token_bytes(NODE_KEY_LEN), f"node-key:{node}:1")
        times = {"created_ms": now_ms, "activated_ms": now_ms}
        keys.append({"node_id": node, "epoch": 1, "wrapped": wrapped, "state": "active"} | times)
    conn.execute(insert(schema.node), rows)
    conn.execute(insert(schema.node_live), [{"node_id": row["id"], "silent": False} for row in rows])
    conn.execute(insert(schema.node_key), keys)


def _logins(conn: Connection, master: MasterKey, logins: int, now_ms: int) -> dict[str, tuple[str, str]]:
    users: dict[str, tuple[str, str]] = {}
    rows: list[Row] = []
    for i in range(logins):
        node, password, client_id = node_id(i), secrets.token_urlsafe(18), secrets.token_urlsafe(16)
        users[f"n-{node}"] = (node, password)
        rows.append(
            {
                "node_id": node,
                "username": f"n-{node}",
                "password_wrapped": master.wrap(password.encode(), f"broker-password:{node}"),
                "client_id_wrapped": master.wrap(client_id.encode(), f"broker-client:{node}"),
                "created_ms": now_ms,
            }
        )
    if rows:
        conn.execute(insert(schema.node_broker), rows)
    return users


def broker_conf(folder: Path, port: int, users: dict[str, tuple[str, str]]) -> str:
    """nats.conf: each node bound to its own topics, the receiver as in service, and the bench's gateway, which may
    carry everybody's frames. Such a login exists here only.
    """
    lines = []
    for user, (node, password) in users.items():
        up = [f"bongsu.v1.up.{node or '*'}.{part}" for part in ("e", "h")]
        down = [f"bongsu.v1.down.{node or '*'}"]
        if user == RECEIVER:
            canary = "bongsu.v1.canary.*"
            publish, subscribe = [*down, canary], [*up, canary]
        else:
            publish, subscribe = up, down
        allowed = f"publish: {{ allow: [{', '.join(publish)}] }}, subscribe: {{ allow: [{', '.join(subscribe)}] }}"
        lines.append(f'  {{ user: "{user}", password: "{password}", permissions: {{ {allowed} }} }}')
    return (
        f'server_name: bench\nlisten: "127.0.0.1:-1"\nmax_connections: 100000\n'
        f'jetstream {{ store_dir: "{folder}/js", sync_interval: "1s" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}", ack_wait: "5s", max_ack_pending: 8192 }}\n'
        "authorization { timeout: 10, users: [\n" + "\n".join(lines) + "\n] }\n"
    )
