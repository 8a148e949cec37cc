"""MQ-7, a semiconductor sensor for carbon monoxide, on the ADC.

Entry: as mq2.py (a load_ohm of twice Ro tells clean air as well as 2,000 ppm), and heater_pin: an output that is high
for 5 V at the heater and low for 1.4 V (a transistor and a regulator on the module; the pin itself drives neither).

Data sheet: heated with 5 V for 60 s, which burns off what has settled, then with 1.4 V for 90 s; the value counts at
the end of those. So there is one value in 150 s, early enough for the 3 min of EN 50291 at 300 ppm. Without
heater_pin the module cycles by itself or not at all; then every reading is given, and is a rough one.

A dead heater: "open" if the oxide is cold for good; and, with heater_pin, "stuck" if hot and cold phase read the same
in two cycles (5 min: the chip shows it no earlier).

No driver is depended on: the public ones sleep through the heater cycle and take a power of floats per sample.
"""

from bongsu_node.sensing import SensorError, adc, entry, mq
from bongsu_node.sensing.filters import Median3
from bongsu_node.sensing.stuck import LIMIT_MIN
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN

_HOT_MS = 60_000
_COOL_MS = 90_000
# Data sheet: 2-20 kohm in 100 ppm CO, Ro; clean air 27 Ro (figure 3).
_CLEAN_RATIO = 27
_CLEAN_LOW_OHM = 54_000
_CLEAN_HIGH_OHM = 540_000
# Figure 3 is a straight line of slope -0.66 in log-log scale through (100 ppm, Ro): 300 ppm give 0.48 Ro, inside the
# data sheet's "less than 0.5". The curve ends at 4,000 ppm; 20-2,000 ppm is the range promised.
_SLOPE = 0.66
_FIRST_PPM = 0.68  # where the line meets clean air
_LAST_PPM = 4_000
_STEP = 1.15  # from point to point: straight lines between them are within 1 % of the curve
# An eighth of the resistance in clean air, 3.4 Ro, 16 ppm: CO that climbs to the end of the scale passes below it.
_RISEN_SHARE = 8
_SETTLED_MS = 30_000  # into the cool phase: the heat of the other one no longer passes for gas
_SAME_UV = 3_000  # three counts of a calibrated ADC
_SAME_CYCLES = 2


def _curve():
    """Points of figure 3: Rs/Ro in 1/1000, falling, and CO in 0.1 ppm."""
    permille = []
    dppm = []
    ppm = _FIRST_PPM
    while ppm < _LAST_PPM * _STEP:
        permille.append(int(1000 * (ppm / 100) ** -_SLOPE + 0.5))
        dppm.append(int(10 * ppm + 0.5))
        ppm *= _STEP
    return permille, dppm


class Mq7(adc.AdcSensor):
    """`load`: mq.Load; `baseline`: mq.Baseline; `warm_up`: mq.WarmUp; `heater`: called with the level, or None.

    warming: until the first whole cycle that ends after the warm-up: at most 180 s (new: 24 h) and 150 s more.
    Fails as "open", "short", "stuck", "nak".
    """

    quantities = (kinds.Q_CO_DPPM,)

    def __init__(self, source, load, baseline, warm_up, heater, ticks_diff, stuck_min: int = LIMIT_MIN) -> None:
        super().__init__(source, ticks_diff, stuck_min)
        self.warming = True
        self.period_ms = _HOT_MS + _COOL_MS if heater else 250
        self._load = load
        self._baseline = baseline
        self._warm_up = warm_up
        self._heater = heater
        self._permille, self._dppm = _curve()
        self._last = UNKNOWN
        self._median = Median3()  # one value in 150 s decides: not by one wild sample
        self._risen = False
        self._hot = False
        self._past_ms = 0
        self._since = None
        self._hot_uv = 0
        self._same = 0

    def _step(self, now: int, uv: int) -> bool:
        burning_in = self._warm_up.step(now)
        ended = self._cycle(now)
        ohm = self._load.ohm(uv)
        if ended:
            self._last = UNKNOWN
            self._compare()
        if self._warm_up.cold:
            return False
        if not self._load.top and (self._heater is None or (not self._hot and self._past_ms >= _SETTLED_MS)):
            self._risen = ohm * _RISEN_SHARE < self._baseline.ohm
        self._load.check(self._risen)
        ohm = self._median.update(ohm)
        if self._same >= _SAME_CYCLES:
            raise SensorError("stuck")
        if ended and not burning_in:
            self.warming = False
            self._baseline.take(now, ohm, self._diff)
            self._last = self._co(ohm)
        self.values[0] = self._last  # once more after a failure that is over: at most one cycle old
        return ended and not burning_in

    def _cycle(self, now: int) -> bool:
        """Switch the heater when it is time; True: this is the moment to read, before the heat comes."""
        if self._heater is None:
            return True
        if self._since is None:
            self._switch(now, True)
        self._past_ms = self._diff(now, self._since)
        if self._hot and self._past_ms >= _HOT_MS:
            self._hot_uv = self._load.uv
            self._switch(now, False)
        elif not self._hot and self._past_ms >= _COOL_MS:
            self._switch(now, True)
            return True
        return False

    def _switch(self, now: int, hot: bool) -> None:
        self._heater(1 if hot else 0)
        self._hot = hot
        self._past_ms = 0
        self._since = now

    def _compare(self) -> None:
        if self._heater is not None:
            moved = self._load.uv - self._hot_uv
            if -_SAME_UV < moved < _SAME_UV:
                self._same += self._same < _SAME_CYCLES
            else:
                self._same = 0

    def _co(self, ohm: int) -> int:
        """0.1 ppm by the curve."""
        # Rs/Ro in 1/1000 with Ro = clean/27, in steps that stay within 31 bits: Rs <= 3.5 Mohm, clean >= 1 kohm.
        permille = ohm * 270 // (self._baseline.ohm // 100 or 1)
        points = self._permille
        if permille >= points[0]:
            return 0
        low = 0
        high = len(points) - 1
        if permille <= points[high]:
            return self._dppm[high]
        while high - low > 1:
            middle = (low + high) >> 1
            if points[middle] >= permille:
                low = middle
            else:
                high = middle
        base = self._dppm[low]
        return base + (self._dppm[high] - base) * (points[low] - permille) // (points[low] - points[high])


def make(hw, s) -> Mq7:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    load = mq.Load(s)
    baseline = mq.Baseline(s, _CLEAN_LOW_OHM, _CLEAN_HIGH_OHM, load.most_ohm)
    heater = hw.pin_out(entry.pin(s, "heater_pin")) if "heater_pin" in s else None
    warm_up = mq.WarmUp(s, hw.ticks_diff)
    return Mq7(hw.adc(entry.pin(s)), load, baseline, warm_up, heater, hw.ticks_diff, entry.stuck_min(s))
