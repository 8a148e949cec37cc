"""The node's MQTT client against a broker that misbehaves: it names the reason, comes back, delivers what it holds."""

import random
import select
import socket
import struct
from collections.abc import Callable

import pytest

from tests.link_parts import NODE, Jitter, LinkNode, Peer, ScriptedBroker

# Short deadlines: nothing here waits for a disk.
TIMES_MS = {"connack": 300, "ack": 400, "pong": 400, "packet": 300, "write": 400, "ping_every": 150}
DOWN = b"bongsu/v1/down/" + NODE.encode()


def refuse(peer: Peer) -> None:
    peer.packet()
    peer.sock.sendall(b"\x20\x02\x00\x05")
    peer.until_closed()


def before_connack(data: bytes) -> Callable[[Peer], None]:
    def step(peer: Peer) -> None:
        peer.packet()
        peer.sock.sendall(data)
        peer.until_closed()

    return step


def after_subscribe(data: bytes) -> Callable[[Peer], None]:
    def step(peer: Peer) -> None:
        peer.accept()
        peer.subscribed()
        peer.sock.sendall(data)
        peer.until_closed()

    return step


def close_after_connect(peer: Peer) -> None:
    peer.packet()


def close_after_connack(peer: Peer) -> None:
    peer.accept()


def close_after_publish(peer: Peer) -> None:
    peer.accept()
    peer.subscribed()
    peer.published(ack=False)


def reset(peer: Peer) -> None:
    peer.accept()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def never_suback(peer: Peer) -> None:
    peer.accept()
    peer.until_closed()


def wrong_puback_ids(peer: Peer) -> None:
    peer.accept()
    peer.subscribed()
    for packet_id in range(1, 200):
        if packet_id != peer.published(ack=False).packet_id:
            peer.sock.sendall(b"\x40\x02" + struct.pack(">H", packet_id))


def unknown_puback_ids(peer: Peer) -> None:
    peer.accept()
    peer.subscribed()
    peer.sock.sendall(b"".join(b"\x40\x02" + struct.pack(">H", 60_000 + i) for i in range(100)))
    peer.until_closed()


def stop_reading(peer: Peer) -> None:
    peer.accept()
    peer.subscribed()
    client_gone = select.poll()
    client_gone.register(peer.sock, select.POLLRDHUP)
    client_gone.poll(10_000)


def flood_of_qos_1(peer: Peer) -> None:
    peer.accept()
    peer.subscribed()
    message = b"\x32" + bytes([len(DOWN) + 5]) + struct.pack(">H", len(DOWN)) + DOWN + b"\x00\x01x"
    while True:
        peer.sock.sendall(message * 100)


PUBLISH_HEAD = struct.pack(">H", len(DOWN)) + DOWN

