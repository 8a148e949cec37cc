"""What the MQ semiconductor sensors have in common: a load resistor, a baseline of clean air, a long warm-up.

The sensor lies between its supply and the pin, the load resistor between pin and ground (data sheets of MQ-2 and MQ-7,
"basic test loop"): Rs = RL (Vc - V) / V. More gas, less resistance, more voltage.
"""

from bongsu_node.sensing import SensorError, adc, entry

# Three minutes after power the resistance is within the data sheet's tolerance again if the sensor is not new; before,
# the cold oxide reads anything from an open circuit to dense gas.
WARM_MS = 180_000
# "Preheat time: over 24 h" (MQ-2), "no less than 48 h" (MQ-7), for a sensor that is new or long without power. After a
# day the drift that is left is slow enough for the baseline to follow.
BURN_IN_MS = 86_400_000
_EACH_MINUTE_MS = 60_000
# The baseline takes 1/64 of the way each minute: an hour of cleaner air counts, a gust does not.
_FOLLOW_SHIFT = 6


class Load:
    """The measuring circuit. supply_mv: Vc; load_ohm: RL; adc_permille: the share of V that reaches the ADC.

    uv: of the newest reading; top: it was at the upper end of what can be told; most_ohm: the most that can be told.
    """

    def __init__(self, s) -> None:
        self.uv = 0
        self.top = False
        self._supply_mv = entry.whole(s, "supply_mv", 3_000, 5_500, 5_000)
        # Above 100 kohm products leave the 31 bits of an ESP32's small integers; the data sheets say 5 to 47 kohm.
        self._load_ohm = entry.whole(s, "load_ohm", 1_000, 100_000)
        self._permille = entry.whole(s, "adc_permille", 100, 1_000, 1_000)
        reach_uv = self._supply_mv * self._permille
        if reach_uv > adc.PIN_MOST_UV:
            raise ValueError("adc_permille: %d mV would reach the pin" % (reach_uv // 1000))
        # 20 mV below the supply: noise of the ADC, and what a short circuit through a long wire leaves.
        self._ceiling_uv = min(adc.CEILING_UV, reach_uv - 20_000)
        self.most_ohm = self._sensor_ohm(adc.FLOOR_UV)

    def _sensor_ohm(self, uv: int) -> int:
        mv = uv // self._permille
        return self._load_ohm * (self._supply_mv - mv) // mv

    def ohm(self, uv: int) -> int:
        """The sensor's resistance, at least 1, at a voltage that may also mean a fault: see check()."""
        self.uv = uv
        self.top = uv >= self._ceiling_uv
        if uv < adc.FLOOR_UV:
            return self.most_ohm
        return self._sensor_ohm(self._ceiling_uv if self.top else uv) or 1

    def check(self, risen: bool) -> None:
        """Judge the newest reading. Raises SensorError: "open" (unplugged, or the heater is cold), "short" (at the
        supply, unless `risen`: gas climbs there, a short circuit jumps).
        """
        if self.uv < adc.FLOOR_UV:
            raise SensorError("open")
        if self.top and not risen:
            raise SensorError("short")


class Baseline:
    """The resistance in clean air. ohm: 0 until it is known.

    From the entry's clean_ohm (measured in clean air when the sensor was put up: the better way), or learned after the
    warm-up. What is learned may be foul air, and a baseline that follows foul air makes a sensor blind: so it never
    leaves `low`..`high`, what the data sheet gives for clean air, and it only rises, slowly.
    """

    def __init__(self, s, low: int, high: int, most_ohm: int) -> None:
        self._low = low
        self._high = min(high, most_ohm)
        if self._high < 2 * low and "clean_ohm" not in s:
            raise ValueError("load_ohm: too small to tell clean air")
        self.ohm = entry.whole(s, "clean_ohm", 1_000, min(1_000_000, most_ohm), 0) if "clean_ohm" in s else 0
        self._given = self.ohm > 0
        self._since = 0

    def take(self, now: int, ohm: int, ticks_diff) -> None:
        """A good resistance of ticks `now`."""
        if self._given:
            return
        clean = ohm if ohm < self._high else self._high
        if not self.ohm:
            self.ohm = clean if clean > self._low else self._low
            self._since = now
        elif ticks_diff(now, self._since) >= _EACH_MINUTE_MS:
            self._since = now
            if clean > self.ohm:
                self.ohm += ((clean - self.ohm) >> _FOLLOW_SHIFT) or 1


class WarmUp:
    """Counts the time since power. new: the sensor is burnt in first.

    on: no values yet; cold: what it reads is no fault either (the first minutes).
    """

    def __init__(self, s, ticks_diff) -> None:
        new = s.get("new", False)
        if not isinstance(new, bool):
            raise ValueError("new: true or false is needed")
        self.on = True
        self.cold = True
        self._need_ms = BURN_IN_MS if new else WARM_MS
        self._diff = ticks_diff
        self._begun = None

    def step(self, now: int) -> bool:
        """Return `on` at ticks `now`."""
        if self.on:
            if self._begun is None:
                self._begun = now
            past_ms = self._diff(now, self._begun)
            self.cold = past_ms < WARM_MS
            self.on = past_ms < self._need_ms
        return self.on
