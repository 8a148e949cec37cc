"""MQTT 3.1.1 packets, as bytes: the part of the standard that a node needs (OASIS MQTT 3.1.1; section numbers below are
its own). Pure: no sockets.

Encoders return one whole packet each, so that a packet is one write (and one TLS record). `Parser` takes what the peer
sends, in pieces of any size, and refuses at the first byte that shows that it is no MQTT meant for a client: a peer is
never trusted with memory or with an exception.
"""

import struct

CONNACK = 0x20
PUBLISH = 0x30
PUBACK = 0x40
SUBACK = 0x90
PINGRESP = 0xD0

PINGREQ_PACKET = b"\xc0\x00"

SUBACK_REFUSED = 0x80

# Body lengths of what a broker may send us besides PUBLISH; a SUBACK has three because we subscribe one filter at a
# time.
_FIXED_LEN = {CONNACK: 2, PUBACK: 2, SUBACK: 3, PINGRESP: 0}


class ProtocolError(Exception):
    """What the peer sent is not MQTT 3.1.1, or more than a node accepts. The connection cannot be used any more."""


def _remaining(length: int) -> bytes:
    out = bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        out.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(out)


def _text(value: "str | bytes") -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(data)) + data


def connect(client_id: str, user: str, password: str, keepalive_s: int) -> bytes:
    """CONNECT of a persistent session (clean session 0, 3.1.2.4), without a will. `user` and `password` may be empty:
    then they are left out."""
    flags = (0x80 if user else 0) | (0x40 if user and password else 0)
    body = b"\x00\x04MQTT\x04" + struct.pack(">BH", flags, keepalive_s) + _text(client_id)
    if user:
        body += _text(user)
        if password:
            body += _text(password)
    return b"\x10" + _remaining(len(body)) + body


def subscribe(packet_id: int, topic_filter: str, qos: int) -> bytes:
    """SUBSCRIBE of one filter."""
    body = struct.pack(">H", packet_id) + _text(topic_filter) + bytes([qos])
    return b"\x82" + _remaining(len(body)) + body


def publish(topic: str, payload: bytes, qos: int, packet_id: int, dup: bool) -> bytes:
    """PUBLISH with QoS 0 (`packet_id` is not sent) or 1."""
    name = _text(topic)
    first = PUBLISH | qos << 1 | (8 if dup else 0)
    if not qos:
        return bytes([first]) + _remaining(len(name) + len(payload)) + name + payload
    return bytes([first]) + _remaining(len(name) + 2 + len(payload)) + name + struct.pack(">H", packet_id) + payload


def puback(packet_id: int) -> bytes:
    """PUBACK for a QoS 1 message that the broker sent."""
    return b"\x40\x02" + struct.pack(">H", packet_id)


def split_publish(first: int, body: bytes) -> "tuple[str, bytes, int]":
    """(topic, payload, packet id or 0) of a PUBLISH with first byte `first`. Raises ProtocolError."""
    if len(body) < 2:
        raise ProtocolError("short publish")
    end = 2 + (body[0] << 8 | body[1])
    packet_id = 0
    start = end
    if first & 0x06:
        start += 2
    if start > len(body):
        raise ProtocolError("short publish")
    if first & 0x06:
        packet_id = body[end] << 8 | body[end + 1]
        if not packet_id:
            raise ProtocolError("packet id 0")
    try:
        topic = str(body[2:end], "utf-8")
    except ValueError:  # UnicodeError is one, on both interpreters
        raise ProtocolError("topic is not UTF-8") from None
    return topic, body[start:], packet_id


class Parser:
    """Cuts a byte stream into packets. `cap`: the longest packet body accepted, in bytes; nothing longer is ever
    stored."""

    def __init__(self, cap: int = 1024) -> None:
        self._cap = cap
        self._body = bytearray()
        self._restart()

    def _restart(self) -> None:
        self._first = -1
        self._length = 0
        self._shift = 0
        self._counting = True
        self._body = bytearray()

    @property
    def mid_packet(self) -> bool:
        """True if a packet has begun and is not complete."""
        return self._first >= 0

    def feed(self, data: bytes) -> "list[tuple[int, bytes]]":
        """Take the next bytes of the stream; return the packets that they complete as (first byte, body). Raises
        ProtocolError."""
        packets = []
        at = 0
        while at < len(data):
            if self._first < 0:
                self._first = self._checked_first(data[at])
                at += 1
            elif self._counting:
                self._count(data[at])
                at += 1
            else:
                piece = data[at : at + self._length - len(self._body)]
                self._body.extend(piece)
                at += len(piece)
            if self._first >= 0 and not self._counting and len(self._body) == self._length:
                packets.append((self._first, bytes(self._body)))
                self._restart()
        return packets

    def _checked_first(self, first: int) -> int:
        if first & 0xF0 == PUBLISH:
            if first & 0x06 > 0x02:  # we subscribe with QoS 0, so 2 is never granted; 3 is malformed (3.3.1.2)
                raise ProtocolError("publish with qos 2 or 3")
        elif first not in _FIXED_LEN:
            raise ProtocolError("packet type 0x%02x" % first)
        return first

    def _count(self, digit: int) -> None:
        """One digit of the remaining length (2.2.3): at most four, and never more than the cap."""
        self._length |= (digit & 0x7F) << self._shift
        self._shift += 7
        if digit & 0x80:
            if self._shift >= 28:
                raise ProtocolError("remaining length")
            return
        if self._length > self._cap or self._length != _FIXED_LEN.get(self._first, self._length):
            raise ProtocolError("length %d of packet 0x%02x" % (self._length, self._first))
        self._counting = False
