"""A key that is changed over the air: wherever the power goes, the node has one usable key, and no number of any key
comes twice.
"""

import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu_node import provisioned, rotation
from bongsu_node.counters import Exhausted, Identity
from bongsu_wire.ccm import CcmKey
from tests import mpy

NODE = bytes.fromhex("a0b1c2d3e4f5")


class PowerCut(BaseException):
    """The supply went; nothing in the firmware can catch it."""


def key(epoch: int) -> bytes:
    return bytes([epoch]) * 16


def args(epoch: int) -> bytes:
    """Of the command."""
    return struct.pack("<BB16s", 1, epoch, key(epoch))


@dataclass
class Nvs:
    """As the chip's: what was set is there after a commit, and may be there before. `cut_at`: the power goes at this
    write; `refuse_at`: this write is refused. `lasts`: what was set is there although the write was not ended.
    """

    durable: dict[str, bytes] = field(
        default_factory=lambda: {"ident": args(1), "ctr": struct.pack("<BBII", 1, 1, 1, 1), "down": b""}
    )
    pending: dict[str, bytes | None] = field(default_factory=dict)
    cut_at: int = -1
    refuse_at: int = -1
    lasts: bool = False
    writes: int = 0

    def get_blob(self, name: str, buffer: bytearray) -> int:
        if name not in self.durable:
            raise OSError(-0x1102)
        data = self.durable[name]
        buffer[: len(data)] = data
        return len(data)

    def set_blob(self, name: str, data: bytes) -> None:
        self.pending[name] = bytes(data)
        self._step()

    def erase_key(self, name: str) -> None:
        if name not in self.durable:
            raise OSError(-0x1102)
        self.pending[name] = None
        self._step()

    def commit(self) -> None:
        self._step()
        self._take()

    def _take(self) -> None:
        for name, data in self.pending.items():
            if data is None:
                self.durable.pop(name, None)
            else:
                self.durable[name] = data
        self.pending.clear()

    def _step(self) -> None:
        self.writes += 1
        if self.writes in (self.cut_at, self.refuse_at):
            if self.lasts:
                self._take()
            self.pending.clear()
            if self.writes == self.cut_at:
                raise PowerCut
            raise OSError(-0x1105)


@dataclass
class Life:
    """From power-on to the next: what the node does, and at which of its writes something happens."""

    counters: int
    events: int
    order: bool
    is_quiet: bool
    cut_at: int
    refuse_at: int
    lasts: bool


lives = st.builds(
    Life,
    counters=st.integers(0, 300),
    events=st.integers(0, 300),
    order=st.booleans(),
    is_quiet=st.booleans(),
    cut_at=st.integers(1, 14),
    refuse_at=st.integers(1, 14),
    lasts=st.booleans(),
)


class Node:
    """A node over its lives; `used`: every number that it took, by epoch."""

    def __init__(self) -> None:
        self.nvs = Nvs()
        self.used: set[tuple[str, int, int]] = set()
        self.epoch = 1  # in force at the last start
        self.ordered = 1  # newest epoch that it was sent
        self.accepted = {1}

    def boot(self) -> Identity:
        self.nvs.pending.clear()
        identity = provisioned.load(self.nvs, NODE)
        assert identity.epoch in self.accepted and identity.epoch >= self.epoch, "never back to an older key"
        assert identity.key.open(bytes(13), b"", CcmKey(key(identity.epoch)).seal(bytes(13), b"", b"")) == b""
        self.epoch = identity.epoch
        return identity

    def take(self, identity: Identity, counters: int, events: int) -> None:
        for name, give, count in (
            ("counter", identity.next_counter, counters),
            ("event", identity.next_event_number, events),
        ):
            for _ in range(count):
                try:
                    number = give()
                except Exhausted:
                    break
                assert (name, identity.epoch, number) not in self.used, "a number came twice under one key"
                self.used.add((name, identity.epoch, number))

    def live(self, life: Life) -> None:
        self.nvs.cut_at, self.nvs.refuse_at = self.nvs.writes + life.cut_at, self.nvs.writes + life.refuse_at
        self.nvs.lasts = life.lasts
        try:
            identity = self.boot()
            self.take(identity, life.counters, life.events)
            if life.order:
                self.ordered = max(self.ordered, identity.epoch) + 1
                self.accepted.add(self.ordered)  # as soon as it may have arrived, the receiver accepts it
                try:
                    identity.next_waits = rotation.take(self.nvs, args(self.ordered)) or identity.next_waits
                except OSError:
                    pass
            self.take(identity, life.counters, life.events)
            if identity.next_waits and life.is_quiet:
                try:
                    rotation.move(self.nvs)
                except OSError:
                    identity.reserve()
                    self.take(identity, life.counters, life.events)
        except PowerCut:
            pass
        self.nvs.cut_at = self.nvs.refuse_at = -1


