"""One life of a virtual board's interpreter: the process and its pipes (serial line, control, trace)."""

import array
import contextlib
import fcntl
import json
import os
import re
import selectors
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bongsu.sim import micropython
from bongsu.sim.interpreter import INTERRUPT

# What an ESP32's REPL keeps of its input while a program runs and does not read it (ports/esp32/mphalport.c); the REPL
# itself reads as fast as a serial line brings.
_INPUT_BYTES = 259
_BYTES_PER_S = 11_520  # at 115,200 baud
_PIECE_BYTES = 64
_CAUGHT_SIGNALS = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)


class Life:
    """One run of the interpreter, from boot to its end. `repl`: mode of the REPL that follows the program, if one
    does."""

    def __init__(self, folder: Path, heap_kb: int, repl: str | None = None) -> None:
        control_r, self.control = os.pipe()
        self.trace, trace_w = os.pipe()
        keyboard, self._keyboard = os.pipe()
        os.set_blocking(self._keyboard, False)
        options = ["-X", f"heapsize={heap_kb}K", *(["-i"] if repl else [])]
        start = [str(micropython.SHIMS / "_start.py"), str(folder), str(control_r), str(trace_w)]
        try:
            self.process = subprocess.Popen(
                micropython.command(*options, *start, repl=repl or "none"),
                env=micropython.environment(),
                stdin=keyboard if repl else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=(control_r, trace_w),
                process_group=0,
            )
        finally:
            os.close(control_r)
            os.close(trace_w)
            os.close(keyboard)
        assert self.process.stdout is not None
        self.serial = self.process.stdout.fileno()
        os.set_blocking(self.serial, False)
        os.set_blocking(self.trace, False)

    def send(self, message: dict[str, Any]) -> None:
        """State changes and orders for the shims."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.control, json.dumps(message).encode() + b"\n")

    def type_in(self, data: bytes) -> None:
        """Bytes for its REPL, or for a program that reads. What finds no room, in the time in which a serial line
        brings it, is lost."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            if not data or not _catches_sigint(self.process.pid):
                os.write(self._keyboard, data)
                return
            for i in range(0, len(data), _PIECE_BYTES):
                piece = data[i : i + _PIECE_BYTES]
                if self._room() < len(piece):
                    time.sleep(len(piece) / _BYTES_PER_S)
                os.write(self._keyboard, piece[: self._room()])

    def _room(self) -> int:
        return max(0, _INPUT_BYTES - _unread(self._keyboard))

    def interrupt(self) -> bool:
        """Ctrl-C: KeyboardInterrupt in the program that runs. False if none does. It stands still meanwhile, so that it
        cannot end between the look and the signal: nothing would catch it then."""
        pid = self.process.pid
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        runs = _catches_sigint(pid)
        if runs:
            os.kill(pid, INTERRUPT)
        os.kill(pid, signal.SIGCONT)
        return runs

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Give the pipes back, once they are read to the end."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self._keyboard)
        os.close(self.control)
        os.close(self.trace)


def _catches_sigint(pid: int) -> bool:
    """True while the interpreter runs a program: it catches SIGINT then, and only then."""
    found = _CAUGHT_SIGNALS.search(Path(f"/proc/{pid}/status").read_text())
    return found is not None and bool(int(found[1], 16) >> (signal.SIGINT - 1) & 1)


def _unread(fd: int) -> int:
    """How many bytes wait in a pipe."""
    size = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, size)
    return size[0]


def readable(fd: int) -> bool:
    """True if a read would not wait."""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(0))


def read(fd: int) -> bytes | None:
    """What the pipe holds, b"" at its end, None if it is empty (an event of a life that is over: numbers are used
    again)."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None


def drain(fd: int, take: Callable[[bytes], None]) -> None:
    """Read all that the pipe holds now."""
    while data := read(fd):
        take(data)
