"""Sensirion SHT30/31/35: temperature and humidity on I2C.

Own driver: micropython-sht30 (PyPI, 2019) has no build file and cannot be installed.

Single shots, high repeatability, no clock stretching (data sheet, December 2022, table 9): a measurement exists only
if it was asked for, so that every value is fresh, and there is no configuration that a power dip could lose.
"""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.crc8 import check
from bongsu_node.sensing.i2c_sensor import address_of
from bongsu_node.sensing.sht import ShtSensor

_ADDRESSES = (0x44, 0x45)  # ADDR low, high (table 8)
_SOFT_RESET = b"\x30\xa2"  # 4.8; 1.5 ms
_READ_STATUS = b"\xf3\x2d"  # 4.11
_MEASURE = b"\x24\x00"
_RESET_MS = 2
_MEASURE_MS = 16  # table 4: at most 15.5 ms
# Table 18: bit 13 heater on, bit 1 the last command was not understood. After a reset both are 0.
_HEATER, _REFUSED = 0x20, 0x02
_SATURATED = 0xFFFF  # 100 %: a wet place may stay there for days
_START, _STATUS, _COLLECT = 0, 1, 2


class Sht3x(ShtSensor):
    """`i2c`: a machine.I2C or alike."""

    def __init__(self, i2c, address: int, ticks_diff) -> None:
        super().__init__(i2c, address, ticks_diff, raws=2)
        self._status = bytearray(3)
        self._raw = bytearray(6)

    def _step(self, now: int) -> bool:
        if self._state == _START:
            self._command(now, _STATUS, _SOFT_RESET)
            return False
        if self._state == _STATUS:
            if self._waited(now, _RESET_MS):
                self._self_check()
                self._command(now, _COLLECT, _MEASURE)
            return False
        if not self._waited(now, _MEASURE_MS):
            return False
        humidity = self._take(now)
        if humidity != _SATURATED:
            self._moves(now, 1, humidity)
        # 4.13: RH = 100 raw / 65535 %.
        self.values[1] = (200 * humidity + 32_767) // 65_535
        self._command(now, _COLLECT, _MEASURE)
        return True

    def _self_check(self) -> None:
        self._write(_READ_STATUS)
        self._read(self._status)
        check(self._status)
        if self._status[0] & _HEATER or self._status[1] & _REFUSED:
            raise SensorError("absent")


def make(hw, s):
    """From the entry {"type": "sht3x", "address": 68}."""
    return Sht3x(hw.i2c(), address_of(s, _ADDRESSES), hw.ticks_diff)
