"""A supervised sensor with its detector: a dead one becomes a fault and blocks nothing."""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.detector import UNKNOWN, Hold
from bongsu_wire import kinds

# A sensor that fails for this long is a fault, and one that works for this long is well again; the centre hears of it
# in < 60 s.
FAULT_MS = 10_000
# A sensor that answers only now and then is failing: it must give this many values in a row to count as working.
_GOOD_RUN = 4


class Probe:
    """`sensor`: has read() -> int, raises SensorError; `detector`: see Detector; `fault`: kinds.FAULT_* of this sensor;
    `faulty`: it was faulty before the restart, as the centre knows.

    faulty: as reported; why: of the newest failure; fulfilled: the detector's criterion as of the last good sample,
    which a dead sensor keeps: a fault never ends an alarm.
    """

    def __init__(self, sensor, detector, fault: int, ticks_diff, faulty: bool = False) -> None:
        self.detector = detector
        self.fault = fault
        self.faulty = faulty
        self.why = ""
        self.fulfilled = False
        self._sensor = sensor
        self._good = 0
        self._failing = Hold(FAULT_MS, ticks_diff)
        self._working = Hold(FAULT_MS, ticks_diff)

    def sample(self, now: int) -> bool:
        """Read the sensor at ticks `now` and feed its detector; False if it gave no value."""
        try:
            raw = self._sensor.read()
        except SensorError as e:
            self.why = e.why
        except Exception as e:  # a driver's bug takes out its own sensor, not the others
            self.why = repr(e)
        else:
            self._good += self._good < _GOOD_RUN
            self.fulfilled = self.detector.sample(now, raw)
            return True
        self._good = 0
        self.detector.missed(now)
        return False

    def supervise(self, now: int) -> int:
        """After each sample(): kinds.FAULT or FAULT_CLEAR when the sensor's state changed, else 0."""
        good = self._good >= _GOOD_RUN
        failed = self._failing.sample(now, not good)
        works = self._working.sample(now, good)
        if failed:
            self.detector.value = UNKNOWN
        if failed and not self.faulty:
            self.faulty = True
            return kinds.FAULT
        if works and self.faulty:
            self.faulty = False
            return kinds.FAULT_CLEAR
        return 0
