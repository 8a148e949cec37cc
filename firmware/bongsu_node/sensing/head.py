"""A certified detector head with four wires, by its relay: two wires feed it, two carry this loop to the ADC.

    supply -- series_ohm -- pin -- cable -- eol_ohm -- ground, and at the head: relay contact + alarm_ohm beside eol_ohm

Entry: pin, supply_mv, series_ohm, eol_ohm (end of line, at the last head), alarm_ohm (in series with the alarm contact,
which closes in alarm), adc_permille (share of the loop's voltage that a divider lets through to the pin; default 1000).

The loop's voltage tells four states apart, as EN 54-2 (8.2.4) asks of a detection circuit: short, alarm, normal, open.
Each has a band around what its resistors give, a third of the way to its neighbour; between two bands is neither, and
the state before stands (hysteresis), but no longer than 5 s: then the line is a fault, "range".

In a fire the cable burns through, and its wires touch: an alarm that was there for a second and becomes a short circuit
stays an alarm until the loop is normal again. (One sample in the alarm band may be a short that was just closing.)

There is no driver to depend on.
"""

from bongsu_node.sensing import SensorError, adc, entry
from bongsu_wire import kinds

_SHORT, _ALARM, _NORMAL, _OPEN, _BETWEEN = range(5)
# Between neighbours: three times what resistors of 5 % and the ADC's own error (some 60 mV) may shift each of them.
_APART_UV = 300_000
_AT_ZERO_UV = 142_000  # what the ADC reads at 0 V
_AT_SUPPLY_UV = 3_100_000  # at least
_PATIENCE_MS = 5_000
_SURE = 4  # samples in the alarm band: 1 s


class Head(adc.AdcSensor):
    """`edges`: six voltages in microvolt, rising: end of short, begin and end of alarm, begin and end of normal, begin
    of open.

    The value is 0 (normal) or 1 (alarm). Fails as "open", "short", "range", "nak"; a loop that stands still is well.
    """

    quantities = (kinds.Q_HEAD,)

    def __init__(self, source, edges, ticks_diff) -> None:
        super().__init__(source, ticks_diff, 0)
        self._edges = edges
        self._state = _BETWEEN
        self._between = False
        self._since = 0
        self._alarms = 0  # samples in the alarm band, up to _SURE, since the loop was normal

    def _step(self, now: int, uv: int) -> bool:
        seen = self._see(uv)
        if seen == _BETWEEN:
            self._wait(now)
        else:
            self._between = False
            self._state = seen
        if seen == _ALARM:
            self._alarms += self._alarms < _SURE
        elif seen == _NORMAL:
            self._alarms = 0
        if self._state == _SHORT and self._alarms >= _SURE:
            self._state = _ALARM
        if self._state == _SHORT:
            raise SensorError("short")
        if self._state == _OPEN:
            raise SensorError("open")
        self.values[0] = 1 if self._state == _ALARM else 0
        return True

    def _see(self, uv: int) -> int:
        edges = self._edges
        if uv <= edges[0]:
            return _SHORT
        if edges[1] <= uv <= edges[2]:
            return _ALARM
        if edges[3] <= uv <= edges[4]:
            return _NORMAL
        return _OPEN if uv >= edges[5] else _BETWEEN

    def _wait(self, now: int) -> None:
        """Between two bands."""
        if not self._between:
            self._between = True
            self._since = now
        if self._state == _BETWEEN or self._diff(now, self._since) >= _PATIENCE_MS:
            self._state = _BETWEEN
            raise SensorError("range")


def make(hw, s) -> Head:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    supply_mv = entry.whole(s, "supply_mv", 1_000, 30_000)
    series_ohm = entry.whole(s, "series_ohm", 100, 100_000)
    eol_ohm = entry.whole(s, "eol_ohm", 100, 100_000)
    alarm_ohm = entry.whole(s, "alarm_ohm", 1, 100_000)
    permille = entry.whole(s, "adc_permille", 10, 1_000, 1_000)
    if supply_mv * permille > adc.PIN_MOST_UV:
        raise ValueError("adc_permille: %d mV would reach the pin" % (supply_mv * permille // 1000))
    closed_ohm = alarm_ohm * eol_ohm / (alarm_ohm + eol_ohm)
    centres = [_AT_ZERO_UV]
    for ohm in (closed_ohm, eol_ohm):
        centres.append(int(supply_mv * permille * ohm / (series_ohm + ohm)))
    centres.append(min(supply_mv * permille, _AT_SUPPLY_UV))
    for n, field in ((1, "alarm_ohm"), (2, "alarm_ohm"), (3, "eol_ohm")):
        if centres[n] - centres[n - 1] < _APART_UV:
            raise ValueError("%s: two states of the loop are less than %d mV apart" % (field, _APART_UV // 1000))
    edges = []
    for n in range(3):
        third = (centres[n + 1] - centres[n]) // 3
        edges += [centres[n] + third, centres[n + 1] - third]
    return Head(hw.adc(entry.pin(s)), edges, hw.ticks_diff)
