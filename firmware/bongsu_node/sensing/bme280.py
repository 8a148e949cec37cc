"""Bosch BME280: temperature, humidity and pressure on I2C.

Own driver: micropython-bme280 (PyPI, 2019) has no build file and cannot be installed, bme280-upy is GPL.

Forced mode, 1x oversampling (data sheet revision 1.23, 3.3.3): each measurement is asked for, so every value is fresh;
and each is collected together with the configuration that it was made with, so that a power dip, which puts ctrl_meas
back to sleep (5.4.5), is seen at once.
Humidity is computed within +-2^30 as the pressure is; see bosch.py.
"""

from bongsu_node.sensing import SensorError, bosch
from bongsu_node.sensing.i2c_sensor import address_of
from bongsu_wire import kinds

_ADDRESSES = (0x76, 0x77)  # SDO low, high (6.2)
_ID = 0xD0
_BME280 = 0x60  # 5.4.1; 0x58 is a BMP280, which has no humidity
_RESET = 0xE0
_RESET_WORD = b"\xb6"  # 5.4.2; 2 ms
_CTRL_HUM = 0xF2
_CTRL_MEAS = 0xF4
_CONFIG = 0xF5
_HUM_1X = b"\x01"
_FORCED = b"\x25"  # temperature and pressure 1x, forced mode
_SLEEP = 0x24  # the same when it is done
_NO_FILTER = b"\x00"
_TRIM_A = 0x88
_TRIM_B = 0xE1
_MEASURING, _COPYING = 0x08, 0x01  # status, 5.4.4
_RESET_MS = 2
_MEASURE_MS = 10  # 9.1: 9.3 ms at most at 1x
# Trimming of humidity is for -40 .. 85 degC; beyond 117 degC it takes that of 117 degC.
_DT_MOST = 524_288
_START, _SET_UP, _COLLECT = 0, 1, 2


class Bme280(bosch.BoschSensor):
    """`i2c`: a machine.I2C or alike. Pressure outside of 300 .. 1100 hPa is unknown, and no fault of the others."""

    quantities = (kinds.Q_TEMP_DK, kinds.Q_HUMIDITY_HALF, kinds.Q_PRESSURE_DHPA)

    def __init__(self, i2c, address: int, ticks_diff) -> None:
        super().__init__(i2c, address, ticks_diff, raws=2)
        self._byte = bytearray(1)
        self._raw = bytearray(13)  # 0xF2 .. 0xFE
        self._h1 = self._h2 = self._h3 = self._h4 = self._h5 = self._h6 = 0

    def _step(self, now: int) -> bool:
        if self._state == _COLLECT:
            return self._waited(now, _MEASURE_MS) and self._collect(now)
        if self._state == _START:
            self._read_register(_ID, self._byte)
            if self._byte[0] != _BME280:
                raise SensorError("absent")
            self._write_register(_RESET, _RESET_WORD)
            self._at = now
            self._state = _SET_UP
        elif self._waited(now, _RESET_MS):
            self._set_up(now)
        return False

    def _set_up(self, now: int) -> None:
        self._read_register(_CTRL_HUM, self._raw)
        if self._raw[1] & _COPYING:
            return  # the trimming is on its way from its memory
        self._read_trim()
        self._write_register(_CONFIG, _NO_FILTER)
        # ctrl_hum counts from the next write to ctrl_meas on (5.4.3), which also starts.
        self._write_register(_CTRL_HUM, _HUM_1X)
        self._measure(now)

    def _measure(self, now: int) -> None:
        self._write_register(_CTRL_MEAS, _FORCED)
        self._at = now
        self._state = _COLLECT

    def _read_trim(self) -> None:
        """Table 16. Raises SensorError "range"."""
        a = bytearray(26)
        b = bytearray(7)
        self._read_register(_TRIM_A, a)
        self._read_register(_TRIM_B, b)
        p = [bosch.u16(a, 6)] + [bosch.s16(a, at) for at in range(8, 24, 2)] + [0]
        p[5] *= 4
        self._trim = bosch.Trim((bosch.u16(a, 0), bosch.s16(a, 2), bosch.s16(a, 4)), p)
        self._h1 = a[25]
        self._h2 = bosch.s16(b, 0)
        self._h3 = b[2]
        self._h4 = bosch.s8(b, 3) * 16 + (b[4] & 15)
        self._h5 = bosch.s8(b, 5) * 16 + (b[4] >> 4)
        self._h6 = bosch.s8(b, 6)
        if not 0 < self._h2 < 1024:  # around 370 in every chip
            raise SensorError("range")

    def _collect(self, now: int) -> bool:
        raw = self._raw
        self._read_register(_CTRL_HUM, raw)
        if raw[1] & _MEASURING:
            return False
        if raw[0] & 7 != _HUM_1X[0] or raw[2] != _SLEEP:
            raise SensorError("reset")
        pressure = raw[5] << 12 | raw[6] << 4 | raw[7] >> 4
        temperature = raw[8] << 12 | raw[9] << 4 | raw[10] >> 4
        humidity = raw[11] << 8 | raw[12]
        self._take(now, pressure, temperature, humidity)
        self._measure(now)
        return True

    def _humidity_half(self, raw: int, fine: int) -> int:
        """In 0.5 %, of the 16 bits `raw`: appendix 8.1,

        h = (raw - 64 h4 - h5 dt / 2^14) h2 / 2^16 (1 + h6 dt / 2^26 (1 + h3 dt / 2^26)), then h - h1 h^2 / 2^19.
        """
        dt = fine - 76_800
        if dt > _DT_MOST:
            dt = _DT_MOST
        x = (raw - 64 * self._h4 - (self._h5 * dt >> 14)) >> 1
        x = 0 if x < 0 else x if x < 32_768 else 32_767
        # The gain is around 1: in 2^-14.
        gain = 16_384 + ((self._h6 * dt >> 12) * (16_384 + (self._h3 * dt >> 12)) >> 14)
        gain = 0 if gain < 0 else gain if gain < 32_768 else 32_767
        h = x * (self._h2 * (gain >> 1) >> 9) >> 11  # 1/256 %
        if h > 65_535:
            h = 65_535
        h -= h * (self._h1 * h >> 12) >> 15
        half = (h + 64) >> 7
        return half if half < 200 else 200


def make(hw, s):
    """From the entry {"type": "bme280", "address": 118}."""
    return Bme280(hw.i2c(), address_of(s, _ADDRESSES), hw.ticks_diff)
