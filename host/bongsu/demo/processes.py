"""The demo's own processes: receiver, station, phone. Each in a session of its own, its lines read by a thread."""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import IO, Any

import msgspec

from bongsu.demo.guard import Guard
from bongsu.errors import BongsuError

_TAIL = 8


@dataclass(frozen=True)
class Line:
    """A line of some part of the demo. `wall_s`: UTC seconds; `name`: the event's or tag's name; `fields`: what it
    says.
    """

    source: str
    wall_s: float
    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    text: str = ""


Lines = queue.SimpleQueue[Line]


class Child:
    """A `bongsu` command running beside the demo. `stream`: which of its outputs carries its lines."""

    def __init__(self, name: str, args: list[str], lines: Lines, guard: Guard, *, stream: str) -> None:
        self.name = name
        self._tail: list[str] = []
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bongsu.cli", *args],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            **pipes,
        )
        guard.watch_session(self.process.pid)
        self._lines = lines
        output = self.process.stdout if stream == "stdout" else self.process.stderr
        assert output is not None
        self._thread = threading.Thread(target=self._read, args=(output,), name=name, daemon=True)
        self._thread.start()

    def _read(self, output: IO[bytes]) -> None:
        for raw in output:
            text = raw.decode(errors="replace").rstrip()
            self._tail = [*self._tail[-_TAIL:], text]
            self._lines.put(_parsed(self.name, text))
        output.close()
        self._lines.put(Line(self.name, time.time(), "ended"))

    def wait_ready(self, timeout_s: float) -> int:
        """The port that it says in its line "ready port=N". Raises BongsuError."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise self.failure(f"said no port in {timeout_s:.0f} s") from None
            if line.name == "ended":
                raise self.failure("ended")
            if match := re.fullmatch(r"ready port=(\d+)", line.text):
                return int(match[1])

    def failure(self, what: str) -> BongsuError:
        """An error that shows what it said last."""
        said = "\n".join(f"    {line}" for line in self._tail)
        return BongsuError(f"the demo's {self.name} {what}:\n{said}")

    @property
    def running(self) -> bool:
        """True while it lives."""
        return self.process.poll() is None

    def ask_to_end(self) -> None:
        """SIGTERM; the guard ends what does not listen."""
        if self.running:
            self.process.terminate()

    def reap(self) -> None:
        """Wait for the end of a process that has been ended."""
        self.process.wait()
        self._thread.join(1.0)


def _parsed(source: str, text: str) -> Line:
    """A line of the receiver's JSON log, or plain text."""
    now = time.time()
    if text.startswith("{"):
        try:
            fields = msgspec.json.decode(text, type=dict[str, Any])
            return Line(source, fields.get("t_ms", now * 1000) / 1000, str(fields.get("event", "")), fields, text)
        except msgspec.DecodeError:
            pass
    return Line(source, now, "", {}, text)
