"""The poller that asyncio's io queue gets instead of select.poll(): waits in board time, takes the host's orders, and
idles without spinning.

A TLS socket has no file descriptor of its own, so the unix port's select would look at it every millisecond. Here the
waiting is done on the TCP socket below it, and the TLS object is only asked when that one has something.
"""

import io
import select

import _board
import usocket
import utime

_raw = []  # (id of TLS socket, TCP socket), the newest few: boards hold one connection
_RAW_KEPT = 4
_core = None


def remember(tls_sock, sock):
    """`tls_sock` runs over `sock`."""
    _raw.append((id(tls_sock), sock))
    if len(_raw) > _RAW_KEPT:
        _raw.pop(0)


def _below(stream):
    """What to wait on for `stream`: a socket, None (a Python object: it only changes through us), or False (unknown:
    look at it every ms)."""
    if isinstance(stream, usocket.socket):
        return stream
    for number, sock in reversed(_raw):
        if number == id(stream):
            return sock
    return None if isinstance(stream, io.IOBase) else False


class Poller:
    """register, modify, unregister and ipoll as of select.poll(); the time-out is in ms of board time."""

    def __init__(self):
        self._all = select.poll()
        self._waiter = select.poll()
        self._waiter.register(_board._ctl, select.POLLIN)
        self._streams = {}  # id -> what is waited on
        self._spins = 0

    def register(self, stream, events=select.POLLIN | select.POLLOUT):
        self._all.register(stream, events)
        below = _below(stream)
        self._streams[id(stream)] = below
        if below:
            self._waiter.register(below, events)

    def modify(self, stream, events):
        self._all.modify(stream, events)
        below = self._streams[id(stream)]
        if below:
            self._waiter.modify(below, events)

    def unregister(self, stream):
        self._all.unregister(stream)
        below = self._streams.pop(id(stream), None)
        if below:
            self._waiter.unregister(below)

    def ipoll(self, ms):
        if not self._streams:
            if ms:
                _board.idle(ms, self._waiter)
            return ()
        ready = self._all.poll(0)
        while not ready and ms:
            step = ms
            if False in self._streams.values():
                step = 1 if ms < 0 else min(ms, 1)
            _board.idle(step, self._waiter)
            ready = self._all.poll(0)
            if ms > 0 or _core._task_queue.peek():
                break
            # "For ever" means it: asyncio takes the next task without looking whether there is one.
            if not ready:
                self._calm()
        if ready:
            self._spins = 0
        elif ms:
            self._calm()
        return ready

    def _calm(self):
        """The TCP socket says ready, TLS does not (it waits for the other direction): look every ms, as the stock
        port does."""
        self._spins += 1
        if self._spins > 3 and self._waiter.poll(0):
            utime.sleep_us(1000)


def install(core):
    """Make asyncio.core (already imported with the real clock) run on board time."""
    global _core
    _core = core
    core.ticks = _board.async_ticks

    def init(self):
        self.poller = Poller()
        self.map = {}

    core.IOQueue.__init__ = init
    core.new_event_loop()
