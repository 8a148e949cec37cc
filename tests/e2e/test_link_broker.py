"""The node link in MicroPython against a real broker (NATS): killed, frozen, restarted with and without its store, and
with permissions that deny."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from bongsu_wire import ccm, frame, kinds, payload, topics
from tests.link_parts import NODE, Jitter, LinkNode, Nats, free_port

# Loop stalls are measured by a 5 ms ticker inside the node. DESIGN: never above 100 ms besides the TLS handshake.
STALL_MS = 100


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    with Nats(tmp_path) as broker:
        yield broker


class Receiver:
    """A receiver on the broker: opens every frame, answers events with receipts while `receipts` is on."""

    def __init__(self, port: int, *, receipts: bool = True) -> None:
        self.receipts = receipts
        self.events: list[int] = []
        self.answers: list[payload.Answer] = []
        self.newest = 0
        self._counter = 0
        self._key = ccm.CcmKey(bytes(range(16)))
        self._changed = threading.Condition()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="receiver-under-test")
        self._client.on_message = self._on_message
        subscribed = threading.Event()
        self._client.on_connect = lambda *_: self._client.subscribe(
            [(topics.UP_EVENTS_FILTER, 1), (topics.UP_BEATS_FILTER, 0)]
        )
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(10)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        header = frame.parse(message.payload)
        body = frame.open_frame(self._key, header)
        with self._changed:
            self.newest = max(self.newest, header.counter)
            if header.kind == kinds.UP_EVENT:
                self.events.append(payload.decode_event(body).number)
            elif header.kind == kinds.UP_ANSWER:
                self.answers.append(payload.decode_answer(body))
            self._changed.notify_all()
        if self.receipts and header.kind != kinds.UP_ANSWER:
            numbers = [self.events[-1]] if header.kind == kinds.UP_EVENT else []
            self._send(
                kinds.DOWN_RECEIPT, payload.encode_receipt(payload.Receipt(1_800_000_000_000, header.counter, numbers))
            )

    def command(self, code: int) -> None:
        """Send a command that quotes the newest counter."""
        self._send(kinds.DOWN_COMMAND, payload.encode_command(payload.Command(code, self.newest)))

    def _send(self, kind: int, body: bytes) -> None:
        self._counter += 1
        data = frame.seal_down(self._key, kind, 1, topics.node_bytes(NODE), self._counter, 3, body)
        self._client.publish(topics.down(NODE), data, qos=0)

    def wait_events(self, count: int) -> None:
        """Until `count` event frames came."""
        end = time.monotonic() + 20
        with self._changed:
            while len(self.events) < count:
                assert self._changed.wait(end - time.monotonic()), f"events: {self.events}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_an_event_is_receipted_and_a_command_answered(nats: Nats) -> None:
    with LinkNode(nats.port, uplink=True) as node:
        receiver = Receiver(nats.port)
        try:
            node.wait("mqtt state=up session=0")
            node.wait("clock server_ms=1800000000000")
            node.tell("event 1")
            node.wait("sent event=1 counter=")
            node.wait(r"receipt event=1 after_ms=\d")
            assert node.ask("journaled") == 0
            receiver.command(kinds.CMD_TEST)
            node.wait("command code=1")
            with receiver._changed:
                assert receiver._changed.wait_for(lambda: bool(receiver.answers), 10)
            assert (receiver.answers[0].code, receiver.answers[0].result) == (kinds.CMD_TEST, kinds.ANSWER_DONE)
        finally:
            receiver.close()


def test_a_puback_without_a_receipt_keeps_the_event(nats: Nats) -> None:
    with LinkNode(nats.port, uplink=True) as node:
        receiver = Receiver(nats.port, receipts=False)
        try:
            node.tell("event 1")
            receiver.wait_events(3)
            assert set(receiver.events) == {1}
            assert node.ask("journaled") == 1
            receiver.receipts = True
            node.wait("receipt event=1")
            assert node.ask("journaled") == 0
        finally:
            receiver.close()


def test_a_denied_publish_is_acknowledged_by_the_broker_and_yet_kept(tmp_path: Path) -> None:
    users = (
        'authorization { users: [ { user: "n", password: "p", permissions: { publish: { deny: ["bongsu.>"] } } } ] }'
    )
    with Nats(tmp_path, users=users) as nats, LinkNode(nats.port, uplink=True, user="n", password="p") as node:
        node.tell("pub denied")
        node.wait("acked denied")
        node.tell("event 1")
        node.wait("sent event=1")
        node.wait("sent event=1")
        assert node.ask("journaled") == 1


def test_a_denied_subscription_is_logged_and_events_still_go_out(tmp_path: Path) -> None:
    deny = 'subscribe: { deny: ["bongsu.v1.down.>"] }'
    users = f'authorization {{ users: [ {{ user: "n", password: "p", permissions: {{ {deny} }} }} ] }}'
    with Nats(tmp_path, users=users) as nats, LinkNode(nats.port, user="n", password="p") as node:
        node.wait("E mqtt subscribe=refused")
        node.wait("E mqtt subscribe=refused")
        node.tell("pub still")
        node.wait("acked still")


def test_wrong_credentials_are_logged_and_tried_again(tmp_path: Path) -> None:
    users = 'authorization { users: [ { user: "n", password: "p" } ] }'
    with Nats(tmp_path, users=users) as nats, LinkNode(nats.port, user="n", password="wrong") as node:
        node.wait("state=down why=refused-5")
        node.wait("state=down why=refused-5")
        assert node.alive()


def test_killed_and_restarted_the_session_is_resumed_and_nothing_is_lost(nats: Nats) -> None:
    with Jitter() as jitter, LinkNode(nats.port) as node:
        node.wait("state=up session=0")
        node.tell("pub before")
        node.wait("acked before")
        nats.kill()
        node.tell("pub while-down-1")
        node.tell("pub while-down-2")
        node.wait("state=down")
        nats.start()
        node.wait("state=up session=1")
        node.wait_all(["acked while-down-1", "acked while-down-2"])
        assert node.ask("stall") < STALL_MS + 3 * jitter.worst_ms


def test_restarted_without_its_store_the_downlink_is_subscribed_anew(nats: Nats, tmp_path: Path) -> None:
    with LinkNode(
        nats.port, topic=topics.down(NODE)
    ) as node:  # it publishes to itself: what comes back proves the subscription
        node.tell("pub one")
        node.wait("got .*b'one'")
        nats.kill()
        node.wait("state=down")
        (tmp_path / "js").rename(tmp_path / "lost")
        nats.start()
        node.wait("state=up session=0")
        node.tell("pub two")
        node.wait("got .*b'two'")


def test_a_frozen_broker_is_noticed_and_left_with_and_without_traffic(nats: Nats) -> None:
    with Jitter() as jitter, LinkNode(nats.port) as node:
        node.tell("pub before")
        node.wait("acked before")
        nats.freeze()
        node.wait("state=down why=(pingresp|suback|puback)-timeout")
        node.tell("pub frozen")  # dialling a frozen broker succeeds in the kernel's backlog; then nothing answers
        node.wait("state=down why=(connack|puback)-timeout")
        nats.thaw()
        node.wait("acked frozen")
        node.tell("pub now")
        node.wait("acked now")
        nats.freeze()
        node.tell("pub in-flight")
        node.wait("state=down why=(puback|pingresp)-timeout")
        nats.thaw()
        node.wait("acked in-flight")
        assert node.ask("stall") < STALL_MS + 3 * jitter.worst_ms


def test_the_next_address_is_tried_after_one_that_fails(nats: Nats) -> None:
    places = [{"ip": "127.0.0.1", "port": free_port()}, {"ip": "127.0.0.1", "port": nats.port}]
    with LinkNode(free_port(), more=places) as node:
        node.wait("state=down why=tcp:")
        node.wait("state=down why=tcp:")
        node.wait("state=up session=0")
        nats.kill()
        node.tell("pub meanwhile")
        for _ in range(3):  # round by way of the two that never answer
            node.wait("state=down")
        nats.start()
        node.wait("acked meanwhile")


def test_a_frozen_broker_is_left_for_the_next_address(nats: Nats, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with (
        Nats(tmp_path / "other") as other,
        LinkNode(nats.port, more=[{"ip": "127.0.0.1", "port": other.port}]) as node,
    ):
        node.wait("state=up")
        for number, frozen in enumerate((nats, other, nats)):
            frozen.freeze()
            node.tell(f"pub alarm-{number}")
            node.wait("state=down why=(suback|puback|pingresp)-timeout")
            node.wait(f"acked alarm-{number}")
            frozen.thaw()


@pytest.mark.parametrize("part", ["reader", "writer"])
def test_a_crash_of_reader_or_writer_is_a_reconnect_not_a_zombie(nats: Nats, part: str) -> None:
    with LinkNode(nats.port) as node:
        node.tell("pub before")
        node.wait("acked before")
        node.tell(f"crash {part}")
        node.tell("pub through")
        node.wait(f"state=down why={part}-crash:RuntimeError")
        node.wait("acked through")


def test_the_heap_does_not_grow_over_reconnects_and_messages(nats: Nats) -> None:
    with LinkNode(nats.port) as node:

        def work(name: str) -> int:
            for i in range(10):
                node.tell(f"pub {name}-{i}")
                node.wait(f"acked {name}-{i}")
                node.tell("crash reader")
                node.tell(f"pub {name}-{i}-again")
                node.wait(f"acked {name}-{i}-again")
            return node.ask("heap")

        work("warm")
        first = work("a")
        second = work("b")
        assert second - first < 1_024
