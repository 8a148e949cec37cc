"""The line to a board: stopping what runs on it, and its raw REPL by mpremote's transport.

A board is stopped in the 3 s that boot.py leaves for it after a reset, when no watchdog runs yet: by DTR and RTS where
the port has them and they are wired, else by Ctrl-C and a reset from its REPL. A chip with USB of its own leaves the
bus for a moment when it is reset; the port is opened again.
"""

import contextlib
import json
import re
import struct
import termios
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import serial
from mpremote import transport_serial
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from bongsu.errors import BongsuError
from bongsu.install import ports
from bongsu.install.node_log import LONGEST_LINE
from bongsu.install.on_board import BoardFacts, plain, read_facts

# It prints what it did not expect, to stdout, where a command's answer belongs; and it may be what was sent.
transport_serial.print = lambda *_args, **_more: None

# What pyserial raises, whatever is behind the URL.
_PORT_ERRORS = (OSError, ValueError, termios.error)
# What mpremote makes of an answer that is none; the text of TransportError repeats what the board said.
_NO_ANSWER = (TransportError, struct.error, IndexError)
_TALK_ERRORS = (*_PORT_ERRORS, *_NO_ANSWER)

# Seconds. A read waits no longer; a board that is flooded with a script answers within it.
_READ_S = 5.0
_PULSE_S = 0.1  # EN low: the reset circuit's capacitor takes some ms (esptool does likewise)
_SIGN_S = 2.5  # after a reset the ROM speaks at once, on every chip
_BOOT_S = 30.0  # from a reset to boot.py or a prompt; making a file system at the first start takes the longest
_QUIET_S = 4.0  # nothing more comes: a program without a word of ours runs
_PROMPT_S = 1.5  # from Ctrl-C to a prompt
_AWAY_S = 10.0  # a chip with USB of its own comes back within
_MOMENT_S = 0.1
_LOOK_S = 0.01
_DRAIN_S = 1.0
_RUN_S = 20.0  # a script of ours prints something, or ends
# What a script may take in all, however much it prints: then the guard's watchdog has reset the board anyway.
_SCRIPT_MOST_S = 180.0
_ENTER_MOST_S = 10.0
_TRIES = 3

_PROMPT = b">>> "
_RAW = b"raw REPL; CTRL-B to exit\r\n"
# Where Ctrl-C leads to a prompt: boot.py's words, and those of an image that cannot mount its file system.
_STOPS = (b"3 s for service", b"filesystem appears to be corrupted")
# What only comes after a reset: the ROM's words, boot.py's, MicroPython's banner. That the file system is corrupt is
# said again and again.
_SIGNS = re.compile(rb"rst:0x|ESP-ROM|ets [A-Z][a-z]{2} |3 s for service|MicroPython \S+ on \d")
_LOADER = (b"waiting for download", b"DOWNLOAD(")
_EMPTY = (b"invalid header", b"flash read err", b"No bootable app")
# A restart that was asked for is no crash: else a node that is served a few times goes into safe mode where a reset is
# not by power (bongsu_node/board.py counts): by the REPL, by a chip's own USB (MicroPython has no cause for it), maybe
# by an emulator's lines. A chip's own USB needs a moment for the last bytes (mpremote waits too).
_NO_CRASH = """
try:
 import esp32
 n=esp32.NVS('bongsu')
 if n.get_i32('unclean'):
  n.set_i32('unclean',0)
  n.commit()
except Exception:
 pass
"""
_RESET = "import machine,time\ntime.sleep_ms(100)\nmachine.reset()"
_ERRNO = re.compile(r"^(\w+): (?:\[Errno )?(-?\d{1,9})\b")


class LinkError(BongsuError):
    """The board does not answer as it should, or the line to it is gone."""


class OnBoardError(LinkError):
    """A script failed on the board. kind: the exception's class there; number: its errno, 0 if it has none."""

    def __init__(self, message: str, next_step: str, kind: str = "", number: int = 0) -> None:
        super().__init__(message, next_step)
        self.kind = kind
        self.number = number


