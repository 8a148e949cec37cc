"""Plays of tests/sensor_rig.py on CPython and on MicroPython at once, with what holds for every sensor at every time.

play(...) returns a Play. It has made sure that both interpreters saw the same, that no poll took longer than 15 ms,
that none failed with anything but SensorError, and that none without a failure allocated a byte under MicroPython.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import mpy, sensor_rig

MOST_POLL_US = 15_000
# A fault must be told again and again while it lasts, so that the node's 10 s of supervision see it.
_OFTEN_MS = 2_000
FAULT_MS = 10_000

_PROGRAM = """
from sensor_rig import play
def handle(request):
    return play(request)
"""


_servers: list[mpy.Server] = []


@contextlib.contextmanager
def both() -> Iterator[None]:
    """While it lasts, play() has a MicroPython to play on: for a fixture of a test file."""
    with mpy.Server(_PROGRAM, paths=[mpy.SHIMS, Path(__file__).parent], deadline_s=60) as server:
        _servers.append(server)
        try:
            yield
        finally:
            _servers.remove(server)


def chip(at_ms: int, **state: Any) -> list[Any]:
    """A step of a play: from `at_ms` on the model is in this state."""
    return [at_ms, "chip", "set", state]


class Play:
    """events: [(ms, values or why), ...]; warm_ms: how long it was warming; until_ms: how long it was polled."""

    def __init__(self, told: dict[str, Any], until_ms: int, step_ms: int) -> None:
        self.events: list[tuple[int, Any]] = [(at, seen) for at, seen in told["events"]]
        self.warm_ms: int = told["warm_ms"]
        self.until_ms = until_ms
        self._often_ms = max(_OFTEN_MS, step_ms)

    def values(self, begin_ms: int = 0, end_ms: int | None = None) -> list[list[int]]:
        """What came from `begin_ms` on, before `end_ms`."""
        return [seen for at, seen in self._within(begin_ms, end_ms) if not isinstance(seen, str)]

    def firsts(self, begin_ms: int = 0, end_ms: int | None = None) -> list[int]:
        """The first quantity of each of them."""
        return [values[0] for values in self.values(begin_ms, end_ms)]

    def whys(self, begin_ms: int = 0, end_ms: int | None = None) -> list[str]:
        """The failures in that time."""
        return [seen for _, seen in self._within(begin_ms, end_ms) if isinstance(seen, str)]

    def assert_fault(self, begin_ms: int, end_ms: int, *whys: str) -> None:
        """A cause from `begin_ms` to `end_ms` is told in < 10 s, as one of `whys`, then at least every 2 s, without a
        value in between.
        """
        failed = [at for at, seen in self._within(begin_ms, end_ms) if isinstance(seen, str)]
        assert failed and failed[0] - begin_ms < FAULT_MS, f"no fault in time: {self._within(begin_ms, end_ms)[:3]}"
        assert set(self.whys(begin_ms, end_ms)) <= set(whys)
        assert not self.values(failed[0], end_ms)
        assert all(later - at <= self._often_ms for at, later in zip(failed, [*failed[1:], end_ms], strict=True))

    def assert_well(self, begin_ms: int, end_ms: int, every_ms: int) -> None:
        """Values and no failures in that time, one at least every `every_ms`."""
        assert not self.whys(begin_ms, end_ms), self._within(begin_ms, end_ms)
        times = [begin_ms, *(at for at, _ in self._within(begin_ms, end_ms)), end_ms]
        assert all(later - at <= every_ms for at, later in zip(times, times[1:], strict=False))

    def _within(self, begin_ms: int, end_ms: int | None) -> list[tuple[int, Any]]:
        end_ms = self.until_ms if end_ms is None else end_ms
        return [event for event in self.events if begin_ms <= event[0] < end_ms]


def play(
    kind: str,
    entry: dict[str, Any],
    until_ms: int,
    *script: list[Any],
    wiring: dict[str, Any] | None = None,
    step_ms: int = sensor_rig.POLL_MS,
    most_us: int = MOST_POLL_US,
) -> Play:
    """See the module, and sensor_rig.py for the arguments."""
    request = {
        "type": kind,
        "entry": entry,
        "wiring": wiring or {},
        "script": sorted(script, key=lambda act: int(act[0])),
        "until_ms": until_ms,
        "step_ms": step_ms,
    }
    here = sensor_rig.play(json.loads(json.dumps(request)))
    there = _servers[-1].call(request)
    assert json.loads(json.dumps(here["events"])) == there["events"]
    assert here["warm_ms"] == there["warm_ms"]
    assert here["most_us"] <= most_us
    assert there["heap"] == 0
    return Play(there, until_ms, step_ms)


def field_of(kind: str, entry: dict[str, Any], wiring: dict[str, Any] | None = None) -> str:
    """The field that make() complains of; "" if it takes the entry."""
    try:
        sensor_rig.make(kind, sensor_rig.Rig(kind, dict(wiring or {})), entry)
    except ValueError as e:
        return str(e).split(":")[0]
    return ""
