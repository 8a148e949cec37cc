"""The delivery policy, whatever the outcomes: nothing ends but by acceptance, nobody waits longer than the cap, a
restore never overtakes its alarm.
"""

from hypothesis import given
from hypothesis import strategies as st

from bongsu.receiver.delivery_policy import (
    ALARM,
    ESCALATION,
    RESTORE,
    SMS,
    WEBHOOK,
    Delivery,
    Policy,
    after_check,
    after_send,
    may_go,
    pause_ms,
    sequence,
)

POLICY = Policy()
_OUTCOMES = st.lists(st.sampled_from(["accepted", "sent", "retry", "refused"]), min_size=1, max_size=60)
_CHANCE = st.floats(0, 1, exclude_max=True)


@given(_OUTCOMES, st.sampled_from([WEBHOOK, SMS]), _CHANCE, st.none() | st.integers(-5, 10**9))
def test_a_delivery_ends_only_by_acceptance_and_waits_at_most_the_cap(
    outcomes: list[str], channel: str, chance: float, asked_ms: int | None
) -> None:
    state, attempts, polls = "pending", 0, 0
    for outcome in outcomes:
        d = Delivery(1, 1, 1, 2, ALARM, channel, "x", state, attempts, "ref" if state == "sent" else None)
        if state == "pending":
            after = after_send(POLICY, d, outcome, ref="ref", asked_ms=asked_ms, chance=lambda: chance)
            attempts, polls = attempts + 1, 0
        else:
            after = after_check(POLICY, d, outcome, polls=polls, chance=lambda: chance)
            polls += 1
        assert (after.wait_ms is None) == (outcome == "accepted") == (after.state in ("accepted", "delivered"))
        assert after.wait_ms is None or 0 < after.wait_ms <= 60_000
        assert after.escalate_now == (outcome == "refused")
        if after.wait_ms is None:
            return
        state = after.state
        assert state in ("pending", "sent")


@given(st.integers(1, 10_000), _CHANCE)
def test_pauses_grow_to_the_cap_and_chance_only_shortens_them(attempts: int, chance: float) -> None:
    longest = pause_ms(POLICY, attempts, lambda: 0.0)
    assert longest == min(60_000, 1000 * 2 ** min(attempts - 1, 16))
    assert 0.75 * longest - 1 <= pause_ms(POLICY, attempts, lambda: chance) <= longest


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([ALARM, ESCALATION, RESTORE])), min_size=1, max_size=10))
def test_alarms_never_wait_and_restores_wait_for_everything_before_them(line: list[tuple[int, str]]) -> None:
    made = [
        Delivery(i, 1, round_, sequence(round_, purpose), purpose, WEBHOOK, "x")
        for i, (round_, purpose) in enumerate(line)
    ]
    for d in made:
        others = [o for o in made if o is not d]
        earlier = [o for o in others if o.seq < d.seq]
        assert may_go(d, others) == (d.purpose != RESTORE or not earlier)
