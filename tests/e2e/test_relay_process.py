"""The relay's process, killed and frozen: every job ends, none is sent after the lease, and the next one works."""

import io
import json
import os
import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bongsu.channels import texts
from bongsu.channels.base import Message
from bongsu.receiver.clock import SystemClock
from bongsu.receiver.config import Config, DispatchConfig
from bongsu.receiver.jobs import SEND, Done, Job, Lease
from bongsu.receiver.log import Log
from bongsu.receiver.relay_process import RelayProcess
from tests.channel_peers import Peer, answering, running
from tests.receiver_parts import DEADLINE_S, SECRET


class _Relay:
    """A relay process, and what it said."""

    def __init__(self) -> None:
        self.done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self.lines = io.StringIO()
        self.log = Log("json", self.lines)
        self.lease = Lease(SystemClock(), 600_000)
        self.lease.renew()
        config = Config(dispatch=DispatchConfig(request_timeout_s=0.5))
        self.process = RelayProcess(config, self.done.put, self.lease, self.log)

    def post(self, number: int, url: str) -> None:
        """Hand over one report."""
        snapshot = {"site": {"id": "s", "name": "시장"}, "unit": {"id": "u", "name": "점포"}}
        report = texts.Report("alarm", number, 1, 1, "fire", snapshot, ("smoke",), 1_772_341_509_120)
        target = {"url": url, "secret": SECRET}
        message = Message(number, f"key-{number}", "alarm", target, texts.dispatch_body(report))
        self.process.take([Job(number, "webhook", SEND, message)])

    def next(self) -> Done:
        """The next job's end."""
        return self.done.get(timeout=DEADLINE_S)

    def post_until_accepted(self, number: int, url: str) -> None:
        """As the outbox does: again, until it is accepted."""
        end_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < end_s:
            self.post(number, url)
            if self.next().outcome.state == "accepted":
                return
        raise AssertionError("it is never accepted")


@contextmanager
def _relay() -> Iterator[_Relay]:
    r = _Relay()
    r.process.start()
    try:
        yield r
    finally:
        r.process.close()
        r.log.close()
    assert r.process.pid is None


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Peer]:
    secret = tmp_path / "whsec"
    secret.write_text(SECRET)
    with running("station", "--quiet", "--secret-file", str(secret)) as peer:
        yield peer


def _kill(r: _Relay, number: int) -> None:
    assert r.process.pid is not None
    os.kill(r.process.pid, number)


def test_a_report_is_accepted(station: Peer) -> None:
    with _relay() as r:
        r.post(1, station.url("reports"))
        assert r.next().outcome.state == "accepted"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_relay_that_dies_or_stands_still_loses_nothing(station: Peer, how: int) -> None:
    with answering(b"", close=False) as silent, _relay() as r:
        r.post(1, f"http://127.0.0.1:{silent}/")
        _kill(r, how)
        lost = r.next()
        assert (lost.delivery_id, lost.outcome.state) == (1, "retry")
        r.post_until_accepted(2, station.url("reports"))
        assert json.loads(r.lines.getvalue().splitlines()[0])["event"] == "relay.ended"


def test_nothing_is_sent_once_the_lease_has_ended(station: Peer) -> None:
    with _relay() as r:
        r.lease.length_ms = -1
        r.lease.renew()
        r.post(1, station.url("reports"))
        assert r.next().outcome.detail == "this receiver stood still; the lease ended"
        r.lease.length_ms = 60_000
        r.lease.renew()
        r.post_until_accepted(1, station.url("reports"))


def test_more_than_the_socket_holds_goes_through() -> None:
    body = {"text": "x" * 3000}
    with _relay() as r:
        r.process.take(
            [
                Job(
                    i,
                    "webhook",
                    SEND,
                    Message(i, f"key-{i}", "alarm", {"url": "http://127.0.0.1:9/", "secret": SECRET}, body),
                )
                for i in range(2000)
            ]
        )
        assert sorted(r.next().delivery_id for _ in range(2000)) == list(range(2000))
