"""BME680 (data sheet revision 1.9): temperature, humidity, pressure, and a hot plate whose resistance falls in gas."""

from .bosch import Registers, pressure_pa, put16, turned
from .bus import Nak

# Trimming of an ordinary chip; P[10] is the only one of its kind.
T = (None, 26_125, 26_370, 3)
P = (None, 36_673, -10_515, 88, 7_310, -129, 30, 46, -3_177, -2_379, 30)
H = (None, 676, 1_029, 0, 45, 20, 120, -100)
G = (None, -30, -5_969, 18)
HEAT_RANGE, HEAT_VALUE, SWITCH_ERROR = 1, 47, -3
_RESET_MS = 2  # table 1: start-up time
# 3.4.1, in %.
K1 = (0, 0, 0, 0, 0, -1, 0, -0.8, 0, 0, -0.2, -0.5, 0, -1, 0, 0)
K2 = (0, 0, 0, 0, 0.1, 0.7, 0, -0.8, -0.1, 0, 0, 0, 0, 0, 0, 0)


def t_fine(raw, t=T):
    """3.3.1."""
    return (raw / 16_384 - t[1] / 1_024) * t[2] + (raw / 131_072 - t[1] / 8_192) ** 2 * t[3] * 16


def pa(raw, fine, p=P):
    """3.3.2."""
    return pressure_pa(raw, fine, p, 16_384, 131_072, 128, p[10])


def rh_pct(raw, fine, h=H):
    """3.3.3."""
    t = fine / 5_120
    v = (raw - (h[1] * 16 + h[3] / 2 * t)) * h[2] / 262_144 * (1 + h[4] / 16_384 * t + h[5] / 1_048_576 * t * t)
    return v + (h[6] / 16_384 + h[7] / 2_097_152 * t) * v * v


def gas_ohm(adc, gas_range, error=SWITCH_ERROR):
    """3.4.1."""
    v2 = (1_340 + 5 * error) * (1 + K1[gas_range] / 100)
    return 1 / ((1 + K2[gas_range] / 100) * 0.000_000_125 * (1 << gas_range) * ((adc - 512) / v2 + 1))


def plate_c(set_point, air_c):
    """3.3.5 turned round: what the plate reaches at this set point."""
    v = (set_point / 3.4 + 25) * (1 + HEAT_VALUE * 0.002) * (4 + HEAT_RANGE) / 4 - G[3] / 1_024 * air_c
    return (v / (G[1] / 16 + 49) - 1) / (G[2] / 32_768 * 0.0005 + 0.00235)


class Bme680(Registers):
    defaults = {"temp_c": 20.0, "rh_pct": 50.0, "pressure_hpa": 1013.0, "gas_kohm": 100.0}
    read_only = (0xD0, 0x1D)
    _ready_ms = 0
    _air = None
    _kept = None
    chip_id = 0x61
    variant = 0
    broken_heater = False

    def power_on(self):
        self.registers = r = bytearray(256)
        self.pointer = 0
        self._done_ms = None
        r[0xD0] = self.chip_id
        r[0xF0] = self.variant
        r[0x00], r[0x02], r[0x04] = HEAT_VALUE, HEAT_RANGE << 4, SWITCH_ERROR << 4 & 0xF0
        r[0x1F] = r[0x22] = r[0x25] = 0x80
        for at, value in ((0x8A, T[2]), (0x8E, P[1]), (0x90, P[2]), (0x94, P[4]), (0x96, P[5]), (0x9C, P[8])):
            put16(r, at, value)
        for at, value in ((0x9E, P[9]), (0xE9, T[1]), (0xEB, G[2])):
            put16(r, at, value)
        for at, value in ((0x8C, T[3]), (0x92, P[3]), (0x98, P[7]), (0x99, P[6]), (0xA0, P[10]), (0xED, G[1])):
            r[at] = value & 0xFF
        r[0xEE] = G[3]
        # h1 and h2 have twelve bits and share 0xE2.
        r[0xE1], r[0xE2], r[0xE3] = H[2] >> 4, (H[2] & 15) << 4 | H[1] & 15, H[1] >> 4
        r[0xE4:0xE9] = bytes([h & 0xFF for h in H[3:]])

    def written(self, register, value):
        if register == 0xE0 and value == 0xB6:
            self.power_on()
            self._ready_ms = self.ms() + _RESET_MS
        elif register == 0x74 and value & 3 == 1:
            wait = self.registers[0x64]
            heat_ms = (wait & 63) * (1, 4, 16, 64)[wait >> 6] if self.registers[0x71] & 0x10 else 0
            self._done_ms = self.ms() + heat_ms + 12
            self.registers[0x1D] = 0x20

    def settle(self):
        if self.ms() < self._ready_ms:
            raise Nak
        if self._done_ms is not None and self.ms() >= self._done_ms:
            self._done_ms = None
            self._convert()
            self.registers[0x1D] = 0x80
            self.registers[0x74] &= 0xFC

    def _raws(self):
        """Temperature, pressure, humidity; kept while the air stays, for turning the formulas round takes time."""
        air = (self.sense("temp_c"), self.sense("pressure_hpa"), self.sense("rh_pct"))
        if self._air == air:
            return self._kept
        raw_t = turned(t_fine, 0, 0xFFFFF, air[0] * 5_120)
        fine = t_fine(raw_t)
        raw_p = turned(lambda raw: pa(raw, fine), 0, 0xFFFFF, air[1] * 100)
        raw_h = turned(lambda raw: rh_pct(raw, fine), H[1] * 16, 0xFFFF, air[2])
        self._air = air
        self._kept = (raw_t, raw_p, raw_h)
        return self._kept

    def _convert(self):
        r = self.registers
        raw_t, raw_p, raw_h = self._raws()
        self.put20(0x22, raw_t if r[0x74] & 0xE0 else 0x80000)
        self.put20(0x1F, raw_p if r[0x74] & 0x1C else 0x80000)
        raw_h = raw_h if r[0x72] & 7 else 0x8000
        r[0x25], r[0x26] = raw_h >> 8, raw_h & 0xFF
        self._convert_gas()

    def _convert_gas(self):
        r = self.registers
        if not r[0x71] & 0x10:
            r[0x2A] = r[0x2B] = 0
            return
        hot = not self.broken_heater and abs(plate_c(r[0x5A], self.sense("temp_c")) - 320) < 20
        ohm = self.sense("gas_kohm") * 1_000
        # The ranges halve from 0 on: the last one that reaches so far.
        gas_range = 15
        while gas_range and gas_ohm(0, gas_range) < ohm:
            gas_range -= 1
        adc = turned(lambda raw: gas_ohm(raw, gas_range), 0, 1_023, ohm)
        r[0x2A], r[0x2B] = adc >> 2, (adc & 3) << 6 | 0x20 | (0x10 if hot else 0) | gas_range
