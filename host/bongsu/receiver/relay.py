"""Carries out deliveries: an asyncio loop in a thread of its own, a bounded number of requests at once, in all and
at one other side, so that a station that answers nobody delays no other.

It decides nothing. Jobs come from the writer after their commit; each ends as a Done that goes back to the writer.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from bongsu.channels.base import Channel, Outcome, one_line
from bongsu.receiver.log import Log
from bongsu.receiver.outbox import CHECK, Done, Job, Lease

# A channel keeps its own time-out; this guards against one that does not.
_PATIENCE_S = 10.0
_LOOK_S = 1.0
# So many sides may hang at once before others wait for them.
_SIDES = 4

ChannelMap = Mapping[str, Channel]


class ChannelRelay:
    """Runs jobs on `channels` (by name), which it closes in the end. `put_done` takes results, in its thread."""

    def __init__(
        self,
        channels: ChannelMap,
        put_done: Callable[[Done], None],
        lease: Lease,
        log: Log,
        workers: int,
    ) -> None:
        self._channels, self._put_done, self._lease, self._log = channels, put_done, lease, log
        self._workers, self._workers_a_side = workers, max(1, workers // _SIDES)
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Job]] = {}
        self._handed: deque[list[Job]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: dict[asyncio.Task[None], float] = {}
        self._watching = False
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

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
        await self._ended.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        close = getattr(self._channels, "aclose", None)
        if close is not None:
            await close()

    def _begin(self) -> None:
        while self._handed:
            for job in self._handed.popleft():
                self._waiting.setdefault(_side(job), deque()).append(job)
        while self._running.total() < self._workers and (first := self._next()) is not None:
            task = self._loop.create_task(self._work(first))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> Job | None:
        """The next job, counted as running: of the sides with a worker to spare, one for whom the fewest run."""
        free = [side for side in self._waiting if self._running[side] < self._workers_a_side]
        if not free:
            return None
        side = min(free, key=self._running.__getitem__)
        self._running[side] += 1
        waiting = self._waiting[side]
        job = waiting.popleft()
        if not waiting:
            del self._waiting[side]
        return job

    async def _work(self, first: Job) -> None:
        """One worker: its job, then whatever waits."""
        job: Job | None = first
        while job is not None:
            try:
                await self._one(job)
            finally:
                self._running[_side(job)] -= 1
                self._running += Counter()  # forgets for whom nothing runs
            job = self._next()

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
        task = asyncio.current_task()
        assert task is not None
        self._begun[task] = self._loop.time()
        if not self._watching:
            self._watching = True
            self._loop.call_later(_LOOK_S, self._look)
        try:
            if job.action == CHECK:
                return await channel.check(job.message, job.ref or "")
            return await channel.send(job.message)
        except asyncio.CancelledError:
            if self._ended.is_set():
                raise
            task.uncancel()
            return Outcome("retry", "no answer in time")
        except Exception as err:  # a channel's fault must not stop the others
            self._log.error("relay.fault", channel=job.channel, delivery=job.delivery_id, error=repr(err))
            return Outcome("retry", one_line(f"fault in the channel: {type(err).__name__}"))
        finally:
            del self._begun[task]

    def _look(self) -> None:
        """Give up on requests that a channel never ends: one look a second costs less than a timer a request."""
        now = self._loop.time()
        for task, begun in self._begun.items():
            if now - begun > _PATIENCE_S:
                task.cancel()
        self._watching = bool(self._begun)
        if self._watching:
            self._loop.call_later(_LOOK_S, self._look)


def _side(job: Job) -> str:
    """Who answers: the host of a webhook; of texts the one gateway."""
    url = job.message.target.get("url")
    return urlsplit(url).netloc if url is not None else job.channel
