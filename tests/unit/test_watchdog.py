"""systemd's watchdog is fed only while writer, relay and MQTT thread move; a writer that stands still is told of."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bongsu.receiver import watch
from bongsu.receiver.config import load
from bongsu.receiver.store import schema
from bongsu.receiver.systemd import Notifier
from bongsu.receiver.watch import Parts, Watch
from tests.receiver_parts import Desk, desk

PATIENCE_S = {
    "writer": watch.WRITER_PATIENCE_S,
    "edge": watch.EDGE_PATIENCE_S,
    "relay": watch.RELAY_PATIENCE_S,
}


class Watched:
    """A watch over a real writer that runs only when the test lets it, and threads that move when the test says so."""

    def __init__(self, d: Desk, sock: socket.socket, address: str) -> None:
        self.edge = SimpleNamespace(looked_s=0.0, canary_refused=True, broker_not_after=None)
        self.relay = SimpleNamespace(looked_s=0.0)
        self.writer, self._sock = d.writer, sock
        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
        self._notifier = Notifier(environ)
        edge: Any = self.edge
        config = load(d.data / "receiver.toml")
        parts = Parts(
            config, d.store, d.writer, edge, self.relay, d.clock, d.log, 1, "r-test", ("127.0.0.1", 1), lambda _: None
        )
        self.watch = Watch(parts, self._notifier)
        self.watch.link(True)
        self.now_s = time.monotonic()

    def passes(self, seconds: float, *, still: str = "") -> bool:
        """Time passes, second by second, and all but `still` move. Was the watchdog fed in the last one?"""
        fed = False
        for _ in range(round(seconds)):
            self.now_s += 1
            self.edge.looked_s += still != "edge"
            self.relay.looked_s += still != "relay"
            if still != "writer":
                self.writer.turn(self.writer._gather(0))
                self.writer.turns += 1
            self.watch._find(self.now_s, self.watch._moves(self.now_s))
            fed = self._heard()
        return fed

    def _heard(self) -> bool:
        fed = False
        while True:
            try:
                fed = b"WATCHDOG=1" in self._sock.recv(4096) or fed
            except BlockingIOError:
                return fed

    def close(self) -> None:
        self._notifier.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Makes one."""

    @contextmanager
    def make() -> Iterator[tuple[Desk, Watched]]:
        address = f"@bongsu-watchdog-{os.getpid()}-{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, desk(tmp_path) as d:
            sock.bind("\0" + address[1:])
            sock.setblocking(False)
            made = Watched(d, sock, address)
            try:
                yield d, made
            finally:
                made.close()

    yield make


@pytest.mark.parametrize("still", list(PATIENCE_S))
def test_it_is_fed_until_one_of_them_stands_still_for_too_long(watched: Callable[[], Any], still: str) -> None:
    with watched() as (_, w):
        assert w.passes(5)
        assert w.passes(PATIENCE_S[still] - 2, still=still)
        assert not w.passes(5, still=still)
        assert w.passes(2)


def test_a_writer_that_stood_still_is_a_fault_afterwards(watched: Callable[[], Any]) -> None:
    with watched() as (d, w):
        w.passes(3)
        w.passes(8, still="writer")
        assert "writer_stuck" in w.watch._told["writer"]
        w.passes(3)
        standing = [i.snapshot["active"] for i in d.rows(schema.incident) if i.subject.startswith("receiver:")]
        assert any("writer_stuck" in names for active in standing for names in active.values())
        w.passes(20)
        (incident,) = [i for i in d.rows(schema.incident) if i.subject.startswith("receiver:")]
        assert incident.restored_ms is not None


def test_without_systemd_nothing_is_sent() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/nobody/listens"}):
        notifier = Notifier(environ)
        notifier.ready()
        notifier.alive()
        notifier.close()


def test_another_process_watchdog_is_not_fed() -> None:
    assert not Notifier({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watched
