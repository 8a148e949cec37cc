"""The watch for raw values that stand still, and the bus of the models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bongsu.sim.shims.chips.bus import FAULTS, Bus, Chip, Clock, Nak
from bongsu_node.sensing.stuck import LIMIT_MIN, Stuck
from tests import mpy


def ticks_diff(a: int, b: int) -> int:
    return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000


STEP = st.tuples(st.integers(1, 600_000), st.sampled_from([False] * 11 + [True]))


@given(st.lists(STEP, min_size=20, max_size=200), st.integers(0, 2**30))
def test_stuck_if_and_only_if_unchanged_for_the_limit(steps: list[tuple[int, bool]], start: int) -> None:
    """Against the same told in plain arithmetic, with wrapping ticks; 30 minutes, so that examples are short."""
    watch = Stuck(ticks_diff, 30)
    now, raw, since = start, 0, start
    watch.sample(now & 0x3FFFFFFF, raw)
    for step, change in steps:
        now += step
        if change:
            raw ^= 1
            since = now
        assert watch.sample(now & 0x3FFFFFFF, raw) == (now - since >= 30 * 60_000)


def test_48_hours_at_four_samples_a_second() -> None:
    assert LIMIT_MIN == 48 * 60
    watch = Stuck(ticks_diff)
    now = first = 0x3FFF0000
    while not watch.sample(now & 0x3FFFFFFF, 7):
        now += 250
    assert now - first == 48 * 3_600_000
    assert watch.sample((now + 250) & 0x3FFFFFFF, 7)
    assert not watch.sample((now + 500) & 0x3FFFFFFF, 8)


def test_a_pause_does_not_count_and_does_not_forgive() -> None:
    watch = Stuck(ticks_diff, 60)
    for minute in range(0, 40):
        assert not watch.sample(minute * 60_000, 1)
    watch.pause()
    later = 300 * 3_600_000
    assert not watch.sample(later & 0x3FFFFFFF, 1)
    said = [watch.sample((later + m * 60_000) & 0x3FFFFFFF, 1) for m in range(1, 25)]
    assert said == [m >= 21 for m in range(1, 25)]


def test_no_limit_is_never_stuck() -> None:
    watch = Stuck(ticks_diff, 0)
    assert not any(watch.sample(m * 600_000 & 0x3FFFFFFF, 1) for m in range(1000))


def test_allocates_nothing() -> None:
    program = """
import gc
from bongsu_node.sensing.stuck import Stuck
def diff(a, b):
    return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000
watch = Stuck(diff)
def run(n, now):
    before = gc.mem_alloc()
    while n:
        watch.sample(now & 0x3FFFFFFF, n >> 9)
        now += 250
        n -= 1
    watch.pause()
    return gc.mem_alloc() - before
gc.disable()
run(2, 0)
print(run(4000, 0x3FFFFFFF - 90000))
"""
    assert mpy.run(program).strip() == "0"


class Echo(Chip):
    defaults = {"x": 1}

    def power_on(self) -> None:
        self.got = b""

    def write(self, data: bytes) -> None:
        if data == b"no":
            raise Nak
        self.got = data

    def read(self, size: int) -> bytes:
        return bytes([self.sense("x")]) * size


def test_the_bus_and_its_faults() -> None:
    clock = Clock()
    bus = Bus(clock)
    chip = bus.attach(Echo(clock.ms), 0x10)
    bus.attach(Echo(clock.ms), 0x11)
    bus.writeto_mem(0x10, 0x1234, b"ab", addrsize=16)
    assert chip.got == b"\x12\x34ab"
    assert bus.readfrom_mem(0x10, 5, 2) == b"\x01\x01"
    assert chip.got == b"\x05"
    assert bus.scan() == [0x10, 0x11]
    for begin, errno in ((lambda: bus.fail("nak", 0x10), 19), (lambda: bus.unplug(0x10), 19), (lambda: None, None)):
        begin()
        if errno is not None:
            with pytest.raises(OSError) as e:
                bus.readfrom(0x10, 1)
            assert e.value.errno == errno
        assert bus.readfrom(0x11, 1) == b"\x01"
        bus.heal()
        bus.plug(0x10)
    with pytest.raises(OSError):
        bus.writeto(0x10, b"no")
    bus.fail("bus", 0x11)
    with pytest.raises(OSError) as e:
        bus.readfrom(0x10, 1)
    assert e.value.errno == 110
    bus.heal()
    bus.fail("frozen", 0x10)
    chip.set(x=9)
    assert bus.readfrom(0x10, 1) == b"\x01"
    bus.heal(0x10)
    assert bus.readfrom(0x10, 1) == b"\x09"
    bus.fail("bit_error", 0x10)
    assert all((bus.readfrom(0x10, 1)[0] ^ 9).bit_count() == 1 for _ in range(20))
    bus.heal()
    bus.writeto(0x10, b"x")
    bus.dip(0x10)
    assert chip.got == b""
    with pytest.raises(ValueError):
        bus.fail("gremlins", 0x10)
    with pytest.raises(ValueError):
        chip.set(y=1)
    assert set(FAULTS) == {"nak", "bus", "bit_error", "frozen"}
