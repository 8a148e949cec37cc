"""What all sensors on I2C have in common: transfers with the word of their failure, and coming back after one.

A sensor is a chain of states, one step a poll: set up (state 0 first), then start and collect in turn. Whatever goes
wrong takes it back to state 0, so that the chip is set up anew by the next polls; until it gives a value again, every
poll raises. Nothing waits: what a chip needs time for is collected by a later poll.
"""

import errno

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.stuck import LIMIT_MIN, Stuck
from bongsu_wire.measured import UNKNOWN

SAMPLE_MS = 250
_STEP_MOST_MS = 1_000


def address_of(entry, possible) -> int:
    """The address in a sensor's entry of node.json, the first of `possible` by default. Raises ValueError."""
    address = entry.get("address", possible[0])
    if address not in possible:
        raise ValueError("address: one of %s is needed" % ", ".join([str(a) for a in possible]))
    return address


class I2cSensor:
    """Base of the drivers. `i2c`: a machine.I2C or alike; `count`: of its quantities; `silent_ms`: without a value for
    so long, it is silent; `raws`: how many raw values are watched for being stuck, after `stuck_min` minutes.

    A driver gives _step(now): True if it has filled `values` anew; raises SensorError.
    """

    quantities: tuple = ()
    period_ms = SAMPLE_MS
    warming = False

    def __init__(
        self, i2c, address: int, ticks_diff, silent_ms: int = 2_500, raws: int = 1, stuck_min: int = LIMIT_MIN
    ) -> None:
        self.values = [UNKNOWN] * len(self.quantities)
        self._i2c = i2c
        self._address = address
        self._diff = ticks_diff
        self._silent_ms = silent_ms
        self._watches = [Stuck(ticks_diff, stuck_min) for _ in range(raws)]
        self._state = 0
        self._why = ""
        self._begun = False
        self._quiet_ms = 0  # polls without a value or a failure
        self._polled_at = 0
        self._at = 0  # ticks of the last command

    def poll(self, now: int) -> bool:
        """Call it every 250 ms with ticks `now`; True: fresh values. Raises SensorError while there is none to have."""
        try:
            if self._step(now):
                self._quiet_ms = 0
                self._polled_at = now
                self._why = ""
                return True
            self._count_quiet(now)
        except SensorError as e:
            self._lost(now, e.why)
            raise
        if self._why:
            raise SensorError(self._why)
        return False

    def _step(self, now: int) -> bool:
        raise NotImplementedError

    def _count_quiet(self, now: int) -> None:
        if self._begun:
            step = self._diff(now, self._polled_at)
            # A loop that was blocked says nothing about the sensor.
            self._quiet_ms += step if step < _STEP_MOST_MS else _STEP_MOST_MS
        self._begun = True
        self._polled_at = now
        if self._quiet_ms > self._silent_ms:
            raise SensorError("silent")

    def _lost(self, now: int, why: str) -> None:
        """No usable value: all begins anew."""
        self._why = why
        self._state = 0
        self._quiet_ms = 0
        self._polled_at = now
        for n in range(len(self.values)):
            self.values[n] = UNKNOWN
        for watch in self._watches:
            watch.pause()

    def _waited(self, now: int, ms: int) -> bool:
        """`ms` have passed since the last command."""
        return self._diff(now, self._at) >= ms

    def _moves(self, now: int, n: int, raw: int) -> None:
        """Raw value number `n` is `raw`. Raises SensorError "stuck"."""
        if self._watches[n].sample(now, raw):
            raise SensorError("stuck")

    # Transfers. Each raises SensorError "nak" or "bus".

    def _read_register(self, register: int, buffer) -> None:
        try:
            self._i2c.readfrom_mem_into(self._address, register, buffer)
        except OSError as e:
            raise SensorError(word_of(e)) from None

    def _write_register(self, register: int, data) -> None:
        try:
            self._i2c.writeto_mem(self._address, register, data)
        except OSError as e:
            raise SensorError(word_of(e)) from None


def word_of(error) -> str:
    # An ESP32 reports a line that is held as a time-out, everything else as a device that is not there.
    return "bus" if error.errno == errno.ETIMEDOUT else "nak"
