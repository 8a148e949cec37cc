"""From bytes that a stranger may have sent to an uplink that a node proved to have made. No store, no I/O.

The topic says who claims to speak, the header says it again, the key proves it. Every refusal has a reason and is
counted; nothing that arrives here may raise anything but Refused.
"""

from dataclasses import dataclass

from bongsu.receiver.directory import Directory, KeyEntry, NodeEntry
from bongsu_wire import frame, kinds, measured, payload, topics

# What a frame may be refused for, beside the frame's own reasons (bongsu_wire.frame.FrameError).
TOPIC, NODE_MISMATCH, UNKNOWN_NODE, UNKNOWN_EPOCH, DIRECTION, PAYLOAD, REPLAY, TIME = (
    "topic",
    "node_mismatch",
    "unknown_node",
    "unknown_epoch",
    "direction",
    "payload",
    "replay",
    "time",
)

Content = payload.Event | payload.Heartbeat | payload.Answer | measured.History | measured.Reading


class Refused(Exception):
    """The bytes are not an acceptable uplink. `node`: the registered node that they claim to come from, or ""."""

    def __init__(self, reason: str, node: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node


@dataclass(slots=True)
class Uplink:
    """An authentic frame. `content` is what it carries, `plain` the same as bytes; `counter`: the node's uplink one."""

    node: NodeEntry
    key: KeyEntry
    counter: int
    content: Content
    plain: bytes


def open_uplink(directory: Directory, topic: str, data: bytes, now_ms: int) -> Uplink:
    """Verify one message. `now_ms`: UTC, for keys that end. Raises Refused."""
    try:
        header = frame.parse(data)
    except frame.FrameError as err:
        raise Refused(err.reason) from None
    node, key = _sender(directory, topic, header, now_ms)
    if header.kind == kinds.UP_READING and topic != topics.up_beats(node.id):
        raise Refused(TOPIC, node.id)
    try:
        plain = frame.open_frame(key.ccm(), header)
    except frame.FrameError as err:
        raise Refused(err.reason, node.id) from None
    try:
        return Uplink(node, key, header.counter, _decode(header.kind, plain), plain)
    except payload.PayloadError:
        raise Refused(PAYLOAD, node.id) from None


def _sender(directory: Directory, topic: str, header: frame.Header, now_ms: int) -> tuple[NodeEntry, KeyEntry]:
    """The node and key that a header claims."""
    if header.down:
        raise Refused(DIRECTION)
    named = header.node.hex()
    node = directory.nodes.get(named)
    if node is None or topic not in (topics.up_events(named), topics.up_beats(named)):
        raise _misfit(directory, topic)
    key = node.keys.get(header.epoch)
    if key is None or not key.usable_at(now_ms):
        raise Refused(UNKNOWN_EPOCH, node.id)
    return node, key


def _misfit(directory: Directory, topic: str) -> Refused:
    """Why a frame does not fit its topic; the node that counts is the one that the topic names."""
    try:
        named, _ = topics.parse_up(topic)
    except ValueError:
        return Refused(TOPIC)
    node = directory.nodes.get(named)
    return Refused(UNKNOWN_NODE) if node is None else Refused(NODE_MISMATCH, node.id)


def _decode(kind: int, plain: bytes) -> Content:
    if kind == kinds.UP_EVENT:
        return payload.decode_event(plain)
    if kind == kinds.UP_HEARTBEAT:
        return payload.decode_heartbeat(plain)
    if kind == kinds.UP_HISTORY:
        return measured.decode_history(plain)
    if kind == kinds.UP_READING:
        return measured.decode_reading(plain)
    return payload.decode_answer(plain)
