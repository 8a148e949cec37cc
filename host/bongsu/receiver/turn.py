"""One turn of the writer: what a group of messages, finished deliveries and due times does to the books.

A turn is one transaction. What must not happen before its commit (receipts, acknowledgements, requests) is gathered
here and carried out by the writer afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, update

from bongsu.receiver import events, histories, incidents, ingest, keys, rows, telling
from bongsu.receiver.air.intake import NotTaken
from bongsu.receiver.books import LINK, SECRETS, Books
from bongsu.receiver.casebook import Case, Outcome, Page, Planned, Signal
from bongsu.receiver.delivery_policy import ESCALATION, RESTORE, SMS, escalates
from bongsu.receiver.directory import KEY_DAMAGED, Damage, NodeEntry
from bongsu.receiver.ingest import Refused, Uplink
from bongsu.receiver.jobs import Done, Job
from bongsu.receiver.liveness import echo_is_fresh, wants_answer
from bongsu.receiver.log import Log
from bongsu.receiver.mqtt_edge import Arrived
from bongsu.receiver.outbox import Late, Settled
from bongsu.receiver.store import changes, schema
from bongsu.receiver.walk_tests import RECEIVED, TEXTED
from bongsu.receiver.window import Verdict
from bongsu_wire import kinds, measured, payload

SUPERVISION = "supervision"
SILENT, BROKER_AWAY, DISPATCH_LATE, TEXT_LATE = "silent", "broker_unreachable", "dispatch_late", "text_late"

Line = tuple[str, str, dict[str, Any]]


@dataclass(slots=True)
class _Receipt:
    """What one node is to be told: the newest frame that this answers, and the events."""

    uplink: Uplink
    numbers: list[int] = field(default_factory=list)


@dataclass(slots=True)
class After:
    """What follows the commit."""

    frames: list[tuple[str, bytes]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    seen: list[tuple[str, int]] = field(default_factory=list)
    wrote_sightings: bool = False
    changed_incidents: set[int] = field(default_factory=set)  # incidents, or deliveries of theirs


class Turn:
    """One turn. `verify` needs no transaction; the rest does, if `needs_store` says so."""

    def __init__(self, books: Books, log: Log) -> None:
        self._books, self._log = books, log
        self._now_ms = books.clock.now_ms()
        self._page = Page()
        self._sender = books.downlink.sender
        self._events: list[tuple[Uplink, int]] = []
        self._answers: list[tuple[Uplink, payload.Answer]] = []
        self._histories: list[tuple[Uplink, histories.Part]] = []
        self._kept_histories: list[Uplink] = []
        self._contradictions: list[Refused] = []
        self._activated: dict[tuple[str, int], Uplink] = {}
        self._proven: list[Uplink] = []
        self._receipts: dict[tuple[str, int], _Receipt] = {}
        self._back: dict[str, int] = {}
        self.refused: list[Refused] = []
        self.after = After()

    # ---- what came in

    def verify(self, arrived: list[Arrived]) -> None:
        """Open the messages; what is refused is counted."""
        for message in arrived:
            try:
                self._sort(
                    ingest.open_uplink(self._books.directory, message.topic, message.data, self._now_ms), message
                )
            except Refused as refusal:
                self._books.sightings.refused[refusal.node, refusal.reason] += 1
                self.refused.append(refusal)

    def _sort(self, up: Uplink, message: Arrived) -> None:
        if up.key.state == "pending":
            self._activated[up.node.id, up.key.epoch] = up
        if isinstance(up.content, payload.Event):
            self._events.append((up, message.received_ms))
        elif isinstance(up.content, payload.Heartbeat):
            self._heartbeat(up, up.content, message.received_ms)
        elif isinstance(up.content, measured.History):
            part = histories.Part(up.node.id, up.key.epoch, up.content, up.plain, message.received_ms)
            self._histories.append((up, part))
        elif isinstance(up.content, measured.Reading):
            self._reading(up, up.content, message.received_ms)
        else:
            self._answers.append((up, up.content))

    def _heartbeat(self, up: Uplink, beat: payload.Heartbeat, received_ms: int) -> None:
        """A sign of life, if it is new and young; answered if the node's server time gets old."""
        if not self._is_new(up):
            return
        books = self._books
        books.vitals.heartbeats += 1
        books.orders.heard(up.node.id, up.key.epoch, up.counter, books.clock.mono_ms())
        fresh = echo_is_fresh(received_ms, beat.echo_server_ms, beat.echo_age_ms)
        books.sightings.note(up.node.id, beat, received_ms if fresh else None)
        if fresh:
            self._seen(up.node.id, received_ms)
            books.beat_alarms.heard(up.node, up.key.epoch, beat, received_ms)
        if not fresh or up.key.state == "pending" or wants_answer(up.node.id, beat.echo_age_ms, self._now_ms):
            self._answer(up)

    def _is_new(self, up: Uplink) -> bool:
        """Does the counter window let this frame in? False: it was here before. Raises Refused if it is a replay."""
        verdict = self._books.sightings.judge(up.node.id, up.key.epoch, up.counter)
        if verdict is Verdict.STALE:
            raise Refused(ingest.REPLAY, up.node.id)
        return verdict is not Verdict.DUPLICATE

    def _reading(self, up: Uplink, reading: measured.Reading, received_ms: int) -> None:
        """What a node measured. No sign of life: it echoes nothing, so somebody may have held it back."""
        if not self._is_new(up):
            return
        try:
            self._books.air.take(up.node, up.key.epoch, up.counter, reading, received_ms)
        except NotTaken:
            raise Refused(ingest.TIME, up.node.id) from None

    def _seen(self, node_id: str, received_ms: int) -> None:
        self.after.seen.append((node_id, received_ms))
        if node_id in self._books.liveness.silent:
            self._back[node_id] = received_ms

    def _answer(self, up: Uplink, number: int | None = None) -> None:
        receipt = self._receipts.setdefault((up.node.id, up.key.epoch), _Receipt(up))
        if up.counter > receipt.uplink.counter:
            receipt.uplink = up
        if number is not None and number not in receipt.numbers:
            receipt.numbers.append(number)

    @property
    def has_events(self) -> bool:
        """Did an event come, which somebody waits for?"""
        return bool(self._events)

    def needs_store(self) -> bool:
        """Must any of what came in be written now?"""
        books = self._books
        came = self._events or self._answers or self._histories or self._activated or self._back
        return bool(came or books.damage_begins or books.damage_ends) or books.downlink.short_of(len(self._receipts))

    # ---- in the transaction

    def write(self, conn: Connection) -> None:
        """Write what came in."""
        for up in self._activated.values():
            if keys.activate(conn, up.node.id, up.key.epoch, self._now_ms):
                self._proven.append(up)
                self.say("info", "key.active", node=up.node.id, epoch=up.key.epoch)
        for up, received_ms in self._events:
            self._event(conn, up, received_ms)
        for up, answer in self._answers:
            if self._books.orders.answered(conn, up.node.id, up.key, answer, self._now_ms):
                self.say("info", "command.answered", node=up.node.id, command=kinds.COMMAND_NAMES.get(answer.code),
                          result=kinds.ANSWER_NAMES[answer.result])  # fmt: skip
        for node_id, received_ms in self._back.items():
            self._node_back(conn, node_id, received_ms)
        self._write_histories(conn)
        self._books.downlink.reserve(conn, self._frames_wanted(), self._now_ms)
        self._take_own_faults_along()

    def _take_own_faults_along(self) -> None:
        """The receiver's own faults stand under its present sender number: the one before it is retired."""
        before, now = self._books.downlink.subject_before, self._books.downlink.subject
        case = self._books.casebook.cases.get((before, incidents.FAULT))
        if before == now or case is None:
            return
        for source, names in case.incident.active.items():
            signal = Signal(source, names, self._now_ms)
            self.stand(now, signal, partial(dict, case.incident.snapshot))
            self.end(before, signal)

    def _frames_wanted(self) -> int:
        receipts = sum(1 + len(r.numbers) // payload.RECEIPT_MAX_EVENTS for r in self._receipts.values())
        return receipts + len(self._kept_histories)

    def _write_histories(self, conn: Connection) -> None:
        """Parts of minutes before alarms. Each that is kept gets a receipt of its own, which is the node's proof: one
        that contradicts what came before gets none, and is counted.
        """
        if not self._histories:
            return
        done = histories.store(conn, [part for _, part in self._histories])
        self.after.changed_incidents |= done.incidents
        for (up, part), verdict in zip(self._histories, done.verdicts, strict=True):
            if verdict.is_kept:
                self._kept_histories.append(up)
            else:
                self._contradictions.append(Refused(verdict.value, up.node.id))
            if verdict is histories.Verdict.NEW:
                first, count = part.history.first, len(part.history.values) // len(part.history.quantities)
                self.say("info", "history.committed", node=up.node.id, event=part.history.number, first=first,
                         rows=count, of=part.history.rows)  # fmt: skip

    def _event(self, conn: Connection, up: Uplink, received_ms: int) -> None:
        event = up.content
        assert isinstance(event, payload.Event)
        content = payload.event_content(up.plain)
        known = self._books.casebook.is_repeat(conn, self._page, (up.node.id, up.key.epoch, event.number), content)
        self._answer(up, event.number)
        if known:
            return
        books = self._books
        node = books.directory.nodes.get(up.node.id, up.node)  # it may have been moved while this waited for the store
        h = events.Happening(
            node, up.key.epoch, event, content, received_ms, books.directory, books.settings.texted,
            books.exercises.of(node.site_id, node.unit_id),
        )  # fmt: skip
        if event.kind == kinds.TEST:
            at_ms = rows.event_time(event, received_ms)
            h.walk_test = books.walk_tests.take(conn, node.id, at_ms, received_ms)
        done = events.record(books.casebook, self._page, h, reused=known is None)
        if h.walk_test is not None:
            self._walk_test_ended(conn, h.walk_test, h, done)
        books.orders.heard(up.node.id, up.key.epoch, up.counter, books.clock.mono_ms())
        books.sightings.note(up.node.id, None, received_ms)
        self._seen(up.node.id, received_ms)
        self._say_event(h, done)

    def _walk_test_ended(self, conn: Connection, number: int, h: events.Happening, done: Outcome) -> None:
        """Its event came: write down whether the text is on its way, or why there is none."""
        text = done.text
        said, delivery = (TEXTED, text.delivery.id) if isinstance(text, Planned) else (text or RECEIVED, None)
        self._books.walk_tests.ended(conn, number, said, h.event_id, delivery)
        self.say("info", "walk_test.ended", node=h.node.id, walk_test=number, outcome=said, delivery=delivery)

    def _node_back(self, conn: Connection, node_id: str, received_ms: int) -> None:
        signal = Signal(SUPERVISION, (SILENT,), received_ms)
        self._say_incident(self._books.casebook.end(self._page, f"node:{node_id}", incidents.FAULT, signal))
        changes.note(conn, "node", node_id)
        live = schema.node_live
        conn.execute(update(live).where(live.c.node_id == node_id).values(silent=False, silent_since_ms=None))

    def settle(self, conn: Connection, finished: list[Done]) -> None:
        """Write what became of deliveries, and tell the next one where somebody refused."""
        books = self._books
        settled = books.outbox.settle(conn, finished, lambda incident_id: incident_id in books.casebook.by_id)
        self.after.changed_incidents.update(s.open.delivery.incident_id for s in settled)
        for s in settled:
            self._say_delivery(s)
            if s.done and s.open.escalated:
                self._delivery_arrived(s)
        refused = [
            Late(s.open, s.outcome.detail)
            for s in settled
            if s.after.escalate_now and not s.open.escalated and escalates(s.open.delivery)
        ]
        self.escalate(conn, refused)
        books.outbox.next_in_line(settled)

    def _delivery_arrived(self, s: Settled) -> None:
        """A late delivery came through after all: the fault that told of it is over."""
        case = self._books.casebook.by_id.get(s.open.delivery.incident_id)
        if case is not None:
            signal = Signal(s.open.delivery.recipient, (), self._now_ms)
            self._say_incident(self._books.casebook.end(self._page, case.incident.subject, incidents.FAULT, signal))

    def escalate(self, conn: Connection, late: list[Late]) -> None:
        """Tell the next one as well, and show it as a fault; what is late goes on."""
        if not late:
            return
        book = self._books.casebook
        for one in late:
            d = one.open.delivery
            case = book.by_id.get(d.incident_id)
            if case is None or case.incident.round != d.round:
                continue
            people = telling.next_people(case, d.channel)
            if people:
                body = telling.escalation_body(case.incident, one.open.body, people[0].get("lang", ""))
                planned = book.tell(self._page, case, ESCALATION, people[0], body)
                if case.incident.restored_ms is not None:
                    facts = telling.facts_of(conn, self._page, case.incident)
                    telling.restored(book, self._page, case, facts, (planned.delivery.recipient,))
            self.say("warn", "delivery.escalated", incident=d.incident_id, delivery=d.id, recipient=d.recipient,
                      why=one.why, to=people[0]["id"] if people else None)  # fmt: skip
            signal = Signal(d.recipient, (TEXT_LATE if d.channel == SMS else DISPATCH_LATE,), self._now_ms)
            self._say_incident(
                book.stand(
                    self._page, case.incident.subject, incidents.FAULT, signal, partial(dict, case.incident.snapshot)
                )
            )
        self._books.outbox.mark_escalated(conn, late)

    def supervise(self, conn: Connection, link_back: bool) -> None:
        """Find who has fallen silent, and the receiver's own link. `link_back`: a link fault ended just now."""
        books = self._books
        fallen, link_fault = books.liveness.expire(books.clock.mono_ms())
        self.call_silent(conn, books.silent_sites.sift(self, books.unheard(conn, fallen)))
        subject = books.downlink.subject
        signal = Signal(LINK, (BROKER_AWAY,), self._now_ms)
        if link_fault:
            self._say_incident(books.casebook.stand(self._page, subject, incidents.FAULT, signal, dict))
        if link_back or books.liveness.link_fault_over():
            self._say_incident(books.casebook.end(self._page, subject, incidents.FAULT, signal))
        self._tell_damage()

    def call_silent(self, conn: Connection, node_ids: list[str]) -> None:
        """These nodes get a fault of their own: silent."""
        books = self._books
        for node_id in node_ids:
            signal = Signal(SUPERVISION, (SILENT,), self._now_ms)
            self.say("warn", "node.silent", node=node_id, last_seen_ms=books.sightings.last_seen_ms.get(node_id))
            self.stand(f"node:{node_id}", signal, partial(books.silent_snapshot, node_id))
        if node_ids:
            live = schema.node_live
            silent = update(live).where(live.c.node_id.in_(node_ids)).values(silent=True, silent_since_ms=self._now_ms)
            conn.execute(silent)
            changes.note(conn, "node", *node_ids)

    def do_chores(self, conn: Connection) -> None:
        """Do what is due of the rest."""
        mono_ms = self._books.clock.mono_ms()
        for chore in self._books.chores:
            due_ms = self._books.rests.due_ms(chore)
            if due_ms is not None and due_ms <= mono_ms:
                self._books.rests.act(chore, conn, self, mono_ms)

    def take_due(self, conn: Connection) -> None:
        """Deliveries whose next try is due."""
        books = self._books
        self.after.jobs += books.outbox.take_due(conn, partial(telling.belied, conn, books.casebook))

    def stand(self, subject: str, signal: Signal, snapshot: Callable[[], dict[str, Any]] = dict) -> Outcome:
        """A fault stands now (for chores); nothing happens if it stood before. Returns what came of it."""
        case = self._books.casebook.cases.get((subject, incidents.FAULT))
        standing = case.incident.active.get(signal.source, ()) if case is not None else ()
        if set(signal.names) <= set(standing):
            return Outcome()
        done = self._books.casebook.stand(self._page, subject, incidents.FAULT, signal, snapshot)
        self._say_incident(done)
        return done

    def end(self, subject: str, signal: Signal) -> Outcome:
        """A fault is over (for chores; without names: all of its source's); nothing happens if it did not stand."""
        done = self._books.casebook.end(self._page, subject, incidents.FAULT, signal)
        self._say_incident(done)
        return done

    def alarm(
        self, node: NodeEntry, class_: str, names: tuple[str, ...], facts: telling.Facts, by_beat: list[int]
    ) -> None:
        """A node is in alarm, as its heartbeat says and no event: an incident like any other (for chores)."""
        books = self._books
        snapshot = partial(books.directory.snapshot, node, facts.received_ms)
        signal = Signal(node.id, names, facts.received_ms)
        done = telling.by_beat(
            books.casebook, self._page, (node.subject, class_), signal, snapshot, facts, by_beat,
            exercise_id=books.exercises.of(node.site_id, node.unit_id), texted=books.settings.texted,
            beside=books.directory.beside(node),
        )  # fmt: skip
        self._say_incident(done)

    def release(self, conn: Connection, case: Case) -> None:
        """Responders are told of what was held back, or that it is verified (for chores)."""
        incident = case.incident
        telling.release(self._books.casebook, self._page, case, telling.facts_of(conn, self._page, incident))
        self.say("info", "incident.released", incident=incident.id, round=incident.round,
                  verified=incident.verified_by, held=incident.held_until_ms is not None)  # fmt: skip

    def _tell_damage(self) -> None:
        """Secrets that do not open stand as faults: of their node, or of the receiver."""
        books = self._books
        for damage in sorted(books.damage_begins, key=repr):
            self.say("warn", "secret.damaged", what=damage.name, whose=damage.whose)
            subject, source = self._damage_incident(damage)
            signal = Signal(source, (damage.name,), self._now_ms)
            snapshot = partial(books.silent_snapshot, damage.whose)
            self._say_incident(books.casebook.stand(self._page, subject, incidents.FAULT, signal, snapshot))
        for damage in sorted(books.damage_ends, key=repr):
            subject, source = self._damage_incident(damage)
            signal = Signal(source, (damage.name,), self._now_ms)
            self._say_incident(books.casebook.end(self._page, subject, incidents.FAULT, signal))
        books.damage_begins, books.damage_ends = set(), set()

    def _damage_incident(self, damage: Damage) -> tuple[str, str]:
        """(subject, source) of the fault that tells of it."""
        if damage.name == KEY_DAMAGED:
            return f"node:{damage.whose}", SECRETS
        return self._books.downlink.subject, f"responder:{damage.whose}"

    def save(self, conn: Connection) -> None:
        """Write the page, commands and due deliveries: the end of the transaction."""
        books, page = self._books, self._page
        if page.renewed:
            books.outbox.give_up(conn, page.renewed, RESTORE)
        if page:
            self.after.changed_incidents |= page.incident_ids()
            self.after.jobs += books.outbox.admit(page.planned)
            books.casebook.save(conn, page, books.lease.renew(), self._now_ms)
        if books.orders.ready(books.clock.mono_ms()):
            self.after.frames += books.orders.send(
                conn, books.directory, books.downlink, self._now_ms, books.clock.mono_ms(), self._frames_wanted()
            )
        if books.downlink.sender != self._sender:
            self.say("warn", "receiver.new_sender", sender=books.downlink.sender, used_up=self._sender)

    # ---- after the commit

    def committed(self) -> None:
        """Make the receipts and take over who was seen."""
        books = self._books
        for node_id, _ in self.after.seen:
            if node_id in books.directory.nodes:
                books.liveness.seen(node_id, books.clock.mono_ms())
        now_ms = books.clock.now_ms()
        for receipt in self._receipts.values():
            up, numbers = receipt.uplink, receipt.numbers
            for start in range(0, max(1, len(numbers)), payload.RECEIPT_MAX_EVENTS):
                some = numbers[start : start + payload.RECEIPT_MAX_EVENTS]
                self.after.frames.append(books.downlink.receipt(up.node, up.key, up.counter, some, now_ms))
            if numbers:
                self.say("info", "receipt.sent", node=up.node.id, events=numbers)
        for up in self._kept_histories:
            self.after.frames.append(books.downlink.receipt(up.node, up.key, up.counter, [], now_ms))
        for refusal in self._contradictions:
            books.sightings.refused[refusal.node, refusal.reason] += 1
            self.refused.append(refusal)
        books.orders.forget_given_up(books.directory)
        for up in self._proven:  # what another receiver activated was taken in with its commit
            node = books.directory.nodes.get(up.node.id, up.node)
            node.activated(node.keys.get(up.key.epoch, up.key), self._now_ms + keys.OLD_KEY_VALID_MS)
            books.liveness.watch(up.node.id, books.clock.mono_ms())

    # ---- the log

    def say(self, level: str, line: str, /, **fields: Any) -> None:
        """Write a log line ("info", "warn") after the commit."""
        self.after.lines.append((level, line, fields))

    def _say_event(self, h: events.Happening, done: Outcome) -> None:
        e = h.event
        self.say(
            "info",
            "event.committed",
            node=h.node.id,
            event=e.number,
            kind=kinds.EVENT_NAMES[e.kind],
            phenomena=kinds.phenomena_text(e.phenomena),
            criterion=kinds.CRITERION_NAMES[e.criterion],
            age_ms=None if e.age_ms == payload.AGE_UNKNOWN else e.age_ms,
            received_ms=h.received_ms,
            incident=done.incident.id if done.incident is not None else None,
        )
        self._say_incident(done)
        if done.fault is not None and done.fault.incident is not None:
            if not done.fault.restored:
                self.say("warn", "alarm.nobody_told", node=h.node.id, event=e.number)
            self._say_incident(done.fault)

    def _say_incident(self, done: Outcome) -> None:
        incident = done.incident
        if incident is None:
            return
        fields = {"incident": incident.id, "class": incident.class_, "subject": incident.subject}
        if done.opened or done.new_round:
            standing = sorted({name for names in incident.active.values() for name in names})
            self.say("info", "incident.opened", **fields, round=incident.round, standing="+".join(standing))
        if done.restored:
            self.say("info", "incident.restored", **fields, round=incident.round)

    def _say_delivery(self, s: Settled) -> None:
        d, state = s.open.delivery, s.after.state
        fields = {"incident": d.incident_id, "delivery": d.id, "purpose": d.purpose, "channel": d.channel,
                  "recipient": d.recipient}  # fmt: skip
        if s.done or (state == "sent" and s.open.polls == 0):
            after_ms = self._books.clock.mono_ms() - s.open.since_ms
            self.say("info", f"delivery.{state}", **fields, attempts=d.attempts, detail=s.outcome.detail,
                      after_ms=after_ms)  # fmt: skip
        elif state == "pending":
            self.say("warn", "delivery.retry", **fields, attempts=d.attempts, detail=s.outcome.detail,
                      again_ms=s.after.wait_ms)  # fmt: skip
