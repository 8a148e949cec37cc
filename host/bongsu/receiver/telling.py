"""Who is told of a round of an incident, when, and what: the plan of its deliveries.

A round begins with the texts to contacts, at once. Responders are told at once as well, or when the site's policy or an
exercise no longer holds the dispatch back (policy.py): then `release` catches up with what happened meanwhile.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from bongsu.channels import texts
from bongsu.receiver import incidents, policy, rows
from bongsu.receiver.casebook import Body, Case, Casebook, Outcome, Page, Planned, Signal
from bongsu.receiver.delivery_policy import ALARM, ESCALATION, RESTORE, SMS, TEST, UPDATE, WEBHOOK, first_told, sequence
from bongsu.receiver.incidents import Incident
from bongsu.receiver.store import schema
from bongsu.receiver.walk_tests import ALARM_OPEN, NO_CONTACT, NO_SMS
from bongsu_wire import kinds, payload

Fields = dict[str, Any]

# The site has no responder, and there is nobody to be texted.
NOBODY_TOLD = "nobody_told"
# In an incident's snapshot: {node: [key epoch, event number, phenomena]} of alarms that heartbeats told of.
BY_BEAT = "heartbeats"
_TOLD_AT_ONCE = ("station", "centre")
_WALK_TEST = "walk_test"  # what happened, in the words of data/messages.toml


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report says of the event. Times: ms since 1970; `event_ms` None: the node did not know."""

    received_ms: int
    event_ms: int | None
    criterion: str = kinds.CRITERION_NAMES[kinds.CRIT_NONE]
    sustained_ms: int = 0
    readings: Fields | None = None

    @staticmethod
    def of(event: payload.Event, received_ms: int) -> "Facts":
        """Of an event that comes in."""
        at_ms = rows.event_time(event, received_ms)
        name = kinds.CRITERION_NAMES[event.criterion]
        return Facts(received_ms, at_ms, name, event.sustained_ms, rows.readings_of(event))


def facts_of(conn: Connection, page: Page, incident: Incident) -> Facts:
    """Of the incident's newest alarm event; of the incident itself, if it has none."""
    alarm = kinds.EVENT_NAMES[kinds.ALARM]
    for new in reversed(page.events):
        if new["incident_id"] == incident.id and new["kind"] == alarm:
            readings = msgspec.json.decode(new["readings"])
            return Facts(new["received_ms"], new["event_ms"], new["criterion"], new["sustained_ms"], readings)
    c = schema.event.c
    query = select(c.received_ms, c.event_ms, c.criterion, c.sustained_ms, c.readings)
    row = conn.execute(query.where(c.incident_id == incident.id, c.kind == alarm).order_by(c.id.desc())).first()
    return Facts(incident.opened_ms, incident.opened_ms) if row is None else Facts(*row)


def standing(incident: Incident) -> tuple[str, ...]:
    """Names of what stands, each once."""
    return tuple(dict.fromkeys(name for names in incident.active.values() for name in names))


def report(incident: Incident, purpose: str, facts: Facts, names: tuple[str, ...]) -> texts.Report:
    """What a message about the incident says."""
    return texts.Report(
        purpose=purpose,
        incident_id=incident.id,
        round=incident.round,
        seq=sequence(incident.round, purpose),
        class_=incident.class_,
        snapshot=incident.snapshot,
        names=names,
        received_ms=facts.received_ms,
        event_ms=facts.event_ms,
        criterion=facts.criterion,
        sustained_ms=facts.sustained_ms,
        readings=facts.readings or {},
        verified=incident.verified_ms is not None,
        exercise=policy.may_be_drill(incident),
    )


# ---- a round begins, and is verified


def alarm(
    book: Casebook,
    page: Page,
    case: Case,
    facts: Facts,
    *,
    new_round: bool,
    exercise_id: int | None,
    texted: bool,
    beside: Sequence[str] = (),
) -> Outcome | None:
    """An alarm was noted in its incident: tell who is to be told now. `exercise_id`: of the exercise that the unit is
    part of now; `beside`: subjects of the units next to it. Returns what became of the fault that nobody can be told,
    if a round began.
    """
    now_ms = facts.received_ms
    others = _beside(book, case, beside) if exercise_id is None else []
    by = policy.confirmed_by(case.incident) or (policy.neighbour(others[0].incident) if others else None)
    for other in others:
        _confirm(book, page, other, policy.neighbour(case.incident), now_ms)
    newly = by is not None and case.incident.verified_ms is None
    if newly and by is not None:
        book.keep(page, case, policy.verified(case.incident, by, now_ms))
    if new_round:
        return _begin(book, page, case, facts, exercise_id, texted)
    if newly:
        _now_verified(book, page, case, facts)
    return None


