"""Temperature and pressure of the BME280 and the BME680 from their raw values: one arithmetic, two sets of trimming.

The data sheets' formulas in double precision (BME280 revision 1.23, appendix 8.1; BME680 revision 1.9, 3.3) in
integers: every intermediate stays within +-2^30 for every raw value and every trimming that Trim lets pass, so that
nothing is allocated on an ESP32. Each term is scaled so far that its error is below a tenth of what is given out
(0.1 K, 0.1 hPa). t_fine is the temperature in 1/5120 degC in both.

BME280 and BME680 write three trimming values in other units; they are handed in as the BME280's: p3 = 32 x, p7 = 128 x
the BME680's, and p6 in quarters (p6q = 4 x the BME280's, 1 x the BME680's); p10 is 0 in a BME280.
"""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.i2c_sensor import I2cSensor
from bongsu_wire.measured import UNKNOWN

# What stands in the registers of what was not measured (BME280 3.4).
_SKIPPED = 0x80000
_SKIPPED_H = 0x8000
_P_LEAST = 3_000  # 300 .. 1100 hPa: where the pressure is specified, in both
_P_MOST = 11_000
_ZERO_C = 1_398_528  # 273.15 K in t_fine
_COLDEST = -204_800  # -40 degC
# Pressure is trimmed for -40 .. 85 degC; beyond some 97 degC it takes the trimming of 97 degC.
_WARMEST_Q = 11_585


def u16(data, at: int) -> int:
    return data[at] | data[at + 1] << 8


def s16(data, at: int) -> int:
    value = u16(data, at)
    return value - 0x10000 if value & 0x8000 else value


def s8(data, at: int) -> int:
    value = data[at]
    return value - 0x100 if value & 0x80 else value


class Trim:
    """Trimming of one chip. `t`: t1..t3; `p`: p1..p5, p6q, p7..p10.

    Raises SensorError "range" if it is none: an erased or unread memory.
    """

    def __init__(self, t, p) -> None:
        t1, t2, t3 = t
        p1, p2, p3, p4, p5, p6q, p7, p8, p9, p10 = p
        # Every chip: t1 and t2 around 27,000, p1 around 36,000, p2 around -10,600, p3 around 3,000.
        if t1 in (0, 0xFFFF) or t2 <= 0 or not 16_384 <= p1 < 0xFFFF or abs(p2) > 16_384 or abs(p3) > 16_384:
            raise SensorError("range")
        self._t1 = 16 * t1
        self._t2 = t2
        self._t3 = t3
        self._p1 = p1
        self._p2 = p2
        self._p3 = p3
        self._p4 = 16 * p4
        self._p5 = p5
        self._p6q = p6q
        self._p7 = p7
        self._p8 = p8
        self._p9 = p9
        self._p10 = p10

    def t_fine(self, raw: int) -> int:
        """Of the 20 bits `raw`. Raises SensorError "range" below -40 degC; above 85 degC it goes on."""
        # (raw - 16 t1) / 32: 0.01 degC a step.
        d = (raw - self._t1) >> 5
        fine = (d * self._t2 >> 9) + ((d * d >> 15) * self._t3 >> 9)
        if fine < _COLDEST:
            raise SensorError("range")
        return fine

    def pressure_dhpa(self, raw: int, t_fine: int) -> int:
        """In 0.1 hPa, of the 20 bits `raw`."""
        q = ((t_fine >> 1) - 64_000) >> 4
        if q > _WARMEST_Q:
            q = _WARMEST_Q
        square = q * q >> 14
        # The raw value less its offset: 0.16 Pa a step.
        s = 1_048_576 - raw - self._p4 - (q * self._p5 >> 9) - (square * self._p6q >> 9)
        if s < 0:
            s = 0
        # The sensitivity is p1 (1 + e / 2^30); here four times that.
        e = self._p2 * q + (square * self._p3 >> 1)
        sensitivity = 4 * self._p1 + (self._p1 * (e >> 14) >> 14)
        # 25000 s / sensitivity in two steps: neither product leaves 30 bits.
        s *= 50
        pa = s // sensitivity * 500 + s % sensitivity * 500 // sensitivity
        if pa > 131_071:
            pa = 131_071
        pa += self._bend(pa) >> 4
        return 0 if pa < 0 else (pa + 5) // 10

    def _bend(self, pa: int) -> int:
        """What the curve of second and third order adds, in 1/16 Pa."""
        eighth = pa >> 3
        v1 = (eighth * eighth >> 13) * self._p9 >> 12
        v2 = self._p8 * eighth >> 12
        third = (pa >> 6) * (pa >> 6) >> 5
        v3 = (third * (pa >> 6) >> 7) * self._p10 >> 11
        return v1 + v2 + v3 + self._p7


def temp_dk(t_fine: int) -> int:
    """In 0.1 K."""
    return (t_fine + _ZERO_C + 256) >> 9


class BoschSensor(I2cSensor):
    """What BME280 and BME680 have in common. values: temperature, humidity, pressure, and what the driver adds.

    A driver sets _trim, and gives _humidity_half(raw, fine).
    """

    _trim: Trim

    def _take(self, now: int, pressure: int, temperature: int, humidity: int) -> None:
        """Fill the first three values of raw ones. Raises SensorError: "reset", "range", "stuck"."""
        if temperature == _SKIPPED or humidity == _SKIPPED_H:
            raise SensorError("reset")
        fine = self._trim.t_fine(temperature)
        self._moves(now, 0, temperature)
        self._moves(now, 1, humidity)
        self.values[0] = temp_dk(fine)
        self.values[1] = self._humidity_half(humidity, fine)
        dhpa = self._trim.pressure_dhpa(pressure, fine)
        self.values[2] = dhpa if _P_LEAST <= dhpa <= _P_MOST else UNKNOWN

    def _humidity_half(self, raw: int, fine: int) -> int:
        raise NotImplementedError
