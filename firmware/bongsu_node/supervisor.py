"""The supervisor of the node's tasks (DESIGN section 6).

Every task checks in by its `beat()`. One that crashes, ends or hangs is logged, counted and started again after a
pause. The watchdog is fed only if all have checked in: an essential task that hangs is not rescued, the watchdog
resets the node. Any other one is cancelled and started again, so that a link in trouble never costs the sensing a
reboot; only if it cannot be cancelled does the watchdog bite too.
"""

import asyncio
import sys

TICK_MS = 250
_PAUSES_MS = (0, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
_ESSENTIAL_PAUSE_MS = 1_000
_ESSENTIAL_FAILURES = 30  # in a row; then a reset is the better cure
_FORGET_MS = 600_000  # a task that ran this long starts again at the shortest pause
_NEVER_MS = 86_400_000
# The whole loop was blocked for the rest (a TLS handshake): no task could check in, and that none did says nothing. The
# watchdog measures it.
_STEP_MOST_MS = 1_000
# But a loop that goes on being blocked for more than half of the time samples too seldom, though every task checks in:
# so much more than half, and it is said. Handshakes that fail one after the other have pauses between them.
_BLOCKED_MOST_MS = 60_000


class _Job:
    """One task and its history."""

    def __init__(self, name: str, make_coro, limit_ms: int, essential: bool) -> None:
        self.name = name
        self.make_coro = make_coro
        self.limit_ms = limit_ms
        self.essential = essential
        self.task: asyncio.Task = None
        self.ended = True
        self.hung = False
        self.failures = 0
        self.pause_ms = 0
        self.since_beat_ms = 0
        self.since_start_ms = 0


class Supervisor:
    """`feed()`: feeds the watchdog; `log`; `on_failure(name)`: after each crash, end or hang of a task, and when the
    loop was blocked for long ("loop").

    restarts: of all tasks since boot, and how often the loop was blocked. Ages are added up tick by tick: no tick
    anchor gets old.
    """

    def __init__(self, feed, log, ticks_ms, ticks_diff, on_failure=None) -> None:
        self.restarts = 0
        self.since_failure_ms = 0
        self._blocked_ms = 0  # beyond half of the time
        self._feed = feed
        self._log = log
        self._ticks_ms = ticks_ms
        self._diff = ticks_diff
        self._on_failure = on_failure
        self._jobs = []

    def start(self, name: str, make_coro, limit_ms: int, essential: bool = False) -> None:
        """Run `make_coro(beat)`, for ever; `limit_ms`: the longest time between two calls of beat()."""
        job = _Job(name, make_coro, limit_ms, essential)
        self._jobs.append(job)
        self._launch(job)

    async def run(self) -> None:
        """Supervise for ever."""
        last = self._ticks_ms()
        while True:
            now = self._ticks_ms()
            self.step(max(0, self._diff(now, last)))
            last = now
            await asyncio.sleep_ms(TICK_MS)

    def step(self, passed_ms: int) -> None:
        """One look at all tasks, `passed_ms` after the last one."""
        free_ms = min(passed_ms, _STEP_MOST_MS)
        self._weigh(passed_ms - free_ms, free_ms)
        passed_ms = free_ms
        self.since_failure_ms = min(self.since_failure_ms + passed_ms, _NEVER_MS)
        well = True
        for job in self._jobs:
            well = self._look(job, passed_ms) and well
        if well:
            self._feed()

    def _weigh(self, blocked_ms: int, free_ms: int) -> None:
        """Say it if the loop is blocked most of the time."""
        self._blocked_ms = max(0, self._blocked_ms + blocked_ms - free_ms)
        if self._blocked_ms >= _BLOCKED_MOST_MS:
            self._blocked_ms = 0
            self._tell("loop", "state=blocked")

    def _look(self, job: _Job, passed_ms: int) -> bool:
        """Move one task on; False if the watchdog must not be fed for it."""
        job.since_beat_ms = min(job.since_beat_ms + passed_ms, _NEVER_MS)
        job.since_start_ms = min(job.since_start_ms + passed_ms, _NEVER_MS)
        if job.ended:
            if job.since_beat_ms >= job.pause_ms:
                self._launch(job)
            return not job.essential or job.failures < _ESSENTIAL_FAILURES
        if job.since_beat_ms <= job.limit_ms:
            return True
        if job.essential or job.hung:
            return False
        job.hung = True
        job.since_beat_ms = 0  # the time that it gets to end in
        job.task.cancel()
        return True

    def _launch(self, job: _Job) -> None:
        job.ended = False
        job.hung = False
        job.since_beat_ms = job.since_start_ms = 0
        job.task = asyncio.create_task(self._live(job))

    async def _live(self, job: _Job) -> None:
        def beat() -> None:
            if not job.hung:
                job.since_beat_ms = 0

        try:
            await job.make_coro(beat)
            why = "ended"
        except asyncio.CancelledError:
            if not job.hung:
                raise
            why = "hung"
        except Exception as e:
            why = repr(e)
            _print_trace(e)
        self._failed(job, why)

    def _failed(self, job: _Job, why: str) -> None:
        if job.since_start_ms >= _FORGET_MS:
            job.failures = 0
        job.pause_ms = _PAUSES_MS[min(job.failures, len(_PAUSES_MS) - 1)]
        if job.essential:
            job.pause_ms = min(job.pause_ms, _ESSENTIAL_PAUSE_MS)
        job.failures += 1
        job.since_beat_ms = 0
        job.ended = True
        self._tell(job.name, "state=crashed err=" + why.replace(" ", "_"))

    def _tell(self, name: str, what: str) -> None:
        self.restarts += 1
        self.since_failure_ms = 0
        self._log("E", "task", "name=%s %s" % (name, what))
        if self._on_failure is not None:
            self._on_failure(name)


def _print_trace(error: Exception) -> None:
    """On the serial line; CPython's tests go without."""
    show = getattr(sys, "print_exception", None)
    if show is not None:
        show(error)
