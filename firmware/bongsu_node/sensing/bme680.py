"""Bosch BME680: temperature, humidity, pressure and the resistance of its gas sensor on I2C; no binary library.

Own driver: PyPI and micropython-lib have none for MicroPython with a fitting licence.

Forced mode (data sheet revision 1.9, 3.1): each measurement is asked for and collected together with the configuration
that it was made with, and between two of them the configuration is asked for alone: so every value is fresh, and a
power dip, which clears the configuration, is seen at once.
Everything is computed within +-2^30; see bosch.py.
Gas: a hot plate at 320 degC for 150 ms every 3 s (Bosch's low-power rate). Its resistance is unknown for 5 minutes
after power-on (the time that Bosch's own library takes to stabilise), and whenever the plate did not reach its
temperature; the other quantities are valid meanwhile, so that the sensor as a whole is not `warming`.
"""

from bongsu_node.sensing import SensorError, bosch
from bongsu_node.sensing.i2c_sensor import address_of
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN

_ADDRESSES = (0x76, 0x77)  # SDO low, high (6.2)
_ID = 0xD0
_BME680 = 0x61
_VARIANT = 0xF0  # 1 is a BME688, whose gas part speaks otherwise
_RESET = 0xE0
_RESET_WORD = b"\xb6"
_RESET_MS = 5
_TRIM_A = 0x89
_TRIM_B = 0xE1
_HEAT_VALUE, _HEAT_RANGE, _SWITCH_ERROR = 0x00, 0x02, 0x04
_STATUS = 0x1D  # .. 0x2B gas_r_lsb
_MEASURING = 0x20  # of status
_NEW = 0x80
_RES_HEAT_0 = 0x5A
_GAS_WAIT_0 = 0x64
_CTRL = 0x70  # ctrl_gas_0, ctrl_gas_1, ctrl_hum, -, ctrl_meas, config
_CTRL_MEAS = 0x74
_WAIT_148MS = b"\x65"  # 37 x 4 ms (5.3.3)
_GAS_0_ON = b"\x00"
_GAS_1_RUN = b"\x10"  # run_gas, set point 0
_HUM_1X = b"\x01"
_NO_FILTER = b"\x00"
_FORCED = b"\x45"  # temperature 2x, pressure 1x, forced mode
_SLEEP = 0x44
_PLATE_C = 320
_MEASURE_MS = 200  # 148 ms of heating, 11 ms of the others
_VALID_STABLE = 0x30  # gas_valid_r, heat_stab_r
_GAS_WARM_MS = 300_000
# 3.4.1: corrections of the sixteen ranges of the ADC in 0.1 %.
_K1 = (0, 0, 0, 0, 0, -10, 0, -8, 0, 0, -2, -5, 0, -10, 0, 0)
_K2 = (0, 0, 0, 0, 1, 7, 0, -8, -1, 0, 0, 0, 0, 0, 0, 0)
_START, _SET_UP, _COLLECT, _REST = 0, 1, 2, 3


