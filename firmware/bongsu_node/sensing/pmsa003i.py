"""PMSA003I, the particle sensor of pms5003.py on I2C: the same frame, read as 32 bytes from address 0x12.

Entry: stuck_h if it is not 48; it has one address.

No silence shows here: the chip goes on answering with its last frame, and a stopped fan is "stuck" after two days.
There is no public driver that neither waits nor allocates.
"""

from bongsu_node.sensing import SensorError, entry, pms_frame
from bongsu_node.sensing.command_sensor import CommandSensor
from bongsu_node.sensing.stuck import LIMIT_MIN
from bongsu_wire import kinds

ADDRESS = 0x12
_WARM_MS = 30_000  # data manual, circuit attentions: stable data 30 s after wake-up
_PERIOD_MS = 1_000
_AWAY_MS = 5_000  # without an answer for so long it may have lost its supply: it warms up anew


class Pmsa003i(CommandSensor):
    """Fails as "nak", "bus", "crc", "stuck" (not one number of the frame has moved)."""

    quantities = (kinds.Q_PM1_DUG, kinds.Q_PM25_DUG, kinds.Q_PM10_DUG)
    period_ms = _PERIOD_MS

    def __init__(self, i2c, ticks_diff, stuck_min: int = LIMIT_MIN) -> None:
        super().__init__(i2c, ADDRESS, ticks_diff, stuck_min=stuck_min)
        self.warming = True
        self._frame = bytearray(pms_frame.FRAME_LEN)
        self._warm_since = None
        self._good_at = 0

    def _step(self, now: int) -> bool:
        if self._state and not self._waited(now, _PERIOD_MS):
            return False
        try:
            self._read(self._frame)
        except SensorError:
            if self._warm_since is not None and self._diff(now, self._good_at) >= _AWAY_MS:
                self._warm_since = None
                self.warming = True
            raise
        if not pms_frame.fits(self._frame):
            raise SensorError("crc")
        self._at = self._good_at = now
        self._state = 1
        self._moves(now, 0, pms_frame.check_sum(self._frame))
        if self._warm_since is None:
            self._warm_since = now
        if self.warming:
            self.warming = self._diff(now, self._warm_since) < _WARM_MS
        if self.warming:
            self._quiet_ms = 0  # it works, so it is neither silent nor failing
            self._why = ""
            return False
        pms_frame.take(self._frame, self.values)
        return True


def make(hw, s) -> Pmsa003i:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    return Pmsa003i(hw.i2c(), hw.ticks_diff, entry.stuck_min(s))
