"""The watch: every sensor, its detector and its alarm state, four times a second. Allocates nothing in quiet air."""

import asyncio

from bongsu_node.sensing.detector import SAMPLE_MS
from bongsu_wire import kinds

_LOG_EVERY = 40  # samples: 10 s


class Watch:
    """`probes`: see Probe; `alarms`: AlarmState of their phenomena; `response`: alarm(), restored(), fault(); `log`.

    rising: some hold is under way (nothing may block the loop now).
    """

    def __init__(self, probes, alarms, response, log) -> None:
        self.rising = False
        self.probes = probes
        self._pairs = [(probe, alarms.of(probe.detector.phenomenon)) for probe in probes]
        self._response = response
        self._log = log
        self._until_log = 0

    def step(self, now: int) -> None:
        """One sample of everything at ticks `now`."""
        rising = False
        for probe, state in self._pairs:
            self._look(probe, state, now)
            rising = rising or probe.detector.rising
        self.rising = rising
        self._until_log -= 1
        if rising or self._until_log < 0:
            self._until_log = _LOG_EVERY
            self._log("I", "sample", self.readings_text())

    def _look(self, probe, state, now: int) -> None:
        hold = probe.detector.hold
        was_active = hold.active
        was_done = hold.done
        held_ms = hold.held_ms
        if probe.sample(now):
            if hold.active and not was_active:
                self._log_hold(state, "start", 0)
            elif was_active and not was_done and not hold.active:
                self._log_hold(state, "broken", held_ms)
            change = state.step(now, probe.fulfilled, probe.detector.below)
            if change == kinds.ALARM:
                self._response.alarm(state, probe.detector)
            elif change == kinds.RESTORE:
                self._response.restored(state)
        else:
            state.missed(now)
        change = probe.supervise(now)
        if change:
            self._response.sensor_fault(change, probe)

    def _log_hold(self, state, what: str, held_ms: int) -> None:
        self._log("I", "hold", "phen=%s state=%s held_ms=%d" % (kinds.phenomena_text(state.bit), what, held_ms))

    def readings(self):
        """The present values, as keyword arguments of payload.Event."""
        values = {}
        for probe in self.probes:
            values["temp_dk" if probe.detector.phenomenon == kinds.HEAT else "smoke_e4"] = probe.detector.value
        return values

    def readings_text(self) -> str:
        """The present values, as they stand in log lines."""
        values = self.readings()
        return " ".join(["%s=%d" % (name, values[name]) for name in ("temp_dk", "smoke_e4") if name in values])

    def end_hold(self, bit: int) -> None:
        """After a reset by hand the criterion of phenomenon `bit` must hold anew."""
        for probe in self.probes:
            if probe.detector.phenomenon == bit:
                probe.detector.hold.sample(0, False)
                probe.fulfilled = False

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
