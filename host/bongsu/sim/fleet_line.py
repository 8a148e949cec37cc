"""A fleet's MQTT 3.1.1 connection: small enough that one process holds ten thousand of them.

One asyncio protocol a connection, no tasks and no timers of its own: packets that are made in one turn of the loop
leave in one write, and the fleet looks at all deadlines once a second (`overdue`). What the broker sends is cut into
packets here and taken on trust, as from the bench's own broker; anything that is no MQTT ends the connection.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable
from typing import Protocol

from bongsu_node.link import packets

# As the firmware's client has them (bongsu_node/link/mqtt.py), in s.
KEEPALIVE_S = 60
PING_EVERY_S, PONG_S, ACK_S, CONNACK_S = 20.0, 5.0, 10.0, 10.0
_PACKET_MAX = 64 * 1024
# Filters in one SUBSCRIBE: a gateway listens for all of its nodes.
_FILTERS_A_PACKET = 64
_PUBLISH_QOS0, _PUBLISH_QOS1, _DUP = 0x30, 0x32, 0x08


class Owner(Protocol):
    """Who is told what happens on a connection."""

    def line_up(self, line: "Line") -> None:
        """The broker has taken it in, and all subscriptions stand."""

    def line_down(self, line: "Line", why: str) -> None:
        """It is over; told once."""

    def line_heard(self, line: "Line", topic: bytes, data: bytes) -> None:
        """A message came down."""


class LineError(Exception):
    """What the broker sent is no MQTT."""


def length_bytes(length: int) -> bytes:
    """A remaining length (MQTT 3.1.1, 2.2.3)."""
    out = bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        out.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(out)


def publish_packet(topic: bytes, data: bytes, packet_id: int = 0, dup: bool = False) -> bytes:
    """PUBLISH: QoS 0, or with a packet id QoS 1."""
    if not packet_id:
        size = 2 + len(topic) + len(data)
        return b"".join((b"\x30", length_bytes(size), struct.pack(">H", len(topic)), topic, data))
    size = 4 + len(topic) + len(data)
    first = bytes([_PUBLISH_QOS1 | (_DUP if dup else 0)])
    head = struct.pack(">H", len(topic))
    return b"".join((first, length_bytes(size), head, topic, struct.pack(">H", packet_id), data))


def subscribe_packet(packet_id: int, filters: list[bytes]) -> bytes:
    """SUBSCRIBE of several filters, QoS 0."""
    body = struct.pack(">H", packet_id) + b"".join(struct.pack(">H", len(f)) + f + b"\0" for f in filters)
    return b"\x82" + length_bytes(len(body)) + body


class Line(asyncio.Protocol):
    """One connection. `hello`: client id, user, password; `filters`: what it listens to."""

    def __init__(self, owner: Owner, hello: tuple[str, str, str], filters: Iterable[bytes]) -> None:
        self._owner, self._hello = owner, hello
        self._filters = list(filters)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._inbox = bytearray()
        self._outbox: list[bytes] = []
        self._crawling = b""
        self._packet_id = 0
        self._pending_subs = 0
        self._unacked: dict[int, float] = {}
        self._over = False
        self._connack_by = self._loop.time() + CONNACK_S
        self._ping_by: float | None = None
        self._rx_s = self._loop.time()
        self.up = False
        self.frozen = False

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._over:  # given up while it was being dialled: it must not take the session from its successor
            transport.abort()
            return
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(packets.connect(*self._hello, KEEPALIVE_S))

    def data_received(self, data: bytes) -> None:
        if self._over or self.frozen:
            return
        self._rx_s = self._loop.time()
        try:
            if self._inbox:
                self._inbox += data
                used = self._cut(bytes(self._inbox))
                del self._inbox[:used]
            else:
                used = self._cut(data)
                if used < len(data):
                    self._inbox += data[used:]
        except (LineError, packets.ProtocolError, IndexError, struct.error) as err:
            self.end(f"protocol: {err}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(f"closed: {exc}" if exc else "closed by the broker")

    # ---- the fleet's side

    def publish(self, topic: bytes, data: bytes, qos: int) -> None:
        """Send a message at the end of this turn of the loop."""
        packet_id = 0
        if qos:
            packet_id = self._next_id()
            self._unacked[packet_id] = self._loop.time()
        self.send(publish_packet(topic, data, packet_id))

    def send(self, packet: bytes) -> None:
        """Send a packet, or anything else, at the end of this turn of the loop."""
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(packet)

    def overdue(self, now_s: float) -> str | None:
        """Why the connection cannot be believed any more; None while it can. Sends a ping when it is time."""
        if self._over or self.frozen:
            return None
        if not self.up:
            return "no answer to CONNECT" if now_s > self._connack_by else None
        if self._unacked and now_s - next(iter(self._unacked.values())) > ACK_S:
            return "no PUBACK"
        if self._ping_by is not None:
            return "no PINGRESP" if now_s > self._ping_by else None
        if now_s - self._rx_s > PING_EVERY_S:
            self._ping_by = now_s + PONG_S
            self.send(packets.PINGREQ_PACKET)
        return None

    def crawl(self, pieces: int, pause_s: float) -> None:
        """What waits to be sent goes out in so many pieces, with a pause between them; what comes later waits."""
        waiting = b"".join(self._outbox)
        self._outbox.clear()
        if self._crawling or not waiting:
            self._crawling += waiting
            return
        self._crawling = waiting
        self._creep(max(1, len(waiting) // pieces), pause_s)

    def _creep(self, size: int, pause_s: float) -> None:
        if self._over or self.frozen or self._transport is None or self._transport.is_closing():
            return
        self._transport.write(self._crawling[:size])
        self._crawling = self._crawling[size:]
        if self._crawling:
            self._loop.call_later(pause_s, self._creep, size, pause_s)

    def freeze(self) -> None:
        """The power is cut: nothing is said any more, not even good-bye. The socket stays until `end`."""
        self.frozen, self.up = True, False
        self._outbox.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def end(self, why: str) -> None:
        """End it at once, as a radio that fails does."""
        if self._transport is not None:
            self._transport.abort()
        self._finish(why)

    def leave(self) -> None:
        """DISCONNECT."""
        self._over = True
        if self._transport is not None and not self._transport.is_closing():
            self._flush()
            self._transport.write(b"\xe0\x00")
            self._transport.close()

    # ----

    def _finish(self, why: str) -> None:
        if self._over:
            return
        self._over = True
        self.up = False
        self._owner.line_down(self, why)

    def _flush(self) -> None:
        if self._crawling:  # no byte overtakes another
            self._crawling += b"".join(self._outbox)
        elif self._outbox and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._outbox))
        self._outbox.clear()

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % 0xFFFF + 1
        return self._packet_id

    def _cut(self, data: bytes) -> int:
        """Take all whole packets of `data`; how many bytes they were."""
        at, size = 0, len(data)
        while size - at >= 2:
            length, start, shift = data[at + 1], at + 2, 7
            if length & 0x80:
                length &= 0x7F
                while True:
                    if start >= size:
                        return at
                    digit = data[start]
                    start += 1
                    length |= (digit & 0x7F) << shift
                    shift += 7
                    if not digit & 0x80:
                        break
            if length > _PACKET_MAX:
                raise LineError(f"a packet of {length} bytes")
            if start + length > size:
                return at
            self._packet(data[at], data[start : start + length])
            at = start + length
        return at

    def _packet(self, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if kind == packets.PUBLISH:
            self._on_publish(first, body)
        elif kind == packets.PUBACK:
            self._unacked.pop(body[0] << 8 | body[1], None)
        elif kind == packets.CONNACK:
            self._on_connack(body)
        elif kind == packets.SUBACK:
            self._on_suback(body)
        elif kind == packets.PINGRESP:
            self._ping_by = None
        else:
            raise LineError(f"packet 0x{first:02x}")

    def _on_publish(self, first: int, body: bytes) -> None:
        end = 2 + (body[0] << 8 | body[1])
        start = end
        if first & 0x06:
            start += 2
            self.send(packets.puback(body[end] << 8 | body[end + 1]))
        self._owner.line_heard(self, body[2:end], body[start:])

    def _on_connack(self, body: bytes) -> None:
        if body[1]:
            self.end(f"refused with code {body[1]}")
            return
        for i in range(0, len(self._filters), _FILTERS_A_PACKET):
            self._pending_subs += 1
            self.send(subscribe_packet(self._next_id(), self._filters[i : i + _FILTERS_A_PACKET]))
        if not self._filters:
            self._ready()

    def _on_suback(self, body: bytes) -> None:
        if packets.SUBACK_REFUSED in body[2:]:
            self.end("subscription refused")
            return
        self._pending_subs -= 1
        if not self._pending_subs:
            self._ready()

    def _ready(self) -> None:
        self.up = True
        self._owner.line_up(self)
