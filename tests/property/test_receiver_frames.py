"""Promise 4: 10^5 frames that no node made, or that come again: each is refused and counted, nothing crashes, nothing
is committed.
"""

import random
from collections import Counter
from pathlib import Path

from bongsu.receiver.store import schema
from bongsu_wire import frame, kinds, payload, topics
from bongsu_wire.ccm import CcmKey
from tests.receiver_parts import Desk, FrameMaker, desk

FRAMES = 100_000
_GROUP = 500
# Counted, and the receiver's own sign of life, which has nothing to do with frames.
_OWN = ("refused_frame", "receiver")
_UP, _EVENTS = topics.up_beats, topics.up_events
_WRONG_TOPICS = ("", "bongsu/v1/up/x/e", "bongsu/v1/down/a0b1c2000000", "bongsu/v1/up/A0B1C2000000/e", "a/b", "+/#")
Made = tuple[str, bytes]


class Stranger:
    """Somebody on the network who heard everything that was sent, and has no key."""

    def __init__(self, d: Desk, heard: list[bytes], old_beats: list[bytes], seed: int) -> None:
        self._node, self._other = d.nodes[0], d.nodes[1]
        self._heard, self._old_beats = heard, old_beats
        self._chance = random.Random(seed)
        self._key = CcmKey(self._chance.randbytes(16))
        self._wrongly = FrameMaker(self._node.id, self._chance.randbytes(16), 1)

    def frames(self, count: int) -> list[Made]:
        """So many (topic, bytes), of every kind."""
        ways = [self.random, self.altered, self.truncated, self.oversized, self.forged, self.elsewhere, self.replayed,
                self.of_a_stranger, self.reflected, self.other_epoch, self.counterless]  # fmt: skip
        return [self._chance.choice(ways)() for _ in range(count)]

    def random(self) -> Made:
        """Any bytes."""
        return _EVENTS(self._node.id), self._chance.randbytes(self._chance.randrange(0, 300))

    def altered(self) -> Made:
        """A heard frame with one bit changed."""
        data = bytearray(self._chance.choice(self._heard))
        bit = self._chance.randrange(len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
        return _EVENTS(self._node.id), bytes(data)

    def truncated(self) -> Made:
        """A heard frame without its end."""
        data = self._chance.choice(self._heard)
        return _EVENTS(self._node.id), data[: self._chance.randrange(len(data))]

    def oversized(self) -> Made:
        """A heard frame with something behind it."""
        return _EVENTS(self._node.id), self._chance.choice(self._heard) + self._chance.randbytes(
            self._chance.choice([1, 8, 200, 1000])
        )

    def forged(self) -> Made:
        """An alarm sealed with a key of one's own."""
        return _EVENTS(self._node.id), self._wrongly.event(self._chance.randrange(1, 99))

    def elsewhere(self) -> Made:
        """A heard frame under another topic."""
        return self._chance.choice((*_WRONG_TOPICS, _EVENTS(self._other.id))), self._chance.choice(self._heard)

    def replayed(self) -> Made:
        """A heartbeat of long ago."""
        return _UP(self._node.id), self._chance.choice(self._old_beats)

    def of_a_stranger(self) -> Made:
        """A frame of a node that nobody registered."""
        node = f"{self._chance.getrandbits(48):012x}"
        return _EVENTS(node), FrameMaker(node, self._chance.randbytes(16), 1).event(1)

    def reflected(self) -> Made:
        """A downlink frame sent up."""
        body = payload.encode_receipt(payload.Receipt(1, 1, [1]))
        made = frame.seal_down(self._key, kinds.DOWN_RECEIPT, 1, topics.node_bytes(self._node.id), 1, 1, body)
        return _EVENTS(self._node.id), made

    def counterless(self) -> Made:
        """A heard frame with counter 0, which no node uses."""
        data = self._chance.choice(self._heard)
        return _EVENTS(self._node.id), data[:8] + bytes(4) + data[12:]

    def other_epoch(self) -> Made:
        """A frame under an epoch that the node never had."""
        data = bytearray(self._chance.choice(self._heard))
        data[1] = self._chance.randrange(2, 256)
        return _EVENTS(self._node.id), bytes(data)


def test_what_no_node_made_is_refused_counted_and_commits_nothing(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        node = d.nodes[0]
        old_beats = [node.heartbeat(d.clock.now_ms(), 0) for _ in range(40)]
        for beat in old_beats:
            d.arrive((node.id, beat), topic=_UP(node.id))
        node.counter += 100
        newest = node.heartbeat(d.clock.now_ms(), 0)
        event = node.event(1, kinds.TEST, 0)
        d.arrive((node.id, newest))
        d.arrive((node.id, event))
        d.pass_time(6_000)
        kept = [t for t in schema.metadata.sorted_tables if t.name not in _OWN]
        before = {t.name: d.rows(t) for t in kept}
        published, acked = len(d.edge.published), len(d.edge.acked)
        stranger = Stranger(d, [*old_beats, event, newest], old_beats, seed=20)
        for _ in range(FRAMES // _GROUP):
            d.arrive_on(stranger.frames(_GROUP))
        assert len(d.edge.acked) - acked == FRAMES  # the broker keeps none of it
        assert len(d.edge.published) == published and d.jobs == []
        assert d.writer.books.sightings.waiting()
        d.pass_time(6_000)
        counted: Counter[str] = Counter()
        for row in d.rows(schema.refused_frame):
            counted[row.reason] += row.count
            assert row.node in ("", node.id, d.nodes[1].id)
        assert counted.total() == FRAMES
        assert set(counted) == {
            "length", "version", "kind", "direction", "epoch", "counter", "auth", "topic", "node_mismatch",
            "unknown_node", "unknown_epoch", "replay",
        }  # fmt: skip
        assert {t.name: d.rows(t) for t in kept} == before
        d.event(0, 2)  # and the node itself is still heard
        assert [r.numbers for r in d.receipts(0)][-1] == [2]


def test_an_authentic_frame_that_says_nothing_known_is_refused(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        bad = [b"", bytes(27), payload.encode_event(payload.Event(1, kinds.ALARM)) + b"x", bytes(44)]
        d.arrive(*[(node.id, node.seal(kind, plain)) for plain in bad for kind in (1, 2, 3)])
        d.pass_time(6_000)
        assert {(r.node, r.reason, r.count) for r in d.rows(schema.refused_frame)} == {(node.id, "payload", 12)}
        assert d.rows(schema.event) == []
