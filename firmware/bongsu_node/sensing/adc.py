"""Sensors that give a voltage: what an ESP32's ADC can tell of it, and what all their drivers have in common.

At 0 V the ADC reads 142 mV, at its supply something from 3.1 to 3.3 V, and it is calibrated from 150 mV to 3.1 V
(ESP-IDF, ADC calibration, attenuation 11 dB). So a voltage outside FLOOR_UV..CEILING_UV may be anything beyond.
"""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.channel import UNKNOWN
from bongsu_node.sensing.stuck import LIMIT_MIN, Stuck

FLOOR_UV = 160_000
CEILING_UV = 3_050_000
# An ESP32's pin takes 3.6 V at most (data sheet, absolute maximum ratings).
PIN_MOST_UV = 3_600_000


class AdcSensor:
    """Base of the drivers. `source`: a machine.ADC or alike with read_uv(); `stuck_min`: minutes after which a voltage
    that stands still is a fault, 0 = never.

    A driver gives _step(now, uv): True if it has filled `values` anew; raises SensorError. Failures of the base: "nak"
    (ADC2 gives nothing while Wi-Fi runs), "stuck". A failure lasts as long as its cause: the next good reading ends it.
    """

    quantities: tuple = ()
    period_ms = 250
    warming = False

    def __init__(self, source, ticks_diff, stuck_min: int = LIMIT_MIN) -> None:
        self.values = [UNKNOWN]
        self._source = source
        self._diff = ticks_diff
        self._watch = Stuck(ticks_diff, stuck_min)

    def poll(self, now: int) -> bool:
        """Call it every 250 ms with ticks `now`; True: fresh values. Raises SensorError while there is none to have."""
        try:
            uv = self._read_uv()
            fresh = self._step(now, uv)
            if self._watch.sample(now, uv):
                raise SensorError("stuck")
        except SensorError:
            self.values[0] = UNKNOWN
            self._watch.pause()
            raise
        return fresh

    def _read_uv(self) -> int:
        try:
            return self._source.read_uv()
        except OSError:
            raise SensorError("nak") from None

    def _step(self, now: int, uv: int) -> bool:
        raise NotImplementedError
