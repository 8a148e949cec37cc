"""What SHT3x and SHT4x have in common: two words with their check sums, and the scale of the temperature."""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.command_sensor import CommandSensor
from bongsu_node.sensing.crc8 import check
from bongsu_wire import kinds

_LOWEST = 1_873  # -40 degC, the lower end of the sensors; above the upper end they shall say "hot"


class ShtSensor(CommandSensor):
    """A driver makes _raw, 6 bytes."""

    quantities = (kinds.Q_TEMP_DK, kinds.Q_HUMIDITY_HALF)
    _raw: bytearray

    def _take(self, now: int) -> int:
        """Fetch a measurement and fill the temperature; returns the humidity's raw value. Raises SensorError."""
        raw = self._raw
        self._read(raw)
        check(raw)
        temperature = raw[0] << 8 | raw[1]
        if temperature < _LOWEST:
            raise SensorError("range")
        self._moves(now, 0, temperature)
        # T = -45 + 175 raw / 65535 degC (SHT3x 4.13, SHT4x 4.6). In 0.1 K: 2281.5 + 1750 raw / 65535.
        self.values[0] = (1_750 * temperature + 149_518_102 + 32_767) // 65_535
        return raw[3] << 8 | raw[4]
