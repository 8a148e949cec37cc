"""What each kind of event does: one rule a kind. An alarm opens or renews an incident and tells people; a restore ends
what stood; faults stand in the list; tests and prealarms are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bongsu.receiver import incidents, rows, telling
from bongsu.receiver.casebook import Casebook, Outcome, Page, Signal
from bongsu.receiver.directory import Directory, NodeEntry
from bongsu.receiver.incidents import Incident
from bongsu.receiver.standing import Sender
from bongsu_wire import kinds, payload

Fields = dict[str, Any]

# A known event key with other content: the node's numbers went back, or somebody has its key (DESIGN section 5).
NUMBER_REUSED = "event_number_reused"


@dataclass(slots=True)
class Happening:
    """A new event on its way into the books. `content`: its bytes without the age. `texted`: contacts are told too.
    `exercise_id`: of the exercise that the node's unit is part of at present. `walk_test`: number of the walk test that
    waited for it.
    """

    node: NodeEntry
    epoch: int
    event: payload.Event
    content: bytes
    received_ms: int
    directory: Directory
    texted: bool
    exercise_id: int | None = None
    walk_test: int | None = None
    event_id: int = 0

    @property
    def sender(self) -> Sender:
        """Whose numbers the event's number is one of."""
        return self.node.id, self.epoch

    def snapshot(self) -> Fields:
        """What an incident that this opens will keep."""
        return self.directory.snapshot(self.node, self.received_ms)

    def facts(self) -> telling.Facts:
        """What messages say of the event."""
        return telling.Facts.of(self.event, self.received_ms)

    def signal(self, names: tuple[str, ...]) -> Signal:
        """The event as a signal of its node."""
        return Signal(self.node.id, names, self.received_ms, self.event_id)


def record(book: Casebook, page: Page, h: Happening, *, reused: bool) -> Outcome:
    """Write down a new event and what follows from it. `reused`: its number was another event's before."""
    e = h.event
    h.event_id = book.new_event_id(page, (h.node.id, h.epoch, e.number), h.content)
    done = _RULES[e.kind](book, page, h)
    page.events.append(_event_row(h, done.incident))
    if reused:
        book.stand(page, f"node:{h.node.id}", incidents.FAULT, h.signal((NUMBER_REUSED,)), h.snapshot)
    return done


def _note_standing(book: Casebook, h: Happening) -> tuple[str, ...]:
    e = h.event
    return book.note_standing(h.sender, e.kind, e.phenomena, e.detail, e.number)


def _alarm(book: Casebook, page: Page, h: Happening) -> Outcome:
    class_ = incidents.alarm_class(h.event.phenomena)
    names = _note_standing(book, h)
    done = book.stand(page, h.node.subject, class_, h.signal(names), h.snapshot)
    case = book.cases[h.node.subject, class_]
    if done.new_round and not done.opened:  # another shift may be on duty by now
        duty = h.directory.on_duty(h.node.site_id, h.received_ms)
        book.keep(page, case, replace(case.incident, snapshot={**case.incident.snapshot, "duty": duty}))
    done.fault = telling.alarm(
        book,
        page,
        case,
        h.facts(),
        new_round=done.new_round,
        exercise_id=h.exercise_id,
        texted=h.texted,
        beside=h.directory.beside(h.node),
    )
    done.incident = case.incident
    over = book.alarms.over(h.sender, names)
    if over:
        _end_alarm(book, page, h, class_, done, over)  # its restore overtook it on the way
    return done


def _restore(book: Casebook, page: Page, h: Happening) -> Outcome:
    """The node sends alarms first: a younger alarm may be here already, and about that this says nothing."""
    names = _note_standing(book, h)
    done = Outcome()
    for class_ in incidents.DISPATCHED:
        over = book.alarms.over(h.sender, _stood(book, h, h.node.subject, class_, names))
        if over:
            _end_alarm(book, page, h, class_, done, over)
    return done


def _stood(book: Casebook, h: Happening, subject: str, class_: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` (none: all) that the node has standing in an incident."""
    case = book.cases.get((subject, class_))
    standing = case.incident.active.get(h.node.id, ()) if case is not None else ()
    return tuple(name for name in standing if not names or name in names)


def _end_alarm(book: Casebook, page: Page, h: Happening, class_: str, done: Outcome, over: tuple[str, ...]) -> None:
    """End what is over, and tell everybody who was told, if that was all; adds to `done`."""
    ended = book.end(page, h.node.subject, class_, h.signal(over))
    done.incident = ended.incident
    done.restored = done.restored or ended.restored
    if ended.restored:
        telling.restored(book, page, book.cases[h.node.subject, class_], h.facts())


def _fault(book: Casebook, page: Page, h: Happening) -> Outcome:
    names, subject = _note_standing(book, h), f"node:{h.node.id}"
    done = book.stand(page, subject, incidents.FAULT, h.signal(names), h.snapshot)
    over = book.faults.over(h.sender, names)
    if over:  # its end overtook it on the way
        ended = book.end(page, subject, incidents.FAULT, h.signal(over))
        done.incident, done.restored = ended.incident, ended.restored
    return done


def _fault_clear(book: Casebook, page: Page, h: Happening) -> Outcome:
    names, subject = _note_standing(book, h), f"node:{h.node.id}"
    over = book.faults.over(h.sender, _stood(book, h, subject, incidents.FAULT, names))
    return book.end(page, subject, incidents.FAULT, h.signal(over)) if over else Outcome()


def _test(book: Casebook, page: Page, h: Happening) -> Outcome:
    """Somebody pressed the test button: an exercise that is over at once. Nobody is told, but in a walk test the unit's
    first contact.
    """
    made = incidents.opened(
        h.node.subject,
        incidents.EXERCISE,
        source=h.node.id,
        names=(),
        now_ms=h.received_ms,
        snapshot=h.snapshot(),
        incident_id=book.new_incident_id(),
        event_id=h.event_id,
    )
    ended = incidents.closed(made, disposition="test", now_ms=h.received_ms)
    page.opened[ended.id] = ended
    text = telling.walk_test(book, page, ended, h.facts(), h.texted) if h.walk_test is not None else None
    return Outcome(ended, text=text)


def _prealarm(book: Casebook, _page: Page, h: Happening) -> Outcome:
    """One small change held: kept, and shown with the unit's incident if one is open."""
    case = book.cases.get((h.node.subject, incidents.FIRE))
    return Outcome(case.incident if case is not None else None)


_RULES: dict[int, Callable[[Casebook, Page, Happening], Outcome]] = {
    kinds.ALARM: _alarm,
    kinds.PREALARM: _prealarm,
    kinds.RESTORE: _restore,
    kinds.FAULT: _fault,
    kinds.FAULT_CLEAR: _fault_clear,
    kinds.TAMPER: _fault,
    kinds.TEST: _test,
}


def _event_row(h: Happening, incident: Incident | None) -> Fields:
    e = h.event
    return {
        "id": h.event_id,
        "node_id": h.node.id,
        "epoch": h.epoch,
        "number": e.number,
        "received_ms": h.received_ms,
        "event_ms": rows.event_time(e, h.received_ms),
        "kind": kinds.EVENT_NAMES[e.kind],
        "phenomena": e.phenomena,
        "criterion": kinds.CRITERION_NAMES[e.criterion],
        "detail": e.detail,
        "count": e.count,
        "sustained_ms": e.sustained_ms,
        "readings": rows.as_json(rows.readings_of(e)),
        "content": h.content,
        "incident_id": incident.id if incident is not None else None,
    }
