"""The watchdog of a virtual board, as the host keeps it: the board's own program may hang."""

import time
from fractions import Fraction

# A busy computer may not run a board for a moment, and at high speed that moment is long in board time: the watchdog
# bites no sooner than this (wall).
MIN_WALL_S = 2.0
# The board passes on a feed at most every tenth of the time-out: the watchdog bites between 1.0 and 1.1 of it.
SLACK = 1.1
# In discrete mode only a program that hangs without reading the clock is left to the host; everything else bites in
# board time.
_DISCRETE_S = 5.0


class Watchdog:
    """`speed`: board seconds per wall second, None = discrete. It stands still until `feed` says its time-out."""

    def __init__(self, speed: Fraction | None) -> None:
        self._speed = speed
        self._timeout_s: float | None = None
        self._fed = 0.0

    def feed(self, timeout_ms: int | None = None) -> None:
        """Fed now; `timeout_ms` of board time: started, or started with another one."""
        self._fed = time.monotonic()
        if timeout_ms is not None:
            self._timeout_s = timeout_ms / 1000

    def stop(self) -> None:
        """The chip was reset, or has no power."""
        self._timeout_s = None

    @property
    def bites_at(self) -> float | None:
        """When it bites, if nobody feeds it (time.monotonic); None while it stands still."""
        if self._timeout_s is None:
            return None
        if self._speed is None:
            return self._fed + _DISCRETE_S
        return self._fed + max(self._timeout_s * SLACK / float(self._speed), MIN_WALL_S)
