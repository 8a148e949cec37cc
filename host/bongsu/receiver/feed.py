"""What the receiver tells its web process: that something changed, and each second how it is.

One way, over a socket pair that keeps messages apart, and never waiting: alarms come first. What does not fit into a
full socket is dropped, and the next message that gets through says so; the other side then looks at everything anew.
"""

import socket
import time
from collections.abc import Iterable
from typing import Any

import msgspec

# A message must fit into the socket's buffer whole.
_IDS_MAX = 1000
MESSAGE_MAX = 128 * 1024
# A hint at most so often: in a storm every commit would wake the web process, which looks twice a second by itself.
GAP_S = 0.2


class Feed:
    """The receiver's end. `changed` may be called from any thread, the rest by who starts the web process."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._missed = False
        self._hinted_s = 0.0

    def open(self) -> socket.socket:
        """Begin with a new web process; returns its end, which the caller closes once the process has it."""
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._missed = False
        self._socket = ours
        return theirs

    def close(self) -> None:
        """Nobody listens any more; the web process ends when it hears that."""
        ours, self._socket = self._socket, None
        if ours is not None:
            ours.close()

    def hello(self, message: dict[str, Any]) -> bool:
        """The first message: what the process needs to know."""
        return self._send(message)

    def changed(self, incident_ids: Iterable[int]) -> None:
        """These incidents, or deliveries of theirs, were committed just now: a hint to look, which may be left out.
        Never waits, never raises.
        """
        ids = sorted(set(incident_ids))
        now_s = time.monotonic()
        if ids and now_s - self._hinted_s >= GAP_S:
            self._hinted_s = now_s
            self._send({"changed": {"incident": ids[:_IDS_MAX]}})

    def tick(self, state: dict[str, Any]) -> None:
        """How the receiver is; once a second. Never waits, never raises."""
        self._send({"state": state})

    def _send(self, message: dict[str, Any]) -> bool:
        ours = self._socket
        if ours is None:
            return False
        if self._missed:
            message = {**message, "missed": True}
        try:
            ours.send(msgspec.json.encode(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (OSError, ValueError):  # full, gone, or closed a moment ago by the thread that starts the process
            self._missed = True
            return False
        self._missed = False
        return True
