"""The two clocks of the receiver, injected so that tests of silence and escalation do not wait.

Spans are measured with the monotonic one; the store, receipts and people get UTC.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """UTC, ms since 1970."""

    def mono_ms(self) -> int:
        """Monotonic ms since an arbitrary start: for spans only."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """UTC, ms since 1970."""
        return time.time_ns() // 1_000_000

    def mono_ms(self) -> int:
        """Monotonic ms."""
        return time.monotonic_ns() // 1_000_000


class SetClock:
    """A clock that stands until it is moved, for tests and simulations."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._mono_ms = 1_000_000

    def now_ms(self) -> int:
        """UTC, ms since 1970."""
        return self._now_ms

    def mono_ms(self) -> int:
        """Monotonic ms."""
        return self._mono_ms

    def advance(self, ms: int) -> None:
        """Let `ms` pass on both clocks."""
        self._now_ms += ms
        self._mono_ms += ms
