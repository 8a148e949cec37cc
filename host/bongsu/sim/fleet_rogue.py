"""Nodes of a fleet that do what they must not: frames sent twice, old frames sent again, bytes that are no frames, a
connection that crawls.
"""

import random
from collections import deque

from bongsu.sim.fleet_line import Line
from bongsu.sim.fleet_node import FleetNode
from bongsu.sim.fleet_tally import Tally

_KEPT = 16
_GARBAGE_MAX = 300
_CRAWL_PIECES = 4
_CRAWL_PAUSE_S = 0.5


class Rogue:
    """Which nodes misbehave, and how. `shares`: by kind of misbehaviour."""

    def __init__(self, shares: dict[str, float], nodes: list[FleetNode], chance: random.Random, tally: Tally) -> None:
        self._chance, self._tally = chance, tally
        self._does: dict[str, str] = {}
        for kind, share in shares.items():
            for node in chance.sample(nodes, max(1, round(share * len(nodes)))):
                self._does[node.id] = kind
        self._old: dict[str, deque[bytes]] = {}

    def after_beat(self, node: FleetNode, line: Line, data: bytes) -> None:
        """A heartbeat was sent."""
        if self._does:
            self._act(node, line, node.beats_topic, data, 0)

    def after_event(self, node: FleetNode, line: Line, data: bytes) -> None:
        """An event was sent."""
        if self._does:
            self._act(node, line, node.events_topic, data, 1)

    def _act(self, node: FleetNode, line: Line, topic: bytes, data: bytes, qos: int) -> None:
        kind = self._does.get(node.id)
        if kind is None:
            return
        self._tally.misbehaved[kind] += 1
        if kind == "duplicates":
            line.publish(topic, data, qos)
        elif kind == "replays":
            old = self._old.setdefault(node.id, deque(maxlen=_KEPT))
            old.append(data)
            line.publish(topic, self._chance.choice(old), qos)
        elif kind == "garbage":
            line.publish(topic, self._garbage(data), qos)
        else:
            line.crawl(_CRAWL_PIECES, _CRAWL_PAUSE_S)

    def _garbage(self, data: bytes) -> bytes:
        """Noise, or a frame with one bit turned."""
        if self._chance.random() < 0.5:
            return self._chance.randbytes(self._chance.randint(0, _GARBAGE_MAX))
        spoiled = bytearray(data)
        spoiled[self._chance.randrange(len(spoiled))] ^= 1 << self._chance.randrange(8)
        return bytes(spoiled)
