"""What the node does about a decision: siren first, then the event into the journal, then the link (DESIGN section 6).

Nothing in here can stop the siren or the sensing. If flash fails the event is still sent, from RAM; if NVS has no
number for it, it waits in the journal until look_after() finds one.
"""

from bongsu_node.sensing.watch import text_of
from bongsu_node.upkeep.faults import Faults
from bongsu_wire import kinds, payload


class Response:
    """`alarms`: AlarmState; `siren`: Siren; `identity`, `journal`: None on an unprovisioned node, which has nobody to
    report to; `save()`: writes the alarm state to flash; `ticks_ms`; `log`.

    To be set by the app: wake(): the link has something to send; readings(): present values for an event;
    remember(number): keep the minute before this alarm; faults: Faults.
    """

    def __init__(self, alarms, siren, identity, journal, save, ticks_ms, log) -> None:
        self.wake = None
        self.readings = dict
        self.remember = None
        self.faults: Faults = None
        self.broken = False  # an event could not be made or kept
        self._alarms = alarms
        self._siren = siren
        self._identity = identity
        self._journal = journal
        self._save = save
        self._ticks_ms = ticks_ms
        self._log = log

    # -- decisions

    def alarm(self, states, bits: int, criterion: int, held_ms: int) -> None:
        """A criterion has held: `states` of the phenomena `bits` have just gone into alarm (or, of a fusion, one had
        before).
        """
        self._siren.alarm()
        self._alarms.end_silence()
        number = self._number()
        for state in states:
            state.criterion = criterion
            state.event = number or state.event
        self._log("W", "alarm", self._decision_text(number, bits, criterion, held_ms))
        self._keep(number, kinds.ALARM, bits, criterion, held_ms)
        if number and self.remember is not None:
            try:
                self.remember(number)
            except Exception as e:  # the alarm is out; its history is a help, no more
                self._log("E", "history", "event=%d err=%r" % (number, e))

    def prealarm(self, bits: int) -> None:
        """One small change has held: the centre hears of it, nothing sounds, nobody is called out."""
        number = self._number()
        self._log("I", "prealarm", self._decision_text(number, bits, kinds.CRIT_SMALL, 0))
        self._keep(number, kinds.PREALARM, bits, kinds.CRIT_SMALL)

    def restored(self, state) -> None:
        """`state` has been quiet for long enough: the alarm is over, the incident is not."""
        number = self._number()
        self._log("I", "restore", "event=%d phen=%s" % (number, kinds.phenomena_text(state.bit)))
        state.event = number or state.event  # one that waits for its number gets it from look_after()
        self._keep(number, kinds.RESTORE, state.bit, state.criterion)

    def sensor_fault(self, stands: bool, probe) -> None:
        """A sensor has failed for long enough (or another of its kind still does), or all of its kind work again."""
        if probe.faulty:
            name = kinds.name(kinds.FAULTS, probe.fault)
            self._log("E", "sensor", "name=%s why=%s" % (name, probe.why))
        self.faults.set(probe.fault, stands)

    def _decision_text(self, number: int, bits: int, criterion: int, held_ms: int) -> str:
        shown = text_of(self._readings())
        names = kinds.phenomena_text(bits), kinds.name(kinds.CRITERIA, criterion)
        return "event=%d phen=%s criterion=%s held_ms=%d %s" % (number, names[0], names[1], held_ms, shown)

    def fault(self, kind: int, code: int) -> None:
        """kinds.FAULT or FAULT_CLEAR of fault `code`."""
        number = self._number()
        name = kinds.name(kinds.FAULTS, code)
        self._log("W", "fault" if kind == kinds.FAULT else "fault_clear", "event=%d code=%s" % (number, name))
        self._keep(number, kind, detail=code)

    # -- people

    def test(self, criterion: int) -> None:
        """Somebody tests the way to the centre: a chirp here, a test event there."""
        self._siren.chirp(self._ticks_ms())
        number = self._number()
        self._log("I", "test", "event=%d criterion=%s" % (number, kinds.name(kinds.CRITERIA, criterion)))
        self._keep(number, kinds.TEST, criterion=criterion)

    def silence(self) -> bool:
        """Silence the siren, 10 min at most; False if nothing sounds."""
        done = self._alarms.silence(self._ticks_ms())
        self._log("I", "silence", "state=%s" % ("on" if done else "nothing-sounds"))
        return done

    def reset(self, end_hold, is_high) -> bool:
        """End the standing alarms whose cause is over, without waiting for the restore time: also that of a sensor
        which died high.

        `end_hold(bit)`: its criterion must hold anew; `is_high(bit)`: the phenomenon is above its hysteresis now.
        False, and nothing is done, while any standing one is.
        """
        standing = [p for p in self._alarms.phenomena if p.active]
        for p in standing:
            if is_high(p.bit):
                return False
        for p in standing:
            end_hold(p.bit)
            p.end()
            self.restored(p)
        return True

    # -- events

    def look_after(self) -> None:
        """Try again what flash or NVS refused; to be called now and then."""
        late = self._journal.retry() if self._journal is not None else ()
        if late:
            self._alarms.numbered(late)
            self._save()
            self._wake()

    def _number(self) -> int:
        """A fresh event number, 0 if there is none: NVS refuses, or the node is not provisioned."""
        if self._identity is None:
            return 0
        try:
            return self._identity.next_event_number()
        except Exception as e:
            self.broken = True
            self._log("E", "journal", "event=0 err=%r" % e)
            return 0

    def _readings(self):
        try:
            return self.readings()
        except Exception as e:  # an event without values is better than none
            self.broken = True
            self._log("E", "readings", "err=%r" % e)
            return {}

    def _keep(
        self, number: int, kind: int, phenomena: int = 0, criterion: int = 0, held_ms: int = 0, detail: int = 0
    ) -> None:
        """Journal the event, save the state, wake the link."""
        try:
            if self._journal is not None:
                event = payload.Event(
                    number, kind, phenomena, criterion, sustained_ms=held_ms, detail=detail, **self._readings()
                )
                self._journal.add(event)
            if phenomena and kind != kinds.PREALARM:
                self._save()
        except Exception as e:
            self.broken = True
            self._log("E", "journal", "event=%d err=%r" % (number, e))
        self._wake()

    def _wake(self) -> None:
        if self.wake is not None:
            self.wake()
