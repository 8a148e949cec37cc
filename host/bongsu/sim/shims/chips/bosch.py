"""What BME280 and BME680 share: registers, and raw values found by turning the data sheet's formulas round."""

from .bus import Chip


def turned(f, low, high, want):
    """The whole number from `low` to `high` whose f() is nearest to `want`; f is monotonic."""
    rising = f(high) >= f(low)
    while high - low > 1:
        middle = (low + high) // 2
        if (f(middle) < want) == rising:
            low = middle
        else:
            high = middle
    return low if abs(f(low) - want) <= abs(f(high) - want) else high


def pressure_pa(raw, t_fine, p, square_p3, square_p6, p7_scale, p10):
    """Appendix 8.1 of the BME280 and 3.3.2 of the BME680, in double precision. `p`: p1..p9 by number, from index 1."""
    v1 = t_fine / 2 - 64_000
    v2 = v1 * v1 * p[6] / square_p6 + v1 * p[5] * 2
    v2 = v2 / 4 + p[4] * 65_536
    v1 = (p[3] * v1 * v1 / square_p3 + p[2] * v1) / 524_288
    v1 = (1 + v1 / 32_768) * p[1]
    pa = (1_048_576 - raw - v2 / 4_096) * 6_250 / v1
    return pa + (p[9] * pa * pa / 2**31 + pa * p[8] / 32_768 + (pa / 256) ** 3 * p10 / 131_072 + p[7] * p7_scale) / 16


def put16(registers, at, value):
    """Two's complement, low byte first."""
    registers[at] = value & 0xFF
    registers[at + 1] = value >> 8 & 0xFF


class Registers(Chip):
    """256 registers: written as pairs of register and value, read on from the last register written."""

    read_only = ()
    measuring = False

    def write(self, data):
        self.settle()
        if len(data) == 1:
            self.pointer = data[0]
        for n in range(0, len(data) - 1, 2):
            self.pointer = data[n]
            if data[n] not in self.read_only:
                self.registers[data[n]] = data[n + 1]
                self.written(data[n], data[n + 1])

    def read(self, size):
        self.settle()
        return bytes([self.registers[(self.pointer + n) & 0xFF] for n in range(size)])

    def settle(self):
        """Let what is due by now happen."""

    def written(self, register, value):
        """`register` got `value`."""

    def put20(self, at, raw):
        """A raw value of 20 bits, high byte first."""
        self.registers[at] = raw >> 12
        self.registers[at + 1] = raw >> 4 & 0xFF
        self.registers[at + 2] = raw << 4 & 0xF0
