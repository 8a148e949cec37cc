"""An analogue smoke head on the ADC: its voltage rises with the optical density from a live zero in clean air.

    microvolt = mv_clean * 1000 + uv_per_e4 * smoke, smoke in 1e-4/m

The live zero tells a broken wire from clean air. An ESP32's ADC reads 142 mV at an open input and 3.1-3.3 V at the
supply (ESP-IDF, ADC calibration at 11 dB), so the limits lie between those and what the head can give.
"""

from bongsu_node.sensing import SensorError

_SHORT_UV = 3_000_000
_MOST_E4 = 0xFFFE  # 0xFFFF says "unknown" on the wire


class SmokeHead:
    """`adc`: anything with read_uv(); `mv_clean`: millivolt in clean air; `uv_per_e4`: microvolt per 1e-4/m."""

    def __init__(self, adc, mv_clean: int, uv_per_e4: int) -> None:
        self._adc = adc
        self._clean_uv = mv_clean * 1000
        self._uv_per_e4 = uv_per_e4

    def read(self) -> int:
        """Smoke in 1e-4/m. Raises SensorError: "open" (below half of the live zero), "short" (at the supply), "nak"."""
        try:
            uv = self._adc.read_uv()
        except OSError:
            raise SensorError("nak") from None
        if uv < self._clean_uv >> 1:
            raise SensorError("open")
        if uv > _SHORT_UV:
            raise SensorError("short")
        if uv <= self._clean_uv:
            return 0
        smoke = (uv - self._clean_uv) // self._uv_per_e4
        return smoke if smoke < _MOST_E4 else _MOST_E4
