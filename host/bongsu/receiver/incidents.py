"""What happens to an incident: one transition table, pure (time and ids are arguments).

An incident is what people handle; one is open per subject and class. Its phase says what a person must know at a
glance: does the alarm still stand, and has somebody taken it on? A restore closes nothing: a fire that went out by
itself is still looked at. A new alarm after a restore is a new round: everybody is told again, and the
acknowledgement no longer counts, because it was given for something else.
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from bongsu.errors import BongsuError
from bongsu_wire import kinds

FIRE, CO_GAS, FAULT, CARE, EXERCISE = "fire", "co_gas", "fault", "care", "exercise"


@dataclass(frozen=True, slots=True)
class ClassRule:
    """What is done about a class. `dispatched`: responders get a report; `texted`: contacts get a text; `by_people`:
    only a person closes it (else it is closed as it is written); `opened_by`: what opens it.
    """

    dispatched: bool
    texted: bool
    by_people: bool
    opened_by: str


CLASSES: dict[str, ClassRule] = {
    FIRE: ClassRule(True, True, True, "an alarm with heat or smoke, or a push button"),
    CO_GAS: ClassRule(True, True, True, "an alarm of CO, gas or bad air alone"),
    # Seen in the list of incidents: a fault that sends engines or wakes owners is how such systems lose their trust.
    FAULT: ClassRule(False, False, True, "a fault or tamper event, or what a receiver finds out by itself"),
    # Kept for homes (somebody does not move, does not get up). No node reports it yet: nothing opens one.
    CARE: ClassRule(False, False, True, "nothing yet"),
    EXERCISE: ClassRule(False, False, False, "the test button"),
}
# Classes whose signals are dispatched to responders and texted to contacts.
DISPATCHED = tuple(name for name, rule in CLASSES.items() if rule.dispatched)
DISPOSITIONS = ("fire", "cooking", "steam", "dust", "insect", "device_fault", "test", "unknown")
# Which signals belong to a fire; gas, CO and bad air without heat or smoke are another class.
_FIRE_BITS = kinds.HEAT | kinds.SMOKE

Active = dict[str, tuple[str, ...]]


class IllegalMove(BongsuError):
    """The incident is not in a phase in which this may happen."""


class StaleAcknowledgement(BongsuError):
    """Something happened after what the acknowledging person had seen."""


class Phase(Enum):
    """Where an incident stands."""

    STANDING = "standing"
    ACKNOWLEDGED = "acknowledged"
    RESTORED = "restored"
    RESTORED_ACKNOWLEDGED = "restored and acknowledged"
    CLOSED = "closed"


class Move(Enum):
    """What can happen to it."""

    SIGNAL = "a signal"
    RESTORE = "a restore"
    ACKNOWLEDGE = "an acknowledgement"
    CLOSE = "closing"


# The whole life of an incident. A pair that is not here is illegal.
TRANSITIONS: dict[tuple[Phase, Move], Phase] = {
    (Phase.STANDING, Move.SIGNAL): Phase.STANDING,
    (Phase.STANDING, Move.RESTORE): Phase.RESTORED,
    (Phase.STANDING, Move.ACKNOWLEDGE): Phase.ACKNOWLEDGED,
    (Phase.STANDING, Move.CLOSE): Phase.CLOSED,
    (Phase.ACKNOWLEDGED, Move.SIGNAL): Phase.STANDING,
    (Phase.ACKNOWLEDGED, Move.RESTORE): Phase.RESTORED_ACKNOWLEDGED,
    (Phase.ACKNOWLEDGED, Move.ACKNOWLEDGE): Phase.ACKNOWLEDGED,
    (Phase.ACKNOWLEDGED, Move.CLOSE): Phase.CLOSED,
    (Phase.RESTORED, Move.SIGNAL): Phase.STANDING,
    (Phase.RESTORED, Move.RESTORE): Phase.RESTORED,
    (Phase.RESTORED, Move.ACKNOWLEDGE): Phase.RESTORED_ACKNOWLEDGED,
    (Phase.RESTORED, Move.CLOSE): Phase.CLOSED,
    (Phase.RESTORED_ACKNOWLEDGED, Move.SIGNAL): Phase.STANDING,
    (Phase.RESTORED_ACKNOWLEDGED, Move.RESTORE): Phase.RESTORED_ACKNOWLEDGED,
    (Phase.RESTORED_ACKNOWLEDGED, Move.ACKNOWLEDGE): Phase.RESTORED_ACKNOWLEDGED,
    (Phase.RESTORED_ACKNOWLEDGED, Move.CLOSE): Phase.CLOSED,
}
# In a snapshot: how many alarms only heartbeats told of.
BEATS = "alarms_by_heartbeat"
# In a snapshot: the incident stands as a backup had it; what became of it since, nobody knows (settle.py).
AS_OF_BACKUP = "as_of_backup_ms"
_RESTORED_PHASES = (Phase.RESTORED, Phase.RESTORED_ACKNOWLEDGED)


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident, as its row in the store; times in ms since 1970.

    `subject`: "unit:<site>/<unit>", "node:<id>", "site:<id>" or "receiver:<sender>". `round` counts dispatch rounds
    from 1. `held_until_ms`: its dispatch waits so long for a verification or an answer (0: a person let it go).
    `verified_by`: "phenomenon", "node", "neighbour:<site>/<unit>" or "operator:<name>", of the present round.
    `snapshot`: site, unit, contacts, responders and node as they were; under "active" what still stands ({source: names
    of phenomena or faults}), under "dispatched" of which round responders were told last, and whether as verified. `id`
    is 0 until it is stored.
    """

    id: int
    subject: str
    class_: str
    opened_ms: int
    last_event_ms: int
    round: int = 1
    last_event_id: int | None = None
    restored_ms: int | None = None
    closed_ms: int | None = None
    ack_ms: int | None = None
    ack_by: str | None = None
    ack_event_id: int | None = None
    disposition: str | None = None
    note: str = ""
    closed_by: str | None = None
    verified_ms: int | None = None
    verified_by: str | None = None
    held_until_ms: int | None = None
    exercise_id: int | None = None
    snapshot: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """As the store has it: "open" or "closed"."""
        return "open" if self.closed_ms is None else "closed"

    @property
    def stood(self) -> tuple[str, ...]:
        """Names of what stood in its present round and has ended."""
        return tuple(self.snapshot.get("stood", ()))

    @property
    def beats(self) -> int:
        """How many alarms in it only heartbeats told of: they have no event id, and count as something seen or not."""
        return int(self.snapshot.get(BEATS, 0))

    @property
    def active(self) -> Active:
        """What still stands: {source: names}."""
        return {source: tuple(names) for source, names in self.snapshot.get("active", {}).items()}


