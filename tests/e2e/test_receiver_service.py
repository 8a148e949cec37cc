"""The receiver as a process of its own, with its embedded broker over TLS: who gets in, what goes down, how it ends."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import insert

from bongsu.install.boards import load_board
from bongsu.install.bundle import Bundle
from bongsu.receiver import provision, registry
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.store import open_store, schema
from bongsu.sim.hostnode import HostNode, tls_context
from bongsu_wire import kinds, topics
from tests import postgres_parts
from tests.receiver_parts import DEADLINE_S, Child, Hall, hall

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """One receiver over TLS for the tests that leave it running."""
    with hall(tmp_path_factory.mktemp("town"), 4, tls=True) as made:
        yield made


def write(town: Hall, what: Any) -> Any:
    """Call `what` with a connection in a writing transaction."""
    store = open_store(postgres_parts.store_url(town.data))
    try:
        with store.write() as conn:
            return what(conn)
    finally:
        store.close()


class Stranger:
    """A bare MQTT client: what the broker said to it, and what it heard."""

    def __init__(self, port: int, context: Any, **login: Any) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=login.get("client_id", "stranger"))
        self.client.username_pw_set(login.get("user"), login.get("password"))
        self.client.tls_set_context(context)
        self.said: list[Any] = []
        self._changed = threading.Condition()
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self._say(("connect", not reason.is_failure))
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._say(
            ("subscribe", [not r.is_failure for r in reasons])
        )
        self.client.on_message = lambda _c, _u, m: self._say(("heard", m.topic))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _say(self, what: Any) -> None:
        with self._changed:
            self.said.append(what)
            self._changed.notify_all()

    def wait(self, kind: str) -> Any:
        """What came first of this kind."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(s[0] == kind for s in self.said), DEADLINE_S), self.said
            return next(s[1] for s in self.said if s[0] == kind)

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()


def test_an_alarm_over_tls_is_receipted_dispatched_and_texted(town: Hall) -> None:
    node = town.nodes[0]
    assert node.wait_receipt(node.alarm(), DEADLINE_S)
    town.receiver.wait_for('"delivery.delivered"')
    assert [r["body"]["data"]["shop"]["id"] for r in town.reports()] == ["u-0"]
    assert len(town.reports("/centre")) == 1 and len(town.texts()) == 1
    assert "+8210****0000" not in "\n".join(town.receiver.lines)  # not even masked: nothing of it is in the log


def test_a_heartbeat_is_answered_and_its_echo_makes_the_node_seen(town: Hall) -> None:
    node = town.nodes[1]
    node.heartbeat()
    assert node.wait_server_time(DEADLINE_S)
    node.heartbeat()
    town.receiver.wait_for(f'"event":"node.seen","node":"{node.node}"')


def test_a_command_goes_down_and_its_answer_is_written_down(town: Hall) -> None:
    node = town.nodes[2]
    node.heartbeat()
    assert node.wait_server_time(DEADLINE_S)
    node.on_command = lambda _command: kinds.ANSWER_REFUSED
    values = {"node_id": node.node, "code": kinds.CMD_IDENTIFY, "args": b"\x05", "state": "pending"}
    write(town, lambda conn: conn.execute(insert(schema.command).values(**values, created_ms=NOW_MS)))
    town.wake("outbox")
    assert node.wait_command(DEADLINE_S)
    assert (node.commands[0].code, node.commands[0].args) == (kinds.CMD_IDENTIFY, b"\x05")
    town.receiver.wait_for("command.answered")
    (row,) = town.rows(schema.command)
    assert (row.state, row.result) == ("answered", kinds.ANSWER_REFUSED)


def test_a_node_registered_meanwhile_gets_in_and_a_retired_one_no_longer(town: Hall) -> None:
    master = load_master(town.data / MASTER_KEY_NAME)
    new = "a0b1c2ffff00"

    def add(conn: Any) -> Bundle:
        registry.add_node(conn, node_id=new, unit=("hannae", "u-3"), label="", now_ms=NOW_MS)
        return provision.provision_node(
            conn,
            master,
            node_id=new,
            broker=provision.BrokerAddress("127.0.0.1", town.port),
            board=load_board("esp32-devkitc"),
            wifi=[],
            ca_der=town.market.bundles[0].ca_der,
            actor="test",
            now_ms=NOW_MS,
        )

    bundle = write(town, add)
    town.wake("registry")
    town.receiver.wait_for('"broker.users","users":5')
    with HostNode(bundle) as node:
        assert node.wait_connected(DEADLINE_S)
        assert node.wait_receipt(node.report(kinds.TEST), DEADLINE_S)
        write(town, lambda conn: registry.retire_node(conn, node_id=new))
        town.wake("registry")
        town.receiver.wait_for('"broker.users","users":4')
        with node._changed:
            assert node._changed.wait_for(lambda: not node.connected, DEADLINE_S)


