"""What the demo tells: lines of boards and receiver in, lines for people out. Pure; it also notes the times from which
the summary is made.

Delays between computers are wall time. What a board measures itself (the hold, the time to the restore) is board time,
which runs faster than the wall if the demo's speed is above 1; such figures are marked.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from bongsu.cli.output import width
from bongsu.demo import market
from bongsu.demo.processes import Line

_WHO, _WHAT = 16, 13
# Board seconds between two shown samples of the burning shop.
_SAMPLE_EVERY_S = 9.5
_KELVIN_DK = 2732
_STATION, _CENTRE = "responder:station", "responder:centre"
RECIPIENTS = {_STATION: "fire station", _CENTRE: "control centre"}


@dataclass
class Facts:
    """Times of the burning shop: wall in UTC s, board in s since its power-on; None: not seen (yet)."""

    ignition_board_s: float = 0.0
    first_high_board_s: float | None = None
    alarm_wall_s: float | None = None
    alarm_board_s: float | None = None
    alarm_held_ms: int = 0
    commit_ms: int | None = None
    receipt_wall_s: float | None = None
    incident_wall_s: float | None = None
    incident_id: int | None = None
    restore_wall_s: float | None = None
    restore_board_s: float | None = None
    incident_restored_wall_s: float | None = None
    lighter_held_ms: int | None = None
    lighter_alarm: bool = False
    # (recipient, purpose) -> UTC s at which it was accepted, or for a text delivered
    done: dict[tuple[str, str], float] = field(default_factory=dict)
    connected: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)


class Story:
    """`start_s`: UTC s at which the demo began; `owner`: the recipient name of the burning shop's owner."""

    def __init__(self, start_s: float) -> None:
        self.facts = Facts()
        self.burning = False
        self._start_s = start_s
        self._shown_sample_s = -1e9
        self._purposes: dict[Any, str] = {}
        self._names = {s.address: s.name for s in market.SHOPS}
        self._addresses = {s.node: s.address for s in market.SHOPS}

    def take(self, line: Line) -> list[str]:
        """Note a line and return what to print for it."""
        if line.source == "receiver":
            tell = _RECEIVER.get(line.name)
        elif line.source in self._names:
            tell = _BOARD.get(line.name)
        else:
            return []
        return tell(self, line) if tell is not None else []

    def say(self, wall_s: float, who: str, what: str, text: str) -> str:
        """One line, aligned; Korean letters are two columns wide."""
        return f"{wall_s - self._start_s:6.1f} s  {padded(who, _WHO)} {padded(what, _WHAT)} {text}"

    def after_alarm(self, wall_s: float) -> str:
        """ "+18 ms": wall time since the alarm."""
        alarm_s = self.facts.alarm_wall_s
        return f"+{duration(wall_s - alarm_s)} after the alarm" if alarm_s is not None else ""

    # -- boards

    def board_sample(self, line: Line) -> list[str]:
        """What the burning shop's sensors read, now and then until the alarm."""
        board_s = _board_s(line)
        facts = self.facts
        due = board_s - self._shown_sample_s >= _SAMPLE_EVERY_S
        if line.source != market.FIRE_UNIT or not self.burning or facts.alarm_wall_s is not None or not due:
            return []
        self._shown_sample_s = board_s
        since = max(0.0, board_s - facts.ignition_board_s)
        return [self._board(line, "sensing", f"{readings(line.fields)}   {since:.0f} s after ignition (board)")]

    def board_hold(self, line: Line) -> list[str]:
        """A condition begins to hold, or stops holding too early."""
        what = line.fields.get("phen", "")
        if line.fields.get("state") == "start":
            if line.source == market.FIRE_UNIT and self.facts.alarm_board_s is None:
                self.facts.first_high_board_s = _board_s(line)
            return [self._board(line, "hold begins", f"{what} above its limit; an alarm needs 5.0 s")]
        held_ms = int(line.fields.get("held_ms", 0))
        if line.source == market.LIGHTER_UNIT:
            self.facts.lighter_held_ms = max(held_ms, self.facts.lighter_held_ms or 0)
        return [self._board(line, "hold broken", f"{what} held only {held_ms / 1000:.1f} s (board): no alarm")]

    def board_alarm(self, line: Line) -> list[str]:
        """The decision."""
        facts = self.facts
        if line.source == market.LIGHTER_UNIT:
            facts.lighter_alarm = True
        held_ms = int(line.fields.get("held_ms", 0))
        if line.source == market.FIRE_UNIT and facts.alarm_wall_s is None:
            facts.alarm_wall_s, facts.alarm_board_s = line.wall_s, _board_s(line)
            facts.alarm_held_ms = held_ms
        text = f"{line.fields.get('phen', '')} held {held_ms / 1000:.1f} s (board): {readings(line.fields)}; siren on"
        return [self._board(line, "ALARM", text)]

    def board_receipt(self, line: Line) -> list[str]:
        """The centre's proof that it has the event."""
        facts = self.facts
        if line.source == market.FIRE_UNIT and facts.receipt_wall_s is None:
            facts.receipt_wall_s = line.wall_s
            return [self._board(line, "receipt", f"the centre has it: lamp on   {self.after_alarm(line.wall_s)}")]
        return []

    def board_restore(self, line: Line) -> list[str]:
        """The air has been clear for long enough."""
        facts = self.facts
        if line.source == market.FIRE_UNIT and facts.restore_wall_s is None:
            facts.restore_wall_s, facts.restore_board_s = line.wall_s, _board_s(line)
        return [self._board(line, "restore", "clear for 60 s (board)")]

    def board_mqtt(self, line: Line) -> list[str]:
        """The link came up or went down."""
        if line.fields.get("state") == "up":
            self.facts.connected.add(line.source)
            return []
        return [self._board(line, "link down", line.fields.get("why", ""))] if self.burning else []

    def board_fault(self, line: Line) -> list[str]:
        """A fault, of which a healthy demo has none."""
        return [self._board(line, "fault", line.fields.get("code", line.text))]

    def board_task(self, line: Line) -> list[str]:
        """A crashed task on a board: not to be overlooked."""
        return [self._board(line, "task", line.text)]

    def _board(self, line: Line, what: str, text: str) -> str:
        return self.say(line.wall_s, self._names[line.source], what, text)

    # -- receiver

    def node_seen(self, line: Line) -> list[str]:
        """A node's first heartbeat."""
        self.facts.seen.add(self._addresses.get(str(line.fields.get("node")), ""))
        return []

    def event_committed(self, line: Line) -> list[str]:
        """An event is in the store for good."""
        if line.fields.get("kind") != "alarm":
            return []
        commit_ms = int(line.fields.get("commit_ms", 0))
        if self.facts.commit_ms is None:
            self.facts.commit_ms = commit_ms
        text = f"event, incident and deliveries, {commit_ms} ms after the event came in"
        return [self.say(line.wall_s, "receiver", "stored", text)]

    def incident_opened(self, line: Line) -> list[str]:
        """An incident for people."""
        facts = self.facts
        subject = str(line.fields.get("subject", "")).removeprefix("unit:")
        number, class_ = line.fields.get("incident"), line.fields.get("class", "")
        if subject == market.FIRE_UNIT:
            facts.incident_wall_s, facts.incident_id = line.wall_s, number
        text = f"no. {number} opened: {class_} at {subject}   {self.after_alarm(line.wall_s)}"
        return [self.say(line.wall_s, "receiver", "incident", text)]

    def incident_restored(self, line: Line) -> list[str]:
        """Nothing stands any more; closing is left to people."""
        self.facts.incident_restored_wall_s = line.wall_s
        text = f"no. {line.fields.get('incident')} restored; a person closes it"
        return [self.say(line.wall_s, "receiver", "incident", text)]

    def delivery_accepted(self, line: Line) -> list[str]:
        """A responder took a report over."""
        return self._done(line, "accepted")

    def delivery_delivered(self, line: Line) -> list[str]:
        """A text reached its phone."""
        return self._done(line, "delivered")

    def delivery_retry(self, line: Line) -> list[str]:
        """Something did not go through and is tried again."""
        who = _recipient(line)
        return [self.say(line.wall_s, who, "retry", str(line.fields.get("detail", line.fields.get("error", ""))))]

    def _done(self, line: Line, how: str) -> list[str]:
        recipient, purpose = str(line.fields.get("recipient", "")), str(line.fields.get("purpose", ""))
        self.facts.done.setdefault((recipient, purpose), line.wall_s)
        what = "SMS" if line.fields.get("channel") == "sms" else "dispatch" if purpose == "alarm" else "report"
        base = self.facts.restore_wall_s if purpose == "restore" else self.facts.alarm_wall_s
        delay = f"+{duration(line.wall_s - base)} after the {purpose}" if base is not None else ""
        return [self.say(line.wall_s, _recipient(line), what, f"{purpose} {how}   {delay}")]


