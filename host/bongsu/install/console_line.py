"""A terminal joined to a serial line, byte by byte; Ctrl-] parts them. Whatever happens, the terminal is afterwards as
it was before.
"""

import os
import select
import signal
import termios
import threading
import tty
from types import FrameType, TracebackType
from typing import Any

import serial

from bongsu.install import ports

LEAVE = b"\x1d"  # Ctrl-]
INTERRUPT = b"\x03"  # Ctrl-C: MicroPython stops the program
_AT_ONCE = 1024
# Time-out of the port's reads: so late a letter is shown at the most.
READ_S = 0.03
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class RawTerminal:
    """Puts a terminal into raw mode, as long as the `with` lasts: Ctrl-C too goes to the board. A signal that ends the
    process passes through here as SystemExit, so that the terminal is put back before.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] = []
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "RawTerminal":
        self._before = termios.tcgetattr(self._fd)
        for ending in _ENDINGS:
            self._handlers[ending] = signal.signal(ending, _end)
        try:
            tty.setraw(self._fd, termios.TCSADRAIN)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _err: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        try:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
        except termios.error:  # the terminal is gone: SIGHUP
            pass
        for ending, handler in self._handlers.items():
            signal.signal(ending, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class _Mouth(threading.Thread):
    """Carries what the board says to the terminal. `failure`: why it ended by itself; then a byte is on `woken`."""

    def __init__(self, line: serial.SerialBase, out: int) -> None:
        super().__init__(daemon=True, name="console")
        self.failure: Exception | None = None
        self.woken, self._wake = os.pipe()
        self._line, self._out = line, out
        self._done = threading.Event()

    def run(self) -> None:
        try:
            while not self._done.is_set():
                if data := self._line.read(_AT_ONCE):
                    os.write(self._out, data)
        except Exception as err:
            self.failure = err
            os.write(self._wake, b"!")

    def stop(self) -> None:
        self._done.set()
        self.join()
        os.close(self.woken)
        os.close(self._wake)


def join(line: serial.SerialBase, url: str, keyboard: int, screen: int) -> bool:
    """Carry bytes between the terminal (two file descriptors; the caller has it in raw mode) and the open port, until
    Ctrl-] is typed or the keyboard ends. True if Ctrl-C went to the board. Raises PortError.
    """
    mouth = _Mouth(line, screen)
    mouth.start()
    interrupted = False
    try:
        while True:
            ready, _, _ = select.select([keyboard, mouth.woken], [], [])
            if mouth.woken in ready:
                raise ports.explain(url, mouth.failure or OSError("the line ended"))
            typed = os.read(keyboard, _AT_ONCE)
            before, leave, _ = typed.partition(LEAVE)
            interrupted = interrupted or INTERRUPT in before
            _send(line, url, before)
            if leave or not typed:
                return interrupted
    finally:
        mouth.stop()


def _send(line: serial.SerialBase, url: str, data: bytes) -> None:
    try:
        line.write(data)
    except (OSError, ValueError) as err:
        raise ports.explain(url, err) from None