CASES: dict[str, tuple[Callable[[Peer], None], str]] = {
    "says nothing": (lambda peer: peer.until_closed(), "connack-timeout"),
    "closes at once": (lambda peer: None, "(closed-by-peer|reader|tcp|writer)"),
    "closes after CONNECT": (close_after_connect, "closed-by-peer"),
    "closes after CONNACK": (close_after_connack, "(closed-by-peer|reader|writer)"),
    "closes instead of PUBACK": (close_after_publish, "(closed-by-peer|reader)"),
    "resets": (reset, "(closed-by-peer|reader|writer|protocol)"),
    "refuses": (refuse, "refused-5"),
    "speaks HTTP": (before_connack(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol:"),
    "sends PUBACK before CONNACK": (before_connack(b"\x40\x02\x00\x01"), "protocol:"),
    "sends half a CONNACK": (before_connack(b"\x20\x02\x00"), "(packet|connack)-timeout"),
    "sends CONNACK twice": (after_subscribe(b"\x20\x02\x00\x00"), "protocol:"),
    "never sends SUBACK": (never_suback, "(suback|pingresp|puback)-timeout"),
    "acknowledges strange ids": (wrong_puback_ids, "(puback|pingresp)-timeout"),
    "acknowledges unknown ids": (unknown_puback_ids, "(puback|pingresp)-timeout"),
    "announces 256 MB": (after_subscribe(b"\x30\xff\xff\xff\x7f" + bytes(100)), "protocol:"),
    "announces 2 KB": (after_subscribe(b"\x30\x80\x10" + bytes(100)), "protocol:"),
    "sends a five-byte length": (after_subscribe(b"\x30\xff\xff\xff\xff\x01"), "protocol:"),
    "sends QoS 2": (after_subscribe(b"\x34\x05\x00\x01t\x00\x01"), "protocol:"),
    "sends QoS 3": (after_subscribe(b"\x36\x05\x00\x01t\x00\x01"), "protocol:"),
    "sends packet id 0": (after_subscribe(b"\x32\x05\x00\x01t\x00\x00"), "protocol:"),
    "sends a topic longer than its packet": (after_subscribe(b"\x30\x05\x00\xfft\x00\x00"), "protocol:"),
    "sends a topic that is no UTF-8": (after_subscribe(b"\x30\x04\x00\x02\xff\xfe"), "protocol:"),
    "sends an empty PUBLISH": (after_subscribe(b"\x30\x00"), "protocol:"),
    "sends a DISCONNECT": (after_subscribe(b"\xe0\x00"), "protocol:"),
    "stops in mid-packet": (after_subscribe(b"\x30\x50" + PUBLISH_HEAD), "(packet|puback|pingresp)-timeout"),
    "floods with QoS 1": (flood_of_qos_1, "(protocol:flood|write-timeout)"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_comes_back_and_delivers(name: str) -> None:
    step, why = CASES[name]
    with ScriptedBroker(step) as broker, LinkNode(broker.port, times_ms=TIMES_MS) as node:
        node.tell("pub held")
        node.wait(f"mqtt state=down why={why}")
        node.wait("acked held")
        assert [m.payload for m in broker.messages if m.connection > 0] == [b"held"]


def test_random_bytes_in_every_phase() -> None:
    chance = random.Random(11)
    steps = [
        chance.choice([before_connack, after_subscribe])(chance.randbytes(chance.randrange(1, 300))) for _ in range(30)
    ]
    with (
        Jitter() as jitter,
        ScriptedBroker(*steps) as broker,
        LinkNode(broker.port, times_ms={**TIMES_MS, "connack": 150, "ack": 250, "pong": 250, "packet": 100}) as node,
    ):
        node.tell("pub held")
        node.wait("acked held", 40)
        assert node.ask("stall") < 100 + 3 * jitter.worst_ms


def test_single_bytes_are_packets_too() -> None:
    def dribble(peer: Peer) -> None:
        peer.packet()
        answers = b"\x20\x02\x00\x00"
        for i in range(len(answers)):
            peer.sock.sendall(answers[i : i + 1])
        _, body = peer.packet()
        message = bytes([0x30, len(PUBLISH_HEAD) + 5]) + PUBLISH_HEAD + b"hello"
        for byte in b"\x90\x03" + body[:2] + b"\x00" + message * 3:
            peer.sock.sendall(bytes([byte]))
        while True:
            peer.published()

    with (
        ScriptedBroker(dribble) as broker,
        LinkNode(broker.port, times_ms={"connack": 5_000, "ack": 5_000, "packet": 5_000}) as node,
    ):
        for _ in range(3):
            node.wait("got .*b'hello'")
        node.tell("pub up")
        node.wait("acked up")
        assert {m.connection for m in broker.messages} == {0}


@pytest.mark.parametrize("session_present", [True, False])
def test_unacknowledged_messages_come_again_in_order(session_present: bool) -> None:
    texts = [b"m%d" % i for i in range(5)]

    def deaf(peer: Peer) -> None:
        peer.accept()
        peer.subscribed()
        for _ in texts:
            peer.published(ack=False)

    def second(peer: Peer) -> None:
        peer.accept(session_present)
        peer.subscribed()
        while True:
            peer.published()

    with ScriptedBroker(deaf, second) as broker, LinkNode(broker.port) as node:
        for text in texts:
            node.tell("pub " + text.decode())
        node.wait_all([f"acked {text.decode()}$" for text in texts])
        again = [m for m in broker.messages if m.connection == 1]
        assert [m.payload for m in again] == texts
        assert [m.dup for m in again] == [session_present] * len(texts)
        first_ids = [m.packet_id for m in broker.messages if m.connection == 0]
        assert [m.packet_id for m in again] == first_ids


def test_a_peer_that_stops_reading_does_not_stall_the_loop() -> None:
    held = [f"held-{i}" for i in range(12)]
    with Jitter() as jitter, ScriptedBroker(stop_reading) as broker, LinkNode(broker.port, times_ms=TIMES_MS) as node:
        node.wait("state=up")
        for text in held:
            node.tell(f"pub {text}")
        node.wait("state=down why=(puback|pingresp|write)-timeout")
        assert node.ask("stall") < 100 + 3 * jitter.worst_ms
        node.wait_all([f"acked {text}$" for text in held])
