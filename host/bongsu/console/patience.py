"""Connections that keep the console waiting: whoever does not bring a whole request in time is let go, and one address
has only so many at once.
"""

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from bongsu.console.limits import origin

# For the whole head of a request, from the connection on; and for its body after that.
HEAD_S, BODY_S = 8.0, 10.0
# Connections of one address: many desks may stand behind one. Far below what the server takes in all.
ADDRESS_MAX = 200

_open: Counter[str] = Counter()


class Patient(H11Protocol):
    """The server's protocol, with an end to its patience."""

    _due: asyncio.TimerHandle | None = None
    _stage = ""
    _origin: str | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection comes; one too many of its address is not taken."""
        super().connection_made(transport)
        self._origin = origin(self.client[0]) if self.client else ""
        _open[self._origin] += 1
        if _open[self._origin] > ADDRESS_MAX:
            transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop()
        if self._origin is not None:
            _open[self._origin] -= 1
            if not _open[self._origin]:
                del _open[self._origin]
            self._origin = None
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """More of a request came in, or an answer is through."""
        super().handle_events()
        self._watch()

    def _watch(self) -> None:
        their = self.conn.their_state
        stage = {h11.IDLE: "head", h11.SEND_BODY: "body"}.get(their, "")
        if stage == self._stage:
            return  # a byte now and then buys no time
        self._stop()
        self._stage = stage
        if stage:
            length_s = HEAD_S if stage == "head" else BODY_S
            self._due = asyncio.get_running_loop().call_later(length_s, self.transport.abort)

    def _stop(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._stage = ""
