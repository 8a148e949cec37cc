"""A TCP relay on loopback between a board and its broker, which can be cut, frozen and slowed: the radio's troubles.

One thread serves all relays of the process.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_CALL_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
_BACKLOG = 64
# Bytes held for a stalled direction before the sender is told to wait.
_HELD_MAX = 256 * 1024


class _LoopThread:
    """The event loop of all relays, running while there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CALL_TIMEOUT_S)
            self._loop.close()
            self._loop = self._thread = None

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_TIMEOUT_S)


_shared = _LoopThread()


class _Half(asyncio.Protocol):
    """One side of a relayed connection; what it receives goes to its peer, in order, when the link lets it."""

    def __init__(self, link: "LinkProxy", count: Callable[[int], None]) -> None:
        self.peer: _Half | None = None
        self.transport: asyncio.Transport | None = None
        self._link = link
        self._count = count
        self._held: list[tuple[float, bytes]] = []  # (when it may go on, data), in order
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        due = asyncio.get_running_loop().time() + self._link.delay_ms / 1000
        if self._held:  # a later piece never overtakes an earlier one
            due = max(due, self._held[-1][0])
        self._held.append((due, data))
        if sum(len(piece) for _, piece in self._held) > _HELD_MAX and self.transport is not None:
            self.transport.pause_reading()
        self.forward()

    def eof_received(self) -> bool:
        self._ended = True
        self.forward()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self.forward()

    def forward(self) -> None:
        """Hand over what is due, unless the link is stalled or nobody is there yet; come back for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._link.stalled or self.peer is None or self.peer.transport is None:
            return
        loop = asyncio.get_running_loop()
        while self._held and self._held[0][0] <= loop.time():
            data = self._held.pop(0)[1]
            if not self.peer.transport.is_closing():
                self._count(len(data))
                self.peer.transport.write(data)
        if self._held:
            self._timer = loop.call_at(self._held[0][0], self.forward)
            return
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        if self._ended:
            self.peer.transport.close()

    def reset(self) -> None:
        """End this side with a TCP reset."""
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self.transport is None:
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class LinkProxy:
    """Relays 127.0.0.1:`port` to `upstream`. All methods may be called from any thread.

    `delay_ms`: one-way delay of what is received from now on. `bytes_up`, `bytes_down`, `connections`: counted since
    the start.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self.upstream = (upstream_host, upstream_port)
        self.delay_ms = 0.0
        self.bytes_up = 0
        self.bytes_down = 0
        self.connections = 0
        self.stalled = False
        self._dead: list[_Half] = []  # connections of before a cut
        self._live: list[tuple[_Half, _Half]] = []
        self._closed = False
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        _shared.enter()
        self._socket_port = 0
        _shared.call(self._listen())

    @property
    def port(self) -> int:
        """The port that the board connects to; stays the same."""
        return self._socket_port

    def freeze(self) -> None:
        """Nothing passes any more; connections survive and go on after `restore`, as over a radio that was away for a
        while."""
        _shared.call(self._freeze())

    def cut(self, refuse: bool = False) -> None:
        """Nothing passes, and connections of now never recover: `restore` resets them. New ones hang until then, or
        are refused."""
        _shared.call(self._cut(refuse))

    def restore(self) -> None:
        """The link works again."""
        _shared.call(self._restore())

    def drop(self) -> None:
        """Reset all connections now; new ones are taken."""
        _shared.call(self._drop())

    def close(self) -> None:
        """End all connections and give the port back; may be called twice."""
        if self._closed:
            return
        self._closed = True
        _shared.call(self._end())
        _shared.leave()

    def __enter__(self) -> "LinkProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- in the loop's thread

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            self._accept, "127.0.0.1", self._socket_port, backlog=_BACKLOG, reuse_address=True
        )
        self._socket_port = self._listener.sockets[0].getsockname()[1]

    def _accept(self) -> _Half:
        near = _Half(self, self._count_up)
        task = asyncio.get_running_loop().create_task(self._connect(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    def _count_up(self, size: int) -> None:
        self.bytes_up += size

    def _count_down(self, size: int) -> None:
        self.bytes_down += size

    async def _connect(self, near: _Half) -> None:
        """Open the far side for a new connection and join both."""
        self.connections += 1
        far = _Half(self, self._count_down)
        near.peer, far.peer = far, near
        self._live = [pair for pair in self._live if not _over(pair)]
        self._live.append((near, far))
        loop = asyncio.get_running_loop()
        try:
            connecting = loop.create_connection(lambda: far, *self.upstream)
            await asyncio.wait_for(connecting, _CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError):
            near.reset()
            return
        near.forward()

    async def _freeze(self) -> None:
        self.stalled = True

    async def _cut(self, refuse: bool) -> None:
        self.stalled = True
        self._dead += [half for pair in self._live for half in pair]
        self._live.clear()
        if refuse and self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _restore(self) -> None:
        for half in self._dead:
            half.reset()
        self._dead.clear()
        self.stalled = False
        if self._listener is None:
            await self._listen()
        for pair in self._live:
            for half in pair:
                half.forward()

    async def _drop(self) -> None:
        for pair in self._live:
            for half in pair:
                half.reset()
        self._live.clear()

    async def _end(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for half in self._dead:
            half.reset()
        await self._drop()
        await asyncio.sleep(0)  # transports close in the next turn of the loop


def _over(pair: tuple[_Half, _Half]) -> bool:
    return all(half.transport is not None and half.transport.is_closing() for half in pair)
