"""The decision: a threshold that a filtered value must reach and keep for the hold time (DESIGN section 6). Pure.

Times are ticks in ms that wrap at 2^30; `ticks_diff` is handed in. Integers stay within +-2^30 (small ints of an
ESP32), and a sample allocates nothing.
"""

from bongsu_node.sensing.filters import Median3

SAMPLE_MS = 250
HOLD_MS = 5_000
UNKNOWN = 0xFFFF  # as on the wire
# What a hold counts at most: one day, far below 2^30.
_MOST_MS = 86_400_000
_DEAD = 8  # missed samples after which a frozen hold no longer keeps the link from connecting: its fault must get out


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
        self._need_ms = need_ms
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
        if evidence >= self._need_ms:
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


class Detector:
    """One phenomenon: median filter, fixed threshold, hold.

    phenomenon, criterion: kinds.*; alarm_at: the value from which a sample is high; clear_below: hysteresis, below it
    a sample is low again for the restore. The hold asks for `alarm_at` throughout: what falls back under it, like a
    sensor that cools after a flame of 3 s, must start anew.
    value: newest filtered value, UNKNOWN without one; below: it is under the hysteresis; hold: see Hold.
    """

    def __init__(self, phenomenon: int, criterion: int, alarm_at: int, clear_below: int, ticks_diff) -> None:
        self.phenomenon = phenomenon
        self.criterion = criterion
        self.value = UNKNOWN
        self.below = False
        self.hold = Hold(HOLD_MS, ticks_diff)
        self._filter = Median3()
        self._missed = 0
        self._alarm_at = alarm_at
        self._clear_below = clear_below

    @property
    def rising(self) -> bool:
        """A hold is under way, and not by a dead sensor: the node must not do anything that blocks."""
        return self.hold.active and not self.hold.done and self._missed < _DEAD

    def sample(self, now: int, raw: int) -> bool:
        """Take a reading of ticks `now`; return True while the criterion is fulfilled."""
        self._missed = 0
        value = self._filter.update(raw)
        self.value = value
        self.below = value < self._clear_below
        return self.hold.sample(now, value >= self._alarm_at)

    def missed(self, now: int) -> None:
        """The sensor gave nothing at ticks `now`."""
        self._missed += self._missed < _DEAD
        self.hold.missed(now)