def _beside(book: Casebook, case: Case, subjects: Sequence[str]) -> list[Case]:
    """Fires of the units next to this one that stand now, if this one is one as well."""
    if not subjects or not policy.confirms_beside(case.incident):
        return []
    cases = (book.cases.get((subject, incidents.FIRE)) for subject in subjects)
    return [other for other in cases if other is not None and policy.confirms_beside(other.incident)]


def _confirm(book: Casebook, page: Page, other: Case, by: str, now_ms: int) -> None:
    """The neighbour's alarm is verified by this one. Its responders are told at the end of the turn (`release`)."""
    if other.incident.verified_ms is None:
        book.keep(page, other, policy.let_go(policy.verified(other.incident, by, now_ms)))


def by_beat(
    book: Casebook,
    page: Page,
    key: tuple[str, str],
    signal: Signal,
    snapshot: Callable[[], Fields],
    facts: Facts,
    told_by: list[int],
    *,
    exercise_id: int | None,
    texted: bool,
    beside: Sequence[str] = (),
) -> Outcome:
    """A node is in alarm, as only its heartbeat says: note it in the incident of `key` (subject, class), and tell.
    `told_by`: key epoch, event number and phenomena that the heartbeat named, kept with the incident.
    """
    done = book.stand(page, *key, signal, snapshot)
    case = book.cases[key]
    kept = case.incident.snapshot
    beats = {**kept.get(BY_BEAT, {}), signal.source: told_by}
    count = {incidents.BEATS: case.incident.beats + 1}
    book.keep(page, case, replace(case.incident, snapshot={**kept, BY_BEAT: beats, **count}))
    done.fault = alarm(
        book, page, case, facts, new_round=done.new_round, exercise_id=exercise_id, texted=texted, beside=beside
    )
    return done


def _begin(
    book: Casebook, page: Page, case: Case, facts: Facts, exercise_id: int | None, texted: bool
) -> Outcome | None:
    before = case.incident
    until_ms = policy.held_until_ms(before, exercise_id, facts.received_ms)
    asks = exercise_id if before.held_until_ms is None else before.exercise_id
    book.keep(page, case, replace(before, held_until_ms=until_ms, exercise_id=asks))
    if until_ms is None:
        _dispatch(book, page, case, facts)
    _text_contacts(book, page, case, facts, texted)
    if until_ms is not None and case.incident.snapshot["responders"]:
        return None
    return _is_anybody_told(book, page, case, facts.received_ms)


def _now_verified(book: Casebook, page: Page, case: Case, facts: Facts) -> None:
    """A round that was told of as unverified is confirmed. In an exercise only the operator's word counts: whoever
    tries a head with smoke and heat must not call the engines by it.
    """
    if policy.owes_update(case.incident):
        _update(book, page, case, facts)
    elif policy.is_held(case.incident) and case.incident.exercise_id is None:
        release(book, page, case, facts)


def release(book: Casebook, page: Page, case: Case, facts: Facts) -> None:
    """Tell responders of what was held back until now, or that it is verified; if it ended meanwhile, of that too."""
    if policy.owes_update(case.incident) and not policy.is_held(case.incident):
        _update(book, page, case, facts)
        return
    before = set(case.told)
    _dispatch(book, page, case, facts)
    _is_anybody_told(book, page, case, facts.received_ms)
    if case.incident.restored_ms is not None:
        restored(book, page, case, facts, [r for r in case.told if r not in before])


def _dispatch(book: Casebook, page: Page, case: Case, facts: Facts) -> None:
    """The first station and the first centre of the site; of a node without a unit, everybody."""
    book.keep(page, case, policy.dispatched(case.incident))
    snapshot = case.incident.snapshot
    people = snapshot["responders"]
    names = standing(case.incident) or case.incident.stood
    body = rows.prepared(texts.dispatch_body(report(case.incident, ALARM, facts, names)))
    for responder in people if snapshot.get("unassigned") else first_told(people, _TOLD_AT_ONCE):
        book.tell(page, case, ALARM, responder, body)


