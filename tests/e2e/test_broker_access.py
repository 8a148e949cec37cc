"""Mosquitto and NATS on the files that `bongsu broker config` writes: who may do what, alarms end to end, and a reload
that lets one node in and another out without cutting anybody else's session.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from bongsu.install.bundle import Bundle
from bongsu.receiver import registry_nodes
from bongsu.receiver.broker_access import receiver_password, receiver_user
from bongsu.receiver.config import load
from bongsu.receiver.init_data import MASTER_KEY_NAME
from bongsu.receiver.keys import load_master
from bongsu.receiver.store import open_store, schema
from bongsu.sim.hostnode import HostNode
from bongsu_wire import topics
from tests.broker_parts import NO_MOSQUITTO, Mosquitto, Nats, Single, await_true
from tests.receiver_parts import DEADLINE_S, add_unit, hall, make_market


def now_ms() -> int:
    """UTC ms."""
    return time.time_ns() // 1_000_000


MOSQUITTO = pytest.param(
    Mosquitto, id="mosquitto", marks=pytest.mark.skipif(NO_MOSQUITTO is not None, reason=str(NO_MOSQUITTO))
)
BROKERS = pytest.mark.parametrize("kind", [MOSQUITTO, pytest.param(Nats, id="nats")])


class Client:
    """A bare MQTT client: what it may, and what it heard."""

    def __init__(self, port: int, user: str, password: str, client_id: str = "probe") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.codes: dict[int, list[int]] = {}
        self.connack: int | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        self._client.username_pw_set(user, password)
        self._client.on_connect = self._connected
        self._client.on_message = lambda _c, _d, message: self.heard.append((message.topic, bytes(message.payload)))
        self._client.on_subscribe = self._subscribed
        self._client.connect("127.0.0.1", port, 20)
        self._client.loop_start()
        await_true(lambda: self.connack is not None, "no CONNACK")

    def _connected(self, _c: Any, _d: Any, _flags: Any, reason: Any, _props: Any) -> None:
        self.connack = reason.value

    def _subscribed(self, _c: Any, _d: Any, mid: int, reasons: Any, _props: Any) -> None:
        self.codes[mid] = [reason.value for reason in reasons]

    def subscribe(self, topic: str) -> int:
        """The SUBACK's code."""
        mid = self._client.subscribe(topic, 1)[1]
        assert mid is not None
        await_true(lambda: mid in self.codes, "no SUBACK")
        return self.codes[mid][0]

    def publish(self, topic: str, data: bytes = b"x") -> None:
        """Publish and wait for the PUBACK, which comes for what is denied as well."""
        self._client.publish(topic, data, 1).wait_for_publish(DEADLINE_S)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def client(port: int, bundle: Bundle, client_id: str | None = None) -> Iterator[Client]:
    """With a node's login."""
    login = bundle.node_json["broker"]
    made = Client(port, login["user"], login["password"], client_id or login["client_id"])
    try:
        yield made
    finally:
        made.close()


@contextmanager
def watcher(port: int, data: Path) -> Iterator[Client]:
    """With the receiver's login."""
    store, master = open_store(load(data / "receiver.toml").store_url), load_master(data / MASTER_KEY_NAME)
    with store.read() as conn:
        sender = conn.execute(schema.receiver.select()).one().sender
    store.close()
    made = Client(port, receiver_user(sender), receiver_password(master, sender), "watcher")
    try:
        yield made
    finally:
        made.close()


