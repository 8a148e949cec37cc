"""What Sensirion's chips on I2C share: commands, words with a check sum, and no answer before they are ready."""

from .bus import Chip, Nak


def crc8(data):
    """Polynomial x^8 + x^5 + x^4 + 1, begins with 0xFF: 0xBEEF gives 0x92 (all data sheets)."""
    remainder = 0xFF
    for byte in data:
        for bit in range(7, -1, -1):
            high = remainder >> 7 ^ byte >> bit & 1
            remainder = (remainder << 1 & 0xFF) ^ (0x31 if high else 0)
    return remainder


def words(*values):
    """16-bit values as the chip sends them."""
    sent = b""
    for value in values:
        pair = bytes([value >> 8, value & 0xFF])
        sent += pair + bytes([crc8(pair)])
    return sent


def ticks16(value, low, span):
    """`value` as a part of 65535, of a scale that begins at `low` and is `span` long."""
    return max(0, min(65_535, int((value - low) / span * 65_535 + 0.5)))


class Sensirion(Chip):
    """commands: {code: (ms, method)}; the method gives the answer (bytes) `ms` after the command, or None for none.

    While a command runs the chip acknowledges nothing, and a read without an answer is not acknowledged.
    """

    commands = {}
    code_size = 2

    def power_on(self):
        self._answer = None
        self._finish = None
        self._until_ms = self.ms()

    def write(self, data):
        self._end_command()
        if self._finish is not None or len(data) < self.code_size:
            raise Nak
        code = 0
        for byte in data[: self.code_size]:
            code = code << 8 | byte
        if code not in self.commands or not self.allows(code):
            raise Nak
        self._answer = None
        ms, name = self.commands[code]
        self._arguments = bytes(data[self.code_size :])
        self._finish = getattr(self, name)
        self._until_ms = self.ms() + ms
        if not ms:
            self._end_command()

    def allows(self, code):
        """False: not in this state."""
        return True

    def read(self, size):
        self._end_command()
        if self._finish is not None or self._answer is None:
            raise Nak
        answer, self._answer = self._answer, None
        return (answer + b"\xff" * size)[:size]

    def _end_command(self):
        if self._finish is not None and self.ms() >= self._until_ms:
            finish, self._finish = self._finish, None
            self._answer = finish()