class _Wire:
    """A port as mpremote uses it, that knows when it is lost: over a network, pyserial reads nothing from then on."""

    def __init__(self, port: serial.SerialBase, url: str) -> None:
        self.port = port
        self.write = port.write
        self._url = url
        self._lost = False
        self._end: float | None = None

    def within(self, seconds: float | None) -> None:
        """What is read from now on comes within this time, or LinkError is raised: mpremote reads on as long as a board
        talks. None: no such end.
        """
        self._end = None if seconds is None else time.monotonic() + seconds

    def inWaiting(self) -> int:
        """How many bytes have come."""
        if self._lost:
            raise serial.SerialException("disconnected")
        if self._end is not None and time.monotonic() > self._end:
            raise LinkError(f"{self._url}: the board talks without an end", "Press RESET on it and run this again.")
        waiting: int = self.port.in_waiting  # type: ignore[attr-defined]  # every kind of port has it
        return waiting

    def read(self, size: int = 1) -> bytes:
        """`size` bytes, or fewer after the port's time-out (_READ_S); none before it: the other end has gone."""
        waiting, started = self.inWaiting(), time.monotonic()
        data = bytes(self.port.read(size))
        if not data and (waiting or time.monotonic() < started + _READ_S / 2):
            self._lost = True
            raise serial.SerialException("disconnected")
        return data


class _Transport(SerialTransport):  # type: ignore[misc]
    """mpremote's raw REPL over a port that is open already."""

    def __init__(self, wire: _Wire) -> None:
        self.serial = wire
        self.device_name = ""
        self.in_raw_repl = True
        self.use_raw_paste = True
        self.mounted = False
        self.is_pty = False


