"""A sensor whose raw value never moves is not measuring. Pure; allocates nothing."""

# Air in a room moves by more than a count within two days and nights; so does the noise of every chip used here.
LIMIT_MIN = 48 * 60
_MINUTE_MS = 60_000
# What one call may count for at most: the time between two samples is no evidence when it is long.
_MOST_MS = 10 * _MINUTE_MS


class Stuck:
    """Watches one raw value. `ticks_diff`: of the ticks that are handed in; `limit_min`: minutes, 0 = never stuck.

    It counts whole minutes, and its tick anchor is the newest sample's; pause() forgets the anchor, so that none grows
    old while the sensor gives nothing.
    """

    def __init__(self, ticks_diff, limit_min: int = LIMIT_MIN) -> None:
        self._diff = ticks_diff
        self._limit_min = limit_min
        self._raw = -1
        self._anchored = False
        self._last = 0
        self._rest_ms = 0
        self._minutes = 0

    def sample(self, now: int, raw: int) -> bool:
        """Take the raw value of ticks `now`; True if it has been the same for `limit_min` of samples."""
        if raw != self._raw:
            self._raw = raw
            self._rest_ms = self._minutes = 0
        elif self._anchored and self._minutes < self._limit_min:
            step = self._diff(now, self._last)
            if step > 0:
                self._rest_ms += step if step < _MOST_MS else _MOST_MS
            self._minutes += self._rest_ms // _MINUTE_MS
            self._rest_ms %= _MINUTE_MS
        self._last = now
        self._anchored = True
        return 0 < self._limit_min <= self._minutes

    def pause(self) -> None:
        """No sample for a while: the time until the next one does not count, what was counted stays."""
        self._anchored = False
