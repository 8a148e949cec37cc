# mypy: disallow-untyped-calls=False
"""The node's detection over recorded values, in virtual time: fit, Watch and AlarmState of the firmware, with sensors
that give what was recorded. One program for both interpreters: imported by CPython, or run as a file by MicroPython:

    on_node.py FILE     FILE: a line of JSON (the head), then the rows, 16 bits each, in this machine's byte order.
                        Prints a decision a line, then "end".

Head: sensors: list of [type as in node.json, quantities kinds.Q_*, ms between two of its values]; limits: as
limits.NAMES; start: ticks of the first row; start_e4: the smoke baseline as kept; digest: 1 = also a sum over the whole
state after every pass. Rows: ms since the one before (the first: 0), then one value for each quantity of each sensor;
DEAD: the sensor fails, SILENT: it has nothing new.
Decisions: [ms since the first row, kinds.ALARM...FAULT_CLEAR, phenomena, criterion or fault code, held ms or -1,
[[quantity, value or 0xFFFF], ...]].
"""

import sys
from array import array

from bongsu_node.alarm.state import AlarmState
from bongsu_node.sensing import SensorError, fit
from bongsu_node.sensing.watch import Watch
from bongsu_wire import kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEAD = 0xFFFF
SILENT = 0xFFFE
MOST = 0xFFFD  # the highest value
TICKS_MASK = 0x3FFFFFFF  # ticks wrap at 2^30 ms, as on an ESP32
_HALF = 0x20000000
_PHENOMENA = (kinds.HEAT, kinds.SMOKE, kinds.CO, kinds.GAS)  # as app.py watches them


def ticks_diff(a: int, b: int) -> int:
    """Ticks a - b in ms, over the wrap."""
    return ((a - b + _HALF) & TICKS_MASK) - _HALF


class Recorded:
    """A sensor that gives what was recorded: `rows` of `at.row`, its columns from `first` on."""

    warming = False

    def __init__(self, at: "Run", first: int, quantities: "list[int]", period_ms: int) -> None:
        self.quantities = quantities
        self.values = [0xFFFF] * len(quantities)
        self.period_ms = period_ms
        self._at = at
        self._first = first
        self._wait_ms = 0

    def poll(self, now: int) -> bool:
        """The row's values, when its period is over. Raises SensorError where the recording says DEAD."""
        rows, first = self._at.rows, self._at.cell + self._first
        value = rows[first]
        if value == DEAD:
            raise SensorError("nak")
        self._wait_ms -= self._at.passed_ms
        if value == SILENT or self._wait_ms > 0:
            return False
        self._wait_ms = self.period_ms
        for i in range(len(self.values)):
            self.values[i] = rows[first + i]
        return True


class Recorder:
    """Stands for the response: writes down what it is told."""

    def __init__(self, run: "Run") -> None:
        self._run = run

    def alarm(self, states: "Any", bits: int, criterion: int, held_ms: int) -> None:
        """An alarm."""
        for state in states:
            state.criterion = criterion
        self._run.note(kinds.ALARM, bits, criterion, held_ms)

    def prealarm(self, bits: int) -> None:
        """A prealarm."""
        self._run.note(kinds.PREALARM, bits, kinds.CRIT_SMALL, -1)

    def restored(self, state: "Any") -> None:
        """An alarm has ended."""
        self._run.note(kinds.RESTORE, state.bit, state.criterion, -1)

    def sensor_fault(self, stands: bool, probe: "Any") -> None:
        """A sensor failed, or works again."""
        self._run.fault(stands, probe.fault)