def _update(book: Casebook, page: Page, case: Case, facts: Facts) -> None:
    """Whoever was told of the unverified alarm hears that it is confirmed."""
    book.keep(page, case, policy.dispatched(case.incident))
    if case.incident.restored_ms is not None:
        return  # they have been told that it is over
    body = rows.prepared(texts.dispatch_body(report(case.incident, UPDATE, facts, standing(case.incident))))
    for recipient, told in case.told.items():
        if told.channel == WEBHOOK:
            book.plan(page, case.incident, UPDATE, recipient, told, body)


def _text_contacts(book: Casebook, page: Page, case: Case, facts: Facts, texted: bool) -> None:
    """The unit's first contact, and whoever is on duty for the site."""
    made = report(case.incident, ALARM, facts, standing(case.incident))
    snapshot = case.incident.snapshot
    people = {p["id"]: p for p in [*first_told(snapshot["contacts"]), *snapshot.get("duty", ())]}
    for contact in people.values() if texted else ():
        book.tell(page, case, ALARM, contact, texts.sms_text(made, contact["lang"]))


def _is_anybody_told(book: Casebook, page: Page, case: Case, now_ms: int) -> Outcome:
    """An alarm that reaches nobody, for want of a responder and of somebody to text, must at least be seen."""
    incident = case.incident
    signal = Signal(f"dispatch:{incident.class_}", (NOBODY_TOLD,), now_ms)
    if case.told:
        return book.end(page, incident.subject, incidents.FAULT, signal)
    return book.stand(page, incident.subject, incidents.FAULT, signal, lambda: dict(incident.snapshot))


# ---- a walk test


def walk_test(book: Casebook, page: Page, incident: Incident, facts: Facts, texted: bool) -> Planned | str:
    """A node's test event that a walk test waited for: one text to the unit's first contact, marked as an exercise, and
    nothing to anybody else. Returns the text, or why there is none. While an alarm of the same place is open there is
    none: who reads "exercise, no fire" must be able to believe it.
    """
    if _alarm_is_open(book, incident.subject):
        return ALARM_OPEN
    people = first_told(incident.snapshot["contacts"])
    if not people or not texted:
        return NO_SMS if people else NO_CONTACT
    text = texts.sms_text(report(incident, TEST, facts, (_WALK_TEST,)), people[0]["lang"])
    return book.tell(page, Case(incident), TEST, people[0], text)


def belied(conn: Connection, book: Casebook, incident_ids: Collection[int]) -> set[int]:
    """Those of these walk tests' incidents at whose place an alarm is open by now."""
    i = schema.incident.c
    rows = conn.execute(select(i.id, i.subject).where(i.id.in_(incident_ids)))
    return {r.id for r in rows if _alarm_is_open(book, r.subject)}


def _alarm_is_open(book: Casebook, subject: str) -> bool:
    return any((subject, class_) in book.cases for class_ in incidents.DISPATCHED)


# ---- it is over, or nobody answers


def restored(book: Casebook, page: Page, case: Case, facts: Facts, only: Sequence[str] | None = None) -> None:
    """Nothing of the round stands any more: everybody who was told of it hears so. `only`: these recipients, who were
    told of it after it was over.
    """
    made = report(case.incident, RESTORE, facts, case.incident.stood)
    body = rows.prepared(texts.dispatch_body(made))
    for recipient in case.told if only is None else only:
        told = case.told[recipient]
        content: Body = body if told.channel == WEBHOOK else texts.sms_text(made, told.lang)
        book.plan(page, case.incident, RESTORE, recipient, told, content)


def escalation_body(incident: Incident, body: Body, lang: str) -> Body:
    """What the next one is told, where somebody did not answer: the report as it is true now, or a text."""
    if not isinstance(body, str):
        if incident.verified_ms is None:
            return body
        told = msgspec.json.decode(body)
        told["data"]["verified"] = True
        return rows.prepared(told)
    facts = Facts(incident.opened_ms, incident.opened_ms)
    return texts.sms_text(report(incident, ESCALATION, facts, standing(incident)), lang)


def next_people(case: Case, channel: str) -> list[Fields]:
    """Who may be told next on a channel, by rank, those who were told in this round left out."""
    kind, people = ("contact", "contacts") if channel == SMS else ("responder", "responders")
    return [p for p in case.incident.snapshot.get(people, []) if f"{kind}:{p['id']}" not in case.told]