def phase(incident: Incident) -> Phase:
    """Where the incident stands."""
    if incident.closed_ms is not None:
        return Phase.CLOSED
    if incident.restored_ms is not None:
        return Phase.RESTORED if incident.ack_ms is None else Phase.RESTORED_ACKNOWLEDGED
    return Phase.STANDING if incident.ack_ms is None else Phase.ACKNOWLEDGED


def _check(incident: Incident, move: Move) -> Phase:
    now = phase(incident)
    after = TRANSITIONS.get((now, move))
    if after is None:
        raise IllegalMove(
            f"incident {incident.id} is {now.value}; {move.value} is not possible any more",
            "See what is open: bongsu incident list",
        )
    return after


def alarm_class(phenomena: int) -> str:
    """The class of an alarm with these phenomena bits. No bits at all (a push button) means fire."""
    return FIRE if phenomena & _FIRE_BITS or not phenomena else CO_GAS


def names_of(phenomena: int) -> tuple[str, ...]:
    """Names of phenomena bits in bit order; ("button",) for none."""
    return tuple(name for bit, name in kinds.PHENOMENON_NAMES.items() if phenomena & bit) or ("button",)


def names_spoken_of(kind: int, phenomena: int, detail: int) -> tuple[str, ...]:
    """What an alarm, restore, fault, fault's end or tamper event speaks of; () of an end: everything."""
    if kind == kinds.ALARM:
        return names_of(phenomena)
    if kind == kinds.RESTORE:
        return names_of(phenomena) if phenomena else ()
    if kind == kinds.TAMPER:
        return (kinds.FAULT_NAMES[kinds.FAULT_TAMPER],)
    if kind == kinds.FAULT_CLEAR and not detail:
        return ()
    return (kinds.FAULT_NAMES.get(detail, f"fault_{detail}"),)


def opened(
    subject: str,
    class_: str,
    *,
    source: str,
    names: tuple[str, ...],
    now_ms: int,
    snapshot: dict[str, Any],
    incident_id: int = 0,
    event_id: int | None = None,
) -> Incident:
    """A new incident in which `names` (phenomena or faults) of `source` (a node id, "link", ...) stand, opened by
    `event_id` (None: the receiver found it out by itself).
    """
    kept = {**snapshot, "active": {source: list(names)}}
    return Incident(incident_id, subject, class_, now_ms, now_ms, last_event_id=event_id, snapshot=kept)


