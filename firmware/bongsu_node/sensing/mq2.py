"""MQ-2, a semiconductor sensor for combustible gas and smoke, on the ADC.

Entry: pin, load_ohm (RL), and if they differ from 5000 and 1000: supply_mv (Vc), adc_permille (share of the output
that a divider lets through to the pin); clean_ohm (resistance in clean air; else it is learned), new (true: burnt in
for 24 h before the first value).

The value is a ratio, 100 x resistance in clean air / resistance now: the sensor answers to many gases alike, so a
concentration would be a guess. Data sheet, figure 3: LPG of 1,000 ppm gives about 1,300, hydrogen 983.
A dead heater shows as "open": cold tin dioxide is an insulator; what leaks past it stands still: "stuck".

No driver is depended on: the public ones average with sleeps and learn whatever air there is at start.
"""

from bongsu_node.sensing import adc, entry, mq
from bongsu_node.sensing.stuck import LIMIT_MIN
from bongsu_wire import kinds

# Data sheet: 3-30 kohm in 1,000 ppm isobutane, where Rs/Ro is about 1; clean air 9.83 (figure 3).
_CLEAN_LOW_OHM = 29_500
_CLEAN_HIGH_OHM = 295_000
_MOST = 0xFFFE
# Twice the conductivity of clean air: more than humidity and season do (data sheet, figure 4: within 0.6..1.7).
_RISEN = 200


class Mq2(adc.AdcSensor):
    """`load`: mq.Load; `baseline`: mq.Baseline; `warm_up`: mq.WarmUp. Fails as "open", "short", "stuck", "nak"."""

    quantities = (kinds.Q_GAS_INDEX,)

    def __init__(self, source, load, baseline, warm_up, ticks_diff, stuck_min: int = LIMIT_MIN) -> None:
        super().__init__(source, ticks_diff, stuck_min)
        self.warming = True
        self._load = load
        self._baseline = baseline
        self._warm_up = warm_up
        self._last = 0

    def _step(self, now: int, uv: int) -> bool:
        self.warming = self._warm_up.step(now)
        ohm = self._load.ohm(uv)
        if self._warm_up.cold:
            return False
        self._load.check(self._last >= _RISEN)
        if self.warming:
            return False
        self._baseline.take(now, ohm, self._diff)
        index = 100 * self._baseline.ohm // ohm
        self._last = index if index < _MOST else _MOST
        self.values[0] = self._last
        return True


def make(hw, s) -> Mq2:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    load = mq.Load(s)
    baseline = mq.Baseline(s, _CLEAN_LOW_OHM, _CLEAN_HIGH_OHM, load.most_ohm)
    warm_up = mq.WarmUp(s, hw.ticks_diff)
    return Mq2(hw.adc(entry.pin(s)), load, baseline, warm_up, hw.ticks_diff, entry.stuck_min(s))
