"""An analogue smoke head on the ADC: its voltage rises with the optical density from a live zero in clean air.

    microvolt = mv_clean * 1000 + uv_per_e4 * smoke, smoke in 1e-4/m

Entry: pin, mv_clean, uv_per_e4 (both of the head's data sheet or its test report).

The live zero tells a broken wire from clean air. An ESP32's ADC reads 142 mV at an open input and 3.1-3.3 V at the
supply (ESP-IDF, ADC calibration at 11 dB), so the limits lie between those and what the head can give.

Dense smoke drives a head into its supply as a short circuit does: 18 of the 24 stations of four recorded NIST fires go
beyond 0.26 per m, where the default head ends; the quickest took 15 s from the alarm limit to there.
They are told apart by the way: smoke climbs through the values between, a short jumps. So a head at its supply whose
last value had risen gives that top value, for a fire must not turn into a sensor fault.
"""

from bongsu_node.sensing import SensorError, adc
from bongsu_node.sensing.stuck import LIMIT_MIN
from bongsu_wire import kinds

_SHORT_UV = 3_000_000
_MOST_E4 = 0xFFFE  # 0xFFFF says "unknown" on the wire
# Above noise and drift of clean air, below every alarm threshold: from here on the supply voltage means dense smoke.
_RISEN_E4 = 200


class SmokeHead(adc.AdcSensor):
    """`mv_clean`: millivolt in clean air, from power-on; `uv_per_e4`: microvolt per 1e-4/m.

    Fails as "open" (below half of the live zero), "short" (at the supply), "stuck", "nak".
    """

    quantities = (kinds.Q_SMOKE_E4,)

    def __init__(self, source, mv_clean: int, uv_per_e4: int, ticks_diff=None, stuck_min: int = LIMIT_MIN) -> None:
        super().__init__(source, ticks_diff, stuck_min)
        self._clean_uv = mv_clean * 1000
        self._uv_per_e4 = uv_per_e4
        self._last = 0

    def _step(self, now: int, uv: int) -> bool:
        self.values[0] = self._smoke(uv)
        return True

    def _smoke(self, uv: int) -> int:
        if uv < self._clean_uv >> 1:
            raise SensorError("open")
        if uv > _SHORT_UV and self._last < _RISEN_E4:
            raise SensorError("short")
        smoke = (uv - self._clean_uv) // self._uv_per_e4 if uv > self._clean_uv else 0
        self._last = smoke if smoke < _MOST_E4 else _MOST_E4
        return self._last


def make(hw, s) -> SmokeHead:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    from bongsu_node.sensing import entry  # forgotten after the start

    # Half of the live zero must lie above what the ADC reads at an open input.
    mv_clean = entry.whole(s, "mv_clean", 2 * adc.FLOOR_UV // 1000, 2_000)
    uv_per_e4 = entry.whole(s, "uv_per_e4", 1, 100_000)
    return SmokeHead(hw.adc(entry.pin(s)), mv_clean, uv_per_e4, hw.ticks_diff, entry.stuck_min(s))
