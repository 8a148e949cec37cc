"""The benchmark's data folder: one market with a shop and a provisioned node for every alarm, and one fire station."""

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select

from bongsu.install.boards import Board, load_board
from bongsu.receiver import provision, registry, responders
from bongsu.receiver.init_data import init_data
from bongsu.receiver.keys import MASTER_KEY_NAME, MasterKey, load_master
from bongsu.receiver.store import Store, open_store, schema
from bongsu_wire import frame, kinds, payload, topics
from bongsu_wire.ccm import CcmKey

SITE = "bench"
CONFIG = """\
[broker]
mode = "external"
url = "mqtt://127.0.0.1:{port}"
"""


@dataclass(frozen=True)
class Alarm:
    """A node's frames, ready to be sent. `node`: its id as text."""

    node: str
    heartbeat: bytes
    event: bytes


def make(data: Path, count: int, broker_port: int, station_port: int) -> list[Alarm]:
    """Make the data folder `data` for `count` nodes on an external broker; every node's frames."""
    now_ms = time.time_ns() // 1_000_000
    init_data(data, now_ms=now_ms)
    (data / "receiver.toml").write_text(CONFIG.format(port=broker_port))
    master = load_master(data / MASTER_KEY_NAME)
    store = open_of(data)
    try:
        with store.write() as conn:
            registry.add_site(
                conn, site_id=SITE, name="Bench", kind="market", address="", tz="Asia/Seoul", now_ms=now_ms
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
            board = load_board("esp32-devkitc")
            return [_shop(conn, master, board, i, now_ms) for i in range(count)]
    finally:
        store.close()


def open_of(data: Path) -> Store:
    """The store of a data folder."""
    return open_store(f"sqlite:///{data / 'bongsu.db'}")


def _shop(conn: Connection, master: MasterKey, board: Board, i: int, now_ms: int) -> Alarm:
    node = node_id(i)
    registry.add_unit(conn, site_id=SITE, unit_id=f"u-{i}", name=f"Shop {i}", place="", now_ms=now_ms)
    registry.add_node(conn, node_id=node, unit=(SITE, f"u-{i}"), label="", now_ms=now_ms)
    bundle = provision.provision_node(
        conn,
        master,
        node_id=node,
        broker=provision.BrokerAddress("127.0.0.1", 1, tls=False),
        board=board,
        wifi=[],
        ca_der=b"",
        actor="bench",
        now_ms=now_ms,
    )
    return frames(node, bundle.key, bundle.key_epoch)


def node_id(i: int) -> str:
    """The id of the i-th node: a locally administered MAC."""
    return f"{0x020000000000 + i:012x}"


def frames(node: str, key: bytes, epoch: int) -> Alarm:
    """A heartbeat and a heat alarm of a node, sealed."""
    ccm, mac = CcmKey(key), topics.node_bytes(node)
    event = payload.Event(1, kinds.ALARM, kinds.HEAT, kinds.CRIT_HEAT_FIXED, sustained_ms=5000, temp_dk=3302)
    beat = payload.encode_heartbeat(payload.Heartbeat(uptime_s=60))
    return Alarm(
        node,
        frame.seal_up(ccm, kinds.UP_HEARTBEAT, epoch, mac, 1, beat),
        frame.seal_up(ccm, kinds.UP_EVENT, epoch, mac, 2, payload.encode_event(event)),
    )


def active_keys(store: Store) -> int:
    """How many nodes have proven their key."""
    active = select(func.count()).select_from(schema.node_key).where(schema.node_key.c.state == "active")
    with store.read() as conn:
        return int(conn.execute(active).scalar_one())
