"""The one thread of a rig: sockets, delays, and what other threads hand over, one thing at a time."""

import heapq
import itertools
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
_CALL_TIMEOUT_S = 60.0


class Delay:
    """A call that is still to come."""

    def __init__(self, at_s: float, function: Callable[[], None]) -> None:
        self.at_s = at_s
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        """It does not come."""
        self.function = None


class Loop:
    """Runs in a thread of its own, from `start` to `close`. What fails in it is kept in `failure`, and ends it."""

    def __init__(self, name: str) -> None:
        self.failure: BaseException | None = None
        self.selector = selectors.DefaultSelector()
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._delays: list[tuple[float, int, Delay]] = []
        self._numbers = itertools.count()
        self._ended = False
        self.selector.register(self._wake_r, selectors.EVENT_READ, self._woken)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """From now on it runs."""
        self._thread.start()

    def close(self) -> None:
        """End it; what was posted before is done first."""
        if self._thread.is_alive():
            self.post(self._end)
            self._thread.join(_CALL_TIMEOUT_S)
        self.selector.close()
        for fd in (self._wake_r, self._wake_w):
            os.close(fd)

    # -- from any thread

    def post(self, function: Callable[[], None]) -> None:
        """Do this soon; in the order in which they were posted."""
        self._posted.put(function)
        try:
            os.write(self._wake_w, b"!")
        except BlockingIOError:
            pass  # it has been told often enough

    def call(self, function: Callable[[], T]) -> T:
        """Do this, and return its result or raise its error."""
        done: Future[T] = Future()
        if not self._thread.is_alive():
            raise RuntimeError(f"{self._thread.name} has ended: {self.failure!r}")

        def run() -> None:
            try:
                done.set_result(function())
            except Exception as err:
                done.set_exception(err)

        self.post(run)
        return done.result(_CALL_TIMEOUT_S)

    # -- in its thread

    def later(self, seconds: float, function: Callable[[], None]) -> Delay:
        """Do this after a while."""
        delay = Delay(time.monotonic() + seconds, function)
        heapq.heappush(self._delays, (delay.at_s, next(self._numbers), delay))
        return delay

    def _run(self) -> None:
        try:
            while not self._ended:
                for key, mask in self.selector.select(self._timeout_s()):
                    key.data(mask)
                self._due()
        except BaseException as err:
            self.failure = err
            raise

    def _timeout_s(self) -> float | None:
        return max(0.0, self._delays[0][0] - time.monotonic()) if self._delays else None

    def _due(self) -> None:
        while self._delays and self._delays[0][0] <= time.monotonic():
            function = heapq.heappop(self._delays)[2].function
            if function is not None:
                function()

    def _woken(self, _mask: int) -> None:
        try:
            os.read(self._wake_r, 4096)
        except BlockingIOError:
            pass
        while not self._posted.empty():
            self._posted.get_nowait()()

    def _end(self) -> None:
        self._ended = True
