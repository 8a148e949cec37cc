"""Alarms that ride in heartbeats: a node says that it is in alarm, and no open incident says so (DESIGN section 5).

Either the event is still on its way: so it is waited for. Or it was lost for ever: then the heartbeat opens the
incident, which is dispatched like any other. Or a person closed the incident although it stood: that is not told again,
for it would come back with every heartbeat; but if it stands for long, the list of faults says so until it ends.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from bongsu.receiver import incidents, rows
from bongsu.receiver.casebook import Signal
from bongsu.receiver.directory import NodeEntry
from bongsu.receiver.store import schema
from bongsu.receiver.telling import BY_BEAT, Facts
from bongsu_wire import kinds, payload

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

# A node sends its event before its next heartbeat, and again until it is receipted; the rest of the 20 s within which
# 119 is told belongs to the way.
EVENT_WITHIN_MS = 10_000
# A closed incident whose alarm still stands after so long is a fault: somebody should look, or reset the node.
CLOSED_STANDS_MS = 600_000
SOURCE, STILL_IN_ALARM = "heartbeat", "still_in_alarm"


@dataclass(slots=True)
class _Doubt:
    """A node's word that no incident repeats: its newest heartbeat's, and when it is looked at (monotonic ms)."""

    epoch: int
    beat: payload.Heartbeat
    received_ms: int
    since_ms: int
    due_ms: int


class BeatAlarms:
    """A chore of the writer; `heard` is called for heartbeats that are new and young."""

    def __init__(self, books: "Books") -> None:
        self._books = books
        self._doubts: dict[str, _Doubt] = {}
        self._judged: dict[str, _Doubt] = {}  # what the running transaction settles
        self._first = True
        self._told: set[str] = set()  # nodes whose fault stands, as far as this receiver said so

    def heard(self, node: NodeEntry, epoch: int, beat: payload.Heartbeat, received_ms: int) -> None:
        """A node tells which of its alarms stand. Costs nothing where none does."""
        if not beat.active and node.id not in self._doubts and node.id not in self._told:
            return
        mono_ms = self._books.clock.mono_ms()
        if not self._missing(node, beat.active):
            self._doubts.pop(node.id, None)
            if node.id in self._told:  # it is over, or stands in an incident again
                self._doubts[node.id] = _Doubt(epoch, beat, received_ms, mono_ms, mono_ms)
            return
        known = self._doubts.get(node.id)
        if known is None:
            self._doubts[node.id] = _Doubt(epoch, beat, received_ms, mono_ms, mono_ms + EVENT_WITHIN_MS)
        elif (known.epoch, known.beat.active_event, known.beat.active) == (epoch, beat.active_event, beat.active):
            known.beat, known.received_ms = beat, received_ms
        else:  # something new: its event may be on the way
            due_ms = min(known.due_ms, mono_ms + EVENT_WITHIN_MS)
            self._doubts[node.id] = _Doubt(epoch, beat, received_ms, known.since_ms, due_ms)

    def _missing(self, node: NodeEntry, active: int) -> tuple[str, ...]:
        """What the node says stands, and no open incident has standing of it."""
        if not active:
            return ()
        cases = self._books.casebook.cases
        stands: set[str] = set()
        for class_ in incidents.DISPATCHED:
            case = cases.get((node.subject, class_))
            if case is not None:
                stands.update(case.incident.active.get(node.id, ()))
        return tuple(name for name in incidents.names_of(active) if name not in stands)

    def load(self, conn: Connection) -> None:
        """A transaction failed, perhaps: what it settled is in doubt again, unless a newer heartbeat says otherwise.
        Which nodes have the fault is looked up once.
        """
        self._doubts = self._judged | self._doubts
        self._judged = {}
        if self._first:
            self._first = False
            for (subject, class_), case in self._books.casebook.cases.items():
                if class_ == incidents.FAULT and SOURCE in case.incident.active:
                    self._told.add(subject.partition(":")[2])

    def committed(self) -> None:
        """What was settled is stored."""
        self._judged.clear()

    def note(self, item: object) -> None:
        """Nothing is meant for it."""

    def due_ms(self) -> int | None:
        """When the first doubt is to be looked at (monotonic ms)."""
        return min((doubt.due_ms for doubt in self._doubts.values()), default=None) if self._doubts else None

    def act(self, conn: Connection, turn: "Turn") -> None:
        """Look at what stayed in doubt for long enough."""
        mono_ms = self._books.clock.mono_ms()
        for node_id in [n for n, doubt in self._doubts.items() if doubt.due_ms <= mono_ms]:
            node = self._books.directory.nodes.get(node_id)
            self._judged[node_id] = self._doubts[node_id]
            if node is None or node.state == "retired":
                del self._doubts[node_id]
            else:
                self._judge(conn, turn, node, self._doubts[node_id], mono_ms)

    def _judge(self, conn: Connection, turn: "Turn", node: NodeEntry, doubt: _Doubt, mono_ms: int) -> None:
        missing = self._missing(node, doubt.beat.active)
        fault = Signal(SOURCE, (STILL_IN_ALARM,), self._books.clock.now_ms())
        if not missing:
            del self._doubts[node.id]
            turn.end(f"node:{node.id}", fault)
            self._told.discard(node.id)
        elif not self._is_known(conn, node, doubt):
            del self._doubts[node.id]
            self._open(turn, node, doubt, missing)
        elif mono_ms - doubt.since_ms >= CLOSED_STANDS_MS:
            turn.stand(f"node:{node.id}", fault, lambda: self._books.directory.snapshot(node, fault.now_ms))
            self._told.add(node.id)
            del self._doubts[node.id]
        else:  # closed by a person, or over by events that overtook the heartbeat
            doubt.due_ms = doubt.since_ms + CLOSED_STANDS_MS

    def _is_known(self, conn: Connection, node: NodeEntry, doubt: _Doubt) -> bool:
        """Did the event that the heartbeat speaks of arrive, or did an incident come of such a heartbeat before?"""
        number = doubt.beat.active_event
        c = schema.event.c
        this = (c.node_id == node.id, c.epoch == doubt.epoch, c.number == number)
        if number and conn.execute(select(c.id).where(*this).limit(1)).first() is not None:
            return True
        i = schema.incident.c
        query = select(i.snapshot).where(i.subject == node.subject, i.class_.in_(incidents.DISPATCHED))
        for snapshot in conn.execute(query.order_by(i.id.desc()).limit(len(incidents.DISPATCHED))).scalars():
            told = (snapshot.get(BY_BEAT) or {}).get(node.id)
            if told and told[:2] == [doubt.epoch, number] and not doubt.beat.active & ~told[2]:
                return True
        return False

    def _open(self, turn: "Turn", node: NodeEntry, doubt: _Doubt, missing: tuple[str, ...]) -> None:
        beat = doubt.beat
        bits = sum(bit for bit, name in kinds.PHENOMENON_NAMES.items() if name in missing)
        readings = {name: value for name, value in vars(beat).items() if name in rows.READINGS}
        facts = Facts(doubt.received_ms, None, readings=readings)
        told = [doubt.epoch, beat.active_event, beat.active]
        turn.say("warn", "alarm.by_heartbeat", node=node.id, event=beat.active_event, phenomena="+".join(missing))
        turn.alarm(node, incidents.alarm_class(bits), missing, facts, told)
