"""SHT30/31/35: single shots, status register (data sheet, December 2022)."""

from .sensirion import Sensirion, ticks16, words


class Sht3x(Sensirion):
    defaults = {"temp_c": 20.0, "rh_pct": 50.0}
    commands = {0x30A2: (2, "_reset"), 0xF32D: (0, "_read_status"), 0x3041: (0, "_clear"), 0x2400: (16, "_measured")}

    def power_on(self):
        Sensirion.power_on(self)
        self.status = 0x8010  # table 18: alert pending, reset detected

    def _reset(self):
        self.status = 0x8010

    def _clear(self):
        self.status &= ~0x8C10

    def _read_status(self):
        return words(self.status)

    def _measured(self):
        return words(ticks16(self.sense("temp_c"), -45, 175), ticks16(self.sense("rh_pct"), 0, 100))
