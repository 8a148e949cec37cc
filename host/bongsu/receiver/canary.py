"""The canary: a message that the receiver sends itself through the broker every 10 s. Pure: monotonic ms are arguments.

A session can look alive and deliver nothing (FACTS 5): connected, pinged, and deaf. Two canaries that do not come back
are a fault, and the session is begun anew under a new MQTT client id. While the link is down, nothing new is expected;
the first canary follows a moment after the link came up.

A connection proves nothing: a broker whose disk was full takes connections and closes each as soon as it should store
something, the canary included. So one that was under way when the link broke is missing too, and only a canary that
came back is a proof (`owed_since_ms`).
"""

from typing import Literal

EVERY_MS = 10_000
# After the link came up the broker may still be busy with what waited in the session.
_SETTLE_MS = 1_000
LOST_AFTER = 2
# A broker that refuses canaries would otherwise be asked for a new session every 20 s.
RENEW_EVERY_MS = 600_000
# Who did not look for so long stood still itself (a frozen machine): that is not held against the broker.
_STOOD_STILL_MS = 5_000
_REMEMBERED = 8

Act = Literal["send", "renew"]


def topic(sender: int) -> str:
    """Where a receiver's canaries fly."""
    return f"bongsu/v1/canary/{sender}"


class Canary:
    """One receiver's. `look` and `heard` may be called by different threads: `heard` only sets what `look` reads."""

    def __init__(self) -> None:
        self.missing = 0
        self.lost = False
        self.number = 0
        self.round_trip_ms: float | None = None
        self._under_way: dict[int, float] = {}  # number -> when it was sent; a broker that lags still serves
        self._next_ms: float | None = None
        self._renewed_ms: float | None = None
        self._heard: tuple[int, float] | None = None
        # Monotonic ms since when the broker has owed a proof that it serves: since the link broke, or two canaries were
        # missing. None: it owes none.
        self.owed_since_ms: float | None = None
        self._looked_ms = 0.0

    def heard(self, number: int, mono_ms: float) -> None:
        """A canary came back."""
        self._heard = (number, mono_ms)

    def look(self, mono_ms: float, link_up: bool) -> Act | None:
        """What to do now: send the canary `number`, or begin a new session. To be called about once a second."""
        self._take_heard()
        if self.owed_since_ms is not None and mono_ms - self._looked_ms > _STOOD_STILL_MS:
            self.owed_since_ms = mono_ms
        self._looked_ms = mono_ms
        if not link_up:
            self._under_way.clear()  # it will not come by this connection; `missing` counts it already
            self.lost = self.lost or self.missing >= LOST_AFTER
            self._next_ms = None
            self._owe(mono_ms)
            return None
        if self._next_ms is None:
            self._next_ms = mono_ms + _SETTLE_MS
        return self._next(mono_ms) if mono_ms >= self._next_ms else None

    def _take_heard(self) -> None:
        if self._heard is None or self._heard[0] not in self._under_way:
            return
        number, at_ms = self._heard
        self.round_trip_ms = max(0.0, at_ms - self._under_way[number])
        self._under_way = {n: sent_ms for n, sent_ms in self._under_way.items() if n > number}
        self.missing, self.lost, self._renewed_ms = len(self._under_way), False, None
        self.owed_since_ms = None

    def _owe(self, mono_ms: float) -> None:
        if self.owed_since_ms is None:
            self.owed_since_ms = mono_ms

    def _next(self, mono_ms: float) -> Act:
        """The time has come for the next one; what has not come back is missing."""
        if self.missing >= LOST_AFTER:
            self.lost = True
            self._owe(mono_ms)
            if self._may_renew(mono_ms):
                self._renewed_ms, self._next_ms, self.missing = mono_ms, None, 0
                self._under_way.clear()
                return "renew"
        self.number += 1
        self.missing += 1
        self._under_way[self.number] = mono_ms
        while len(self._under_way) > _REMEMBERED:
            del self._under_way[min(self._under_way)]
        self._next_ms = mono_ms + EVERY_MS
        return "send"

    def _may_renew(self, mono_ms: float) -> bool:
        return self._renewed_ms is None or mono_ms - self._renewed_ms >= RENEW_EVERY_MS
