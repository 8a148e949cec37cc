"""The walk test of commissioning: the node's test button (or an order) -> receiver -> one text to the unit's first
contact, marked as an exercise (receiver/walk_tests.py). It is done when the text has arrived, or when the receiver took
the event and there is nobody who could be texted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bongsu.errors import BongsuError
from bongsu.install.waiting import Waiting
from bongsu.receiver import walk_tests
from bongsu.receiver.commissioning_desk import CommissioningDesk

Row = dict[str, Any]
# Longer than the text's own tries would take, nobody stands in front of a node.
TEXT_WITHIN_S = 60.0
# Beyond the end of the walk test: the receiver's own time to end it.
_GRACE_S = 10.0
_ARRIVED = ("accepted", "delivered")
_WHY_NO_TEXT = {
    walk_tests.NO_CONTACT: "no text: the unit has no contact",
    walk_tests.NO_SMS: "no text: [sms] is not set in receiver.toml",
}


class WalkTestError(BongsuError):
    """The test event, or its text, has not arrived."""


@dataclass(frozen=True, slots=True)
class Wish:
    """auto: the receiver orders the test, instead of a person who presses the button; minutes: how long it is waited
    for; skip: leave it out.
    """

    auto: bool = False
    minutes: int = 5
    skip: bool = False
    text_within_s: float = TEXT_WITHIN_S


@dataclass(frozen=True, slots=True)
class Tested:
    """said: for people; already: it had been done."""

    said: str
    already: bool = False


def carry_out(
    desk: CommissioningDesk,
    record: int,
    node_id: str,
    known: Row | None,
    wish: Wish,
    tell: Callable[[str, int, int], None],
    waiting: Waiting,
) -> Tested:
    """Carry it out, or on: `known` is the record's walk test as it stands (None: none was begun). Raises WalkTestError,
    RegistryError.
    """
    if known is not None and (said := _result(known)) is not None:
        return Tested(said, already=True)
    number = (
        known["id"] if known is not None and _goes_on(known) else desk.begin_walk_test(record, node_id, wish.minutes)
    )
    if wish.auto and desk.walk_test(number)["event"] is None:
        desk.order(node_id, "test")
    row = _await_event(desk, number, wish, tell, waiting)
    if row["outcome"] not in (walk_tests.TEXTED, *_WHY_NO_TEXT):
        raise _no_event(node_id, row, wish)
    return Tested(_await_text(desk, number, row, wish, tell, waiting))


def _goes_on(row: Row) -> bool:
    """Does it wait for its event, or for its text?"""
    text = row["delivery"]
    return row["outcome"] is None or (text is not None and text["state"] in ("pending", "sent"))


def _result(row: Row) -> str | None:
    """What came of it, if it is done."""
    if row["outcome"] in _WHY_NO_TEXT:
        return f"received as event {row['event']}; {_WHY_NO_TEXT[row['outcome']]}"
    text = row["delivery"]
    if text is None or text["state"] not in _ARRIVED:
        return None
    took_ms = (text["delivered_ms"] or text["accepted_ms"]) - text["created_ms"]
    return f"received as event {row['event']}; text to {text['recipient']} {text['state']} after {took_ms / 1000:.1f} s"


def _await_event(
    desk: CommissioningDesk, number: int, wish: Wish, tell: Callable[[str, int, int], None], waiting: Waiting
) -> Row:
    total = wish.minutes * 60

    def told(left_s: float) -> None:
        what = "the node was told to test" if wish.auto else "press the node's test button"
        tell(what, max(0, total - round(left_s - _GRACE_S)), total)

    def look() -> Row | None:
        row = desk.walk_test(number)
        return row if row["outcome"] is not None else None

    found = waiting.until(look, total + _GRACE_S, told)
    if found is None:  # no receiver runs that would end it
        desk.cancel_walk_test(number)
    return found or desk.walk_test(number)


def _no_event(node_id: str, row: Row, wish: Wish) -> WalkTestError:
    if row["outcome"] == walk_tests.ALARM_OPEN:
        return WalkTestError(
            f"the test of node {node_id} came while an alarm of its unit is open: no text was sent",
            "Close that incident first: bongsu incident list. Then run it again.",
        )
    how = "the order to test was not followed" if wish.auto else "nobody pressed the test button"
    return WalkTestError(
        f"no test event of node {node_id} has arrived within {wish.minutes} minutes: {how}, or the node is not heard",
        f"Run it again, and press the button shortly; is the node heard? bongsu node show {node_id}",
    )


def _await_text(
    desk: CommissioningDesk,
    number: int,
    row: Row,
    wish: Wish,
    tell: Callable[[str, int, int], None],
    waiting: Waiting,
) -> str:
    """Wait until the text has arrived; what came of it."""
    total = round(wish.text_within_s)
    state = {"said": "pending"}

    def look() -> str | None:
        now = desk.walk_test(number)
        state["said"] = now["delivery"]["state"] if now["delivery"] is not None else "pending"
        return _result(now)

    def told(left_s: float) -> None:
        tell(f"the event is received; the text is {state['said']}", total - round(left_s), total)

    found = waiting.until(look, wish.text_within_s, told)
    if found is not None:
        return found
    text = desk.walk_test(number)["delivery"] or {}
    why, step = "", "Is the number right, and the phone on?"
    if text.get("last_error"):
        why, step = f" ({text['last_error']})", "Is [sms] in receiver.toml right (bongsu doctor), and the number?"
    raise WalkTestError(
        f"the test event was received, and the text to {text.get('recipient', 'the contact')} is {state['said']}{why}:"
        f" it has not arrived within {total} s",
        f"{step} bongsu incident show {row['incident']}. Then run it again.",
    )
