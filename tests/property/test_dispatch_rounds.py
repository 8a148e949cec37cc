"""Whatever happens in whatever order: every round of an alarm is dispatched once and in time, or a person decided that
it is not; and nobody hears of its end before it.
"""

from collections import Counter
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from bongsu.receiver import incidents, policy, telling
from bongsu.receiver.casebook import Casebook, Page, Signal
from bongsu.receiver.incidents import IllegalMove
from bongsu.receiver.standing import Standing
from bongsu.receiver.telling import Facts
from bongsu.receiver.unsettled import Unsettled

UNIT = "unit:hannae/a-07"
START_MS = 1_800_000_000_000
TICK_MS = 500
AFTER_S = 9
OPERATOR: Any = {"by": "op"}

ALARM = st.tuples(st.just("alarm"), st.sampled_from(["n1", "n2"]), st.sampled_from(["heat", "smoke"]))
RESTORE = st.tuples(st.just("restore"), st.sampled_from(["n1", "n1", "n2"]))
WAIT = st.tuples(st.just("wait"), st.sampled_from([500, 2_000, 5_000, 9_000, 30_000, 61_000]))
OTHER = st.sampled_from([("acknowledge",), ("verify",), ("drill",), ("real",), ("close",), ("restart",)])
# The story of an alarm first, so that it is told often: it begins, time passes, it ends, it begins anew.
STORY = st.tuples(st.one_of(ALARM, OTHER), WAIT, st.one_of(RESTORE, ALARM, OTHER)).map(list)
STEPS = st.lists(st.one_of(STORY, st.lists(st.one_of(ALARM, RESTORE, WAIT, OTHER), max_size=3)), max_size=6).map(
    lambda parts: [step for part in parts for step in part]
)


