"""Drift compensation of a smoke sensor: dust raises what clean air reads, year by year, and the baseline follows. Pure.

EN 54-7 asks two things of it. Smoke that rises by more than a quarter of the alarm limit A an hour must alarm after at
most 1.6 x A / rate (+ 100 s), and compensation must not raise the limit to more than 1.6 x A. So it follows slowly,
stands still while the signal is up, and ends at smoke_drift_e4, at most 0.6 x A (limits.py); there it is a fault, for
the head must be cleaned. Downwards it follows faster: a cleaned head is as sensitive as a new one within hours.
"""

from bongsu_node import flashfile
from bongsu_node.sensing import at

_MINUTE_MS = 60_000
_FINE = 256  # the baseline is kept in 1/256 of 1e-4/m
# Of the alarm limit, per minute: upwards 1 % an hour (a year's dust is 1 % a day at the worst), downwards 20 % an hour.
_UP_DIVISOR = 6000
_DOWN_DIVISOR = 300
# A signal that is up for this long and has not alarmed is dirt, not a fire: it is followed again, at the slow rate.
_FREEZE_MINUTES = 24 * 60
# A jump back below it counts as no fire at all; the noise of clean air must not freeze it.
_FREEZE_SHARE = 2
_KEEP_FROM_E4 = 5  # less is not worth a write to flash


class Baseline:
    """`values`: limits in the order of limits.NAMES; `start_e4`: as kept from before the restart.

    level_e4: present baseline, 1e-4/m, 0..smoke_drift_e4; at_limit: drift takes all that it may; frozen: it stands
    still because the signal is up.
    """

    def __init__(self, values, ticks_diff, start_e4: int = 0) -> None:
        self.at_limit = False
        self.frozen = False
        self._values = values
        self._diff = ticks_diff
        self._fine = min(max(start_e4, 0), values[at.SMOKE_DRIFT]) * _FINE
        self._last = 0
        self._ms = -1
        self._sum = 0
        self._count = 0
        self._up_minutes = 0
        self.level_e4 = self._fine // _FINE

    def step(self, now: int, value: int) -> None:
        """Take the filtered value of ticks `now`; once a minute the baseline moves. A gap takes no time."""
        step = self._diff(now, self._last)
        self._last = now
        if self._ms < 0:
            self._ms = step = 0
        self._ms += step if 0 < step < _MINUTE_MS else 0
        self._sum += value
        self._count += 1
        if self._ms >= _MINUTE_MS:
            self._ms = 0
            self._minute(self._sum * 16 // self._count)
            self._sum = self._count = 0

    def _minute(self, mean: int) -> None:
        """`mean` of the last minute, 1/16 of 1e-4/m."""
        values = self._values
        distance = mean * (_FINE // 16) - self._fine
        self.frozen = distance * _FREEZE_SHARE >= values[at.SMOKE_SMALL] * _FINE
        if self.frozen and self._up_minutes < _FREEZE_MINUTES:
            self._up_minutes += 1
            return
        if not self.frozen:
            self._up_minutes = 0
        up = 1 + values[at.SMOKE_ALARM] * _FINE // _UP_DIVISOR
        down = 1 + values[at.SMOKE_ALARM] * _FINE // _DOWN_DIVISOR
        most = values[at.SMOKE_DRIFT] * _FINE
        fine = self._fine + (up if distance > up else -down if distance < -down else distance)
        self._fine = fine if fine < most else most
        self.level_e4 = self._fine // _FINE
        self.at_limit = fine > most or (self.at_limit and self._fine * 10 > most * 9)


class KeptBaseline:
    """The baseline on flash. `path` of its file. e4: as it was kept; failed: flash refused."""

    def __init__(self, path: str, log) -> None:
        self.failed = False
        self._path = path
        self._log = log
        data = flashfile.read(path)
        self.e4 = data[0] | data[1] << 8 if data is not None and len(data) == 2 else 0

    def keep(self, e4: int) -> None:
        """Write it down when it has moved."""
        if -_KEEP_FROM_E4 < e4 - self.e4 < _KEEP_FROM_E4:
            return
        try:
            flashfile.write(self._path, bytes((e4 & 0xFF, e4 >> 8)))
            self.failed = False
            self.e4 = e4
        except Exception as e:
            self.failed = True
            self._log("E", "flash", "err=%r" % e)
