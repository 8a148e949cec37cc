"""A supervised sensor and the channels that it feeds: a dead one becomes a fault and blocks nothing."""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.hold import Hold
from bongsu_wire.measured import UNKNOWN

# A sensor that fails for this long is a fault, and one that works for this long is well again; the centre hears of it
# in < 60 s.
FAULT_MS = 10_000
# A sensor that answers only now and then is failing: it must give this many values in a row to count as working. One
# whose values are more than _SLOW_MS apart, so many polls without an error (a driver repeats its error every 2 s).
_GOOD_RUN = 4
_SLOW_MS = 1_000
_SLOW_RUN = 10
_LATE_MS = 2_000  # beyond two of its periods without a value it is silent
_POLL_MS = 250


class Probe:
    """`sensor`: see sensing/__init__.py; `channels`: one for each of its quantities, None where nothing is decided by
    it; `fault`: kinds.FAULT_* of this sensor; `means`: takes its values for the readings, None: none are sent;
    `faulty`: it was faulty before the restart, as the centre knows.

    faulty: as reported; why: of the newest failure.
    """

    def __init__(self, sensor, channels, fault: int, ticks_diff, means=None, faulty: bool = False) -> None:
        self.fault = fault
        self.faulty = faulty
        self.why = ""
        self.channels = channels
        self._sensor = sensor
        self._means = means
        self._good = 0
        self._slow = sensor.period_ms > _SLOW_MS
        self._run = _SLOW_RUN if self._slow else _GOOD_RUN
        self._bad = False
        self._silent_polls = 0
        self._late_polls = (2 * sensor.period_ms + _LATE_MS) // _POLL_MS
        self._failing = Hold(FAULT_MS, ticks_diff)
        self._working = Hold(FAULT_MS, ticks_diff)

    def sample(self, now: int) -> None:
        """Poll the sensor at ticks `now` and feed its channels."""
        try:
            fresh = self._sensor.poll(now)
            if fresh:
                self._feed(now)
        except SensorError as e:
            self._miss(now, e.why)
            return
        except Exception as e:  # a driver's bug, or a value that no channel takes, costs its own sensor
            self._miss(now, repr(e))
            return
        if fresh or self._slow:
            self._well()
        if fresh:
            return
        if self._sensor.warming:
            self._silent_polls = 0
            for channel in self.channels:
                if channel is not None:
                    channel.idle = True
        else:
            self._silent_polls += 1
            if self._silent_polls > self._late_polls:
                self._silent_polls = self._late_polls
                self._miss(now, "silent")

    def supervise(self, now: int) -> bool:
        """After each sample(): True when `faulty` changed."""
        failed = self._failing.sample(now, self._bad)
        works = self._working.sample(now, self._good >= self._run)
        if failed:
            self._fail(True)
        elif works:
            self._fail(False)
        if failed and not self.faulty:
            self.faulty = True
            return True
        if works and self.faulty:
            self.faulty = False
            return True
        return False

    def _feed(self, now: int) -> None:
        self._silent_polls = 0
        values = self._sensor.values
        if min(values) == UNKNOWN:
            raise SensorError("silent")
        for i in range(len(values)):
            channel = self.channels[i]
            if channel is not None:
                if values[i] == UNKNOWN:  # one of several: no value, and above all no high one
                    channel.missed(now)
                else:
                    channel.sample(now, values[i])
            if self._means is not None:
                self._means.take(self._sensor.quantities[i], values[i])

    def _well(self) -> None:
        self._good += self._good < self._run
        if self._good >= self._run:
            self._bad = False

    def _miss(self, now: int, why: str) -> None:
        self.why = why
        self._good = 0
        self._bad = True
        for channel in self.channels:
            if channel is not None:
                channel.missed(now)

    def _fail(self, failed: bool) -> None:
        for channel in self.channels:
            if channel is not None:
                channel.failed = failed
                if failed:
                    channel.forget_value()
