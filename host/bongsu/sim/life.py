"""One life of a virtual board's interpreter: the process and its pipes (serial line, control, trace)."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bongsu.sim import micropython


class Life:
    """One run of the interpreter, from boot to its end."""

    def __init__(self, folder: Path, heap_kb: int) -> None:
        control_r, self.control = os.pipe()
        self.trace, trace_w = os.pipe()
        heap = ["-X", f"heapsize={heap_kb}K"]
        try:
            self.process = subprocess.Popen(
                micropython.command(
                    *heap, str(micropython.SHIMS / "_start.py"), str(folder), str(control_r), str(trace_w)
                ),
                env=micropython.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=(control_r, trace_w),
                process_group=0,
            )
        finally:
            os.close(control_r)
            os.close(trace_w)
        assert self.process.stdout is not None
        self.serial = self.process.stdout.fileno()
        os.set_blocking(self.serial, False)
        os.set_blocking(self.trace, False)

    def send(self, message: dict[str, Any]) -> None:
        """State changes and orders for the shims."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.control, json.dumps(message).encode() + b"\n")

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Give the pipes back, once they are read to the end."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self.control)
        os.close(self.trace)


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