@settings(max_examples=400, deadline=None)
@given(st.lists(lives, min_size=1, max_size=10))
def test_one_usable_key_and_no_number_twice(story: list[Life]) -> None:
    node = Node()
    for life in story:
        node.live(life)
    node.boot()


@pytest.mark.parametrize("lasts", [False, True])
@pytest.mark.parametrize("what", ["cut_at", "refuse_at"])
def test_a_cut_or_a_refusal_at_each_write_of_a_change(what: str, lasts: bool) -> None:
    epochs = set()
    for nth in range(1, 40):
        node = Node()
        node.take(node.boot(), 5, 5)
        setattr(node.nvs, what, node.nvs.writes + nth)
        node.nvs.lasts = lasts
        try:
            identity = node.boot()
            node.accepted.add(2)
            identity.next_waits = rotation.take(node.nvs, args(2))
            rotation.move(node.nvs)
            node.take(node.boot(), 5, 5)
        except (PowerCut, OSError):
            pass
        node.nvs.cut_at = node.nvs.refuse_at = -1
        identity = node.boot()
        node.take(identity, 5, 5)
        epochs.add(identity.epoch)
        if identity.next_waits:  # it goes on where it was
            rotation.move(node.nvs)
            identity = node.boot()
            node.take(identity, 5, 5)
            assert identity.epoch == 2
        if identity.epoch == 2:
            assert not identity.next_waits and "next" not in node.nvs.durable
    assert epochs == {1, 2}


def test_what_cannot_follow_the_key_in_force_is_refused() -> None:
    nvs = Nvs()
    for wrong in (args(1), args(0), args(2)[:-1], args(2) + b"x", b"\x02" + args(2)[1:], b""):
        assert not rotation.take(nvs, wrong)
    assert "next" not in nvs.durable


def test_a_key_that_waits_from_before_a_provisioning_is_deleted() -> None:
    nvs = Nvs()
    assert rotation.take(nvs, args(3))
    nvs.durable["ident"] = struct.pack("<BB16s", 1, 2, bytes(16))  # provisioned anew, by another installation perhaps
    nvs.durable["ctr"] = struct.pack("<BBII", 1, 2, 1, 1)
    identity = provisioned.load(nvs, NODE)
    assert identity.epoch == 2 and not identity.next_waits
    assert "next" not in nvs.durable
    assert provisioned.load(nvs, NODE).epoch == 2


def test_the_newest_key_that_was_sent_waits() -> None:
    nvs = Nvs()
    assert rotation.take(nvs, args(2)) and rotation.take(nvs, args(3))
    assert provisioned.load(nvs, NODE).epoch == 1
    rotation.move(nvs)
    assert provisioned.load(nvs, NODE).epoch == 3


def test_the_same_under_micropython() -> None:
    program = """
import struct
from bongsu_node import provisioned, rotation
class Nvs:
    def __init__(self):
        self.store = {"ident": ident(1), "ctr": struct.pack("<BBII", 1, 1, 900, 5)}
    def get_blob(self, key, buffer):
        if key not in self.store:
            raise OSError(-4354)
        data = self.store[key]
        buffer[:len(data)] = data
        return len(data)
    def set_blob(self, key, data):
        self.store[key] = data
    def erase_key(self, key):
        del self.store[key]
    def commit(self):
        pass
def ident(epoch):
    return struct.pack("<BB16s", 1, epoch, bytes([epoch]) * 16)
nvs = Nvs()
print(rotation.take(nvs, ident(2)), len(nvs.store["next"]))
for _ in range(2):
    i = provisioned.load(nvs, bytes(6))
    print(i.epoch, i.next_waits, i.next_counter(), i.next_event_number())
    rotation.move(nvs)
    i = provisioned.load(nvs, bytes(6))
    print(i.epoch, i.next_waits, i.next_counter(), i.next_event_number(), "next" in nvs.store)
    rotation.take(nvs, ident(3))
"""
    assert mpy.run(program).splitlines() == [
        "True 26",
        "1 True 900 5",
        "2 False 1 1 False",
        "2 True 257 257",
        "3 False 1 1 False",
    ]
