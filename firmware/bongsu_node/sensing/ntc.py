"""A thermistor (NTC) in a voltage divider on the ADC.

Entry: pin, r25_ohm with beta (B25/85 of the data sheet, K) or `table` ([[degC, ohm], ...], of the data sheet),
divider_ohm, supply_mv, and to: "ground" (default: the thermistor lies between pin and ground) or "supply".

Between the points of a table, and from r25_ohm on, a thermistor follows ln R ~ 1/T (the B equation of every data
sheet). That is worked out once, every 5 K; a sample only looks it up: within 0.1 K of the equation from 0 to 100 degC.

Hot enough, a thermistor leaves what the ADC can tell on the same side as a short circuit (111 degC for 10 kohm, B 3950,
over 10 kohm). They are told apart by the way, as with a smoke head: a fire climbs, a short jumps.

No driver is depended on: the public ones take a logarithm of floats per sample and know no broken wire.
"""

from math import exp, log

from bongsu_node.sensing import SensorError, adc, entry
from bongsu_node.sensing.stuck import LIMIT_MIN
from bongsu_wire import kinds

_ZERO_C_DK = 2732  # 273.15 K, rounded
_STEP_K = 5
_COLDEST_C = -40
_HOTTEST_C = 150
# Every thermistor here must be able to tell these: a cold market, and well beyond class A1 of EN 54-5 (54-65 degC).
_MUST_COLD_C = -10
_MUST_HOT_C = 90
# 54 degC, the lowest static response of class A1: below it the hot end of the divider is a short circuit.
_RISEN_DK = 3272
_MOST_PAIRS = 64


class Ntc(adc.AdcSensor):
    """`uv`, `dk`: points of the divider's curve, uv rising. Its self-heating settles within seconds, below 1 K.

    Fails as "open" at the cold end of the divider, "short" at its hot end, "stuck", "nak".
    """

    quantities = (kinds.Q_TEMP_DK,)

    def __init__(self, source, uv, dk, ticks_diff, stuck_min: int = LIMIT_MIN) -> None:
        super().__init__(source, ticks_diff, stuck_min)
        self._uv = uv
        self._dk = dk
        self._lowest = max(uv[0], adc.FLOOR_UV)
        self._highest = min(uv[-1], adc.CEILING_UV)
        self._hot_is_low = dk[0] > dk[-1]
        self._last = 0

    def _step(self, now: int, uv: int) -> bool:
        if uv < self._lowest:
            self._beyond(self._hot_is_low)
            uv = self._lowest
        elif uv > self._highest:
            self._beyond(not self._hot_is_low)
            uv = self._highest
        self._last = self.values[0] = self._look_up(uv)
        return True

    def _beyond(self, hot: bool) -> None:
        if not hot:
            raise SensorError("open")
        if self._last < _RISEN_DK:
            raise SensorError("short")

    def _look_up(self, uv: int) -> int:
        points = self._uv
        low = 0
        high = len(points) - 1
        while high - low > 1:
            middle = (low + high) >> 1
            if points[middle] <= uv:
                low = middle
            else:
                high = middle
        base = self._dk[low]
        width = points[high] - points[low]
        return base + ((self._dk[high] - base) * (uv - points[low]) * 2 + width) // (2 * width)


def _pairs(s):
    """(degC, ohm) of the entry, rising in temperature; two of them where the entry gives r25_ohm and beta."""
    table = s.get("table")
    if table is None:
        r25_ohm = entry.whole(s, "r25_ohm", 100, 1_000_000)
        beta = entry.whole(s, "beta", 1_000, 10_000)
        return [(c, r25_ohm * exp(beta * (1 / (c + 273.15) - 1 / 298.15))) for c in (_COLDEST_C, _HOTTEST_C)]
    try:
        pairs = [(c + 0.0, ohm + 0.0) for c, ohm in table]
    except (TypeError, ValueError):
        raise ValueError("table: pairs of degC and ohm are needed") from None
    if not 2 <= len(pairs) <= _MOST_PAIRS or pairs[0][0] < -100 or pairs[-1][0] > 500 or pairs[-1][1] <= 0:
        raise ValueError("table: 2 to %d pairs are needed" % _MOST_PAIRS)
    for n in range(1, len(pairs)):
        if pairs[n][0] <= pairs[n - 1][0] or pairs[n][1] >= pairs[n - 1][1]:
            raise ValueError("table: rising degC and falling ohm are needed")
    return pairs


def _ohm(pairs, c: float) -> float:
    """Resistance at `c` degC by the B equation between the two pairs around it."""
    n = 1
    while n < len(pairs) - 1 and pairs[n][0] < c:
        n += 1
    (c0, ohm0), (c1, ohm1) = pairs[n - 1], pairs[n]
    share = (1 / (c + 273.15) - 1 / (c0 + 273.15)) / (1 / (c1 + 273.15) - 1 / (c0 + 273.15))
    return ohm0 * exp(share * log(ohm1 / ohm0))


def make(hw, s) -> Ntc:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    pairs = _pairs(s)
    divider_ohm = entry.whole(s, "divider_ohm", 100, 1_000_000)
    supply_uv = 1000 * entry.whole(s, "supply_mv", 1_000, 3_600)
    to_ground = entry.choice(s, "to", ("ground", "supply"), "ground") == "ground"
    points = []
    for c in range(_COLDEST_C, _HOTTEST_C + 1, _STEP_K):
        if pairs[0][0] <= c <= pairs[-1][0]:
            ohm = _ohm(pairs, c)
            share = (ohm if to_ground else divider_ohm) / (ohm + divider_ohm)
            points.append((int(supply_uv * share), _ZERO_C_DK + 10 * c))
    _check(points, s)
    points.sort()
    source = hw.adc(entry.pin(s))
    return Ntc(source, [p[0] for p in points], [p[1] for p in points], hw.ticks_diff, entry.stuck_min(s))


def _check(points, s) -> None:
    """Raise ValueError unless the ADC can tell the temperatures that matter."""
    told = [dk for uv, dk in points if adc.FLOOR_UV <= uv <= adc.CEILING_UV]
    cold, hot = _ZERO_C_DK + 10 * _MUST_COLD_C, _ZERO_C_DK + 10 * _MUST_HOT_C
    if not told or min(told) > cold or max(told) < hot:
        field = (
            "table" if "table" in s and (not points or points[0][1] > cold or points[-1][1] < hot) else "divider_ohm"
        )
        raise ValueError("%s: cannot tell all of %d..%d degC" % (field, _MUST_COLD_C, _MUST_HOT_C))