class Run:
    """A node's detection under `head`; see the module.

    decisions: so far; ms: since the first row; outfit, watch, alarms: the node's; digest: see the head.
    """

    def __init__(self, head: "Any") -> None:
        self.rows = array("H")
        self.cell = 0
        self.ms = 0
        self.passed_ms = 0
        self.digest = 0
        self.decisions: Any = []
        self._faults = 0
        self._now = head["start"]
        self._digest = head.get("digest", 0)
        sensors = []
        self._width = 1
        for _, quantities, period_ms in head["sensors"]:
            sensors.append(Recorded(self, self._width, quantities, period_ms))
            self._width += len(quantities)
        self.limits = list(head["limits"])
        self.outfit = _outfit(head, self.limits, sensors)
        for i in range(len(sensors)):  # a fault is named by what the sensor measures, not by its stand-in type
            self.outfit.probes[i].fault = fit.FAULTS.get(sensors[i].quantities[0], kinds.FAULT_AIR_SENSOR)
        self.alarms = AlarmState(_PHENOMENA, ticks_diff)
        self.watch = Watch(
            self.outfit.probes,
            self.outfit.judge,
            self.alarms,
            Recorder(self),
            self.outfit.history,
            self.outfit.means,
            _no_log,
        )

    def go(self, rows: "Any", look: "Callable[[Run], object] | None" = None) -> "Any":
        """Take the next rows (16-bit numbers); returns the decisions so far. `look(run)`: called after each pass."""
        self.rows = rows
        baseline = self.outfit.smoke.baseline if self.outfit.smoke else None
        step = self.watch.step
        for cell in range(0, len(rows) - self._width + 1, self._width):
            self.cell = cell
            self.passed_ms = rows[cell]
            self.ms += self.passed_ms
            self._now = (self._now + self.passed_ms) & TICKS_MASK
            step(self._now)
            if baseline is not None and baseline.at_limit != (self._faults >> kinds.FAULT_DRIFT & 1):
                self.fault(baseline.at_limit, kinds.FAULT_DRIFT)  # as app.py does
            if self._digest:
                self._sum()
            if look is not None:
                look(self)
        return self.decisions

    def note(self, kind: int, bits: int, code: int, held_ms: int) -> None:
        """Write a decision down, with the present values."""
        judge = self.outfit.judge
        values = [[channel.quantity, judge.value(channel.quantity)] for channel in judge.channels]
        self.decisions.append([self.ms, kind, bits, code, held_ms, values])

    def fault(self, stands: bool, code: int) -> None:
        """A fault begins or ends; one that stands is not told again (upkeep/faults.py)."""
        bit = 1 << code
        if bool(self._faults & bit) != bool(stands):
            self._faults ^= bit
            self.note(kinds.FAULT if stands else kinds.FAULT_CLEAR, 0, code, -1)

    def _sum(self) -> None:
        """Everything that a decision may come from, into one number."""
        judge = self.outfit.judge
        total = self.digest
        for c in judge.channels:
            flags = c.small + 2 * c.below + 4 * c.failed + 8 * c.alone + 16 * c.active + 32 * c.rising + 64 * c.alive
            total = (total * 31 + c.value * 128 + flags + c.held_ms) & 0xFFFFFF
        if self.outfit.smoke:
            total += self.outfit.smoke.baseline.level_e4 * 2 + self.outfit.smoke.baseline.frozen
        total = total * 31 + judge.fusion + 16 * judge.delayed + 32 * judge.prealarm + judge.fusing.held_ms
        self.digest = (total * 31 + self.alarms.active) & 0xFFFFFF


def _outfit(head: "Any", limits: "Any", sensors: "Any") -> "Any":
    """The node's own assembly, of recorded sensors."""
    fitted = [({"type": head["sensors"][i][0]}, sensors[i]) for i in range(len(sensors))]
    return fit.Outfit(fitted, limits, ticks_diff, start_e4=head.get("start_e4", 0))


def _no_log(level: str, tag: str, text: str) -> None:
    pass


def main(path: str) -> None:
    """Run a file; print its decisions."""
    import json

    with open(path, "rb") as file:
        head = json.loads(file.readline())
        data = file.read()
    run = Run(head)
    for decision in run.go(array("H", data)):
        print(json.dumps(decision))
    print("end", run.digest)


if __name__ == "__main__":
    main(sys.argv[1])
