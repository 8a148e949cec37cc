"""The web process (console, health, metrics): started by the receiver, started again when it ends, ended with it.

It is a process of its own, so that neither a browser nor a fault in the page can hold up an alarm; the kernel ends it
with the receiver, however that ends (PR_SET_PDEATHSIG, which is about the thread that starts it: so one thread starts
it, and lives as long as the receiver).
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from bongsu.receiver.child import bound_to_us
from bongsu.receiver.config import Config
from bongsu.receiver.feed import Feed
from bongsu.receiver.log import Log, Seldom

TICK_S = 1.0
_PAUSE_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
# One that lasted so long began well: the next failure counts as the first.
_WELL_S = 60.0
_STOP_S = 3.0
# It gives the processor to alarms first.
_NICE = 5
MODULE = "bongsu.console"

State = Callable[[], dict[str, Any]]


class WebProcess:
    """The process and the thread that looks after it. `state`: how the receiver is, asked each second."""

    def __init__(self, config: Config, feed: Feed, state: State, log: Log) -> None:
        self._config, self._feed, self._state, self._log = config, feed, state, log
        self._process: subprocess.Popen[bytes] | None = None
        self._seldom = Seldom()
        self._faults = 0
        self._again_s = self._started_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """End the process and the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + TICK_S, time.monotonic())
            try:
                self._look()
                self._feed.tick(self._state())
            except Exception as err:  # the console may be without news, and says so; this thread must live
                if self._seldom.due("tick", round(time.monotonic() * 1000)):
                    self._log.error("web.fault", error=repr(err))
        self._end()

    def _look(self) -> None:
        """Start the process if there is none and its pause is over; notice its end."""
        now_s = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            if now_s - self._started_s > _WELL_S:
                self._faults = 0
            pause_s = _PAUSE_S[min(self._faults, len(_PAUSE_S) - 1)]
            self._faults += 1
            self._again_s = now_s + pause_s
            self._log.error("web.ended", code=self._process.returncode, again_s=pause_s)
            self._process = None
            self._feed.close()
        if self._process is None and now_s >= self._again_s:
            self._start()

    def _start(self) -> None:
        theirs = self._feed.open()
        try:
            self._feed.hello({"config": msgspec.to_builtins(self._config), "log": self._log.form})
            command = [sys.executable, "-m", MODULE, str(theirs.fileno())]
            self._process = subprocess.Popen(
                bound_to_us(command, _NICE),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the receiver, which ends this in its turn
            )
            self._started_s = time.monotonic()
        except OSError as err:
            self._again_s = time.monotonic() + _PAUSE_S[-1]
            self._log.error("web.not_started", what=err.strerror)
        finally:
            theirs.close()

    def _end(self) -> None:
        """It hears the end of the feed and goes by itself; one that does not is ended."""
        self._feed.close()
        process = self._process
        if process is None:
            return
        steps: tuple[Callable[[], None], ...] = (process.terminate, process.kill, process.kill)
        for end in steps:
            try:
                process.wait(_STOP_S)
                return
            except subprocess.TimeoutExpired:
                end()
