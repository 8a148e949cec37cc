"""MQTT topics (DESIGN section 5). Node ids stand in them as 12 lower-case hex digits."""

UP_EVENTS_FILTER = "bongsu/v1/up/+/e"
UP_BEATS_FILTER = "bongsu/v1/up/+/h"

_UP = "bongsu/v1/up/"
_DOWN = "bongsu/v1/down/"
_HEX = "0123456789abcdef"


def node_text(node: bytes) -> str:
    """A node id (6 bytes) as text: 12 lower-case hex digits."""
    return "".join(["%02x" % b for b in node])


def node_bytes(text: str) -> bytes:
    """The 6 bytes of a node id's text. Raises ValueError if it is not 12 lower-case hex digits."""
    if len(text) != 12 or any([c not in _HEX for c in text]):
        raise ValueError("a node id is 12 lower-case hex digits")
    return bytes([int(text[i : i + 2], 16) for i in range(0, 12, 2)])


def up_events(node: str) -> str:
    """Events and answers of a node (QoS 1)."""
    return _UP + node + "/e"


def up_beats(node: str) -> str:
    """Heartbeats and readings of a node (QoS 0)."""
    return _UP + node + "/h"


def down(node: str) -> str:
    """Receipts and commands to a node."""
    return _DOWN + node


def parse_up(topic: str) -> tuple[str, str]:
    """(node id text, "e" or "h") of an uplink topic. Raises ValueError for any other topic."""
    parts = topic.split("/")
    if len(parts) != 5 or not topic.startswith(_UP) or parts[4] not in ("e", "h"):
        raise ValueError("not an uplink topic")
    node_bytes(parts[3])
    return parts[3], parts[4]
