"""A 1-Wire line with DS18B20 thermometers on it, bit by bit. Runs on CPython and MicroPython.

    line = OneWire()
    chip = line.attach(Ds18b20(clock.ms))
    chip.temp_c = 21.5
    line.fault = "short"

OneWire has the methods of MicroPython's onewire.OneWire, with the time that each takes on the wire.
"""

# Timings of MicroPython's extmod/modonewire.c.
_RESET_US = 960
_WRITE_BIT_US = 70
_READ_BIT_US = 50

_POWER_ON_RAW = 0x0550  # 85.0 degC
# Conversion time by resolution, 9 to 12 bits (data sheet, table 2).
_CONVERT_MS = (94, 188, 375, 750)
_FAMILY = 0x28


def crc8(data):
    """X^8 + X^5 + X^4 + 1 (Maxim, application note 27)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc


class Ds18b20:
    """serial: 48 bits of the ROM code. temp_c: what it senses.

    clone: byte 6 stays 0x0C whatever is measured; parasite: its supply wire is broken, it lives on the data line, and a
    conversion starves it; eeprom: alarm bytes and configuration that power-on recalls.
    """

    def __init__(self, ms, serial=0x1234567890AB, clone=False):
        self.temp_c = 20.0
        self.clone = clone
        self.parasite = False
        self.present = True
        self.eeprom = bytearray(b"\x4b\x46\x7f")
        self._ms = ms
        body = bytes([_FAMILY]) + bytes([serial >> 8 * n & 0xFF for n in range(6)])
        self.rom = body + bytes([crc8(body)])
        self.power_on()

    def power_on(self):
        """The supply dipped: scratchpad as after power-on (data sheet, figure 9), a conversion is lost."""
        raw = bytes([_POWER_ON_RAW & 0xFF, _POWER_ON_RAW >> 8])
        self._scratch = bytearray(raw + self.eeprom + b"\xff\x0c\x10")
        self._done_at = None
        self._state = "off"
        self._out = b""
        self._bits = 0

    # What the line does with it

    def reset(self):
        """A reset pulse; True: it answers with a presence pulse."""
        self._finish()
        self._state = "rom"
        self._in = bytearray()
        self._bits = 0
        self._byte = 0
        self._out = b""
        return self.present

    def write_bit(self, bit):
        if self._state == "off" or not self.present:
            return
        self._byte |= bit << (self._bits & 7)
        self._bits += 1
        if not self._bits & 7:
            self._in.append(self._byte)
            self._byte = 0
            self._take()

    def read_bit(self):
        """What it lets the line be in a read slot."""
        self._finish()
        if not self.present or self._state == "off":
            return 1
        if self._state == "converting":
            return 1 if self._done_at is None or self.parasite else 0
        if self._state != "read" or self._bits >= 8 * len(self._out):
            return 1
        bit = self._out[self._bits >> 3] >> (self._bits & 7) & 1
        self._bits += 1
        return bit

    # Inside

    def _take(self):
        data = self._in
        if self._state == "rom":
            if data[0] == 0xCC:
                self._command_next()
            elif data[0] != 0x55:
                self._state = "off"
            elif len(data) == 9:
                if bytes(data[1:]) == self.rom:
                    self._command_next()
                else:
                    self._state = "off"
        elif self._state == "command":
            self._command(data[0])
        elif self._state == "write" and len(data) == 3:
            self._scratch[2] = data[0]
            self._scratch[3] = data[1]
            self._scratch[4] = data[2] & 0x60 | 0x1F
            self._state = "off"

    def _command_next(self):
        self._state = "command"
        self._in = bytearray()

    def _command(self, code):
        self._in = bytearray()
        self._bits = 0
        self._state = "off"
        if code == 0x44:
            self._state = "converting"
            self._done_at = self._ms() + _CONVERT_MS[self._scratch[4] >> 5 & 3]
            if self.parasite:
                self.power_on()
        elif code == 0xBE:
            self._state = "read"
            self._out = bytes(self._scratch) + bytes([crc8(self._scratch)])
        elif code == 0x4E:
            self._state = "write"

    def _finish(self):
        if self._done_at is None or self._ms() < self._done_at:
            return
        self._done_at = None
        dropped = 3 - (self._scratch[4] >> 5 & 3)
        raw = int(max(-55.0, min(125.0, self.temp_c)) * 16 // 1) >> dropped << dropped
        self._scratch[0] = raw & 0xFF
        self._scratch[1] = raw >> 8 & 0xFF
        if not self.clone:
            self._scratch[6] = 0x10 - (raw & 0x0F)


class OneWire:
    """fault: "", "short" (the line is held low), "high" (shorted to the supply: nobody is heard), "bit_error" (one bit
    of every nine bytes read is wrong).

    busy_us, spent_bytes: see bus.Bus.
    """

    SEARCH_ROM = 0xF0
    MATCH_ROM = 0x55
    SKIP_ROM = 0xCC

    def __init__(self, mem_alloc=None):
        self.fault = ""
        self.busy_us = 0
        self.spent_bytes = 0
        self._chips = []
        self._mem_alloc = mem_alloc if mem_alloc is not None else lambda: 0
        self._read = 0
        self._wrong = 0

    def attach(self, chip):
        self._chips.append(chip)
        return chip

    def reset(self, required=False):
        before = self._mem_alloc()
        self.busy_us += _RESET_US
        answers = [chip.reset() for chip in self._chips]
        present = self.fault == "short" or (self.fault != "high" and True in answers)
        self.spent_bytes += self._mem_alloc() - before
        if required and not present:
            raise OSError
        return present

    def writebit(self, bit):
        self.busy_us += _WRITE_BIT_US
        if self.fault in ("", "bit_error"):
            for chip in self._chips:
                chip.write_bit(bit)

    def readbit(self):
        self.busy_us += _READ_BIT_US
        if self.fault in ("short", "high"):
            return 0 if self.fault == "short" else 1
        bit = 1
        for chip in self._chips:
            bit &= chip.read_bit()
        if self.fault == "bit_error":
            self._read += 1
            if self._read % 72 == self._wrong:
                self._wrong = (self._wrong + 11) % 72
                bit ^= 1
        return bit

    def writebyte(self, value):
        before = self._mem_alloc()
        for n in range(8):
            self.writebit(value >> n & 1)
        self.spent_bytes += self._mem_alloc() - before

    def readbyte(self):
        value = 0
        for n in range(8):
            value |= self.readbit() << n
        return value

    def write(self, buf):
        for byte in buf:
            self.writebyte(byte)

    def readinto(self, buf):
        before = self._mem_alloc()
        for n in range(len(buf)):
            buf[n] = self.readbyte()
        self.spent_bytes += self._mem_alloc() - before

    def crc8(self, data):
        before = self._mem_alloc()
        crc = crc8(data)
        self.spent_bytes += self._mem_alloc() - before
        return crc
