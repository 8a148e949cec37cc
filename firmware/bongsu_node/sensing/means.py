"""Readings: the mean of every quantity over a set interval, for the air quality product. Integers; no allocation but
for the reading itself."""

from array import array

from bongsu_wire import measured
from bongsu_wire.measured import UNKNOWN

# 4 values a second of 16 bits for an hour stay below 2^30; several sensors of one quantity may fill it earlier.
_SUM_MOST = (1 << 30) - 65_536
INTERVAL_MOST_S = 3600


class Means:
    """`interval_s`: 1..3600, 0: no readings; `quantities`: kinds.Q_* that the node's sensors give."""

    def __init__(self, interval_s: int, quantities, ticks_diff) -> None:
        self._interval_ms = interval_s * 1000
        self._quantities = bytes(quantities)
        self._sums = array("i", bytes(4 * len(self._quantities)))
        self._counts = array("H", bytes(2 * len(self._quantities)))
        self._ms = 0
        self._last = -1
        self._diff = ticks_diff

    def take(self, quantity: int, value: int) -> None:
        """A fresh value of a sensor."""
        if value == UNKNOWN or not self._interval_ms:
            return
        for i in range(len(self._quantities)):
            if self._quantities[i] == quantity:
                if self._sums[i] < _SUM_MOST:
                    self._sums[i] += value
                    self._counts[i] += 1
                return

    def step(self, now: int) -> bool:
        """True when the interval is over: then take reading()."""
        step = self._diff(now, self._last) if self._last >= 0 else 0
        self._last = now
        self._ms += step if step > 0 else 0
        return 0 < self._interval_ms <= self._ms

    def reading(self):
        """The payload (measured.Reading) of the interval that is over, None if nothing was measured. The next
        begins.
        """
        values = {}
        for i in range(len(self._quantities)):
            if self._counts[i]:
                values[self._quantities[i]] = (self._sums[i] + self._counts[i] // 2) // self._counts[i]
            self._sums[i] = self._counts[i] = 0
        interval_s = self._ms // 1000
        self._ms = 0
        return measured.encode_reading(measured.Reading(0, interval_s, values)) if values else None