class Room:
    """The casebook without a store, a clock, and what was planned: (time, incident, round, seq, recipient)."""

    def __init__(self, wanted: str, exercise: bool) -> None:
        book = Casebook.__new__(Casebook)
        book.cases, book.by_id, book.unsettled = {}, {}, Unsettled()
        book.alarms, book.faults = Standing(), Standing()
        book._incident_id = book._delivery_id = 0
        self.book, self.now_ms, self.exercise = book, START_MS, exercise
        self.page, self.events = Page(), 0
        self.planned: list[tuple[int, int, int, int, str]] = []
        self.begun: dict[tuple[int, int], int] = {}  # (incident, round) -> when
        self.decided: dict[int, tuple[str, int]] = {}  # incident -> what a person said at its end, and when
        self.snapshot = {
            "site": {"id": "hannae", "name": "H", "dispatch_policy": wanted, "unverified_after_s": AFTER_S},
            "unit": {"id": "a-07", "name": "A"},
            "contacts": [{"id": "o", "name": "o", "phone": "+82101", "lang": "ko", "role": "owner"}],
            "responders": [{"id": r, "kind": k, "url": "u"} for r, k in (("s", "station"), ("c", "centre"))],
        }

    def take_page(self) -> None:
        """What the transaction planned goes out."""
        for p in self.page.planned:
            d = p.delivery
            self.planned.append((self.now_ms, d.incident_id, d.round, d.seq, d.recipient))
        self.page = Page()

    def case(self) -> Any:
        return self.book.cases.get((UNIT, incidents.FIRE))

    def alarm(self, node: str, name: str) -> None:
        self.events += 1
        signal = Signal(node, (name,), self.now_ms, self.events)
        done = self.book.stand(self.page, UNIT, incidents.FIRE, signal, lambda: dict(self.snapshot))
        case = self.case()
        if done.new_round:
            self.begun[case.incident.id, case.incident.round] = self.now_ms
        facts = Facts(self.now_ms, self.now_ms)
        number = 1 if self.exercise else None
        telling.alarm(self.book, self.page, case, facts, new_round=done.new_round, exercise_id=number, texted=True)

    def restore(self, node: str) -> None:
        self.events += 1
        done = self.book.end(self.page, UNIT, incidents.FIRE, Signal(node, (), self.now_ms, self.events))
        if done.restored:
            telling.restored(self.book, self.page, self.case(), Facts(self.now_ms, self.now_ms))

    def wait(self, ms: int) -> None:
        for _ in range(ms // TICK_MS):
            self.now_ms += TICK_MS
            self.tick()

    def tick(self) -> None:
        """The chore: lets go what is due."""
        for number in self.book.unsettled.take_due(self.now_ms, self.now_ms - START_MS):
            case = self.book.by_id.get(number)
            if case is not None:
                telling.release(self.book, self.page, case, Facts(self.now_ms, self.now_ms))
        self.take_page()

    def restart(self) -> None:
        """What is held is known from the store alone."""
        self.book.unsettled = Unsettled()
        for case in self.book.by_id.values():
            self.book.unsettled.note(case.incident)

    def person(self, what: str) -> None:
        case = self.case()
        if case is None:
            return
        before, how = case.incident, {**OPERATOR, "now_ms": self.now_ms}
        try:
            after = self.decide(before, what, how)
        except IllegalMove:
            event(f"{what} refused")
            return
        event(what)
        case.incident = after
        self.book.unsettled.note(after)
        if after.closed_ms is not None:
            self.decided[after.id] = (what, self.now_ms)
            del self.book.cases[UNIT, incidents.FIRE], self.book.by_id[after.id]

    def decide(self, before: incidents.Incident, what: str, how: dict[str, Any]) -> incidents.Incident:
        seen = {"seen_event_id": before.last_event_id}
        if what == "acknowledge":
            return incidents.acknowledged(before, **how, **seen)
        if what == "close":
            return incidents.closed(before, disposition="fire", **how)
        if what == "verify":
            after = policy.verified(before, "operator:op", self.now_ms)
            return incidents.replace(after, held_until_ms=0) if policy.is_held(before) else after
        return policy.answered(before, real=what == "real", **how, **seen)


def run(wanted: str, exercise: bool, steps: list[tuple[Any, ...]]) -> Room:
    room = Room(wanted, exercise)
    for name, *args in steps:
        act = getattr(room, name, None)
        if act is not None:
            act(*args)
        else:
            room.person(name)
        room.tick()
    room.wait(61_000)
    return room


def bound_ms(wanted: str, exercise: bool) -> int:
    return policy.EXERCISE_ASKS_MS if exercise else AFTER_S * 1000 if wanted == policy.ON_VERIFIED else 0


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(["on_alarm", "on_verified"]), st.booleans(), STEPS)
def test_every_round_is_dispatched_in_time_or_decided_by_a_person(wanted: str, exercise: bool, steps: Any) -> None:
    room = run(wanted, exercise, steps)
    bound = bound_ms(wanted, exercise)
    alarms = [p for p in room.planned if p[3] % 4 == 0]
    for (incident, round_), begun_ms in room.begun.items():
        told_ms = [t for t, i, r, _, who in alarms if i == incident and r >= round_ and who == "responder:s"]
        what, at_ms = room.decided.get(incident, ("", 0))
        if not told_ms:
            assert what in ("drill", "close") and at_ms - begun_ms <= bound, (incident, round_)
        else:
            assert min(told_ms) - begun_ms <= bound
        if what == "drill":
            assert not any(t > at_ms for t, i, *_ in room.planned if i == incident)
        texted = [t for t, i, r, _, who in alarms if (i, r, who) == (incident, round_, "contact:o")]
        assert texted == [begun_ms]  # owners are never held back


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(["on_alarm", "on_verified"]), st.booleans(), STEPS)
def test_each_is_told_once_a_round_and_of_the_alarm_before_its_end(wanted: str, exercise: bool, steps: Any) -> None:
    room = run(wanted, exercise, steps)
    assert max(Counter(p[1:] for p in room.planned).values(), default=1) == 1
    lines: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for _, incident, round_, seq, who in room.planned:
        lines.setdefault((incident, who), []).append((seq, round_))
    for line in lines.values():
        assert [seq for seq, _ in line] == sorted(seq for seq, _ in line)  # in the order in which it is planned
        for seq, round_ in line:
            if seq % 4:  # an update or a restore
                assert (4 * round_, round_) in line[: line.index((seq, round_))]
