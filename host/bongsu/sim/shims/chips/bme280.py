"""BME280 (data sheet revision 1.23): temperature, humidity, pressure; forced mode."""

from .bosch import Registers, pressure_pa, put16, turned

# The trimming of the worked example that Bosch gives with the formulas (BMP280 data sheet, 3.12): 519888 is 25.08 degC
# and 415148 is 100653 Pa. The humidity's is of an ordinary chip.
T = (None, 27_504, 26_435, -1_000)
P = (None, 36_477, -10_685, 3_024, 2_855, 140, -7, 15_500, -14_600, 6_000)
H = (None, 75, 362, 0, 313, 50, 30)

_MEASURE_MS = 10  # 9.3 ms at 1x (9.1)
_BOOT_MS = 2


def t_fine(raw, t=T):
    """Appendix 8.1."""
    return (raw / 16_384 - t[1] / 1_024) * t[2] + (raw / 131_072 - t[1] / 8_192) ** 2 * t[3]


def pa(raw, fine, p=P):
    return pressure_pa(raw, fine, p, 524_288, 32_768, 1, 0)


def rh_pct(raw, fine, h=H):
    dt = fine - 76_800
    x = raw - (h[4] * 64 + h[5] / 16_384 * dt)
    x *= h[2] / 65_536 * (1 + h[6] / 67_108_864 * dt * (1 + h[3] / 67_108_864 * dt))
    return x * (1 - h[1] * x / 524_288)


class Bme280(Registers):
    defaults = {"temp_c": 20.0, "rh_pct": 50.0, "pressure_hpa": 1013.0}
    read_only = (0xD0, 0xF3)
    _air = None
    _kept = None
    chip_id = 0x60

    def power_on(self):
        self.registers = bytearray(256)
        self.pointer = 0
        self._done_ms = None
        self._ready_ms = self.ms() + _BOOT_MS
        self.registers[0xD0] = self.chip_id
        self.registers[0xF3] = 0x01  # the trimming is being copied
        for at in (0xF7, 0xFA, 0xFD):
            self.registers[at] = 0x80
        for n in range(1, 4):
            put16(self.registers, 0x86 + 2 * n, T[n])
        for n in range(1, 10):
            put16(self.registers, 0x8C + 2 * n, P[n])
        self.registers[0xA1] = H[1]
        put16(self.registers, 0xE1, H[2])
        # Table 16: h4 and h5 have twelve bits and share 0xE5.
        self.registers[0xE3:0xE8] = bytes([H[3], H[4] >> 4, H[4] & 15 | (H[5] & 15) << 4, H[5] >> 4, H[6] & 0xFF])

    def written(self, register, value):
        if register == 0xE0 and value == 0xB6:
            self.power_on()
        elif register == 0xF4 and value & 3 in (1, 2):
            self._done_ms = self.ms() + _MEASURE_MS
            self.registers[0xF3] |= 0x08

    def settle(self):
        if self.ms() >= self._ready_ms:
            self.registers[0xF3] &= 0x08
        if self._done_ms is not None and self.ms() >= self._done_ms:
            self._done_ms = None
            self._convert()
            self.registers[0xF3] &= 0x01
            self.registers[0xF4] &= 0xFC

    def _raws(self):
        """Temperature, pressure, humidity; kept while the air stays, for turning the formulas round takes time."""
        air = (self.sense("temp_c"), self.sense("pressure_hpa"), self.sense("rh_pct"))
        if self._air == air:
            return self._kept
        raw_t = turned(t_fine, 0, 0xFFFFF, air[0] * 5_120)
        fine = t_fine(raw_t)
        raw_p = turned(lambda raw: pa(raw, fine), 0, 0xFFFFF, air[1] * 100)
        raw_h = turned(lambda raw: rh_pct(raw, fine), 0, 0xFFFF, air[2])
        self._air = air
        self._kept = (raw_t, raw_p, raw_h)
        return self._kept

    def _convert(self):
        """What the oversampling of 0 leaves out reads as 0x80000."""
        control = self.registers[0xF4]
        raw_t, raw_p, raw_h = self._raws()
        self.put20(0xFA, raw_t if control & 0xE0 else 0x80000)
        self.put20(0xF7, raw_p if control & 0x1C else 0x80000)
        raw_h = raw_h if self.registers[0xF2] & 7 else 0x8000
        self.registers[0xFD] = raw_h >> 8
        self.registers[0xFE] = raw_h & 0xFF
