"""The serial port of a rig on the network: RFC 2217, which carries DTR and RTS, and the bare bytes of `socket://`.

It is one port, so it has one client: another one is let in and sent away at once, as an open port refuses to be opened.
"""

import selectors
import socket
from collections.abc import Callable

from bongsu.sim.rig.client import Client
from bongsu.sim.rig.line import ControlLines
from bongsu.sim.rig.loop import Delay, Loop

# A slow line is served in steps of this length.
_STEP_S = 0.005
_ANY_BYTES = 65536


class SerialServer:
    """`received` takes what the client sends over the line, `lines_changed` is called when DTR or RTS may have,
    `opened` when somebody opens the port or leaves it. All of it runs in the loop. `port`: of the network, on
    loopback; 0 and the one without control lines: the system's choice."""

    def __init__(
        self,
        loop: Loop,
        received: Callable[[bytes], None],
        lines_changed: Callable[[], None],
        opened: Callable[[], None],
        port: int = 0,
    ) -> None:
        self.lines = ControlLines(lines_changed, self._purge)
        self.bytes_per_s: float | None = None
        self.held = False  # by somebody else: every client is sent away
        self._loop = loop
        self._received = received
        self._opened = opened
        self._client: Client | None = None
        self._listeners: list[socket.socket] = []
        self._out = bytearray()
        self._step: Delay | None = None
        self.url = f"rfc2217://127.0.0.1:{self._listen(port, control=True)}"
        self.bare_url = f"socket://127.0.0.1:{self._listen(0, control=False)}"

    @property
    def baud(self) -> int | None:
        """The rate that the client has set; None if its kind of connection has none."""
        return self.lines.baudrate if self._client is not None and self._client.has_control else None

    def send(self, data: bytes) -> None:
        """What the board says; lost if nobody has the port open."""
        if self._client is None:
            return
        self._out += data
        if self._step is None:
            self._send_some()

    def drop(self) -> None:
        """The cable comes off: the connection breaks."""
        self._leave(abort=True)

    def close(self) -> None:
        """Send the client away, and listen no more."""
        self._leave()
        for listener in self._listeners:
            self._loop.selector.unregister(listener)
            listener.close()

    def _listen(self, port: int, *, control: bool) -> int:
        listener = socket.create_server(("127.0.0.1", port))
        listener.setblocking(False)
        self._listeners.append(listener)
        self._loop.selector.register(listener, selectors.EVENT_READ, lambda _mask: self._accept(listener, control))
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, control: bool) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return  # it did not wait
        if self._client is not None or self.held:
            sock.close()
            return
        self._opened()
        lines = self.lines if control else None
        self._client = Client(self._loop, sock, lines, self._heard, self._room, self._leave)

    def _room(self) -> int:
        """How many bytes the line carries at a time."""
        return _ANY_BYTES if self.bytes_per_s is None else max(1, round(self.bytes_per_s * _STEP_S))

    def _heard(self, data: bytes) -> None:
        if self.bytes_per_s is None or self._client is None:
            self._received(data)
            return
        seconds = len(data) / self.bytes_per_s
        self._client.busy(seconds)
        self._loop.later(seconds, lambda: self._received(data))

    def _leave(self, abort: bool = False) -> None:
        if self._client is None:
            return
        self._client.close(abort)
        self._client = None
        self._purge()
        self.lines.release()
        self._opened()

    def _purge(self) -> None:
        self._out.clear()

    def _send_some(self) -> None:
        self._step = None
        if self._client is None or not self._out:
            return
        size = self._room()
        data = bytes(self._out[:size])
        del self._out[:size]
        self._client.send(data)
        if self.bytes_per_s is not None:
            self._step = self._loop.later(len(data) / self.bytes_per_s, self._send_some)
        elif self._out:
            self._send_some()
