"""SHT40/41/45 (data sheet, version 6.6)."""

from .sensirion import Sensirion, ticks16, words


class Sht4x(Sensirion):
    defaults = {"temp_c": 20.0, "rh_pct": 50.0}
    code_size = 1
    commands = {0x94: (1, "_reset"), 0x89: (1, "_serial"), 0xFD: (9, "_measured")}

    def _reset(self):
        return None

    def _serial(self):
        return words(0x0F4A, 0x5C21)

    def _measured(self):
        return words(ticks16(self.sense("temp_c"), -45, 175), ticks16(self.sense("rh_pct"), -6, 125))
