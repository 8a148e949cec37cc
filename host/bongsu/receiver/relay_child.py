"""The relay's process: `python -m bongsu.receiver.relay_child SOCKET LEASE`, two descriptors from the receiver.

It ends when the receiver closes the socket, and not by signals: what is under way at the end is waited for first, by
the receiver.
"""

import asyncio
import gc
import mmap
import signal
import socket
import sys
import time

import msgspec

from bongsu.channels.wiring import Channels
from bongsu.receiver.config import Config
from bongsu.receiver.jobs import LEASE_BYTES, Done, lease_holds, lease_view
from bongsu.receiver.relay import ChannelRelay
from bongsu.receiver.relay_wire import Splitter, Up, WireDone, jobs_of, packed, wire_done

_RECV_BYTES = 256 * 1024
# Results wait so long for company: nobody is in a hurry for them, and each message wakes the receiver.
_RESULTS_WAIT_S = 0.004


class _Child:
    """The loop's side of the socket."""

    def __init__(self, sock: socket.socket, lease: "memoryview[int]") -> None:
        self._sock, self._lease = sock, lease
        self._splitter = Splitter()
        self._done: list[WireDone] = []
        self._lines: list[tuple[str, dict[str, str]]] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._relay: ChannelRelay | None = None
        self._channels: Channels | None = None
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Work until the receiver closes the socket."""
        self._loop.add_reader(self._sock, self._readable)
        await self._ended.wait()
        self._loop.remove_reader(self._sock)
        if self._relay is not None:
            await self._relay.aclose()
        if self._channels is not None:
            await self._channels.aclose()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_RECV_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended.set()
            return
        for message in self._splitter.feed(data):
            if self._relay is None:
                self._begin(message)
            else:
                self._relay.take(jobs_of(message))

    def _begin(self, settings: bytes) -> None:
        config = msgspec.msgpack.decode(settings, type=Config)
        self._channels = Channels(config)
        self._relay = ChannelRelay(self._channels, self._put, self._holds, self._tell, config.dispatch.workers)
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)

    def _holds(self) -> bool:
        return lease_holds(self._lease, time.monotonic_ns() // 1_000_000)

    def _put(self, done: Done) -> None:
        self._done.append(wire_done(done))
        self._soon()

    def _tell(self, event: str, fields: dict[str, str]) -> None:
        self._lines.append((event, fields))
        self._soon()

    def _soon(self) -> None:
        if self._flushing is None:
            self._flushing = self._loop.call_later(_RESULTS_WAIT_S, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        message = packed(Up(self._done, self._lines))
        self._done, self._lines = [], []
        self._sock.setblocking(True)  # the receiver always reads; if it does not, there is nothing better to do
        try:
            self._sock.sendall(message)
            self._sock.setblocking(False)
        except OSError:
            self._ended.set()


async def _main(sock: socket.socket, lease: "memoryview[int]") -> None:
    await _Child(sock, lease).run()


def main() -> None:
    """Entry of the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.setblocking(False)
    with mmap.mmap(int(sys.argv[2]), LEASE_BYTES, prot=mmap.PROT_READ) as memory:
        with lease_view(memory) as lease:
            asyncio.run(_main(sock, lease))


if __name__ == "__main__":
    main()
