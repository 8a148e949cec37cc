"""The faults of a node: each is reported once when it comes and once when it goes, and rides in every heartbeat
between.
"""

from bongsu_wire import kinds


class Faults:
    """`told`: fault bits that the centre was told before the restart; `report(kind, code)` makes the event;
    `changed()` after each change.

    bits: 1 << (code - 1) per standing fault.
    """

    def __init__(self, told: int, report, changed) -> None:
        self.bits = told
        self._report = report
        self._changed = changed

    def has(self, code: int) -> bool:
        """True while the fault stands."""
        return bool(self.bits & 1 << (code - 1))

    def set(self, code: int, stands: bool) -> None:
        """Say whether the fault `code` stands now."""
        if self.has(code) == bool(stands):
            return
        self.bits ^= 1 << (code - 1)
        self._report(kinds.FAULT if stands else kinds.FAULT_CLEAR, code)
        self._changed()
