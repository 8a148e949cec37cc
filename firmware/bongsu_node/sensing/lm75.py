"""Thermometers compatible with the LM75: LM75A/B (9 or 11 bits), TMP100/101/102/112/175 (12 bits), on I2C.

Register 0 holds the temperature left-aligned in 16 bits, big-endian, in 1/256 degC, whatever the resolution (LM75B
data sheet, 7.4.3; TMP102 data sheet, 7.5.2). The lowest four bits are no part of any of them. An old LM75 leaves its
lowest seven bits undefined: at most +0.44 degC, far inside its own tolerance of 2 degC.
"""

from bongsu_node.sensing import SensorError
from bongsu_wire import kinds

ADDRESS = 0x48
_REGISTER = 0
# Lower end of what these chips measure, -55 degC, in 1/256 degC. The upper end needs no check: a TMP102 saturates at
# +127.9 degC, and a thermometer that stands in a fire must go on saying "hot", not "faulty".
_LOWEST = -55 * 256
_ZERO_C = 699_264  # 273.15 K in units of 1/2560 K


class Lm75:
    """`i2c`: a machine.I2C or alike with readfrom_mem_into."""

    quantities = (kinds.Q_TEMP_DK,)
    period_ms = 250
    warming = False

    def __init__(self, i2c, address: int = ADDRESS) -> None:
        self.values = [0xFFFF]
        self._i2c = i2c
        self._address = address
        self._raw = bytearray(2)

    def poll(self, now: int) -> bool:
        """See sensing/__init__.py."""
        self.values[0] = self.read()
        return True

    def read(self) -> int:
        """Temperature in 0.1 K. Raises SensorError: "nak" (no answer on the bus), "range"."""
        try:
            self._i2c.readfrom_mem_into(self._address, _REGISTER, self._raw)
        except OSError:
            raise SensorError("nak") from None
        value = (self._raw[0] << 8 | self._raw[1]) & 0xFFF0
        if value & 0x8000:
            value -= 0x10000
        if value < _LOWEST:
            raise SensorError("range")
        return (value * 10 + _ZERO_C + 128) >> 8


def make(hw, s):
    """The thermometer of the settings' entry `s`: address, 0x48..0x4F."""
    return Lm75(hw.i2c(), s.get("address", ADDRESS))
