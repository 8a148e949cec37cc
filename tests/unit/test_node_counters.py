"""Counters and event numbers never come twice, whatever NVS loses; commands are noted before they are obeyed."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu_node import provisioned
from bongsu_node.counters import Exhausted, Identity
from bongsu_node.provisioned import Unprovisioned
from tests import mpy

NODE = bytes.fromhex("a0b1c2d3e4f5")
KEY = bytes(range(16))


class PowerCut(BaseException):
    """The supply went; nothing in the firmware can catch it."""


class Nvs:
    """NVS with a pending and a durable state. `cut(where)` is asked at each step: "set", "before", "after" a commit."""

    def __init__(self, counter: int = 1, event: int = 1) -> None:
        self.durable = {
            "ident": struct.pack("<BB16s", 1, 3, KEY),
            "ctr": struct.pack("<BBII", 1, 3, counter, event),
            "down": b"",
        }
        self.pending: dict[str, bytes] = {}
        self.refuses = False
        self.commits = 0
        self.cut: Callable[[str], bool] = lambda where: False

    def get_blob(self, key: str, buffer: bytearray) -> int:
        if key not in self.durable:
            raise OSError(-4354)
        data = self.durable[key]
        buffer[: len(data)] = data
        return len(data)

    def set_blob(self, key: str, data: bytes) -> None:
        if self.refuses:
            raise OSError(-4357)
        self.pending[key] = bytes(data)
        if self.cut("set"):
            raise PowerCut

    def commit(self) -> None:
        if self.cut("before"):
            raise PowerCut
        self.durable.update(self.pending)
        self.pending.clear()
        self.commits += 1
        if self.cut("after"):
            raise PowerCut


def boot(nvs: Nvs) -> Identity:
    nvs.pending.clear()
    return provisioned.load(nvs, NODE)


def test_numbers_begin_at_the_ceiling_and_are_reserved_in_one_commit() -> None:
    nvs = Nvs(counter=1000, event=77)
    identity = boot(nvs)
    assert nvs.commits == 1
    assert struct.unpack("<BBII", nvs.durable["ctr"]) == (1, 3, 1256, 333)
    assert [identity.next_counter(), identity.next_counter(), identity.next_event_number()] == [1000, 1001, 77]
    assert (identity.node, identity.node_text, identity.epoch) == (NODE, "a0b1c2d3e4f5", 3)
    for _ in range(2000):
        identity.next_counter()
    assert nvs.commits <= 1 + 2000 // 256 + 1


def test_a_fresh_store_never_gives_zero() -> None:
    identity = boot(Nvs(counter=0, event=0))
    assert (identity.next_counter(), identity.next_event_number()) == (1, 1)


steps = st.lists(
    st.tuples(
        st.integers(0, 400),  # counters taken in this life
        st.integers(0, 400),  # event numbers
        st.sampled_from(["none", "set", "before", "after"]),  # where in the NVS write the power goes
        st.integers(0, 3),  # in which of its writes
        st.booleans(),  # whether the pending value had reached the flash by then
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(lives=steps)
def test_no_number_comes_twice_over_power_cuts(lives: list[tuple[int, int, str, int, bool]]) -> None:
    nvs = Nvs()
    used: dict[str, set[int]] = {"counter": set(), "event": set()}
    for n_counters, n_events, where, nth, kept in lives:
        left = [nth]

        def cut(at: str, where: str = where, left: list[int] = left) -> bool:
            if at == where:
                left[0] -= 1
            return at == where and left[0] < 0

        nvs.cut = cut
        try:
            identity = boot(nvs)
            for name, take, count in (
                ("counter", identity.next_counter, n_counters),
                ("event", identity.next_event_number, n_events),
            ):
                for _ in range(count):
                    number = take()
                    assert number not in used[name]
                    used[name].add(number)
        except PowerCut:
            if kept:
                nvs.durable.update(nvs.pending)
    assert all(number > 0 for numbers in used.values() for number in numbers)


def test_a_refusing_nvs_is_said_while_numbers_are_left_and_ends_in_none() -> None:
    nvs = Nvs()
    identity = boot(nvs)
    nvs.refuses = True
    taken = []
    with pytest.raises(Exhausted):
        while True:
            taken.append(identity.next_counter())
            if len(taken) == 200:
                assert identity.failed
    assert taken == list(range(1, 257))
    nvs.refuses = False
    assert identity.next_counter() == 257
    assert not identity.failed


def test_numbers_end_at_the_last_one() -> None:
    identity = boot(Nvs(counter=0xFFFFFFFF - 3))
    last = [identity.next_counter() for _ in range(3)]
    assert last == [0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE]
    with pytest.raises(Exhausted):
        identity.next_counter()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"ident": None}, "ident"),
        ({"ident": b"\x01\x03short"}, "ident"),
        ({"ctr": None}, "ctr"),
        ({"ctr": b""}, "ctr"),
        ({"ctr": struct.pack("<BBII", 1, 4, 1, 1)}, "epoch"),
        ({"ident": struct.pack("<BB16s", 1, 0, KEY), "ctr": struct.pack("<BBII", 1, 0, 1, 1)}, "epoch"),
        ({"ident": struct.pack("<BB16s", 2, 3, KEY)}, "version"),
        ({"ctr": struct.pack("<BBII", 9, 3, 1, 1)}, "version"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_unprovisioned(change: dict[str, bytes | None], missing: str) -> None:
    nvs = Nvs()
    for key, value in change.items():
        if value is None:
            del nvs.durable[key]
        else:
            nvs.durable[key] = value
    with pytest.raises(Unprovisioned) as e:
        boot(nvs)
    assert e.value.missing == missing
    assert nvs.commits == 0


def test_commands_are_kept_per_sender_over_a_restart() -> None:
    nvs = Nvs()
    identity = boot(nvs)
    assert identity.newest_command(7) == 0
    identity.note_command(7, 5)
    identity.note_command(9, 0xFFFFFFFF)
    identity.note_command(7, 6)
    again = boot(nvs)
    assert (again.newest_command(7), again.newest_command(9), again.newest_command(8)) == (6, 0xFFFFFFFF, 0)


def test_of_nine_senders_the_one_heard_of_longest_ago_is_forgotten() -> None:
    nvs = Nvs()
    identity = boot(nvs)
    for sender in range(1, 9):
        identity.note_command(sender, sender * 10)
    identity.note_command(1, 11)
    identity = boot(nvs)
    identity.note_command(9, 90)
    again = boot(nvs)
    assert [again.newest_command(s) for s in range(1, 10)] == [11, 0, 30, 40, 50, 60, 70, 80, 90]


def test_a_command_that_cannot_be_noted_is_not_noted() -> None:
    nvs = Nvs()
    identity = boot(nvs)
    nvs.refuses = True
    with pytest.raises(OSError, match="4357"):
        identity.note_command(7, 5)
    assert identity.newest_command(7) == 0


def test_a_damaged_list_of_senders_counts_as_empty() -> None:
    nvs = Nvs()
    nvs.durable["down"] = b"\x01\x02\x03"
    assert boot(nvs).newest_command(1) == 0
    del nvs.durable["down"]
    assert boot(nvs).newest_command(1) == 0


def test_the_same_under_micropython() -> None:
    program = """
import struct
from bongsu_node import provisioned

class Nvs:
    store = {"ident": struct.pack("<BB16s", 1, 3, bytes(16)), "down": b""}
    store["ctr"] = struct.pack("<BBII", 1, 3, 0xFFFF0000, 5)
    def get_blob(self, key, buffer):
        if key not in self.store:
            raise OSError(-4354)
        data = self.store[key]
        buffer[:len(data)] = data
        return len(data)
    def set_blob(self, key, data):
        self.store[key] = data
    def commit(self):
        pass

for _ in range(3):
    identity = provisioned.load(Nvs(), b"\\xa0\\xb1\\xc2\\xd3\\xe4\\xf5")
    identity.note_command(1 + _, 0xFFFFFFF0 + _)
    print(identity.node_text, identity.next_counter() - 0xFFFF0000, identity.next_event_number())
print([identity.newest_command(s) - 0xFFFFFFF0 for s in (1, 2, 3)])
"""
    assert mpy.run(program).split("\n")[:4] == [
        "a0b1c2d3e4f5 0 5",
        "a0b1c2d3e4f5 256 261",
        "a0b1c2d3e4f5 512 517",
        "[0, 1, 2]",
    ]