def signalled(
    incident: Incident, *, source: str, names: tuple[str, ...], now_ms: int, event_id: int | None
) -> tuple[Incident, bool]:
    """A further alarm or fault in an open incident. Returns it and whether this begins a new round, in which everybody
    is told again: that is so after a restore. In the same round nobody is told twice; the acknowledgement is cleared in
    either case, for whoever gave it has not seen this. Raises IllegalMove.
    """
    new_round = phase(incident) in _RESTORED_PHASES or AS_OF_BACKUP in incident.snapshot
    _check(incident, Move.SIGNAL)
    standing = {} if new_round else incident.active
    if new_round:
        past = ("stood", AS_OF_BACKUP)
        incident = replace(incident, snapshot={k: v for k, v in incident.snapshot.items() if k not in past})
    standing[source] = tuple(dict.fromkeys((*standing.get(source, ()), *names)))
    changed = _with_active(incident, standing, now_ms, event_id)
    return replace(
        changed,
        round=incident.round + new_round,
        restored_ms=None,
        ack_ms=None,
        ack_by=None,
        ack_event_id=None,
        verified_ms=None if new_round else incident.verified_ms,
        verified_by=None if new_round else incident.verified_by,
    ), new_round


def restored(
    incident: Incident, *, source: str, names: tuple[str, ...] | None, now_ms: int, event_id: int | None
) -> tuple[Incident, bool]:
    """`source` reports that `names` (None: all of its own) no longer stand. Returns the incident and whether nothing
    stands any more by this very report; closing is left to people. Raises IllegalMove.
    """
    _check(incident, Move.RESTORE)
    standing = incident.active
    ended = [name for name in standing.get(source, ()) if names is None or name in names]
    stood = list(dict.fromkeys((*incident.stood, *ended)))
    left = tuple(name for name in standing.pop(source, ()) if names is not None and name not in names)
    if left:
        standing[source] = left
    changed = _with_active(
        replace(incident, snapshot={**incident.snapshot, "stood": stood}), standing, now_ms, event_id
    )
    if standing or incident.restored_ms is not None:
        return changed, False
    return replace(changed, restored_ms=now_ms), True


def _with_active(incident: Incident, active: Active, now_ms: int, event_id: int | None) -> Incident:
    return replace(
        incident,
        snapshot={**incident.snapshot, "active": {source: list(names) for source, names in active.items()}},
        last_event_ms=now_ms,
        last_event_id=event_id if event_id is not None else incident.last_event_id,
    )


def acknowledged(
    incident: Incident, *, by: str, seen_event_id: int | None, now_ms: int, seen_beats: int = 0
) -> Incident:
    """Somebody takes the incident on, having seen it up to `seen_event_id` and `seen_beats` (compare and set).

    Raises StaleAcknowledgement if something happened since, IllegalMove if it is closed.
    """
    _check(incident, Move.ACKNOWLEDGE)
    check_seen(incident, seen_event_id, seen_beats)
    return replace(incident, ack_ms=now_ms, ack_by=by, ack_event_id=seen_event_id)


def seen_text(event_id: int | None, beats: int) -> str:
    """What a person has seen, as --seen takes it: "7", or "7+1" if a heartbeat told of an alarm too; "0": nothing."""
    return f"{event_id or 0}" + (f"+{beats}" if beats else "")


def check_seen(incident: Incident, seen_event_id: int | None, seen_beats: int = 0) -> None:
    """Raises StaleAcknowledgement if something happened since what a person has seen."""
    if (seen_event_id, seen_beats) != (incident.last_event_id, incident.beats):
        raise StaleAcknowledgement(
            f"incident {incident.id} changed since you looked at it (newest event "
            f"{seen_text(incident.last_event_id, incident.beats)}, you saw {seen_text(seen_event_id, seen_beats)})",
            f"Look again: bongsu incident show {incident.id}",
        )


def closed(incident: Incident, *, disposition: str, now_ms: int, by: str | None = None, note: str = "") -> Incident:
    """A person ends the incident and says what it was; what still waited to be sent is cancelled by the caller.

    Raises IllegalMove if it is closed already, ValueError for a disposition that is none.
    """
    _check(incident, Move.CLOSE)
    if disposition not in DISPOSITIONS:
        raise ValueError(f"no disposition: {disposition}")
    return replace(
        incident,
        closed_ms=now_ms,
        closed_by=by,
        disposition=disposition,
        note=note or incident.note,
        held_until_ms=None,
    )
