"""A node's sensing without a chip: scripted sensors, the real probes, channels, judge, alarm state and watch.

The same text runs on CPython and, as SOURCE, on MicroPython (see tests/mpy.py).
"""

from typing import Any

from bongsu_node.alarm.state import AlarmState
from bongsu_node.sensing import SensorError, fit, limits
from bongsu_node.sensing.watch import Watch
from bongsu_wire import kinds

PERIOD = 1 << 30
PERIOD_MS = 250
DEAD = -1  # in a track: the sensor gives nothing
TEMP, SMOKE, RH, CO, GAS, HEAD = (
    kinds.Q_TEMP_DK,
    kinds.Q_SMOKE_E4,
    kinds.Q_HUMIDITY_HALF,
    kinds.Q_CO_DPPM,
    kinds.Q_GAS_INDEX,
    kinds.Q_HEAD,
)
# Limits of these tests, whatever the profiles say: one of each criterion but the long one.
LIMITS = {
    "heat_alarm_dk": 3302,
    "heat_clear_dk": 3232,
    "heat_rise_dk_min": 83,
    "heat_rise_total_dk": 50,
    "heat_small_dk": 20,
    "heat_alone_dk_min": 83,
    "smoke_alarm_e4": 600,
    "smoke_clear_e4": 300,
    "smoke_rise_e4": 300,
    "smoke_small_e4": 150,
    "smoke_alone_e4": 600,
    "smoke_drift_e4": 300,
    "steam_rh_half": 180,
    "steam_rise_half": 30,
    "steam_delay_s": 60,
    "co_small_dppm": 200,
    "gas_alarm_index": 400,
    "gas_clear_index": 200,
    "prealarm_hold_s": 5,
    "smoke_long_e4": 0,
    "smoke_long_s": 60,
}
VALUES = [LIMITS[name] for name in limits.NAMES]
TYPES = {TEMP: "lm75", SMOKE: "smoke_head", RH: "sgp40", CO: "mq7", GAS: "mq2", HEAD: "head"}
QUIET = {TEMP: 2940, SMOKE: 5, RH: 100, CO: 0, GAS: 100, HEAD: 0}


def ticks_diff(a: int, b: int) -> int:
    """a - b for ticks that wrap at 2^30."""
    return ((a - b + (PERIOD >> 1)) & (PERIOD - 1)) - (PERIOD >> 1)


def state_of(alarms: Any, bit: int) -> Any:
    """The state of one phenomenon of an AlarmState."""
    return next(state for state in alarms.phenomena if state.bit == bit)


class Scripted:
    """A sensor whose next value is set from outside; DEAD: it raises."""

    warming = False

    def __init__(self, quantity: int, period_ms: int = PERIOD_MS) -> None:
        self.quantities = (quantity,)
        self.values = [0xFFFF]
        self.period_ms = period_ms
        self.next = QUIET[quantity]
        self._wait_ms = 0

    def poll(self, now: int) -> bool:
        if self.next == DEAD:
            raise SensorError("nak")
        self._wait_ms -= PERIOD_MS
        if self._wait_ms > 0:
            return False
        self._wait_ms = self.period_ms
        self.values[0] = self.next
        return True


class Rig:
    """`quantities` that have a sensor; `changes`: limits other than LIMITS.

    calls: (ms, what, bits, criterion) of each decision."""

    def __init__(
        self,
        quantities: Any = (TEMP, SMOKE),
        changes: Any = None,
        start: int = 0,
        periods: Any = None,
        diff: Any = ticks_diff,
        start_e4: int = 0,
    ) -> None:
        self.values = list(VALUES)
        for name in changes or {}:
            self.values[limits.NAMES.index(name)] = changes[name]
        self.sensors = {q: Scripted(q, (periods or {}).get(q, PERIOD_MS)) for q in quantities}
        self._diff = diff
        self._start_e4 = start_e4
        self.alarms = AlarmState((kinds.HEAT, kinds.SMOKE, kinds.CO, kinds.GAS), diff)
        self.refit([({"type": TYPES[q]}, self.sensors[q]) for q in quantities])
        self.calls: list[tuple[int, str, int, int]] = []
        self.held_ms: list[int] = []
        self.now = start
        self.ms = 0

    def refit(self, fitted: Any) -> None:
        """Begin with these pairs of entry and sensor."""
        self.fitted = fit.Outfit(fitted, self.values, self._diff, start_e4=self._start_e4)
        parts = self.fitted
        self.watch = Watch(parts.probes, parts.judge, self.alarms, self, parts.history, None, lambda *a: None)

    def alarm(self, states: Any, bits: int, criterion: int, held_ms: int) -> None:
        self.calls.append((self.ms, "alarm", bits, criterion))
        self.held_ms.append(held_ms)

    def prealarm(self, bits: int) -> None:
        self.calls.append((self.ms, "prealarm", bits, kinds.CRIT_SMALL))

    def restored(self, state: Any) -> None:
        self.calls.append((self.ms, "restore", state.bit, 0))

    def sensor_fault(self, stands: bool, probe: Any) -> None:
        self.calls.append((self.ms, "fault" if stands else "fault_clear", probe.fault, 0))

    def step(self, dt: int = PERIOD_MS, **values: int) -> None:
        """One sample `dt` ms after the last one; `values` by name of NAMES stay until changed."""
        for name, value in values.items():
            self.sensors[NAMES[name]].next = value
        self.now = (self.now + dt) & (PERIOD - 1)
        self.ms += dt
        self.watch.step(self.now)

    def run(self, seconds: float, **values: int) -> "Rig":
        """So many seconds at 4 Hz."""
        for _ in range(int(seconds * 4)):
            self.step(**values)
        return self

    def told(self, what: str) -> list[tuple[int, int]]:
        """(bits, criterion) of all calls of a kind."""
        return [(bits, criterion) for _, kind, bits, criterion in self.calls if kind == what]


NAMES = {"temp": TEMP, "smoke": SMOKE, "rh": RH, "co": CO, "gas": GAS, "head": HEAD}


def play(start: int, quantities: Any, track: Any) -> Any:
    """What a rig that begins at ticks `start` makes of a track: runs of (samples, ms between them, values)."""
    rig = Rig(quantities, None, start)
    for count, dt, values in track:
        for _ in range(count):
            rig.step(dt, **values)
    judge = rig.fitted.judge
    ends = [[c.value, c.small, c.fulfilled, c.below, c.held_ms] for c in judge.channels]
    parts = [p.hex() for p in rig.fitted.history.parts(1, judge)]
    return [rig.calls, rig.held_ms, ends, rig.alarms.active, parts]
