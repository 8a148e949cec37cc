"""MAX30105, register by register (data sheet, "Register Map"). Runs on CPython and MicroPython.

Senses: smoke_e4 (optical density, 1e-4/m), clean and per_e4 (what its housing reflects in clean air, and for 1e-4/m of
smoke: counts of each LED at 7 mA), ambient (True: more light than its cancellation can take), dead_led ("red", "ir",
"green" or "").
"""

from .bus import Chip

_FIFO_DEPTH = 32
_FULL_SCALE = (1 << 18) - 1
_RATES = (50, 100, 200, 400, 800, 1000, 1600, 3200)  # samples a second, by bits 4-2 of register 0x0A
_LEDS = ("", "red", "ir", "green")
_LED_REGISTERS = {"red": 0x0C, "ir": 0x0D, "green": 0x0E}
# The colours do not come back alike: what the model takes for the package.
_LED_SHARE = {"red": 0.9, "ir": 1.0, "green": 0.6}
_CALIBRATED_AT = 35  # steps of 0.2 mA
_CALIBRATED_NA = 8192  # full scale of its ADC


class Max30105(Chip):
    """stop(True): its oscillator stands, no sample comes any more; set_part(id): another chip."""

    defaults = {"smoke_e4": 0, "clean": 8000, "per_e4": 20, "ambient": False, "dead_led": ""}

    def __init__(self, ms):
        self._stopped = False
        self._part_id = 0x15
        super().__init__(ms)

    def stop(self, on):
        self._catch_up()
        self._stopped = on

    def set_part(self, part_id):
        self._part_id = part_id
        self.power_on()

    def power_on(self):
        self._registers = {0xFE: 0x03, 0xFF: self._part_id}
        self._pointer = 0
        self._power_ready = True
        self._clear()

    def _clear(self):
        self._fifo = [b""] * _FIFO_DEPTH
        self._wr = self._rd = self._lost = self._at = 0
        self._unread = 0
        self._overflow = False
        self._made = 0
        self._since = self.ms()

    def write(self, data):
        if not data:
            return
        self._catch_up()
        self._pointer = data[0]
        for value in data[1:]:
            self._write(self._pointer, value)
            if self._pointer != 0x07:
                self._pointer = (self._pointer + 1) & 0xFF

    def _write(self, register, value):
        if register == 0x09 and value & 0x40:  # reset: "all configuration, threshold, and data registers"
            self._registers = {0xFE: 0x03, 0xFF: self._part_id}
            self._clear()
        elif register == 0x04:
            self._wr = value & 31
            self._unread = (self._wr - self._rd) & 31
        elif register == 0x05:
            self._lost = value & 31
        elif register == 0x06:
            self._rd = value & 31
            self._at = 0
            self._unread = (self._wr - self._rd) & 31
            self._lost = 0
        elif register < 0xFE:
            self._registers[register] = value
            if register in (0x08, 0x09, 0x0A):
                self._made = 0
                self._since = self.ms()

    def read(self, size):
        self._catch_up()
        out = bytearray(size)
        for n in range(size):
            out[n] = self._read(self._pointer)
            if self._pointer != 0x07:  # "the address pointer does not increment"
                self._pointer = (self._pointer + 1) & 0xFF
        return bytes(out)

    def _read(self, register):
        if register == 0x00:
            status = (0x20 if self.sense("ambient") and self._running() else 0) | (1 if self._power_ready else 0)
            self._power_ready = False
            return status
        if register == 0x07:
            return self._data()
        if register in (0x04, 0x05, 0x06):
            return (self._wr, self._lost, self._rd)[register - 4]
        return self._registers.get(register, 0)

    def _data(self):
        sample = self._fifo[self._rd]
        if not sample:
            return 0
        byte = sample[self._at]
        self._at += 1
        if self._at == len(sample):
            self._at = 0
            self._rd = (self._rd + 1) & 31
            self._unread = max(0, self._unread - 1)
            self._lost = 0
        return byte

    def _running(self):
        return self._registers.get(0x09, 0) & 0x87 == 0x07 and not self._stopped

    def _catch_up(self):
        """Make the samples that are due."""
        if not self._running():
            self._made = 0
            self._since = self.ms()
            return
        rate = _RATES[self._registers.get(0x0A, 0) >> 2 & 7]
        mean = 1 << min(5, self._registers.get(0x08, 0) >> 5)
        due = (self.ms() - self._since) * rate // (1000 * mean)
        new = min(due - self._made, 2 * _FIFO_DEPTH)
        self._made = due
        for _ in range(new):
            self._push()

    def _push(self):
        full = self._unread == _FIFO_DEPTH
        if full:
            self._lost = min(31, self._lost + 1)
            if not self._registers.get(0x08, 0) & 0x10:
                return
            self._rd = (self._rd + 1) & 31
        else:
            self._unread += 1
        self._fifo[self._wr] = self._sample()
        self._wr = (self._wr + 1) & 31

    def _sample(self):
        out = b""
        for register in (0x11, 0x12):
            for shift in (0, 4):
                slot = self._registers.get(register, 0) >> shift & 7
                if 1 <= slot <= 3:
                    counts = self._counts(_LEDS[slot])
                    out += bytes([counts >> 16, counts >> 8 & 0xFF, counts & 0xFF])
        return out

    def _counts(self, led):
        if led == self.sense("dead_led"):
            return 12  # dark counts
        current = self._registers.get(_LED_REGISTERS[led], 0) / _CALIBRATED_AT
        full_na = 2048 << (self._registers.get(0x0A, 0) >> 5 & 3)
        counts = (self.sense("clean") + self.sense("per_e4") * self.sense("smoke_e4")) * _LED_SHARE[led]
        return max(0, min(_FULL_SCALE, int(counts * current * _CALIBRATED_NA / full_na + 0.5)))