class BoardLink:
    """An open line to one board, ours alone; a context manager. `url`: a device file, or any URL that pyserial knows.
    Raises PortError and LinkError.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = contextlib.ExitStack()
        self._wire: _Wire
        self._transport: _Transport | None = None  # None: not in the raw REPL
        self._tools: set[str] = set()
        self._guarded = False  # a watchdog of ours runs, and is fed by every script
        self._early = b""  # what a restarted board said before anybody asked for its lines
        # As far as known, DTR and RTS reset the board; a plain socket has none.
        self._lines_reset = not url.startswith("socket://")

    def __enter__(self) -> "BoardLink":
        with contextlib.ExitStack() as stack:
            stack.enter_context(ports.PortLock(self.url))
            self._wire = _Wire(ports.open_serial(self.url, timeout_s=_READ_S), self.url)
            self._lock = stack.pop_all()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._transport = None
        with self._lock, contextlib.suppress(*_PORT_ERRORS):
            self._wire.port.close()

    # -- the raw REPL

    def run(self, code: str, *, secret: bool = False, timeout_s: float = _RUN_S) -> str:
        """Run code on the board and return what it prints. `secret`: no error of it repeats anything of either;
        timeout_s: for which it may be silent.
        """
        if self._transport is None:
            raise LinkError(f"{self.url}: the board is not in its REPL", "This is a fault of this program.")
        try:
            with self._within(_SCRIPT_MOST_S):
                out, err = self._transport.exec_raw(f"_W.feed()\n{code}" if self._guarded else code, timeout=timeout_s)
        except _TALK_ERRORS as problem:
            raise self._lost(problem) from None
        if err:
            raise _failure(self.url, err.decode(errors="replace"), secret)
        text: str = out.decode(errors="replace")
        return text.replace("\r\n", "\n")

    def value(self, code: str, *, secret: bool = False, timeout_s: float = _RUN_S) -> Any:
        """What the code prints in its last line, which is JSON."""
        text = self.run(code, secret=secret, timeout_s=timeout_s)
        try:
            return json.loads(text.strip().rpartition("\n")[2])
        except (ValueError, RecursionError):
            raise self._silent() from None

    def tools(self, code: str) -> None:
        """Definitions that scripts need: run once as long as the board's REPL lasts."""
        if code not in self._tools:
            self.run(code)
            self._tools.add(code)

    def guard(self, seconds: int) -> None:
        """From now on the board restarts by itself if it hears nothing from us for so long: whatever becomes of this
        program, a node does not stay in its REPL. Only a reset ends it.
        """
        if not self._guarded:
            with contextlib.suppress(OnBoardError):  # an image without a watchdog
                self.run(f"import machine\n_W=machine.WDT(timeout={seconds * 1000})")
                self._guarded = True

    def facts(self) -> BoardFacts:
        """What the board says of itself; it must be in its raw REPL."""
        return read_facts(self)

    # -- service

    def service(self) -> None:
        """Stop what runs; afterwards the board is in its raw REPL, and no watchdog runs."""
        try:
            self._stop()
            self._enter()
            self.run(_NO_CRASH)
        except _TALK_ERRORS as problem:
            raise self._lost(problem) from None

    def _stop(self) -> None:
        """To the friendly prompt, by a reset that boot.py or the board's start ends in."""
        if self._lines_reset and self._pulse() and self._caught(after_pulse=True):
            return
        self._lines_reset = False
        for _ in range(_TRIES):
            if self._interrupt():
                self._enter()
                self._reset_from_repl()
                if self._caught(after_pulse=False):
                    return
        raise self._silent()

    def _pulse(self) -> bool:
        """Reset by the control lines; False if the port has none."""
        self._left_repl()
        port = self._wire.port
        try:
            port.dtr = False  # IO0 high: boot what is on the flash
            port.rts = True  # EN low
            time.sleep(_PULSE_S)
            self._drain()
            port.rts = False
        except _PORT_ERRORS:
            with contextlib.suppress(*_PORT_ERRORS):
                port.rts = False  # it may have been done, and only not answered
            return False
        return True

    def _reset_from_repl(self) -> None:
        assert self._transport is not None
        with self._within(_ENTER_MOST_S):
            self._transport.exec_raw_no_follow(_RESET)
        self._left_repl()

    def _left_repl(self) -> None:
        self._transport = None
        self._early = b""
        self._tools.clear()
        self._guarded = False

    def _caught(self, *, after_pulse: bool) -> bool:
        """Stop the board on its way up; True at the friendly prompt. False: nothing shows that it was reset."""
        seen = b""
        sign = told = False  # it was reset; Ctrl-C was sent
        started = heard = time.monotonic()
        wire = self._wire
        while (now := time.monotonic()) < started + _BOOT_S:
            data = self._read_some()
            if data:
                seen, heard = (seen + data)[-4096:], now
                sign = sign or bool(_SIGNS.search(seen))
                self._refuse(seen)
            if seen.endswith(_PROMPT) and (told or sign):
                return True
            if after_pulse and not sign and now > started + _SIGN_S:
                return False
            # A chip's own USB was away while boot.py spoke: it may be in its 3 s already.
            patience_s = _PROMPT_S if told or wire is not self._wire else _QUIET_S
            if (not told and any(words in seen for words in _STOPS)) or now > heard + patience_s:
                self._wire.write(b"\x03")
                told, heard = True, now
        return False

    def _refuse(self, seen: bytes) -> None:
        if any(words in seen for words in _LOADER):
            raise LinkError(
                f"{self.url}: the board waits in its ROM loader", "Release its BOOT button, and press RESET."
            )
        if any(words in seen for words in _EMPTY):
            raise LinkError(f"{self.url}: there is no MicroPython on the board", "Put it on: bongsu device flash")

    def _interrupt(self) -> bool:
        """End a running program, or a REPL of whatever kind; True at the friendly prompt."""
        self._left_repl()
        for _ in range(_TRIES):
            # Ctrl-B leaves a raw REPL; a friendly one only shows its banner.
            self._wire.write(b"\r\x03\x02")
            if self._until(_PROMPT, _PROMPT_S):
                return True
        return False

    def _enter(self) -> None:
        """From the friendly prompt to the raw REPL."""
        self._drain()
        self._wire.write(b"\r\x01")
        transport = _Transport(self._wire)
        with self._within(_ENTER_MOST_S):
            found = transport.read_until(1, _RAW, timeout_overall=_PROMPT_S * 2).endswith(_RAW)
        if not found:
            raise self._silent()
        self._transport = transport

    # -- the running board

    def restart(self) -> None:
        """Reset the board, so that what is on it runs."""
        try:
            if self._lines_reset and self._pulse() and self._spoke():
                return
            self._lines_reset = False
            if self._transport is None:
                if not self._interrupt():
                    raise self._silent()
                self._enter()
                self.run(_NO_CRASH)
            self._reset_from_repl()
        except _TALK_ERRORS as problem:
            raise self._lost(problem) from None

    def _spoke(self) -> bool:
        """Whether a pulse did reset the board: one that starts when its port is opened, as some rigs have it, is caught
        in its 3 s too, though its lines do nothing.
        """
        wire = self._wire
        end = time.monotonic() + _SIGN_S
        while time.monotonic() < end:
            self._early += self._read_some()
            if _SIGNS.search(self._early) or wire is not self._wire:  # a chip's own USB goes away with it
                return True
        return False

    def lines(self, timeout_s: float) -> Iterator[str]:
        """Lines of the running board, as they come, for `timeout_s`."""
        rest, self._early = self._early, b""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                data = self._read_some()
            except _TALK_ERRORS as problem:
                raise self._lost(problem) from None
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace").rstrip("\r")
        self._early = rest[-LONGEST_LINE:]  # its end comes to whoever asks next

    # -- bytes

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """mpremote ends its waits only where nothing comes."""
        self._wire.within(seconds)
        try:
            yield
        finally:
            self._wire.within(None)

    def _read_some(self) -> bytes:
        """What has come, or what comes within a moment. A port that went away with a reset is opened again."""
        end = time.monotonic() + _MOMENT_S
        try:
            while not (waiting := self._wire.inWaiting()):
                if time.monotonic() > end:
                    return b""
                time.sleep(_LOOK_S)
            return self._wire.read(waiting)
        except _PORT_ERRORS as problem:
            self._reopen(problem)
            return b""

    def _reopen(self, problem: BaseException) -> None:
        """Only a device file comes back; a connection that is lost stays lost."""
        if "://" in self.url:
            raise self._lost(problem) from None
        end = time.monotonic() + _AWAY_S
        with contextlib.suppress(*_PORT_ERRORS):
            self._wire.port.close()
        while True:
            try:
                self._wire = _Wire(ports.open_serial(self.url, timeout_s=_READ_S), self.url)
                return
            except ports.PortError as err:
                if time.monotonic() > end:
                    raise err from None
            time.sleep(0.1)

    def _until(self, ending: bytes, timeout_s: float) -> bool:
        """Read until `ending` is found in what comes."""
        seen = b""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            seen += self._read_some()
            if ending in seen:
                return True
        return False

    def _drain(self) -> None:
        end = time.monotonic() + _DRAIN_S
        while self._read_some() and time.monotonic() < end:
            pass

    def _lost(self, problem: BaseException) -> BongsuError:
        if isinstance(problem, BongsuError):
            return problem
        return self._silent() if isinstance(problem, _NO_ANSWER) else ports.explain(self.url, problem)

    def _silent(self) -> LinkError:
        return LinkError(
            f"{self.url}: no MicroPython answers there",
            "Press RESET on the board and run this again; if it never ran MicroPython: bongsu device flash",
        )


def _failure(url: str, trace: str, secret: bool) -> OnBoardError:
    """What a traceback of the board says; nothing of its text if there was a secret in the script."""
    last = trace.strip().rpartition("\n")[2].strip()
    match = _ERRNO.match(last)
    kind = re.match(r"\w*", last)
    said = "" if secret else f": {plain(last)}"
    return OnBoardError(
        f"{url}: a script failed on the board{said}",
        "Run this again; if it stays so, flash the board anew: bongsu device flash",
        kind[0] if kind else "",
        int(match[2]) if match else 0,
    )
