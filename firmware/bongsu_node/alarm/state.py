"""The alarm state of a node: idle or alarm per phenomenon, latched until its restore (DESIGN section 6). Pure."""

import struct

from bongsu_node.sensing.hold import Hold
from bongsu_wire import kinds

RESTORE_MS = 60_000  # this long under the hysteresis ends an alarm
SILENCE_MS = 600_000  # the longest silence
_HEAD = "<BHB"  # version, fault bits, number of phenomena
_HEAD_LEN = 4
_PACKED = "<BBBI"  # phenomenon, 1 = in alarm, criterion, number of the last alarm or restore
_PACKED_LEN = 7
_VERSION = 1


class Phenomenon:
    """One phenomenon. active: in alarm; event: number of its last alarm or restore, 0 none; criterion: kinds.*."""

    def __init__(self, bit: int, ticks_diff) -> None:
        self.bit = bit
        self.active = False
        self.event = 0
        self.criterion = kinds.CRIT_NONE
        self._quiet = Hold(RESTORE_MS, ticks_diff)

    def begin(self, now: int) -> None:
        """A criterion has held: into alarm, from ticks `now`."""
        self.active = True
        self._quiet.sample(now, False)

    def step(self, now: int, fulfilled: bool, below: bool) -> bool:
        """A sample while in alarm. `fulfilled`: a criterion stands; `below`: nothing is left above the hysteresis.

        True when it has been quiet for RESTORE_MS: then it is idle again. Until then no rise is a new alarm.
        """
        if not self._quiet.sample(now, below and not fulfilled):
            return False
        self.end()
        return True

    def missed(self, now: int) -> None:
        """No sample: a sensor that fell silent is no sign of quiet."""
        self._quiet.missed(now)

    def end(self) -> None:
        """Back to idle; the number of the event stays for the restore's report."""
        self.active = False
        self._quiet.sample(0, False)


class AlarmState:
    """All phenomena of a node, and the silence."""

    def __init__(self, bits, ticks_diff) -> None:
        self.phenomena = [Phenomenon(bit, ticks_diff) for bit in bits]
        self._diff = ticks_diff
        self._silent = False
        self._silent_since = 0

    @property
    def active(self) -> int:
        """Bits of the phenomena in alarm."""
        bits = 0
        for p in self.phenomena:
            if p.active:
                bits |= p.bit
        return bits

    def numbered(self, events) -> None:
        """`events` have got their numbers only now, in order."""
        for e in events:
            for p in self.phenomena:
                if e.phenomena & p.bit:
                    p.event = e.number

    @property
    def newest_event(self) -> int:
        """Number of the newest event whose alarm still stands; 0 without one."""
        newest = 0
        for p in self.phenomena:
            if p.active and p.event > newest:
                newest = p.event
        return newest

    def silence(self, now: int) -> bool:
        """Silence the siren for SILENCE_MS; False if nothing sounds."""
        if not self.active:
            return False
        self._silent = True
        self._silent_since = now
        return True

    def end_silence(self) -> None:
        """A new alarm overrides the silence."""
        self._silent = False

    def silenced(self, now: int) -> bool:
        """True while the siren is to keep quiet."""
        if self._silent and (not self.active or self._diff(now, self._silent_since) >= SILENCE_MS):
            self._silent = False
        return self._silent

    def pack(self, faults: int) -> bytes:
        """What must survive a restart: the alarms that stand, and the fault bits that the centre was told."""
        data = struct.pack(_HEAD, _VERSION, faults, len(self.phenomena))
        for p in self.phenomena:
            data += struct.pack(_PACKED, p.bit, p.active, p.criterion, p.event)
        return data

    def resume(self, saved, events) -> int:
        """Stand again where the node stood before the restart; returns the fault bits.

        `saved`: bytes of pack(), None if lost; `events`: payload.Event of the journal, in the order of their numbers:
        they are newer than `saved` if the power went between the two writes. A merged one is no news: its parts were
        saved long before.
        """
        faults = self._unpack(saved) if saved else 0
        for e in events:
            for p in self.phenomena:
                news = e.kind in (kinds.ALARM, kinds.RESTORE) and e.count == 1 and e.number > p.event
                if news and e.phenomena & p.bit:
                    p.active = e.kind == kinds.ALARM
                    p.event = e.number
                    p.criterion = e.criterion
        return faults

    def _unpack(self, saved: bytes) -> int:
        if len(saved) < _HEAD_LEN or saved[0] != _VERSION or len(saved) != _HEAD_LEN + _PACKED_LEN * saved[3]:
            return 0
        for at in range(_HEAD_LEN, len(saved), _PACKED_LEN):
            bit, active, criterion, event = struct.unpack(_PACKED, saved[at : at + _PACKED_LEN])
            for p in self.phenomena:
                if p.bit == bit:
                    p.active, p.criterion, p.event = bool(active), criterion, event
        return struct.unpack(_HEAD, saved[:_HEAD_LEN])[1]
