"""TLS of the node link on MicroPython: a good broker, and every certificate that must be refused. On loopback, too,
nothing is accepted unverified."""

from pathlib import Path

import pytest

from tests import mpy
from tests.link_parts import Ca, LinkNode, Nats, Peer, ScriptedBroker


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return Ca(tmp_path)


def test_over_tls_messages_survive_a_killed_and_a_frozen_broker(tmp_path: Path, ca: Ca) -> None:
    options = {"tls": True, "server_hostname": "bongsu-broker", "ca_hex": ca.der.hex()}
    with Nats(tmp_path, tls=ca.server()) as nats, LinkNode(nats.port, **options) as node:
        node.tell("pub one")
        node.wait("acked one")
        nats.kill()
        node.tell("pub two")
        node.wait("state=down")
        nats.start()
        node.wait("acked two")
        nats.freeze()
        node.tell("pub three")
        node.wait("state=down why=(puback|pingresp|write)-timeout")
        node.wait("state=down why=tls:")  # no handshake with a frozen broker, and no waiting for ever
        nats.thaw()
        node.wait("acked three")


REFUSED = {
    "wrong name": ({"name": "other-broker"}, True),
    "expired": ({"from_days": -30, "to_days": -2}, True),
    "not yet valid": ({"from_days": 2, "to_days": 30}, True),
    "wrong CA": ({}, False),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broker_with_a_bad_certificate_gets_nothing(tmp_path: Path, ca: Ca, case: str) -> None:
    certificate, own_ca = REFUSED[case]
    (tmp_path / "other").mkdir()
    trusted = ca if own_ca else Ca(tmp_path / "other", "another-ca")
    options = {"tls": True, "server_hostname": "bongsu-broker", "ca_hex": trusted.der.hex()}
    with Nats(tmp_path, tls=ca.server(**certificate)) as nats, LinkNode(nats.port, **options) as node:
        node.tell("pub secret")
        node.wait("state=down why=tls:The-certificate|state=down why=tls:.*certificate")
        node.wait("state=down why=tls:")
        assert node.alive()
        assert not any("state=up" in line or "acked" in line for line in node.lines.all)


def test_without_a_ca_nothing_is_sent(tmp_path: Path, ca: Ca) -> None:
    with (
        Nats(tmp_path, tls=ca.server()) as nats,
        LinkNode(nats.port, tls=True, server_hostname="bongsu-broker") as node,
    ):
        node.wait("state=down why=no-ca")
        assert node.alive()


def test_a_broker_without_tls_is_not_talked_to(tmp_path: Path, ca: Ca) -> None:
    options = {"tls": True, "server_hostname": "bongsu-broker", "ca_hex": ca.der.hex()}
    with Nats(tmp_path) as nats, LinkNode(nats.port, times_ms={"dial": 500}, **options) as node:
        node.wait("state=down why=tls:")
        node.wait("state=down why=tls:")
        assert node.alive()


def test_heap_and_sockets_stay_level_over_failed_handshakes(tmp_path: Path, ca: Ca) -> None:
    options = {"tls": True, "server_hostname": "bongsu-broker", "ca_hex": ca.der.hex()}
    with Nats(tmp_path, tls=ca.server(name="other")) as nats, LinkNode(nats.port, **options) as node:

        def tries() -> tuple[int, int]:
            for _ in range(10):
                node.wait("state=down why=tls:")
            return node.ask("heap"), len(list(Path(f"/proc/{node.pid}/fd").iterdir()))

        tries()
        heap, sockets = tries()
        later_heap, later_sockets = tries()
        assert later_heap - heap < 2_048
        assert later_sockets <= sockets + 1  # one try may be under way


DIAL = """
import asyncio
from time import ticks_diff, ticks_ms
from bongsu_node.link import dial

async def main():
    context = dial.tls_context(bytes.fromhex("{ca_hex}"))
    broker = {{"ip": "{ip}", "port": {port}, "server_hostname": "bongsu-broker"}}
    start = ticks_ms()
    try:
        await dial.dial(broker, context, b"hello", 300, lambda: {allowed})
    except dial.DialError as e:
        print(type(e).__name__, e.why, ticks_diff(ticks_ms(), start) < 2000)

asyncio.run(main())
"""


def dialled(ca: Ca, port: int, *, allowed: bool, ip: str = "127.0.0.1") -> str:
    return mpy.run(DIAL.format(ca_hex=ca.der.hex(), port=port, allowed=allowed, ip=ip)).strip()


def test_no_handshake_begins_while_it_is_forbidden(ca: Ca) -> None:
    received: list[bytes] = []
    with ScriptedBroker(lambda peer: received.append(peer.sock.recv(100))) as broker:
        assert dialled(ca, broker.port, allowed=False) == "NotNow not-now True"
    assert received == [b""], "the connection was closed before the first byte of a handshake"


def test_a_peer_that_never_answers_the_handshake_is_left_in_time(ca: Ca) -> None:
    with ScriptedBroker(Peer.until_closed) as broker:
        assert dialled(ca, broker.port, allowed=True).startswith("DialError tls:[Errno-110]")


def test_a_name_in_place_of_an_address_is_refused_since_looking_it_up_would_block(ca: Ca) -> None:
    assert dialled(ca, 1, allowed=True, ip="broker.example") == "DialError broker-ip-not-numeric True"