class Bme680(bosch.BoschSensor):
    """`i2c`: a machine.I2C or alike. Pressure outside of 300 .. 1100 hPa is unknown, and no fault of the others."""

    quantities = (kinds.Q_TEMP_DK, kinds.Q_HUMIDITY_HALF, kinds.Q_PRESSURE_DHPA, kinds.Q_GAS_HOHM)
    period_ms = 3_000

    def __init__(self, i2c, address: int, ticks_diff) -> None:
        super().__init__(i2c, address, ticks_diff, silent_ms=7_000, raws=3)
        self._byte = bytearray(1)
        self._raw = bytearray(15)
        self._ctrl = bytearray(6)
        self._h1 = self._h2 = self._h3 = self._h4 = self._h5 = self._h6 = self._h7 = 0
        self._offsets = []  # of the gas ADC by range
        self._scales = []
        self._warm_ms = 0  # of the gas sensor, so far
        self._warm_at = 0
        self._heat = bytearray(1)

    def _step(self, now: int) -> bool:
        if self._state == _COLLECT:
            return self._waited(now, _MEASURE_MS) and self._collect(now)
        if self._state == _REST:
            self._asleep()
            if self._waited(now, self.period_ms):
                self._measure(now)
        elif self._state == _START:
            self._identify()
            self._write_register(_RESET, _RESET_WORD)
            self._at = now
            self._state = _SET_UP
        elif self._waited(now, _RESET_MS):
            self._set_up(now)
        return False

    def _identify(self) -> None:
        self._read_register(_ID, self._byte)
        if self._byte[0] != _BME680:
            raise SensorError("absent")
        self._read_register(_VARIANT, self._byte)
        if self._byte[0] == 1:
            raise SensorError("absent")

    def _set_up(self, now: int) -> None:
        self._read_trim()
        self._write_register(_RES_HEAT_0, self._heat)
        self._write_register(_GAS_WAIT_0, _WAIT_148MS)
        self._write_register(_CTRL, _GAS_0_ON)
        self._write_register(_CTRL + 1, _GAS_1_RUN)
        self._write_register(_CTRL + 2, _HUM_1X)
        self._write_register(_CTRL + 5, _NO_FILTER)
        self._warm_ms = 0
        self._warm_at = now
        self._measure(now)

    def _measure(self, now: int) -> None:
        self._write_register(_CTRL_MEAS, _FORCED)
        self._at = now
        self._state = _COLLECT

    def _asleep(self) -> bool:
        """False: it is still measuring. Raises SensorError "reset"."""
        ctrl = self._ctrl
        self._read_register(_CTRL, ctrl)
        if ctrl[1] != _GAS_1_RUN[0] or ctrl[2] & 7 != _HUM_1X[0] or ctrl[4] & 0xFC != _SLEEP:
            raise SensorError("reset")
        return ctrl[4] == _SLEEP

    def _read_trim(self) -> None:
        """5.3.1 and the memory map. Raises SensorError "range"."""
        a = bytearray(25)
        b = bytearray(14)
        self._read_register(_TRIM_A, a)
        self._read_register(_TRIM_B, b)
        s8, s16, u16 = bosch.s8, bosch.s16, bosch.u16
        low = (u16(a, 5), s16(a, 7), 32 * s8(a, 9), s16(a, 11), s16(a, 13), s8(a, 16), 128 * s8(a, 15))
        self._trim = bosch.Trim((u16(b, 8), s16(a, 1), 16 * s8(a, 3)), low + (s16(a, 19), s16(a, 21), a[23]))
        self._h1 = b[2] << 4 | b[1] & 15
        self._h2 = b[0] << 4 | b[1] >> 4
        self._h3 = s8(b, 3)
        self._h4 = s8(b, 4)
        self._h5 = s8(b, 5)
        self._h6 = b[6]
        self._h7 = s8(b, 7)
        if self._h2 in (0, 0xFFF):
            raise SensorError("range")
        self._read_gas_trim(s8(b, 12), s16(b, 10), s8(b, 13))

    def _read_gas_trim(self, g1: int, g2: int, g3: int) -> None:
        byte = self._byte
        self._read_register(_SWITCH_ERROR, byte)
        error = bosch.s8(byte, 0) >> 4
        # 3.4.1, in eighths of a step of the ADC: offset = (1340 + 5 error) k1; in 100 ohm: scale = 80000 offset / k2.
        self._offsets = [(1_340 + 5 * error) * (1_000 + k) // 125 for k in _K1]
        self._scales = [80_000 * o * 1_000 // (1_000 + _K2[n]) for n, o in enumerate(self._offsets)]
        self._read_register(_HEAT_RANGE, byte)
        heat_range = byte[0] >> 4 & 3
        self._read_register(_HEAT_VALUE, byte)
        self._heat[0] = res_heat(_PLATE_C, 25, g1, g2, g3, heat_range, bosch.s8(byte, 0))

    def _collect(self, now: int) -> bool:
        raw = self._raw
        self._read_register(_STATUS, raw)
        if raw[0] & _MEASURING or not self._asleep():
            return False
        if not raw[0] & _NEW:
            raise SensorError("silent")
        pressure = raw[2] << 12 | raw[3] << 4 | raw[4] >> 4
        temperature = raw[5] << 12 | raw[6] << 4 | raw[7] >> 4
        humidity = raw[8] << 8 | raw[9]
        self._take(now, pressure, temperature, humidity)
        self.values[3] = self._gas_hohm(now, raw[13] << 2 | raw[14] >> 6, raw[14])
        self._state = _REST
        return True

    def _gas_hohm(self, now: int, adc: int, flags: int) -> int:
        """In 100 ohm; UNKNOWN while it warms up and when the plate was not hot."""
        if self._warm_ms < _GAS_WARM_MS:
            self._warm_ms += self._diff(now, self._warm_at)
            self._warm_at = now
        if flags & _VALID_STABLE != _VALID_STABLE or self._warm_ms < _GAS_WARM_MS:
            return UNKNOWN
        n = flags & 15
        self._moves(now, 2, n << 10 | adc)
        # 3.4.1: R = scale / (2^n (adc - 512 + offset)).
        hohm = self._scales[n] // (((adc - 512) << 3) + self._offsets[n]) >> n
        return hohm if hohm < UNKNOWN else UNKNOWN - 1

    def _humidity_half(self, raw: int, fine: int) -> int:
        """In 0.5 %, of the 16 bits `raw`: 3.3.3, with t in degC,

        v = (raw - 16 h1 - h3 t / 2) h2 / 2^18 (1 + h4 t / 2^14 + h5 t^2 / 2^20), then
        v + (h6 / 2^14 + h7 t / 2^21) v^2.
        """
        t = fine // 160  # 1/32 degC
        if t > 4_000:
            t = 4_000
        x = (raw - 16 * self._h1 - (self._h3 * t >> 6)) >> 1
        x = 0 if x < 0 else x if x < 32_768 else 32_767
        gain = 32_768 + (self._h4 * t >> 4) + ((t * t >> 4) * self._h5 >> 11)  # around 1: in 2^-15
        gain = self._h2 * (gain >> 2) >> 10 if gain > 0 else 0
        if gain > 32_767:
            gain = 32_767
        v = x * gain >> 12  # 1/256 %
        if v > 32_767:
            v = 32_767
        bend = (self._h6 << 12) + self._h7 * t  # 2^-26
        half = (v + ((v * v >> 16) * (bend >> 7) >> 11) + 64) >> 7
        return 0 if half < 0 else half if half < 200 else 200


def res_heat(plate_c: int, air_c: int, g1: int, g2: int, g3: int, heat_range: int, heat_value: int) -> int:
    """The set point of the hot plate for `plate_c` degC in air of `air_c` degC (3.3.5). Not per sample: big numbers.

    r = 3.4 ((v (4 / (4 + range)) / (1 + value / 500)) - 25) with
    v = (g1 / 16 + 49) (1 + (g2 / 2^15 0.0005 + 0.00235) plate) + g3 / 1024 air.
    """
    scale = 1 << 26
    slope = g2 * 5 * (scale // 32_768) + 235 * scale // 10  # per K, in 1e-4 / 2^26
    v = (g1 + 784) * (scale * 10_000 + slope * plate_c) // (16 * 10_000) + g3 * air_c * scale // 1_024
    v = v * 4 * 500 // ((4 + heat_range) * (500 + heat_value))
    set_point = (v - 25 * scale) * 34 // (10 * scale)
    return 0 if set_point < 0 else set_point if set_point < 255 else 255


def make(hw, s):
    """From the entry {"type": "bme680", "address": 118}."""
    return Bme680(hw.i2c(), address_of(s, _ADDRESSES), hw.ticks_diff)
