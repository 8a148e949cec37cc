"""onewire as ESP32 images carry it, as far as a driver uses it: a line with the thermometers that hang on the pin."""

import _board
import _sensors
from chips.onewire import crc8


class OneWire:
    """`pin`: machine.Pin."""

    def __init__(self, pin):
        self._pin = pin._number
        self._line = _sensors.line_at(self._pin)

    def reset(self, required=False):
        _board.pump()
        if self._line is None:
            if required:
                raise OSError
            return False
        _sensors.sense_lines(self._pin)
        return self._line.reset(required)

    def readbit(self):
        return 1 if self._line is None else self._line.readbit()

    def readbyte(self):
        return 0xFF if self._line is None else self._line.readbyte()

    def readinto(self, buffer):
        for n in range(len(buffer)):
            buffer[n] = self.readbyte()

    def writebit(self, bit):
        if self._line is not None:
            self._line.writebit(bit)

    def writebyte(self, value):
        if self._line is not None:
            self._line.writebyte(value)

    def write(self, data):
        for byte in data:
            self.writebyte(byte)

    def crc8(self, data):
        return crc8(data)