def test_a_login_is_bound_to_its_own_topics(town: Hall) -> None:
    mine, other = town.market.bundles[1], town.market.bundles[2]
    login = {k: mine.node_json["broker"][k] for k in ("user", "password")}
    stranger = Stranger(town.port, tls_context(mine.ca_der), **login)
    try:
        assert stranger.wait("connect")
        stranger.client.subscribe(
            [
                (topics.down(other.node_id), 0),
                ("bongsu/v1/up/+/e", 0),
                ("#", 0),
                ("$JS/#", 0),
                (topics.down(mine.node_id), 0),
            ]
        )
        assert stranger.wait("subscribe") == [False, False, False, False, True]
        # Under another's topic nothing arrives at the receiver; a frame under its own one is refused and counted.
        stranger.client.publish(topics.up_events(other.node_id), b"x", 1)
        stranger.client.publish(topics.up_events(mine.node_id), b"x", 1)
        town.receiver.wait_for('"frame.refused"')
        assert '"topic"' not in town.receiver.wait_for('"reason":"length"')
    finally:
        stranger.close()


@pytest.mark.parametrize(
    ("user", "password"), [("n-a0b1c2000001", "wrong"), ("receiver", ""), ("", ""), ("stranger", "x")]
)
def test_without_its_password_nobody_gets_in(town: Hall, user: str, password: str) -> None:
    stranger = Stranger(town.port, tls_context(town.market.bundles[0].ca_der), user=user, password=password)
    try:
        assert stranger.wait("connect") is False
    finally:
        stranger.close()


def test_the_broker_speaks_tls_only(town: Hall) -> None:
    with socket.create_connection(("127.0.0.1", town.port), timeout=DEADLINE_S) as plain:
        plain.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd")
        assert plain.recv(4)[:1] in (b"", b"\x15")  # closed, or a TLS alert


def test_files_with_secrets_are_for_the_owner_only(town: Hall) -> None:
    for name in ("broker/nats.conf", "control.sock", "run/broker.port"):
        assert (town.data / name).stat().st_mode & 0o077 == 0


def test_a_second_receiver_on_the_folder_is_refused(town: Hall) -> None:
    second = Child("--data", town.data, "receiver", "run")
    assert second.process.wait(DEADLINE_S) == 1
    second.wait_for("a receiver runs on")
    second.stop()


def test_it_drains_on_sigterm_and_the_port_stays_the_same(tmp_path: Path) -> None:
    with hall(tmp_path / "town", 1) as town:
        node = town.nodes[0]
        assert node.wait_receipt(node.alarm(), DEADLINE_S)
        broker = psutil.Process(town.receiver.process.pid).children()[0]
        assert town.stop_receiver() == 0
        assert not broker.is_running()
        assert {r.lease_token for r in town.rows(schema.delivery)} == {None}
        number = node.alarm()  # while nobody is there
        town.start_receiver()
        assert int((town.data / "run" / "broker.port").read_text()) == town.port
        assert node.wait_receipt(number, DEADLINE_S)


def test_the_broker_dies_with_the_receiver_and_is_started_again_without(tmp_path: Path) -> None:
    with hall(tmp_path / "town", 1) as town:
        first = psutil.Process(town.receiver.process.pid).children()[0]
        first.kill()
        town.receiver.wait_for("mqtt.up")
        second = psutil.Process(town.receiver.process.pid).children()[0]
        assert second.pid != first.pid
        assert town.nodes[0].wait_receipt(town.nodes[0].alarm(), DEADLINE_S)
        os.kill(town.receiver.process.pid, signal.SIGKILL)
        psutil.wait_procs([second], timeout=DEADLINE_S)
        assert not second.is_running()


def test_a_login_that_publishes_qos_2_fills_no_store_and_starves_nobody(town: Hall) -> None:
    """The broker would keep such messages for ever, for a release that never comes, until nobody could connect."""
    bundle = town.market.bundles[3]
    broker = bundle.node_json["broker"]
    stranger = Stranger(
        town.port, tls_context(bundle.ca_der), client_id="x" * 22, user=broker["user"], password=broker["password"]
    )
    try:
        assert stranger.wait("connect")
        stranger.client.on_disconnect = lambda *_: stranger._say(("gone", True))
        sent = stranger.client.publish(topics.up_events(bundle.node_id), b"x" * 4000, qos=2)
        assert stranger.wait("gone") and not sent.is_published()
    finally:
        stranger.close()
    node = town.nodes[1]
    assert node.wait_receipt(node.alarm(), DEADLINE_S)
