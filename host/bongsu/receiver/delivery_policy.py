"""When a delivery is tried, when it counts as done, and who is told if it is not. Pure: times and chance are arguments.

"Sent" is not "delivered" (DESIGN section 2, promise 6): a dispatch ends with the other side's acceptance, an SMS with
its delivery report (with acceptance, if the gateway has no reports). Until then it is tried again at least once a
minute for as long as its incident is open; what stays without an answer is told to the next person as well, and never
instead.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

WEBHOOK, SMS = "webhook", "sms"
ALARM, RESTORE, ESCALATION = "alarm", "restore", "escalation"
# The text of a walk test. Its incident is closed as it is written, so it is tried for as long as an installer waits.
TEST = "test"
TEST_WITHIN_MS = 300_000
# An alarm that was told of as unverified is confirmed. In the store it is an alarm with a higher sequence number.
UPDATE = "update"

# NFPC 204: 119 is told within 20 s of the fire signal. What is not accepted by then goes to the next one as well.
DISPATCH_WITHIN_MS = 20_000
# Asking an SMS gateway for the report: soon at first, then slowly.
SMS_POLL_FIRST_MS = 250
SMS_POLL_CAP_MS = 10_000
# Chance shortens a pause by up to a quarter, so that deliveries to one dead responder do not return as a volley.
JITTER = 0.25

Chance = Callable[[], float]
Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings: pauses in ms; `sms_within_ms`: an SMS not delivered by then is told to the next contact."""

    retry_first_ms: int = 1_000
    retry_cap_ms: int = 60_000
    dispatch_within_ms: int = DISPATCH_WITHIN_MS
    sms_within_ms: int = 60_000

    def within_ms(self, channel: str) -> int:
        """How long a delivery on this channel may take before the next recipient is told as well."""
        return self.sms_within_ms if channel == SMS else self.dispatch_within_ms


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the policy knows of one delivery; times in ms since 1970."""

    id: int
    incident_id: int
    round: int
    seq: int
    purpose: str
    channel: str
    recipient: str
    state: str = "pending"
    attempts: int = 0
    ref: str | None = None

    @property
    def line(self) -> tuple[int, str, str]:
        """Deliveries of one line go out one after the other."""
        return self.incident_id, self.channel, self.recipient


@dataclass(frozen=True, slots=True)
class After:
    """What an outcome makes of a delivery. `wait_ms`: pause before the next try or question; None: it is done."""

    state: str
    wait_ms: int | None
    ref: str | None = None
    escalate_now: bool = False


# Steps of a round, four numbers a round.
_STEPS = {UPDATE: 1, RESTORE: 2}
_STEPS_A_ROUND = 4


def sequence(round_: int, purpose: str) -> int:
    """Order of a recipient's deliveries inside one incident: a round's alarm, that it is verified, then its restore.

    Never less than what version 0001 of the store had for it (two numbers a round), so an incident that was open over
    an upgrade keeps its order.
    """
    return _STEPS_A_ROUND * round_ + _STEPS.get(purpose, 0)


def stored_purpose(purpose: str) -> str:
    """The purpose under which a delivery is stored."""
    return ALARM if purpose == UPDATE else purpose


def shown_purpose(purpose: str, seq: int) -> str:
    """The purpose of a stored delivery, as `stored_purpose` got it."""
    return UPDATE if purpose == ALARM and seq % _STEPS_A_ROUND == _STEPS[UPDATE] else purpose


def escalates(d: Delivery) -> bool:
    """Is the next one to be told if this is refused or late? An update goes only to who has heard of the alarm."""
    return d.purpose in (ALARM, ESCALATION) and d.seq % _STEPS_A_ROUND != _STEPS[UPDATE]


def pause_ms(policy: Policy, attempts: int, chance: Chance, asked_ms: int | None = None) -> int:
    """Pause after the `attempts`-th try: doubling, capped, shortened by chance; longer only if the other side asked for
    it, and never above the cap.
    """
    base = min(policy.retry_cap_ms, policy.retry_first_ms << min(attempts - 1, 16))
    pause = int(base * (1 - JITTER * chance()))
    return min(policy.retry_cap_ms, max(pause, asked_ms or 0))


def _poll_ms(polls: int) -> int:
    return min(SMS_POLL_CAP_MS, SMS_POLL_FIRST_MS << min(polls, 8))


def after_send(
    policy: Policy, d: Delivery, outcome: str, *, ref: str | None, asked_ms: int | None, chance: Chance
) -> After:
    """What a try to hand over ended in. `outcome`: a channel's "accepted", "sent", "retry" or "refused".

    No outcome ends a delivery but acceptance: who refuses today is asked again in a minute (a wrong secret gets
    corrected, a phone gets switched on), and meanwhile the next one is told.
    """
    if outcome == "accepted":
        return After("accepted", None, ref)
    if outcome == "sent":
        return After("sent", _poll_ms(0), ref)
    wait = pause_ms(policy, d.attempts + 1, chance, asked_ms)
    return After("pending", wait, None, escalate_now=outcome == "refused")


def after_check(policy: Policy, d: Delivery, outcome: str, *, polls: int, chance: Chance) -> After:
    """What asking for a sent message's fate gave; `polls`: how often it was asked before."""
    if outcome == "accepted":
        return After("delivered", None, d.ref)
    if outcome == "refused":
        return After("pending", pause_ms(policy, max(1, d.attempts), chance), None, escalate_now=True)
    return After("sent", _poll_ms(polls + 1), d.ref)


def may_go(d: Delivery, others: Iterable[Delivery]) -> bool:
    """May `d` go out now, given the other unfinished deliveries of its line?

    An alarm waits for nothing. A restore waits until everything before it has arrived: whoever hears "it is over" first
    and "it burns" second sends the engines into the wrong night.
    """
    return d.purpose != RESTORE or not any(o.seq < d.seq for o in others)


def first_told(people: Sequence[Fields], kinds: Sequence[str] | None = None) -> list[Fields]:
    """Who is told at once: of each kind the one of the lowest rank; without kinds (contacts) the first one."""
    if kinds is None:
        return list(people[:1])
    told = []
    for kind in kinds:
        told += [p for p in people if p["kind"] == kind][:1]
    return told
