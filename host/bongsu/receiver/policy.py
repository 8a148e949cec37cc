"""When responders are told of an alarm: at once, or when it is verified, and in an exercise after the operator was
asked. Pure (times are arguments).

Whatever the policy, nothing is dropped: what is held back goes out when its time is over, marked unverified. Texts to
contacts are never held back.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bongsu.receiver import incidents
from bongsu.receiver.incidents import IllegalMove, Incident

ON_ALARM, ON_VERIFIED = "on_alarm", "on_verified"
# Where the fire service is told, it is told within 20 s of the fire signal (NFPC 204); 5 s of it belong to the way.
STATION_WITHIN_S = 15
# The longest that a site without a fire station among its responders may wait.
WITHIN_MAX_S = 600
# An alarm of a unit that takes part in an exercise waits so long for the operator's word.
EXERCISE_ASKS_MS = 60_000

BY_PHENOMENON, BY_NODE = "phenomenon", "node"
_BY_UNIT = "neighbour:"
_BY_OPERATOR = "operator:"


def confirmed_by(incident: Incident) -> str | None:
    """What of itself confirms the alarm: a second node of the unit, or a second phenomenon; None: nothing yet.

    Judged by what stands together now: an alarm that ended before the next began makes another round.
    """
    active = incident.active
    if len([source for source, names in active.items() if names]) > 1:
        return BY_NODE
    return BY_PHENOMENON if len({name for names in active.values() for name in names}) > 1 else None


def confirms_beside(incident: Incident) -> bool:
    """Does a fire alarm here confirm one in the unit next to it, and the other way round? It must stand now, and be no
    drill: whoever tries heads with smoke must not make his neighbour's burnt toast a verified fire.
    """
    stands = incident.class_ == incidents.FIRE and incident.closed_ms is None and bool(incident.active)
    return stands and incidents.AS_OF_BACKUP not in incident.snapshot and not may_be_drill(incident)


def neighbour(incident: Incident) -> str:
    """How a unit is named whose own fire alarm verified another's."""
    return (_BY_UNIT + incident.subject.partition(":")[2])[:100]


def let_go(incident: Incident) -> Incident:
    """What is held back goes out now; but in an exercise only a person lets go."""
    return replace(incident, held_until_ms=0) if is_held(incident) and incident.exercise_id is None else incident


def verified(incident: Incident, by: str, now_ms: int) -> Incident:
    """The present round is confirmed by `by`. Raises IllegalMove if it was before, or nothing can confirm it."""
    number = incident.id
    if incident.closed_ms is not None:
        raise IllegalMove(f"incident {number} is closed", "See what is open: bongsu incident list")
    if incident.class_ not in incidents.DISPATCHED:
        raise IllegalMove(
            f"incident {number} is of class {incident.class_}, which is not dispatched",
            f"Acknowledge it: bongsu incident ack {number}",
        )
    if incident.verified_ms is not None:
        raise IllegalMove(
            f"incident {number} is verified already, by {incident.verified_by}", f"See: bongsu incident show {number}"
        )
    return replace(incident, verified_ms=now_ms, verified_by=by)


def held_until_ms(incident: Incident, exercise_id: int | None, now_ms: int) -> int | None:
    """Until when the dispatch of a round that begins now waits (ms since 1970); None: not at all.

    What an earlier round still waits for is not put off: the round that is told then tells of both.
    """
    if incident.held_until_ms is not None:
        return incident.held_until_ms
    if exercise_id is not None:
        return now_ms + EXERCISE_ASKS_MS
    wait_ms = unverified_after_ms(incident.snapshot)
    return now_ms + wait_ms if wait_ms and incident.verified_ms is None else None


def unverified_after_ms(snapshot: Mapping[str, Any]) -> int:
    """How long an alarm of the snapshot's site may wait for a verification (ms); 0: its policy is on_alarm."""
    site = snapshot.get("site") or {}
    if site.get("dispatch_policy") != ON_VERIFIED:
        return 0
    after_s = int(site.get("unverified_after_s", STATION_WITHIN_S))
    # A station may have been added since the setting was checked.
    return min(after_s, longest_s(r["kind"] for r in snapshot.get("responders", ()))) * 1000


def longest_s(responder_kinds: Any) -> int:
    """The longest wait that is allowed where responders of these kinds are told (s)."""
    return STATION_WITHIN_S if "station" in set(responder_kinds) else WITHIN_MAX_S


def longest_hold_ms(incident: Incident) -> int:
    """No clock may hold this incident longer than so, from when it is looked at (ms)."""
    return EXERCISE_ASKS_MS if incident.exercise_id is not None else unverified_after_ms(incident.snapshot)


def may_be_drill(incident: Incident) -> bool:
    """Was it opened in an exercise, and has no person said that it is real?"""
    return incident.exercise_id is not None and not (incident.verified_by or "").startswith(_BY_OPERATOR)


def is_held(incident: Incident) -> bool:
    """Does its dispatch wait?"""
    return incident.closed_ms is None and incident.held_until_ms is not None


def dispatched(incident: Incident) -> Incident:
    """Responders are being told of the present round, as verified or not; nothing is held back any more."""
    told = {"round": incident.round, "verified": incident.verified_ms is not None}
    return replace(incident, held_until_ms=None, snapshot={**incident.snapshot, "dispatched": told})


def is_dispatched(incident: Incident) -> bool:
    """Were responders told of its present round?"""
    return bool(_told(incident).get("round") == incident.round)


def owes_update(incident: Incident) -> bool:
    """Was it dispatched as unverified, and is verified now?"""
    waits = incident.closed_ms is None and incident.verified_ms is not None and is_dispatched(incident)
    return waits and not _told(incident).get("verified")


def _told(incident: Incident) -> Mapping[str, Any]:
    found: Mapping[str, Any] = incident.snapshot.get("dispatched") or {}
    return found


def answered(
    incident: Incident, *, real: bool, by: str, now_ms: int, seen_event_id: int | None, seen_beats: int = 0
) -> Incident:
    """The operator's word about an alarm in an exercise, having seen it up to `seen_event_id` (compare and set).

    Real: it goes out now. A drill: it is closed as a test, and never goes out. Raises IllegalMove if nothing is asked
    (any more), StaleAcknowledgement if something happened since.
    """
    number = incident.id
    if incident.closed_ms is not None or incident.exercise_id is None or not incident.held_until_ms:
        gone = "was dispatched already" if is_dispatched(incident) else "asks nothing"
        raise IllegalMove(f"incident {number} {gone}", f"See how it stands: bongsu incident show {number}")
    incidents.check_seen(incident, seen_event_id, seen_beats)
    if not real:
        drill = f"exercise {incident.exercise_id}"
        return incidents.closed(incident, disposition="test", by=by, now_ms=now_ms, note=incident.note or drill)
    return replace(incident, held_until_ms=0, verified_ms=now_ms, verified_by=operator(by))


def operator(name: str) -> str:
    """How a person is named as who verified an alarm."""
    return (_BY_OPERATOR + name)[:100]
