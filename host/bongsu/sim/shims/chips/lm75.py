"""LM75A, LM75B, TMP175, TMP102: temperature sensors with four registers."""

from .bus import Chip, Nak

# kind: (bits of the temperature after power-on, ms of one conversion at most, configuration after power-on)
# (LM75A, LM75B, TMP175 and TMP102 data sheets)
KINDS = {
    "lm75": (9, 300, b"\x00"),
    "lm75b": (11, 100, b"\x00"),
    "tmp175": (9, 55, b"\x00"),
    "tmp102": (12, 35, b"\x60\xa0"),
}


class Lm75(Chip):
    """Registers: 0 temperature, 1 configuration (bit 0 of its first byte = shutdown), 2 and 3 limits."""

    defaults = {"temp_c": 20.0}

    def __init__(self, ms, kind="lm75b"):
        self._bits, self._conversion_ms, self._configuration = KINDS[kind]
        Chip.__init__(self, ms)

    def power_on(self):
        self._pointer = 0
        self._registers = {1: bytearray(self._configuration), 2: bytearray(b"\x4b\x00"), 3: bytearray(b"\x50\x00")}
        self._value = bytes(2)  # 0 degC until the first conversion is over
        self._begun_ms = self.ms()

    def shut_down(self):
        """As after a glitch on the bus: it answers and converts no more."""
        self._convert()
        self._registers[1][0] |= 1

    def write(self, data):
        if not data:
            return
        self._convert()
        if data[0] > 3:
            raise Nak
        self._pointer = data[0]
        register = self._registers.get(data[0])
        if register is not None and len(data) > 1:
            was = self._registers[1][0] & 1
            for n in range(min(len(register), len(data) - 1)):
                register[n] = data[1 + n]
            if was and not self._registers[1][0] & 1:
                self._begun_ms = self.ms()

    def read(self, size):
        self._convert()
        content = self._value if self._pointer == 0 else bytes(self._registers[self._pointer])
        return (content * (size // len(content) + 1))[:size]

    def _convert(self):
        if not self._registers[1][0] & 1 and self.ms() - self._begun_ms >= self._conversion_ms:
            shift = 16 - self._bits
            # It cuts, as a successive approximation does, and ends at +127.9 and -55 degC.
            raw = int(self.sense("temp_c") * 256 // (1 << shift)) << shift
            raw = max(-55 * 256, min(32_768 - (1 << shift), raw)) & 0xFFFF
            self._value = bytes([raw >> 8, raw & 0xFF])
