"""Carries out deliveries: an asyncio loop in a thread of its own, a bounded number of requests at once.

It decides nothing. Jobs come from the writer after their commit; each ends as a Done that goes back to the writer.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from bongsu.channels.base import Channel, Outcome, one_line
from bongsu.receiver.log import Log
from bongsu.receiver.outbox import CHECK, Done, Job, Lease

# A channel keeps its own time-out; this guards against one that does not.
_PATIENCE_S = 10.0

ChannelMap = Mapping[str, Channel]


class ChannelRelay:
    """Runs jobs on channels. `make_channels` is called in the relay's own loop; `put_done` takes results from it."""

    def __init__(
        self,
        make_channels: Callable[[], ChannelMap],
        put_done: Callable[[Done], None],
        lease: Lease,
        log: Log,
        workers: int,
    ) -> None:
        self._make_channels, self._put_done, self._lease, self._log = make_channels, put_done, lease, log
        self._workers = workers
        self._running = 0
        self._waiting: deque[Job] = deque()
        self._handed: deque[list[Job]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin; returns when the channels are there."""
        self._thread.start()
        self._ready.wait()

    def take(self, jobs: list[Job]) -> None:
        """Begin these jobs. From any thread; never waits."""
        if jobs:
            self._handed.append(jobs)
            self._loop.call_soon_threadsafe(self._begin)

    def close(self) -> None:
        """End: what is still under way is given up (its lease ends, and it is tried again)."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._loop.close()

    async def _main(self) -> None:
        self._channels = self._make_channels()
        self._ready.set()
        await self._ended.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        close = getattr(self._channels, "aclose", None)
        if close is not None:
            await close()

    def _begin(self) -> None:
        while self._handed:
            self._waiting.extend(self._handed.popleft())
        while self._waiting and self._running < self._workers:
            self._running += 1
            task = self._loop.create_task(self._work(self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, job: Job) -> None:
        """One worker: its job, then whatever waits."""
        try:
            while True:
                await self._one(job)
                if not self._waiting:
                    return
                job = self._waiting.popleft()
        finally:
            self._running -= 1

    async def _one(self, job: Job) -> None:
        started = time.monotonic_ns()
        if not self._lease.holds():
            # This process stood still for longer than its lease: somebody else may be sending this very message.
            outcome = Outcome("retry", "this receiver stood still; the lease ended")
        else:
            outcome = await self._outcome(job)
        took_ms = (time.monotonic_ns() - started) // 1_000_000
        self._put_done(Done(job.delivery_id, job.action, outcome, took_ms))

    async def _outcome(self, job: Job) -> Outcome:
        channel = self._channels.get(job.channel)
        if channel is None:
            return Outcome("refused", f"there is no channel {job.channel}: configure it in receiver.toml")
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if job.action == CHECK:
                    return await channel.check(job.message, job.ref or "")
                return await channel.send(job.message)
        except TimeoutError:
            return Outcome("retry", "no answer in time")
        except Exception as err:  # a channel's fault must not stop the others
            self._log.error("relay.fault", channel=job.channel, delivery=job.delivery_id, error=repr(err))
            return Outcome("retry", one_line(f"fault in the channel: {type(err).__name__}"))
