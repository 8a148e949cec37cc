"""An analogue smoke head on the ADC: its voltage rises with the optical density from a live zero in clean air.

    microvolt = mv_clean * 1000 + uv_per_e4 * smoke, smoke in 1e-4/m

The live zero tells a broken wire from clean air. An ESP32's ADC reads 142 mV at an open input and 3.1-3.3 V at the
supply (ESP-IDF, ADC calibration at 11 dB), so the limits lie between those and what the head can give.

Dense smoke drives a head into its supply as a short circuit does: 18 of the 24 stations of four recorded NIST fires go
beyond 0.26 per m, where the default head ends; the quickest took 15 s from the alarm limit to there.
They are told apart by the way: smoke climbs through the values between, a short jumps. So a head at its supply whose
last value had risen gives that top value, for a fire must not turn into a sensor fault.
"""

from bongsu_node.sensing import SensorError
from bongsu_wire import kinds

_SHORT_UV = 3_000_000
_MOST_E4 = 0xFFFE  # 0xFFFF says "unknown" on the wire
# Above noise and drift of clean air, below every alarm threshold: from here on the supply voltage means dense smoke.
_RISEN_E4 = 200


class SmokeHead:
    """`adc`: anything with read_uv(); `mv_clean`: millivolt in clean air; `uv_per_e4`: microvolt per 1e-4/m."""

    quantities = (kinds.Q_SMOKE_E4,)
    period_ms = 250
    warming = False

    def __init__(self, adc, mv_clean: int, uv_per_e4: int) -> None:
        self.values = [0xFFFF]
        self._adc = adc
        self._clean_uv = mv_clean * 1000
        self._uv_per_e4 = uv_per_e4
        self._last = 0

    def poll(self, now: int) -> bool:
        """See sensing/__init__.py."""
        self.values[0] = self.read()
        return True

    def read(self) -> int:
        """Smoke in 1e-4/m. Raises SensorError: "open" (below half of the live zero), "short" (at the supply), "nak"."""
        try:
            uv = self._adc.read_uv()
        except OSError:
            raise SensorError("nak") from None
        if uv < self._clean_uv >> 1:
            raise SensorError("open")
        if uv > _SHORT_UV and self._last < _RISEN_E4:
            raise SensorError("short")
        smoke = (uv - self._clean_uv) // self._uv_per_e4 if uv > self._clean_uv else 0
        self._last = smoke if smoke < _MOST_E4 else _MOST_E4
        return self._last


def make(hw, s):
    """The head of the settings' entry `s`: pin, mv_clean, uv_per_e4."""
    return SmokeHead(hw.adc(s["pin"]), s["mv_clean"], s["uv_per_e4"])
