"""Who has a rig's serial port open: a TCP connection, with or without RFC 2217. All of it runs in the rig's loop."""

import selectors
import socket
from collections.abc import Callable
from typing import Any, cast

from serial.rfc2217 import IAC, M_NORMAL, PortManager

from bongsu.sim.rig.line import ControlLines
from bongsu.sim.rig.loop import Delay, Loop

# SO_LINGER on, 0 s: the other side sees a reset, as if the cable had come off.
_ABORT = b"\x01\x00\x00\x00\x00\x00\x00\x00"


class Client:
    """`lines`: what its RFC 2217 sets; None: bare bytes, as of `socket://`. `received` takes what it sends, at most
    `room` bytes at a time; `left` is called when it has gone by itself."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        lines: ControlLines | None,
        received: Callable[[bytes], None],
        room: Callable[[], int],
        left: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = loop
        self._sock = sock
        self._received = received
        self._room = room
        self._left = left
        self._out = bytearray()
        self._mask = 0
        self._busy: Delay | None = None
        self._open = True
        # Duck-typed: pyserial's types ask for a whole Serial, twice.
        self._telnet = PortManager(cast(Any, lines), cast(Any, self)) if lines is not None else None
        self._watch()

    @property
    def has_control(self) -> bool:
        """Whether it can set the rate and the control lines."""
        return self._telnet is not None

    def send(self, data: bytes) -> None:
        """Bytes of the serial line."""
        self.write(data.replace(IAC, IAC + IAC) if self._telnet is not None else data)

    def write(self, data: bytes) -> None:
        """Bytes for the network as they are: PortManager's own."""
        self._out += data
        self._flush()

    def busy(self, seconds: float) -> None:
        """Read no more from it for a while: the line is still busy with what it sent."""
        self._busy = self._loop.later(seconds, self._free)
        self._watch()

    def close(self, abort: bool = False) -> None:
        """Send it away."""
        self._open = False
        self._watch()
        if self._busy is not None:
            self._busy.cancel()
        if abort:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self._sock.close()

    def _free(self) -> None:
        self._busy = None
        self._watch()

    def _watch(self) -> None:
        """Let the selector look for what is wanted now."""
        reading = selectors.EVENT_READ if self._open and self._busy is None else 0
        mask = reading | (selectors.EVENT_WRITE if self._open and self._out else 0)
        if mask == self._mask:
            return
        selector = self._loop.selector
        if not self._mask:
            selector.register(self._sock, mask, self._ready)
        elif mask:
            selector.modify(self._sock, mask, self._ready)
        else:
            selector.unregister(self._sock)
        self._mask = mask

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ and self._open:
            self._read()

    def _flush(self) -> None:
        if not self._open:
            return
        try:
            del self._out[: self._sock.send(self._out) if self._out else 0]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # reading says that it has gone
        self._watch()

    def _read(self) -> None:
        try:
            data = self._sock.recv(self._room())
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._left()
            return
        telnet = self._telnet
        if telnet is not None and (IAC in data or telnet.mode != M_NORMAL or telnet.suboption is not None):
            data = b"".join(telnet.filter(data))
        if data and self._open:
            self._received(data)
