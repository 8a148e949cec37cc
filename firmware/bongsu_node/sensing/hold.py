"""The hold: a condition must stand for its time before it counts (DESIGN section 6). Pure.

Times are ticks in ms that wrap at 2^30; `ticks_diff` is handed in. Integers stay within +-2^30 (small ints of an
ESP32), and a sample allocates nothing.
"""

SAMPLE_MS = 250
HOLD_MS = 5_000
# What a hold counts at most: one day, far below 2^30.
_MOST_MS = 86_400_000


class Hold:
    """Whether a condition has held for `need_ms`, judged by its samples alone.

    - From the first to the last high sample less than `need_ms`: never. The first high sample at or beyond it: done.
    - A gap between two samples (more than two sample periods: the loop was blocked, the sensor did not answer) counts
    as two periods. It does not reset the hold, and the sample after it does not complete it by that credit; the next
    one may.
    - So nothing ever completes without samples: a sensor that dies in mid-hold freezes the hold, since stale values
    are no evidence and silence is none of the opposite. If it comes back high, the hold goes on; if low, it is broken.

    held_ms: counted so far; active: the last sample was high; done: the hold is complete (until the next low sample).
    """

    def __init__(self, need_ms: int, ticks_diff, sample_ms: int = SAMPLE_MS) -> None:
        self.held_ms = 0
        self.active = False
        self.done = False
        self.need_ms = need_ms
        self._gap_ms = 2 * sample_ms
        self._diff = ticks_diff
        self._last = 0
        self._away_ms = 0

    def sample(self, now: int, high: bool) -> bool:
        """Take the sample of ticks `now`; return `done`."""
        if not high:
            self.active = self.done = False
            self.held_ms = self._away_ms = 0
            return False
        if not self.active:
            self.active = True
            self._last = now
            return False
        step = self._step(now)
        self._away_ms = 0
        counted = self.held_ms + step
        if step > self._gap_ms:
            evidence = self.held_ms
            counted = evidence + self._gap_ms
        else:
            evidence = counted
        self.held_ms = counted if counted < _MOST_MS else _MOST_MS
        if evidence >= self.need_ms:
            self.done = True
        return self.done

    def missed(self, now: int) -> None:
        """There was no sample at ticks `now`. Call it at the sample rate: it also keeps the tick anchor young."""
        if self.active:
            away = self._step(now)
            # Beyond a gap the length does not matter any more.
            self._away_ms = away if away <= self._gap_ms else self._gap_ms + 1

    def _step(self, now: int) -> int:
        """ms since the last sample, the missed ones included."""
        step = self._diff(now, self._last)
        self._last = now
        return self._away_ms + (step if step > 0 else 0)
