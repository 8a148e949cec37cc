"""The frame: what travels on every bearer, opaque to whoever carries it (DESIGN section 5).

    uplink    ver+kind 1 | key epoch 1 | node id 6 | counter 4 (big-endian)               | ciphertext | tag 8
    downlink  ver+kind 1 | key epoch 1 | node id 6 | counter 4 (big-endian) | sender 2 BE | ciphertext | tag 8

The first byte holds version (2 bits), direction (1 bit, 1 = down) and kind (5 bits). The header is the associated data;
the nonce is direction+kind (1) + node id (6) + counter (4) + sender (2; 0 on the uplink). A counter is never used twice
under one key: see bongsu_node.counters and the receiver's reserved counters.
"""

import struct

from bongsu_wire import kinds
from bongsu_wire.ccm import AuthError, CcmKey

VERSION = 1
TAG_LEN = 8
UP_HEADER_LEN = 12
DOWN_HEADER_LEN = 14
# LoRa carries at most 255 bytes a packet; one limit on every bearer keeps a frame from fitting one and not the other.
MAX_FRAME_LEN = 255
COUNTER_MAX = 0xFFFFFFFF
EPOCH_MAX = 255

_DOWN_BIT = 0x20
_KIND_MASK = 0x1F
_NONCE_MASK = 0x3F

_UP_KINDS = (kinds.UP_EVENT, kinds.UP_HEARTBEAT, kinds.UP_ANSWER, kinds.UP_READING, kinds.UP_HISTORY)
_DOWN_KINDS = (kinds.DOWN_RECEIPT, kinds.DOWN_COMMAND)


class FrameError(Exception):
    """The bytes are no acceptable frame.

    `reason` is one of "length", "version", "kind", "direction", "epoch", "counter", "auth".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Header:
    """A parsed, not yet authenticated frame header.

    `raw` is the header's bytes, `sealed` ciphertext + tag; `sender` is 0 on the uplink.
    """

    def __init__(
        self, kind: int, down: bool, epoch: int, node: bytes, counter: int, sender: int, raw: bytes, sealed: bytes
    ) -> None:
        self.kind = kind
        self.down = down
        self.epoch = epoch
        self.node = node
        self.counter = counter
        self.sender = sender
        self.raw = raw
        self.sealed = sealed


def _nonce(first: int, node: bytes, counter: int, sender: int) -> bytes:
    return struct.pack(">B6sIH", first & _NONCE_MASK, node, counter, sender)


def _check_fields(epoch: int, node: bytes, counter: int) -> None:
    if len(node) != 6:
        raise ValueError("a node id has 6 bytes")
    if not 1 <= epoch <= EPOCH_MAX:
        raise ValueError("a key epoch is 1..255")
    if not 1 <= counter <= COUNTER_MAX:
        raise ValueError("a counter is 1..2^32-1")


def seal_up(key: CcmKey, kind: int, epoch: int, node: bytes, counter: int, payload: bytes) -> bytes:
    """Return an uplink frame.

    `node`: 6 bytes; `epoch`: 1..255; `counter`: 1..2^32-1 and fresh; `payload`: at most 235 bytes. Raises ValueError.
    """
    _check_fields(epoch, node, counter)
    if kind not in _UP_KINDS:
        raise ValueError("not an uplink kind")
    if UP_HEADER_LEN + len(payload) + TAG_LEN > MAX_FRAME_LEN:
        raise ValueError("payload too long")
    first = VERSION << 6 | kind
    header = struct.pack(">BB6sI", first, epoch, node, counter)
    return header + key.seal(_nonce(first, node, counter, 0), header, payload)


def seal_down(key: CcmKey, kind: int, epoch: int, node: bytes, counter: int, sender: int, payload: bytes) -> bytes:
    """Return a downlink frame of receiver `sender` (1..65535); the rest as `seal_up`, payload at most 233 bytes.

    Raises ValueError.
    """
    _check_fields(epoch, node, counter)
    if kind not in _DOWN_KINDS:
        raise ValueError("not a downlink kind")
    if not 1 <= sender <= 0xFFFF:
        raise ValueError("a sender number is 1..65535")
    if DOWN_HEADER_LEN + len(payload) + TAG_LEN > MAX_FRAME_LEN:
        raise ValueError("payload too long")
    first = VERSION << 6 | _DOWN_BIT | kind
    header = struct.pack(">BB6sIH", first, epoch, node, counter, sender)
    return header + key.seal(_nonce(first, node, counter, sender), header, payload)


def parse(data: bytes) -> Header:
    """Split a frame into its header fields without trusting any of them.

    Raises FrameError; never anything else, whatever `data` holds.
    """
    size = len(data)
    if size < UP_HEADER_LEN + TAG_LEN or size > MAX_FRAME_LEN:
        raise FrameError("length")
    first = data[0]
    if first >> 6 != VERSION:
        raise FrameError("version")
    down = bool(first & _DOWN_BIT)
    kind = first & _KIND_MASK
    if kind not in (_DOWN_KINDS if down else _UP_KINDS):
        raise FrameError("kind")
    sender = 0
    header_len = UP_HEADER_LEN
    if down:
        header_len = DOWN_HEADER_LEN
        if size < DOWN_HEADER_LEN + TAG_LEN:
            raise FrameError("length")
        sender = data[12] << 8 | data[13]
        if not sender:
            raise FrameError("direction")
    epoch = data[1]
    if not epoch:
        raise FrameError("epoch")
    counter = struct.unpack(">I", data[8:12])[0]
    if not counter:
        raise FrameError("counter")
    return Header(
        kind, down, epoch, bytes(data[2:8]), counter, sender, bytes(data[:header_len]), bytes(data[header_len:])
    )


def open_frame(key: CcmKey, header: Header) -> bytes:
    """Return the payload of a parsed frame if `key` made it. Raises FrameError("auth")."""
    nonce = _nonce(header.raw[0], header.node, header.counter, header.sender)
    try:
        return key.open(nonce, header.raw, header.sealed)
    except AuthError:
        raise FrameError("auth") from None
