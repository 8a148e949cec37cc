"""SGP40 (data sheet, version 1.2): a hot plate, and ticks that fall as the gas rises."""

import math

from .bus import Nak
from .sensirion import Sensirion, crc8, ticks16, words

# Ticks in clean air of 25 degC and 50 %, and what ten times the gas takes off them (figure 3: about logarithmic).
_CLEAN = 30_000
_DECADE = 3_000
# The layer settles after switching on; 30 s is of the order that the data sheet's 60 s until reliable detection allows.
_SETTLE_MS = 30_000
_COLD = 6_000


class Sgp40(Sensirion):
    """Senses `voc` (1 = the usual air), and `rh_pct` as far as the command does not tell it. told: by the last one."""

    defaults = {"voc": 1.0, "temp_c": 25.0, "rh_pct": 50.0}
    commands = {
        0x3682: (1, "_serial"),
        0x280E: (320, "_test"),
        0x260F: (30, "_measured"),
        0x3615: (1, "_heater_off"),
    }
    fails_test = False

    def power_on(self):
        Sensirion.power_on(self)
        self._hot_since_ms = None
        self.told = (0x8000, 0x6666)

    def _serial(self):
        return words(0x0000, 0x017C, 0xA3F0)

    def _test(self):
        return words(0x4B00 if self.fails_test else 0xD400)

    def _heater_off(self):
        self._hot_since_ms = None

    def _measured(self):
        humidity, temperature = self._told(0), self._told(3)
        self.told = (humidity, temperature)
        if self._hot_since_ms is None:
            self._hot_since_ms = self.ms()
        ticks = _CLEAN - _DECADE * math.log(self.sense("voc")) / math.log(10)
        # What the compensation makes good: 20 ticks per % that it was not told.
        ticks -= 20 * (ticks16(self.sense("rh_pct"), 0, 100) - humidity) / 655.35
        ticks -= _COLD * math.exp((self._hot_since_ms - self.ms()) / _SETTLE_MS * 5)
        return words(max(1, min(65_534, int(ticks + 0.5))))

    def _told(self, at):
        word = self._arguments[at : at + 3]
        if len(word) != 3 or crc8(word[:2]) != word[2]:
            raise Nak
        return word[0] << 8 | word[1]
