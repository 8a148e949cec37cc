"""What each kind of event does: one rule a kind. An alarm opens or renews an incident and tells people; a restore ends
what stood; faults stand in the list; tests and prealarms are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bongsu.channels import texts
from bongsu.receiver import incidents, rows
from bongsu.receiver.casebook import Case, Casebook, Outcome, Page, Signal
from bongsu.receiver.delivery_policy import ALARM, ESCALATION, RESTORE, SMS, WEBHOOK, first_told, sequence
from bongsu.receiver.directory import Directory, NodeEntry
from bongsu.receiver.incidents import Incident
from bongsu.receiver.standing import Sender
from bongsu_wire import kinds, payload

Fields = dict[str, Any]

# A known event key with other content: the node's numbers went back, or somebody has its key (DESIGN section 5).
NUMBER_REUSED = "event_number_reused"
# The site has no responder, and there is nobody to be texted.
NOBODY_TOLD = "nobody_told"
_TOLD_AT_ONCE = ("station", "centre")


@dataclass(slots=True)
class Happening:
    """A new event on its way into the books. `content`: its bytes without the age. `texted`: contacts are told too."""

    node: NodeEntry
    epoch: int
    event: payload.Event
    content: bytes
    received_ms: int
    directory: Directory
    texted: bool
    event_id: int = 0

    @property
    def sender(self) -> Sender:
        """Whose numbers the event's number is one of."""
        return self.node.id, self.epoch

    def snapshot(self) -> Fields:
        """What an incident that this opens will keep."""
        return self.directory.snapshot(self.node)

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
    if done.new_round:
        case = book.cases[h.node.subject, class_]
        _tell(book, page, case, h)
        done.fault = _is_anybody_told(book, page, case, h)
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
    stood = book.cases[h.node.subject, class_].incident.active
    ended = book.end(page, h.node.subject, class_, h.signal(over))
    done.incident = ended.incident
    done.restored = done.restored or ended.restored
    if not ended.restored or ended.incident is None:
        return
    case = book.cases[h.node.subject, class_]
    names = tuple(dict.fromkeys(name for names in stood.values() for name in names))
    report = _report(ended.incident, RESTORE, h, names)
    body = rows.prepared(texts.dispatch_body(report))
    for recipient, told in case.told.items():
        content = body if told.channel == WEBHOOK else texts.sms_text(report, told.lang)
        book.plan(page, ended.incident, RESTORE, recipient, told, content)


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
    """Somebody pressed the test button: an exercise that is over at once; nobody is told."""
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
    return Outcome(ended)


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


def _tell(book: Casebook, page: Page, case: Case, h: Happening) -> None:
    """A round begins: the first station and the first centre of the site, and the unit's first contact."""
    report = _report(case.incident, ALARM, h, incidents.names_of(h.event.phenomena))
    body = rows.prepared(texts.dispatch_body(report))
    snapshot = case.incident.snapshot
    told_first = _TOLD_AT_ONCE if not snapshot.get("unassigned") else None
    responders = snapshot["responders"] if told_first is None else first_told(snapshot["responders"], told_first)
    for responder in responders:
        book.tell(page, case, ALARM, responder, body)
    for contact in first_told(snapshot["contacts"]) if h.texted else ():
        book.tell(page, case, ALARM, contact, texts.sms_text(report, contact["lang"]))


def _is_anybody_told(book: Casebook, page: Page, case: Case, h: Happening) -> Outcome:
    """An alarm that reaches nobody, for want of a responder and of somebody to text, must at least be seen."""
    incident = case.incident
    signal = Signal(f"dispatch:{incident.class_}", (NOBODY_TOLD,), h.received_ms)
    if case.told:
        return book.end(page, incident.subject, incidents.FAULT, signal)
    return book.stand(page, incident.subject, incidents.FAULT, signal, h.snapshot)


def _report(incident: Incident, purpose: str, h: Happening, names: tuple[str, ...]) -> texts.Report:
    e = h.event
    return texts.Report(
        purpose=purpose,
        incident_id=incident.id,
        round=incident.round,
        seq=sequence(incident.round, purpose),
        class_=incident.class_,
        snapshot=incident.snapshot,
        names=names,
        received_ms=h.received_ms,
        event_ms=rows.event_time(e, h.received_ms),
        criterion=kinds.CRITERION_NAMES[e.criterion],
        sustained_ms=e.sustained_ms,
        readings=rows.readings_of(e),
    )


def escalation_text(incident: Incident, lang: str) -> str:
    """What the next contact is texted, from the incident alone: what stands, and since when."""
    names = tuple(dict.fromkeys(name for names in incident.active.values() for name in names))
    report = texts.Report(
        purpose=ESCALATION,
        incident_id=incident.id,
        round=incident.round,
        seq=sequence(incident.round, ESCALATION),
        class_=incident.class_,
        snapshot=incident.snapshot,
        names=names,
        received_ms=incident.opened_ms,
        event_ms=incident.opened_ms,
    )
    return texts.sms_text(report, lang)


def next_people(case: Case, channel: str) -> list[Fields]:
    """Who may be told next on a channel, by rank, those who were told in this round left out."""
    kind, people = ("contact", "contacts") if channel == SMS else ("responder", "responders")
    return [p for p in case.incident.snapshot.get(people, []) if f"{kind}:{p['id']}" not in case.told]


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
