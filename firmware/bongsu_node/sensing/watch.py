"""The watch: every sensor, the judge and the alarm state, four times a second. Allocates nothing in quiet air."""

import asyncio

from bongsu_node.sensing.hold import HOLD_MS, SAMPLE_MS
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN

_LOG_EVERY = 40  # samples: 10 s
# Readings of payload.Event, in their order in log lines. Of the first ones the quantities.
_NAMES = ("temp_dk", "smoke_e4", "humidity_half", "gas")
_QUANTITIES = b"\x01\x02\x03"  # kinds.Q_TEMP_DK, Q_SMOKE_E4, Q_HUMIDITY_HALF


def text_of(values) -> str:
    """Readings as they stand in log lines."""
    return " ".join(["%s=%d" % (name, values[name]) for name in _NAMES if name in values])


class Watch:
    """`probes`: see Probe; `judge`: Judge of all their channels; `alarms`: AlarmState; `response`: alarm(), prealarm(),
    restored(), sensor_fault(); `history`, `means`: see there; `log`.

    on_reading(payload), to be set: an interval is over.
    """

    def __init__(self, probes, judge, alarms, response, history, means, log) -> None:
        self.probes = probes
        self.judge = judge
        self.history = history
        self.on_reading = None
        self._means = means
        self._alarms = alarms
        self._response = response
        self._log = log
        self._until_log = 0
        self._held_ms = [-1] * (len(judge.channels) + 1)  # of each channel and of the fusion; -1: no hold

    def step(self, now: int) -> None:
        """One sample of everything at ticks `now`."""
        judge = self.judge
        for probe in self.probes:
            probe.sample(now)
        judge.step(now)
        self.history.step(now, judge)
        for state in self._alarms.phenomena:
            self._settle(state, now)
        if judge.fusion:
            self._fused(now)
        if judge.prealarm and not self._alarms.active:
            self._response.prealarm(judge.prealarm)
        for probe in self.probes:
            if probe.supervise(now):
                self._sensor_fault(probe)
        self._tell(now)

    def _settle(self, state, now: int) -> None:
        """Move the alarm state of one phenomenon on."""
        judge = self.judge
        channel = judge.fulfilled(state.bit)
        if not state.active:
            if channel is not None:
                state.begin(now)
                self._response.alarm((state,), state.bit, channel.criterion, channel.held_ms)
        elif not judge.sampled(state.bit):
            state.missed(now)
        elif state.step(now, channel is not None or judge.fusion & state.bit != 0, judge.below(state.bit)):
            self._response.restored(state)

    def _fused(self, now: int) -> None:
        """Small changes in several phenomena have held: one alarm of all of them, unless each is in alarm already."""
        bits = self.judge.fusion
        if self._alarms.active & bits == bits:
            return
        states = []
        for state in self._alarms.phenomena:  # no comprehension: its cell would cost heap in each sample of a fire
            if state.bit & bits:
                states.append(state)
                if not state.active:
                    state.begin(now)
        self._response.alarm(states, bits, kinds.CRIT_FUSION, self.judge.fusing.held_ms)

    def _sensor_fault(self, probe) -> None:
        """A sensor failed or works again; sensors of one kind share a fault, which ends with the last of them."""
        stands = False
        for other in self.probes:
            stands = stands or (other.fault == probe.fault and other.faulty)
        self._response.sensor_fault(stands, probe)

    def _tell(self, now: int) -> None:
        self._tell_holds()
        self._until_log -= 1
        if self.judge.rising or self._until_log < 0:
            self._until_log = _LOG_EVERY
            self._log("I", "sample", text_of(self.readings()))
        if self._means is not None and self._means.step(now):
            self._tell_reading(self._means.reading())

    def _tell_reading(self, reading) -> None:
        if reading is None or self.on_reading is None:
            return
        try:
            self.on_reading(reading)
        except Exception as e:  # NVS that has no counter to give, for one: the next reading comes, the sensing goes on
            self._log("E", "reading", "err=%r" % e)

    def _tell_holds(self) -> None:
        channels = self.judge.channels
        for i in range(len(channels)):
            channel = channels[i]
            self._tell_hold(i, channel.bit, channel.active, channel.held_ms)
        fusing = self.judge.fusing
        self._tell_hold(len(channels), self.judge.bits, fusing.active, fusing.held_ms)

    def _tell_hold(self, i: int, bits: int, active: bool, held_ms: int) -> None:
        """Log where hold number `i` began, and where it broke before its time."""
        before = self._held_ms[i]
        if active:
            self._held_ms[i] = held_ms
            if before < 0:
                self._log_hold(bits, "start", 0)
        elif before >= 0:
            self._held_ms[i] = -1
            if before < HOLD_MS:
                self._log_hold(bits, "broken", before)

    def _log_hold(self, bits: int, what: str, held_ms: int) -> None:
        self._log("I", "hold", "phen=%s state=%s held_ms=%d" % (kinds.phenomena_text(bits), what, held_ms))

    def readings(self):
        """The present values, as keyword arguments of payload.Event."""
        values = {}
        judge = self.judge
        for i in range(len(_QUANTITIES)):
            value = judge.value(_QUANTITIES[i])
            if value != UNKNOWN:
                values[_NAMES[i]] = value
        gas = judge.value(kinds.Q_GAS_INDEX)
        co_dppm = judge.value(kinds.Q_CO_DPPM)
        if co_dppm != UNKNOWN:
            gas = (co_dppm + 5) // 10
        if gas != UNKNOWN:
            values["gas"] = gas
        return values

    async def run(self, beat, ticks_ms, ticks_add, ticks_diff) -> None:
        """Sample for ever, on a schedule of ticks that does not drift; what a blocked loop missed is left out."""
        due = ticks_ms()
        while True:
            now = ticks_ms()
            self.step(now)
            beat()
            due = ticks_add(due, SAMPLE_MS)
            wait_ms = ticks_diff(due, ticks_ms())
            if wait_ms < -SAMPLE_MS:
                due = ticks_ms()
                wait_ms = 0
            await asyncio.sleep_ms(wait_ms if wait_ms > 0 else 0)
