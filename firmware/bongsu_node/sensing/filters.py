"""Filters between a sensor and its detector. Integers only; no allocation."""

from array import array

GAP_MS = 30_000


class Median3:
    """The median of the last three values: a single wild one has no effect.

    full: there are three; before, a wild one cannot be told from a right one.
    """

    def __init__(self) -> None:
        self._count = 0
        self._a = 0
        self._b = 0

    @property
    def full(self) -> bool:
        return self._count > 2

    def restart(self) -> None:
        """What comes next has nothing to do with what was."""
        self._count = 0

    def update(self, value: int) -> int:
        """Take a value, return the median of it and the two before it (the first: as if it had always been there)."""
        a = self._a
        b = self._b
        if not self._count:
            a = b = value
        self._count += self._count < 3
        self._a = b
        self._b = value
        if a > b:
            a, b = b, a
        return a if value < a else b if value > b else value


class Trend:
    """What a value was `seconds` ago and before, one a second; so its rise.

    low: the lowest of the last `seconds`. A gap of more than GAP_MS starts it anew: what happened meanwhile is
    not known to have happened fast. Ticks as everywhere; no allocation.
    """

    def __init__(self, seconds: int, ticks_diff) -> None:
        self.low = 0
        self._ring = array("H", bytes(2 * seconds))
        self._size = seconds
        self._next = 0
        self._ms = 0
        self._last = 0
        self._away_ms = GAP_MS + 1
        self._diff = ticks_diff

    def step(self, now: int, value: int) -> None:
        """Take the value (0..65535) of ticks `now`."""
        passed = self._passed(now)
        gap_ms = self._away_ms + passed
        self._away_ms = 0
        if gap_ms > GAP_MS:
            self._ms = 0
            self.low = value
            for i in range(self._size):
                self._ring[i] = value
            return
        self._ms += gap_ms
        if value < self.low:
            self.low = value
        if self._ms >= 1000:
            self._push(value)

    def missed(self, now: int) -> None:
        """There was no value at ticks `now`."""
        away = self._away_ms + self._passed(now)
        self._away_ms = away if away <= GAP_MS else GAP_MS + 1

    def past(self, seconds: int) -> int:
        """The value of so many seconds ago, at most as many as it keeps."""
        return self._ring[(self._next - seconds) % self._size]

    def _passed(self, now: int) -> int:
        step = self._diff(now, self._last)
        self._last = now
        return step if 0 <= step <= GAP_MS else GAP_MS + 1

    def _push(self, value: int) -> None:
        ring = self._ring
        while self._ms >= 1000:
            self._ms -= 1000
            ring[self._next] = value
            self._next = (self._next + 1) % self._size
        low = value
        for i in range(self._size):
            if ring[i] < low:
                low = ring[i]
        self.low = low
