"""Keeps one virtual board alive: starts its interpreter, reads its pipes, bites as its watchdog, and reboots it. One
thread a board.

Everything that changes a board's state runs in that thread; others hand it over with `call`. The interpreter is also
started there, because Linux ends a child with the *thread* that made it.
"""

import json
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from bongsu.sim import interpreter
from bongsu.sim.console import Console
from bongsu.sim.flash import FlashImage
from bongsu.sim.life import Life, drain, read, readable
from bongsu.sim.serial_log import SerialLog
from bongsu.sim.watchdog import Watchdog

T = TypeVar("T")

POWER_ON, HARD, WATCHDOG, DEEP_SLEEP, SOFT = 1, 2, 3, 4, 5
CAUSES = {POWER_ON: "power_on", HARD: "hard", WATCHDOG: "watchdog", DEEP_SLEEP: "deep_sleep", SOFT: "soft"}
_CALL_TIMEOUT_S = 30.0


def monotonic_us() -> int:
    """The clock that MicroPython's unix port reads too."""
    return time.monotonic_ns() // 1000


class Supervisor:
    """The thread and the state of one board. `speed`: board seconds per wall second, None = discrete; `console`: its
    serial line, if somebody sits at it."""

    def __init__(
        self,
        folder: Path,
        flash: FlashImage,
        state: dict[str, Any],
        speed: Fraction | None,
        seed: int,
        heap_kb: int,
        console: Console | None = None,
    ) -> None:
        self.folder = folder
        self.state = state
        self.changed = threading.Condition()
        self.log = SerialLog(folder / "serial.log", self.changed)
        self.pins: dict[int, int] = {}
        self.pin_history: list[tuple[float, int, int]] = []
        self.causes: list[str] = []
        self.scans = 0
        self.crash: str | None = None
        self.failed_file: str | None = None
        self.paused_us = -1
        self.ticks_start = 0
        self.life: Life | None = None
        self._speed = speed
        self._seed = seed
        self._heap_kb = heap_kb
        self._flash = flash
        self._console = console
        self._repl = "friendly"
        self._origin_us: int | None = None
        self._discrete_us = 0
        self._trace_rest = b""
        self._watchdog = Watchdog(speed)
        self._wake_at: float | None = None
        self._resetting = False
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_r, self._wake_w = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"board-{state['node']}", daemon=True)
        self._thread.start()

    # -- from any thread

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the board's thread and return its result."""
        if threading.current_thread() is self._thread:
            return function()
        if self._ended:
            raise RuntimeError("the board is closed")
        future: Future[T] = Future()

        def order() -> None:
            try:
                future.set_result(function())
            except BaseException as e:
                future.set_exception(e)

        self._orders.put(order)
        os.write(self._wake_w, b"!")
        return future.result(_CALL_TIMEOUT_S)

    def set(self, **values: Any) -> None:
        """Change the state, now and for the boots to come."""

        def change() -> None:
            self.state.update(values)
            if self.life is not None:
                self.life.send(values)

        self.call(change)

    def order(self, **values: Any) -> None:
        """Tell the running board something once (a button press)."""
        self.call(lambda: self.life.send(values) if self.life is not None else None)

    def type_in(self, data: bytes) -> None:
        """Bytes on the serial line; does not wait."""

        def order() -> None:
            if self.life is not None and self._console is not None:
                self._console.type_in(self.life, data)

        if not self._ended:
            self._orders.put(order)
            os.write(self._wake_w, b"!")

    def close(self) -> None:
        """End the board and its thread; may be called twice."""
        if self._ended:
            return

        def end() -> None:
            self.stop()
            self._ended = True

        self.call(end)
        self._thread.join(_CALL_TIMEOUT_S)
        self._selector.close()
        os.close(self._wake_r)
        os.close(self._wake_w)

    def now_us(self) -> int:
        """Board time, us since the first power-on (0 before it)."""
        if self._speed is None:
            return self._discrete_us
        if self._origin_us is None:
            return 0
        return int((monotonic_us() - self._origin_us) * self._speed)

    @property
    def off(self) -> bool:
        """True without power; a board that sleeps or is being reset has it."""
        return self.life is None and self._wake_at is None and not self._resetting

    # -- in the board's thread

    def boot(self, cause: int) -> None:
        """Start the interpreter: the chip was reset."""
        if self._console is not None:
            self._console.booted(cause)
        self._start(cause, "friendly")

    def _start(self, cause: int, repl: str) -> None:
        console, self._repl = self._console, repl
        if self._origin_us is None:
            self._origin_us = monotonic_us()
        if cause == POWER_ON:
            self.state["rtc"] = [0, self.now_us()]
            self.state["rtc_memory"] = ""
        self.state["cause"] = cause
        self.state["wifi_active"] = False
        config = {
            "state": self.state,
            "speed": [self._speed.numerator, self._speed.denominator] if self._speed else [0, 1],
            "origin_us": self._origin_us,
            "vt_us": self._discrete_us,
            "ticks_start": self.ticks_start,
            "repl": console.config(repl) if console else None,
            "flash": [str(self._flash.path), self._flash.start, self._flash.blocks],
            "seed": self._seed * 1000 + len(self.causes),
        }
        (self.folder / "boot.json").write_text(json.dumps(config))
        life = Life(self.folder, self._heap_kb, repl if console else None)
        self._trace_rest = b""
        self._wake_at = None
        self._selector.register(life.serial, selectors.EVENT_READ)
        self._selector.register(life.trace, selectors.EVENT_READ)
        with self.changed:
            self.life = life
            self.pins.clear()
            self.failed_file = None
            self.causes.append(CAUSES[cause])
            self.changed.notify_all()

    def stop(self) -> None:
        """End the interpreter as a power cut does; what it had said before is read to the end."""
        self._watchdog.stop()
        self._end_life()

    def _end_life(self) -> None:
        self._wake_at = None
        life = self.life
        if life is None:
            return
        life.kill()
        self._selector.unregister(life.serial)
        self._selector.unregister(life.trace)
        drain(life.serial, self._heard)
        drain(life.trace, self._trace)
        self.log.end_of_life()
        life.close()
        with self.changed:
            self.life = None
            self.changed.notify_all()

    def _run(self) -> None:
        while not self._ended:
            try:
                for key, _ in self._selector.select(self._timeout_s()):
                    self._ready(key.fd)
                self._clocks()
            except Exception as e:  # a fault of ours (or of a log listener): said to who waits, and the board is off
                self.stop()
                self._fail(f"the board's thread failed: {e!r}")

    def _ready(self, fd: int) -> None:
        if fd == self._wake_r:
            os.read(fd, 1)
            self._orders.get_nowait()()
        elif self.life is not None and fd == self.life.serial:
            data = read(fd)
            if data:
                self._heard(data)
            elif data is not None:
                self._died()
        elif self.life is not None and fd == self.life.trace:
            for line in self._lines(read(fd) or b""):
                self._told(line)

    def _heard(self, data: bytes) -> None:
        self.log.feed(data)
        if self._console is not None:
            self._console.heard(data)

    def _died(self) -> None:
        """The interpreter ended by itself. With a REPL that is its soft reset; else no board does so: its own fault or
        ours, and never hidden."""
        assert self.life is not None
        code = self.life.process.wait()
        mode = code - interpreter.SOFT
        if self._console is not None and 0 <= mode < len(interpreter.MODES):
            self._soft_reboot(interpreter.MODES[mode])
            return
        self.stop()
        self._fail(f"the interpreter ended with code {code}")

    def _soft_reboot(self, repl: str) -> None:
        """The interpreter alone starts anew, its REPL in the mode that it had; nothing resets the watchdog."""
        assert self._console is not None
        self._resetting = True
        self._end_life()
        self._console.soft_reboot()
        self._start(SOFT, repl)
        self._resetting = False

    def _fail(self, why: str) -> None:
        with self.changed:
            self.crash = f"{why}:\n{self.log.tail()}"
            self.changed.notify_all()

    def _timeout_s(self) -> float | None:
        ends = [end for end in (self._wake_at, self._bites_at()) if end is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _bites_at(self) -> float | None:
        return self._watchdog.bites_at if self.life is not None else None

    def _clocks(self) -> None:
        now = time.monotonic()
        if self._wake_at is not None and now >= self._wake_at:
            self._wake_at = None
            self.boot(DEEP_SLEEP)
        bites_at = self._bites_at()
        if self.life is None or bites_at is None or now < bites_at:
            return
        # It may have been us who were late: a feed that waits in the pipe counts.
        if not readable(self.life.trace):
            self._restart(WATCHDOG)

    def _restart(self, cause: int) -> None:
        self._resetting = True
        self.stop()
        self.boot(cause)
        self._resetting = False

    def _lines(self, data: bytes) -> list[str]:
        *whole, self._trace_rest = (self._trace_rest + data).split(b"\n")
        return [line.decode() for line in whole]

    def _trace(self, data: bytes) -> None:
        """Last words of an interpreter that was ended: what it had counted stays, what it asked for is moot."""
        for line in self._lines(data):
            if line[0] in "FrmVvps":
                self._told(line)

    def _told(self, line: str) -> None:
        kind, *words = line.split(" ")
        handler = {
            "b": self._on_boot,
            "w": self._on_watchdog,
            "f": self._on_watchdog,
            "p": self._on_pin,
            "F": self._on_flash,
            "x": self._on_exit,
            "r": self._on_rtc,
            "m": self._on_rtc_memory,
            "v": self._on_pause,
            "V": self._on_time,
            "s": self._on_scan,
            "e": self._on_failed,
        }.get(kind)
        if handler is not None:
            handler(words)

    def _on_boot(self, words: list[str]) -> None:
        if self._console is not None:
            self._console.started()

    def _on_watchdog(self, words: list[str]) -> None:
        self._watchdog.feed(int(words[0]) if words else None)

    def _on_pin(self, words: list[str]) -> None:
        with self.changed:
            self.pins[int(words[0])] = int(words[1])
            self.pin_history.append((self.now_us() / 1e6, int(words[0]), int(words[1])))
            self.changed.notify_all()

    def _on_flash(self, words: list[str]) -> None:
        self.state["flash_writes"] = int(words[0])

    def _on_rtc(self, words: list[str]) -> None:
        self.state["rtc"] = [int(words[0]), int(words[1])]

    def _on_rtc_memory(self, words: list[str]) -> None:
        self.state["rtc_memory"] = words[0] if words else ""

    def _on_time(self, words: list[str]) -> None:
        self._discrete_us = int(words[0])

    def _hear_out(self) -> None:
        """Read what the board printed before the order that just came."""
        if self.life is not None:
            drain(self.life.serial, self._heard)

    def _on_pause(self, words: list[str]) -> None:
        self._on_time(words)
        self._hear_out()
        with self.changed:
            self.paused_us = int(words[0])
            self.changed.notify_all()

    def _on_scan(self, words: list[str]) -> None:
        self.scans += 1

    def _on_failed(self, words: list[str]) -> None:
        self._hear_out()
        with self.changed:
            self.failed_file = words[0]
            self.changed.notify_all()

    def _on_exit(self, words: list[str]) -> None:
        """The board asks to be ended: reset, deep sleep, watchdog in board time, or the power cut it was told to
        suffer."""
        if words[0] == "soft":
            self._restart(SOFT if self._console is None else HARD)  # ESP32: HARD_RESET is what machine.reset() leaves
        elif words[0] == "repl":
            self._soft_reboot(self._repl)
        elif words[0] == "watchdog":
            self._restart(WATCHDOG)
        elif words[0] == "sleep":
            self._sleep(int(words[1]))
        elif words[0] == "cut":
            self.state["cut_after"] = 0
            self.stop()

    def _sleep(self, ms: int) -> None:
        """Deep sleep: off, but for the clock that wakes it after `ms` (0: never)."""
        self._resetting = ms > 0
        self.stop()
        if ms and self._speed is None:
            self._discrete_us += ms * 1000
            self.boot(DEEP_SLEEP)
        elif ms and self._speed:
            self._wake_at = time.monotonic() + ms / 1000 / float(self._speed)
        self._resetting = False
