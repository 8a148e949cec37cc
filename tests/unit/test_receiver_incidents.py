"""The life of an incident: every pair of phase and move is either in the table or refused."""

import pytest

from bongsu.receiver import incidents
from bongsu.receiver.incidents import IllegalMove, Move, Phase, StaleAcknowledgement
from bongsu.receiver.store import schema
from bongsu_wire import kinds

NOW_MS = 1_800_000_000_000


def standing() -> incidents.Incident:
    return incidents.opened("unit:a/b", "fire", source="n1", names=("heat",), now_ms=NOW_MS, snapshot={"site": {}})


def make(phase: Phase) -> incidents.Incident:
    """An incident in a phase, brought there by moves."""
    one = standing()
    if phase in (Phase.RESTORED, Phase.RESTORED_ACKNOWLEDGED):
        one, _ = incidents.restored(one, source="n1", names=None, now_ms=NOW_MS, event_id=2)
    if phase in (Phase.ACKNOWLEDGED, Phase.RESTORED_ACKNOWLEDGED):
        one = incidents.acknowledged(one, by="owner-1", seen_event_id=one.last_event_id, now_ms=NOW_MS)
    if phase is Phase.CLOSED:
        one = incidents.closed(one, disposition="fire", now_ms=NOW_MS)
    assert incidents.phase(one) is phase
    return one


def move(one: incidents.Incident, what: Move) -> incidents.Incident:
    if what is Move.SIGNAL:
        return incidents.signalled(one, source="n1", names=("smoke",), now_ms=NOW_MS, event_id=9)[0]
    if what is Move.RESTORE:
        return incidents.restored(one, source="n1", names=None, now_ms=NOW_MS, event_id=9)[0]
    if what is Move.ACKNOWLEDGE:
        return incidents.acknowledged(one, by="dep-1", seen_event_id=one.last_event_id, now_ms=NOW_MS)
    return incidents.closed(one, disposition="cooking", now_ms=NOW_MS)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("what", list(Move))
def test_a_move_leads_where_the_table_says_or_is_refused(phase: Phase, what: Move) -> None:
    after = incidents.TRANSITIONS.get((phase, what))
    if after is None:
        with pytest.raises(IllegalMove):
            move(make(phase), what)
    else:
        assert incidents.phase(move(make(phase), what)) is after


def test_only_a_closed_incident_refuses_moves() -> None:
    assert {(p, m) for p in Phase for m in Move} - set(incidents.TRANSITIONS) == {(Phase.CLOSED, m) for m in Move}


@pytest.mark.parametrize("phase", [Phase.RESTORED, Phase.RESTORED_ACKNOWLEDGED])
def test_an_alarm_after_a_restore_is_a_new_round_without_the_acknowledgement(phase: Phase) -> None:
    one, new_round = incidents.signalled(make(phase), source="n1", names=("heat",), now_ms=NOW_MS, event_id=3)
    assert (new_round, one.round, one.ack_ms, one.ack_by, one.ack_event_id) == (True, 2, None, None, None)
    assert one.active == {"n1": ("heat",)}


def test_a_second_alarm_in_the_round_is_noted_and_clears_the_acknowledgement() -> None:
    one, new_round = incidents.signalled(
        make(Phase.ACKNOWLEDGED), source="n2", names=("smoke",), now_ms=NOW_MS + 5, event_id=3
    )
    assert (new_round, one.round, one.ack_ms) == (False, 1, None)
    assert one.active == {"n1": ("heat",), "n2": ("smoke",)}
    assert (one.last_event_id, one.last_event_ms) == (3, NOW_MS + 5)


def test_it_is_restored_when_the_last_thing_that_stood_has_ended_and_stays_open() -> None:
    one, _ = incidents.signalled(standing(), source="n1", names=("smoke",), now_ms=NOW_MS, event_id=2)
    one, _ = incidents.signalled(one, source="n2", names=("heat",), now_ms=NOW_MS, event_id=3)
    one, over = incidents.restored(one, source="n1", names=("heat",), now_ms=NOW_MS, event_id=4)
    assert not over and one.active == {"n1": ("smoke",), "n2": ("heat",)}
    one, over = incidents.restored(one, source="n1", names=None, now_ms=NOW_MS, event_id=5)
    assert not over and one.restored_ms is None
    one, over = incidents.restored(one, source="n2", names=("heat",), now_ms=NOW_MS + 9, event_id=6)
    assert over and one.restored_ms == NOW_MS + 9 and one.state == "open"
    one, over = incidents.restored(one, source="n2", names=None, now_ms=NOW_MS + 10, event_id=7)
    assert not over and one.restored_ms == NOW_MS + 9


def test_an_acknowledgement_of_something_older_is_refused() -> None:
    one, _ = incidents.signalled(standing(), source="n1", names=("smoke",), now_ms=NOW_MS, event_id=8)
    with pytest.raises(StaleAcknowledgement, match="newest event 8, you saw 7"):
        incidents.acknowledged(one, by="owner-1", seen_event_id=7, now_ms=NOW_MS)


def test_a_closing_needs_a_known_disposition() -> None:
    with pytest.raises(ValueError, match="barbecue"):
        incidents.closed(standing(), disposition="barbecue", now_ms=NOW_MS)


def test_alarms_are_of_the_class_of_what_burns() -> None:
    assert incidents.alarm_class(kinds.HEAT) == "fire"
    assert incidents.alarm_class(kinds.CO | kinds.SMOKE) == "fire"
    assert incidents.alarm_class(kinds.CO) == incidents.alarm_class(kinds.GAS) == "co_gas"
    assert (incidents.alarm_class(0), incidents.names_of(0)) == ("fire", ("button",))
    assert incidents.names_of(kinds.HEAT | kinds.GAS) == ("heat", "gas")


def test_its_lists_are_those_of_the_store() -> None:
    assert incidents.DISPOSITIONS == schema.DISPOSITIONS
    assert {incidents.FIRE, incidents.CO_GAS, incidents.FAULT, incidents.CARE, incidents.EXERCISE} == set(
        schema.INCIDENT_CLASSES
    )
