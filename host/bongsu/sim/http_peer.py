"""What the simulated fire station and phone have in common: a small, fast HTTP server whose misbehaviour can be
switched on, and the life of a peer process.

An aiohttp or stdlib server would be the bottleneck of the benchmark, and neither can answer garbage or twice.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import msgspec

_HEAD_MAX = 16 * 1024
_BODY_MAX = 1024 * 1024
_PARENT_LOOK_S = 0.5

Mode = Literal["ok", "refuse", "delay", "twice", "down", "garbage", "redirect", "busy", "huge"]
MODES: tuple[str, ...] = get_args(Mode)
_GARBAGE = b"\x16\x03\x01 this is not HTTP\r\n\r\n\x00\xff"
_HUGE_BYTES = 4 * 1024 * 1024
_REASONS = {200: "OK", 202: "Accepted", 204: "No Content", 307: "Temporary Redirect", 400: "Bad Request"}
_REASONS |= {
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    413: "Content Too Large",
    503: "Service Unavailable",
}


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """How the peer misbehaves towards the next `n` messages (None: until told otherwise).

    refuse: 403; busy: 503 with Retry-After; delay: answers after delay_ms; twice: sends its answer twice; down: closes
    the connection without an answer; garbage: answers no HTTP; redirect: 307 to itself; huge: an answer of 4 MB.
    """

    mode: Mode = "ok"
    n: int | None = None
    delay_ms: int = 0
    retry_after_s: int = 1

    def take(self) -> Mode:
        """The mode for one message, counted."""
        mode = self.mode
        if mode != "ok" and self.n is not None:
            self.n -= 1
            if self.n <= 0:
                self.mode, self.n = "ok", None
        return mode


@dataclass(slots=True)
class Request:
    """A request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    """An answer: `value` goes out as JSON."""

    status: int = 200
    value: Any = field(default_factory=dict)
    headers: str = ""

    def encode(self) -> bytes:
        body = msgspec.json.encode(self.value)
        reason = _REASONS.get(self.status, "Answer")
        head = f"HTTP/1.1 {self.status} {reason}\r\nContent-Type: application/json\r\n{self.headers}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


Handler = Callable[[Request], Reply]


class Peer:
    """The server's state: which requests are control (never disturbed), which are messages, and the faults."""

    def __init__(self, control: Handler, message: Handler) -> None:
        """`control` answers /faults, /received and the like or 404; `message` takes what is sent to the peer."""
        self.control = control
        self.message = message
        self.faults = Faults()

    def set_faults(self, raw: bytes) -> Reply:
        """POST /faults."""
        try:
            self.faults = msgspec.json.decode(raw, type=Faults)
        except msgspec.DecodeError as err:
            return Reply(400, {"error": str(err), "modes": MODES})
        return Reply(200, self.faults)


class _Connection(asyncio.Protocol):
    """One connection: HTTP/1.1 with Content-Length, kept alive, answers in order."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._rest = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._rest += data
        self._serve()

    def _serve(self) -> None:
        while self._transport is not None and not self._waiting:
            request = self._next()
            if request is None:
                return
            self._answer(request)

    def _next(self) -> Request | None:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            if len(self._rest) > _HEAD_MAX:
                self._refuse(413)
            return None
        try:
            request, size = _head(bytes(self._rest[:end]))
        except ValueError:
            self._refuse(400)
            return None
        if size > _BODY_MAX:
            self._refuse(413)
            return None
        if len(self._rest) < end + 4 + size:
            return None
        request.body = bytes(self._rest[end + 4 : end + 4 + size])
        del self._rest[: end + 4 + size]
        return request

    def _answer(self, request: Request) -> None:
        assert self._transport is not None
        if is_control(request):
            self._transport.write(self._peer.control(request).encode())
            return
        mode = self._peer.faults.take()
        if mode == "delay":
            self._later(request, self._peer.faults.delay_ms)
        elif mode in _INSTEAD:
            _INSTEAD[mode](self._transport, request, self._peer.faults)
        else:
            self._transport.write(self._peer.message(request).encode() * (2 if mode == "twice" else 1))

    def _later(self, request: Request, delay_ms: int) -> None:
        self._waiting = True

        def answer() -> None:
            self._waiting = False
            reply = self._peer.message(request).encode()  # it counts, even if nobody waits for the answer any more
            if self._transport is not None:
                self._transport.write(reply)
                self._serve()

        asyncio.get_running_loop().call_later(delay_ms / 1000, answer)

    def _refuse(self, status: int) -> None:
        assert self._transport is not None
        self._transport.write(Reply(status, {"error": _REASONS[status]}).encode())
        self._transport.close()


def is_control(request: Request) -> bool:
    """Requests by which a test or a person steers the peer; everything else is a message to it."""
    return request.path.split("?")[0] in ("/faults", "/phones", "/received") or request.path.startswith("/status/")


def _head(head: bytes) -> tuple[Request, int]:
    """Request line and headers, and the body's length. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _version = first.split(" ")
    headers = {}
    for line in lines:
        name, sign, value = line.partition(":")
        if not sign:
            raise ValueError("header")
        headers[name.lower()] = value.strip()
    size = headers.get("content-length", "0")
    if not size.isdigit():
        raise ValueError("content-length")
    return Request(method, path, headers, b""), int(size)


def _down(transport: asyncio.Transport, _request: Request, _faults: Faults) -> None:
    transport.abort()


def _garbage(transport: asyncio.Transport, _request: Request, _faults: Faults) -> None:
    transport.write(_GARBAGE)
    transport.close()


def _refused(transport: asyncio.Transport, _request: Request, _faults: Faults) -> None:
    transport.write(Reply(403, {"error": "refused"}).encode())


def _busy(transport: asyncio.Transport, _request: Request, faults: Faults) -> None:
    transport.write(Reply(503, {"error": "busy"}, f"Retry-After: {faults.retry_after_s}\r\n").encode())


def _redirect(transport: asyncio.Transport, request: Request, _faults: Faults) -> None:
    transport.write(Reply(307, {}, f"Location: {request.path}?again\r\n").encode())


def _huge(transport: asyncio.Transport, _request: Request, _faults: Faults) -> None:
    transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _HUGE_BYTES)
    transport.write(b"x" * _HUGE_BYTES)


_INSTEAD: dict[str, Callable[[asyncio.Transport, Request, Faults], None]] = {
    "down": _down,
    "garbage": _garbage,
    "refuse": _refused,
    "busy": _busy,
    "redirect": _redirect,
    "huge": _huge,
}


async def serve(peer: Peer, port: int, ready: Callable[[int], None]) -> None:
    """Serve on loopback until SIGTERM, SIGINT, or the end of the parent process.

    `port` 0: the system picks one; `ready` is told which.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parent = os.getppid()
    server = await loop.create_server(lambda: _Connection(peer), "127.0.0.1", port, backlog=1024)
    ready(server.sockets[0].getsockname()[1])
    while not stop.is_set() and os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _PARENT_LOOK_S)
    server.close()
