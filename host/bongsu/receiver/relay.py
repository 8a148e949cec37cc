"""Carries out deliveries, in an asyncio loop: a bounded number of requests at once, in all and at one other side, so
that a station that answers nobody delays no other.

It decides nothing. Jobs come from the writer after their commit; each ends as a Done that goes back to the writer. The
receiver runs it in a process of its own (relay_process.py).
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from bongsu.channels.base import Channel, Outcome, one_line
from bongsu.receiver.jobs import CHECK, Done, Job

# A channel keeps its own time-out; this guards against one that does not.
PATIENCE_S = 10.0
_LOOK_S = 1.0
# So many sides may hang at once before others wait for them.
_SIDES = 4

ChannelMap = Mapping[str, Channel]


class ChannelRelay:
    """Runs jobs on `channels` (by name). `put_done` takes results; `lease_holds`: may anything be sent now? `tell`:
    takes a line for the log: event and fields. All in one loop.
    """

    def __init__(
        self,
        channels: ChannelMap,
        put_done: Callable[[Done], None],
        lease_holds: Callable[[], bool],
        tell: Callable[[str, dict[str, str]], None],
        workers: int,
    ) -> None:
        self._channels, self._put_done, self._lease_holds, self._tell = channels, put_done, lease_holds, tell
        self._workers, self._workers_a_side = workers, max(1, workers // _SIDES)
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: dict[asyncio.Task[None], float] = {}
        self._watching = False
        self._ended = False
        self._loop = asyncio.get_running_loop()

    async def aclose(self) -> None:
        """End: what is still under way is given up (its lease ends, and it is tried again)."""
        self._ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, jobs: list[Job]) -> None:
        """Begin these jobs; never waits."""
        for job in jobs:
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
            side = _side(job)
            try:
                await self._one(job)
            finally:
                self._running[side] -= 1
                if not self._running[side]:
                    del self._running[side]  # forgets for whom nothing runs
            job = self._next()

    async def _one(self, job: Job) -> None:
        started = time.monotonic_ns()
        if not self._lease_holds():
            # The receiver stood still for longer than its lease: somebody else may be sending this very message.
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
            if self._ended:
                raise
            task.uncancel()
            return Outcome("retry", "no answer in time")
        except Exception as err:  # a channel's fault must not stop the others
            self._tell("relay.fault", {"channel": job.channel, "delivery": str(job.delivery_id), "error": repr(err)})
            return Outcome("retry", one_line(f"fault in the channel: {type(err).__name__}"))
        finally:
            del self._begun[task]

    def _look(self) -> None:
        """Give up on requests that a channel never ends: one look a second costs less than a timer a request."""
        now = self._loop.time()
        for task, begun in self._begun.items():
            if now - begun > PATIENCE_S:
                task.cancel()
        self._watching = bool(self._begun)
        if self._watching:
            self._loop.call_later(_LOOK_S, self._look)


def _side(job: Job) -> str:
    """Who answers: the host of a webhook; of texts the one gateway."""
    url = job.message.target.get("url")
    return urlsplit(url).netloc if url is not None else job.channel
