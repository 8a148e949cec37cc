"""PMS5003, a particle sensor with a fan and a laser, on a UART at 9600 baud.

Entry: rx (pin that its TXD goes to), tx (default: none is needed, the sensor streams by itself).

It sends a frame every 2.3 s, and every 0.2-0.8 s while the air changes (data manual 2.3, "Output result"). "Stable data
should be got at least 30 seconds after the sensor wakeup" (circuit attentions, 4): until then it is warming, after a
silence too, since its fan has then started anew.

PyPI pms5003-micropython (MIT) is not depended on: it waits for bytes in a loop of up to 5 s, sleeps 0.1 s between
commands, and allocates each frame.
"""

from bongsu_node.sensing import SensorError, entry, pms_frame
from bongsu_node.sensing.channel import UNKNOWN
from bongsu_node.sensing.stuck import LIMIT_MIN, Stuck
from bongsu_wire import kinds

_BAUD = 9600
_WARM_MS = 30_000
# Three of the slowest intervals and a bit: a stopped fan, a cut wire, a lost supply.
_SILENT_MS = 8_000
# 250 ms at 9600 baud are 240 bytes: more in one poll is a backlog, which waits.
_CHUNK = 64
_CHUNKS = 4


class Pms5003:
    """`uart`: a machine.UART or alike with any() and readinto(buffer, size) that do not wait.

    Fails as "silent" (no byte for 8 s), "crc" (a broken frame, or bytes without a frame for 8 s), "bus", "stuck".
    """

    quantities = (kinds.Q_PM1_DUG, kinds.Q_PM25_DUG, kinds.Q_PM10_DUG)
    period_ms = 1_000

    def __init__(self, uart, ticks_diff, stuck_min: int = LIMIT_MIN) -> None:
        self.values = [UNKNOWN, UNKNOWN, UNKNOWN]
        self.warming = True
        self._uart = uart
        self._diff = ticks_diff
        self._watch = Stuck(ticks_diff, stuck_min)
        self._parser = pms_frame.Parser()
        self._chunk = bytearray(_CHUNK)
        self._frame = bytearray(pms_frame.FRAME_LEN)
        self._warm_since = None
        self._good_at = 0
        self._why = ""  # while it is lost: silent for long, or sending rubbish
        self._heard = False

    def poll(self, now: int) -> bool:
        """Call it every 250 ms with ticks `now`; True: 0.1 ug/m3 in `values`. Raises SensorError, see the class."""
        if self._warm_since is None:
            self._warm_since = self._good_at = now
        try:
            return self._turn(now)
        except SensorError:
            for n in range(3):
                self.values[n] = UNKNOWN
            self._watch.pause()
            raise

    def _turn(self, now: int) -> bool:
        try:
            fresh = self._listen()
        except OSError:
            raise SensorError("bus") from None
        if fresh:
            return self._good(now)
        if not self._why and self._diff(now, self._good_at) >= _SILENT_MS:
            self._why = "crc" if self._heard else "silent"
        if self._why:
            raise SensorError(self._why)
        if self._parser.bad:
            self._parser.bad = False
            raise SensorError("crc")
        return False

    def _good(self, now: int) -> bool:
        if self._why:  # back again: its fan has just started
            self._why = ""
            self._warm_since = now
            self.warming = True
        self._good_at = now
        self._heard = self._parser.bad = False
        if self._watch.sample(now, pms_frame.check_sum(self._frame)):
            raise SensorError("stuck")
        if self.warming:
            self.warming = self._diff(now, self._warm_since) < _WARM_MS
        if self.warming:
            return False
        pms_frame.take(self._frame, self.values)
        return True

    def _listen(self) -> bool:
        """Take what has come; True: a new good frame is in _frame."""
        fresh = False
        chunk = self._chunk
        for _ in range(_CHUNKS):
            waiting = self._uart.any()
            if not waiting:
                break
            size = self._uart.readinto(chunk, waiting if waiting < _CHUNK else _CHUNK) or 0
            for n in range(size):
                self._heard = True
                if self._parser.feed(chunk[n]):
                    fresh = True
                    for k in range(pms_frame.FRAME_LEN):
                        self._frame[k] = self._parser.frame[k]
        return fresh


def make(hw, s) -> Pms5003:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    rx = entry.pin(s, "rx")
    tx = entry.pin(s, "tx") if "tx" in s else None
    return Pms5003(hw.uart(rx, tx, _BAUD), hw.ticks_diff, entry.stuck_min(s))
