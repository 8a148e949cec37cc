"""The relay's loop: who hangs delays no other, and nothing goes out once the lease has ended."""

import asyncio

import pytest

from bongsu.channels.base import Message, Outcome
from bongsu.receiver.jobs import SEND, Done, Job
from bongsu.receiver.relay import ChannelRelay
from bongsu.receiver.relay_wire import Splitter, Up, jobs_message, jobs_of, packed, up_of, wire_done
from tests.receiver_parts import DEADLINE_S


class Stations:
    """Webhooks. Who is called dead answers nobody; counts the requests that hang, waits for `wanted` jobs."""

    def __init__(self, wanted: int) -> None:
        self.hanging, self.most_hanging = 0, 0
        self._wanted, self.done = wanted, list[Done]()
        self.all_done = asyncio.Event()

    async def send(self, m: Message) -> Outcome:
        """Answer at once, or never."""
        if "dead" not in m.target["url"]:
            return Outcome("accepted", "HTTP 200")
        self.hanging += 1
        self.most_hanging = max(self.most_hanging, self.hanging)
        await asyncio.Event().wait()
        raise AssertionError

    async def check(self, m: Message, ref: str) -> Outcome:
        """Never asked."""
        raise AssertionError

    async def aclose(self) -> None:
        """Nothing to close."""

    def take(self, done: Done) -> None:
        """A job's end."""
        self.done.append(done)
        if len(self.done) == self._wanted:
            self.all_done.set()


def webhook(number: int, host: str) -> Job:
    """A job for a station."""
    target = {"url": f"http://{host}/{number}", "secret": ""}
    return Job(number, "webhook", SEND, Message(number, "key", "alarm", target, {"n": number}))


async def _run(jobs: list[list[Job]], wanted: int, *, lease: bool = True) -> Stations:
    stations = Stations(wanted)
    relay = ChannelRelay({"webhook": stations}, stations.take, lambda: lease, lambda event, fields: None, 64)
    for some in jobs:
        relay.take(some)
    try:
        await asyncio.wait_for(stations.all_done.wait(), DEADLINE_S / 4)  # less than the relay's own patience
    finally:
        await relay.aclose()
    return stations


@pytest.mark.parametrize("dead_hosts", [1, 3])
def test_stations_that_hang_delay_no_other(dead_hosts: int) -> None:
    dead = [webhook(i, f"dead-{i % dead_hosts}") for i in range(120)]
    well = [webhook(1000 + i, "centre") for i in range(120)]
    stations = asyncio.run(_run([dead, well], len(well)))
    assert sorted(d.delivery_id for d in stations.done) == [job.delivery_id for job in well]
    assert {d.outcome.state for d in stations.done} == {"accepted"}
    assert stations.most_hanging == 16 * dead_hosts


def test_nothing_is_sent_once_the_lease_has_ended() -> None:
    stations = asyncio.run(_run([[webhook(1, "centre")]], 1, lease=False))
    assert [d.outcome.state for d in stations.done] == ["retry"]


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_what_goes_between_the_processes_arrives_as_it_was(piece: int) -> None:
    jobs = [webhook(i, "centre") for i in range(3)]
    jobs.append(Job(9, "sms", "check", Message(9, "k", "alarm", {"phone": "+821012345678"}, "불이야", "ko"), "ref-1"))
    done = Done(9, "check", Outcome("retry", "no answer in time", "ref-1", 1500), 12)
    stream = jobs_message(jobs) + packed(Up([wire_done(done)], [("relay.fault", {"channel": "sms"})]))
    splitter, found = Splitter(), []
    for at in range(0, len(stream), piece):
        found += splitter.feed(stream[at : at + piece])
    assert len(found) == 2
    back = jobs_of(found[0])
    assert [(j.delivery_id, j.channel, j.action, j.ref, j.message.target) for j in back] == [
        (j.delivery_id, j.channel, j.action, j.ref, j.message.target) for j in jobs
    ]
    assert bytes(back[1].message.body) == b'{"n":1}' and back[3].message.body == "불이야"  # type: ignore[call-overload]
    assert up_of(found[1]) == ([done], [("relay.fault", {"channel": "sms"})])