# The logs of several computers do not come in the order of what happened; inside a moment they are told in this one.
_ORDER = ("alarm", "restore", "event.committed", "incident.opened", "incident.restored", "receipt")


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Lines that came within a moment, in the order of the data path."""
    last = len(_ORDER)

    def place(line: Line) -> int:
        delivery = line.name.startswith("delivery.")
        return last if delivery else _ORDER.index(line.name) if line.name in _ORDER else -1

    return sorted(lines, key=place)


Teller = Callable[[Story, Line], list[str]]
_BOARD: dict[str, Teller] = {
    "sample": Story.board_sample,
    "hold": Story.board_hold,
    "alarm": Story.board_alarm,
    "receipt": Story.board_receipt,
    "restore": Story.board_restore,
    "mqtt": Story.board_mqtt,
    "fault": Story.board_fault,
    "task": Story.board_task,
}
_RECEIVER: dict[str, Teller] = {
    "node.seen": Story.node_seen,
    "event.committed": Story.event_committed,
    "incident.opened": Story.incident_opened,
    "incident.restored": Story.incident_restored,
    "delivery.accepted": Story.delivery_accepted,
    "delivery.delivered": Story.delivery_delivered,
    "delivery.retry": Story.delivery_retry,
}


def _recipient(line: Line) -> str:
    recipient = str(line.fields.get("recipient", ""))
    return RECIPIENTS.get(recipient, "owner" if recipient.startswith("contact:") else recipient)


def _board_s(line: Line) -> float:
    return float(line.fields.get("ticks_ms", 0)) / 1000


def readings(fields: dict[str, Any]) -> str:
    """ "38.5 degC, smoke 0.103/m" of a board's line."""
    temp_dk, smoke_e4 = int(fields.get("temp_dk", 0xFFFF)), int(fields.get("smoke_e4", 0xFFFF))
    temp = f"{(temp_dk - _KELVIN_DK) / 10:.1f} °C" if temp_dk != 0xFFFF else "no temperature"
    smoke = f"smoke {smoke_e4 / 10_000:.3f}/m" if smoke_e4 != 0xFFFF else "no smoke value"
    return f"{temp}, {smoke}"


def duration(seconds: float) -> str:
    """ "18 ms", "1.2 s"."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def padded(text: str, columns: int) -> str:
    """`text` filled to a number of terminal columns."""
    return text + " " * (columns - width(text))
