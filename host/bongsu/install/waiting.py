"""Waiting for what happens elsewhere: looked at again and again until it is there or the time is over."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Waiting:
    """mono_s: a clock that only goes on; sleep: waits for so many s; every_s: between two looks."""

    mono_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    every_s: float = 0.2

    def until(
        self, look: Callable[[], T | None], within_s: float, told: Callable[[float], None] = lambda left_s: None
    ) -> T | None:
        """What `look` finds; None if it finds nothing in time. `told`: hears at each look how many s are left."""
        end_s = self.mono_s() + within_s
        while True:
            found = look()
            left_s = end_s - self.mono_s()
            if found is not None or left_s <= 0:
                return found
            told(left_s)
            self.sleep(min(self.every_s, left_s))