@BROKERS
def test_each_user_has_its_own_topics_only(tmp_path: Path, kind: type[Single]) -> None:
    market = make_market(tmp_path / "data", 2)
    one, two = market.bundles
    with kind(tmp_path / "broker") as broker:
        broker.start(market)
        with watcher(broker.port, market.data) as receiver, client(broker.port, one) as node:
            assert receiver.subscribe(topics.UP_EVENTS_FILTER) == 1
            assert node.subscribe(topics.down(one.node_id)) == 1
            node.subscribe(topics.down(two.node_id))  # Mosquitto grants what it then does not deliver
            node.subscribe("bongsu/v1/up/#")
            node.publish(topics.up_events(two.node_id), b"forged")
            node.publish(topics.down(two.node_id), b"forged")
            node.publish("bongsu/v1/canary/1", b"forged")
            node.publish(topics.up_events(one.node_id), b"own")
            receiver.publish(topics.down(two.node_id), b"for the other")
            receiver.publish(topics.down(one.node_id), b"for me")
            await_true(lambda: node.heard and receiver.heard, "nothing came")
            assert receiver.heard == [(topics.up_events(one.node_id), b"own")]
            assert node.heard == [(topics.down(one.node_id), b"for me")]


@BROKERS
@pytest.mark.parametrize(("user", "password"), [("stranger", "x"), ("n-a0b1c2000000", "wrong"), ("", "")])
def test_a_stranger_is_refused(tmp_path: Path, kind: type[Single], user: str, password: str) -> None:
    market = make_market(tmp_path / "data", 1)
    with kind(tmp_path / "broker") as broker:
        broker.start(market)
        stranger = Client(broker.port, user, password)
        stranger.close()
        assert stranger.connack


@pytest.mark.skipif(NO_MOSQUITTO is not None, reason=str(NO_MOSQUITTO))
def test_no_password_stands_in_the_files_and_they_are_private(tmp_path: Path) -> None:
    market = make_market(tmp_path / "data", 1)
    with Mosquitto(tmp_path / "broker") as broker:
        broker.start(market)
        secret = market.bundles[0].node_json["broker"]
        for path in broker.folder.iterdir():
            text = path.read_bytes()
            assert secret["password"].encode() not in text and secret["client_id"].encode() not in text
            assert path.name in ("pid", "as-it-is") or path.stat().st_mode & 0o077 == 0
        assert "nothing, all is as it was" in broker.write()


@BROKERS
def test_alarms_reach_the_station_over_tls(tmp_path: Path, kind: type[Single]) -> None:
    with (
        kind(tmp_path / "broker", tls=True) as broker,
        hall(tmp_path / "hall", 3, tls=True, external=broker.start) as made,
    ):
        for node, event in [(node, node.alarm()) for node in made.nodes]:
            assert node.wait_receipt(event, DEADLINE_S)
        await_true(lambda: len(made.reports()) == 3, "not all were dispatched")
        assert len(made.rows(schema.incident)) == 3


@BROKERS
def test_a_reload_lets_one_in_and_one_out_and_cuts_nobody(tmp_path: Path, kind: type[Single]) -> None:
    with kind(tmp_path / "broker") as broker, hall(tmp_path / "hall", 2, external=broker.start) as made:
        stays, leaves = made.nodes
        config = load(made.data / "receiver.toml")
        store, master = open_store(config.store_url), load_master(made.data / MASTER_KEY_NAME)
        try:
            with store.write() as conn:
                bundle = add_unit(conn, master, made.data, 2, False, now_ms())
            with HostNode(bundle, port=broker.port) as comes:
                assert not comes.wait_connected(0.5)  # the broker has not been told
                broker.write("--reload", broker.pid_file)
                assert comes.wait_connected(DEADLINE_S)
                with store.write() as conn:
                    registry_nodes.retire_node(conn, node_id=leaves.node)
                broker.write("--reload", broker.pid_file)
                await_true(lambda: not leaves.connected, "a retired node is still connected")
                made.wake("registry")
                assert comes.wait_receipt(comes.alarm(), DEADLINE_S)
                assert stays.wait_receipt(stays.alarm(), DEADLINE_S)
        finally:
            store.close()
        assert (stays.lost, leaves.lost > 0) == (0, True)
        assert not [line for line in made.receiver.lines if "mqtt.down" in line]
