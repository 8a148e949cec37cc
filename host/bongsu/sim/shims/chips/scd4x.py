"""SCD40/41 (data sheet, version 1.3): a value every 5 s; while it measures it obeys few commands."""

from .bus import Nak
from .sensirion import Sensirion, ticks16, words

_PERIOD_MS = 5_000
_BOOT_MS = 1_000  # table 6: time until it answers after power-on
_IN_MEASUREMENT = (0xE4B8, 0xEC05, 0x3F86)


class Scd4x(Sensirion):
    defaults = {"co2_ppm": 420.0, "temp_c": 20.0, "rh_pct": 50.0}
    commands = {
        0x21B1: (0, "_begin"),
        0xEC05: (1, "_fetch"),
        0x3F86: (500, "_stop"),
        0xE4B8: (1, "_ready"),
        0x3682: (1, "_serial"),
        0x3639: (10_000, "_test"),
    }
    fails_test = False

    def power_on(self):
        Sensirion.power_on(self)
        self._measuring = False
        self._next_ms = 0
        self._value = None
        self._boot_ms = self.ms() + _BOOT_MS

    def write(self, data):
        if self.ms() < self._boot_ms:
            raise Nak
        Sensirion.write(self, data)

    def allows(self, code):
        return not self._measuring or code in _IN_MEASUREMENT

    def _begin(self):
        self._measuring = True
        self._next_ms = self.ms() + _PERIOD_MS

    def _stop(self):
        self._measuring = False
        self._value = None

    def _look(self):
        if self._measuring and self.ms() >= self._next_ms:
            self._next_ms += (self.ms() - self._next_ms) // _PERIOD_MS * _PERIOD_MS + _PERIOD_MS
            self._value = words(
                max(0, min(40_000, int(self.sense("co2_ppm") + 0.5))),
                ticks16(self.sense("temp_c"), -45, 175),
                ticks16(self.sense("rh_pct"), 0, 100),
            )

    def _ready(self):
        self._look()
        # Only the lowest eleven bits count (3.8.2).
        return words(0x8000 if self._value is None else 0x8006)

    def _fetch(self):
        self._look()
        value, self._value = self._value, None
        return value  # None: not acknowledged, as it has been read already

    def _serial(self):
        return words(0xF896, 0x9F07, 0x3BBE)  # example of 3.9.2

    def _test(self):
        return words(1 if self.fails_test else 0)
