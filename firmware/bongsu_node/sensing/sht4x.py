"""Sensirion SHT40/41/45: temperature and humidity on I2C.

Own driver: micropython-sht4x (PyPI, MIT) reads before the conversion is over, and allocates each sample.

One measurement a command, high precision (data sheet, version 6.6, 4.5): a value exists only if it was asked for, so
that every value is fresh, and there is no configuration that a power dip could lose. The heater is never used.
"""

from bongsu_node.sensing.crc8 import check
from bongsu_node.sensing.i2c_sensor import address_of
from bongsu_node.sensing.sht import ShtSensor

_ADDRESSES = (0x44, 0x45, 0x46)  # by part number: -A, -B, -C
_SOFT_RESET = b"\x94"
_READ_SERIAL = b"\x89"
_MEASURE = b"\xfd"
_RESET_MS = 2  # 3.1: 1 ms at most
_MEASURE_MS = 9  # 3.1: 8.3 ms at most
_START, _IDENTIFY, _IDENTITY, _COLLECT = 0, 1, 2, 3


class Sht4x(ShtSensor):
    """`i2c`: a machine.I2C or alike. serial: of the chip, None until it answered."""

    def __init__(self, i2c, address: int, ticks_diff) -> None:
        super().__init__(i2c, address, ticks_diff, raws=2)
        self.serial = None
        self._raw = bytearray(6)

    def _step(self, now: int) -> bool:
        if self._state == _COLLECT:
            return self._waited(now, _MEASURE_MS) and self._collect(now)
        if self._state == _START:
            self._command(now, _IDENTIFY, _SOFT_RESET)
        elif self._state == _IDENTIFY:
            if self._waited(now, _RESET_MS):
                self._command(now, _IDENTITY, _READ_SERIAL)
        elif self._waited(now, _RESET_MS):
            raw = self._raw
            self._read(raw)
            check(raw)
            self.serial = bytes((raw[0], raw[1], raw[3], raw[4]))
            self._command(now, _COLLECT, _MEASURE)
        return False

    def _collect(self, now: int) -> bool:
        humidity = self._take(now)
        self._moves(now, 1, humidity)
        # 4.6: RH = -6 + 125 raw / 65535 %, to be cut at 0 and 100.
        half = (250 * humidity + 32_767) // 65_535 - 12
        self.values[1] = 0 if half < 0 else 200 if half > 200 else half
        self._command(now, _COLLECT, _MEASURE)
        return True


def make(hw, s):
    """From the entry {"type": "sht4x", "address": 68}."""
    return Sht4x(hw.i2c(), address_of(s, _ADDRESSES), hw.ticks_diff)
