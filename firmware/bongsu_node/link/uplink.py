"""The exchange with the receiver: events up until their receipt, heartbeats, commands down, answers up.

An event leaves the journal only when an authentic receipt names it. The broker's PUBACK proves nothing: it is given for
messages that the broker's rules throw away, and for messages that a broker loses when it dies.

`step` and `receive` do the work, plain functions of the ticks; `run` only waits for the next reason to call `step`.
"""

import asyncio
import os

from bongsu_node.link.minutes import Minutes
from bongsu_node.link.receipts import RepeatSchedule, SentCounters, ticks_diff
from bongsu_wire import frame, kinds, payload, topics

HEARTBEAT_MS = 45_000

_IDLE_MS = 20_000  # a step at least this often, so that the tick tables forget in time
_FULL_MS = 250  # until the next try when the client takes no more

try:
    from time import ticks_ms as _now
except ImportError:  # CPython: tests hand in their own
    _now = None  # type: ignore[assignment]


def _no_beat() -> None:
    pass


class Uplink:
    """`identity`, `journal`, `mqtt`, `clock`: of counters.py, alarm/journal.py, mqtt.py, clock.py;
    `status()`: the Heartbeat to send now.

    `on_receipt(numbers, server_ms)`: event numbers that left the journal, and the server time if the answer may give it
    (else None); `on_command(command, header)`: does it and returns a kinds.ANSWER_* code; it must not block, and a
    reset must wait until the answer is out. `refused`: reason -> count of frames from the network that were not acted
    on.
    """

    def __init__(
        self,
        identity,
        journal,
        mqtt,
        clock,
        status,
        *,
        on_receipt,
        on_command,
        log,
        heartbeat_ms: int = HEARTBEAT_MS,
        repeat_after_ms=None,
        ticks_ms=_now,
    ) -> None:
        self.refused = {}
        self._identity = identity
        self._journal = journal
        self._mqtt = mqtt
        self._clock = clock
        self._status = status
        self._on_receipt = on_receipt
        self._on_command = on_command
        self._log = log
        self._heartbeat_ms = heartbeat_ms
        self._ticks_ms = ticks_ms
        self._sent = SentCounters()
        self._schedule = RepeatSchedule(repeat_after_ms) if repeat_after_ms else RepeatSchedule()
        self._minutes = Minutes()
        self._tickets = {}  # event number -> ticket of its newest sending
        self._beat_sent_ms = None  # None: a heartbeat is due
        self._early_ms = 0  # the next one comes so much earlier
        self._time_known = False  # since boot
        self._hurried = 0  # newest alarm for which the back-off was cut short
        self._reason = asyncio.Event()
        self._up_topic = topics.up_events(identity.node_text)
        self._beat_topic = topics.up_beats(identity.node_text)
        mqtt.on_message = self.receive
        mqtt.on_state = self.link_changed

    # -- reasons to act

    def wake(self) -> None:
        """The journal has something new."""
        self._reason.set()

    def keep_minute(self, number: int, parts) -> None:
        """The minute before alarm `number`, as payloads: to be sent after its receipt."""
        self._minutes.keep(number, parts)

    def send_reading(self, data: bytes) -> None:
        """A reading, as a payload: sent now or never, since the next one comes."""
        if self._mqtt.connected:
            self._send(kinds.UP_READING, self._beat_topic, data, 0, self._ticks_ms())

    def link_changed(self, up: bool, why: str) -> None:
        """The MQTT connection came or went. What was under way is sent anew, in fresh frames whose age is right."""
        for ticket in self._tickets.values():
            ticket.withdraw()
        self._tickets.clear()
        self._schedule.restart()
        self._minutes.restart()
        self._beat_sent_ms = None
        # A broker's restart brings a city back at once; its nodes must not beat in step from then on.
        self._early_ms = self._heartbeat_ms // 2 * os.urandom(1)[0] // 255
        self._reason.set()

    async def run(self, beat=_no_beat) -> None:
        """Exchange frames for ever; `beat()` is called at least every 20 s."""
        while True:
            beat()
            self._reason.clear()
            wait_ms = self.step()
            try:
                await asyncio.wait_for_ms(self._reason.wait(), max(wait_ms, 1))
            except asyncio.TimeoutError:
                pass

    # -- up

    def step(self) -> int:
        """Send what is due; return the ms after which to call again (earlier if woken)."""
        now = self._ticks_ms()
        self._sent.forget_old(now)
        if not self._mqtt.connected:
            self._hurry_alarm()
            return _IDLE_MS
        wait_ms = _IDLE_MS
        pending = self._journal.pending()
        if len(self._schedule) > len(pending):
            self._forget_all_but(pending)
        for number in pending:
            due_ms = self._schedule.due_in_ms(number, now)
            if due_ms <= 0:
                due_ms = self._guarded(self._send_event, number, now)
            wait_ms = min(wait_ms, due_ms)
        wait_ms = min(wait_ms, self._guarded(self._send_heartbeat, 0, now))
        return min(wait_ms, self._send_minute(pending, now)) if len(self._minutes) else wait_ms

    def _forget_all_but(self, pending) -> None:
        self._schedule.forget_all_but(pending)
        for number in list(self._tickets):
            if number not in pending:
                self._tickets.pop(number).withdraw()

    def _guarded(self, send, number: int, now: int) -> int:
        """One event that cannot be read, or a status that cannot be made, must not keep the others back."""
        try:
            return send(number, now)
        except Exception as e:
            self._log("E", "uplink", "event=%d err=%r" % (number, e))
            return self._put_off(number, now)

    def _put_off(self, number: int, now: int) -> int:
        if not number:
            self._beat_sent_ms = now
            return self._heartbeat_ms
        self._schedule.sent(number, now)
        return self._schedule.due_in_ms(number, now)

    def _hurry_alarm(self) -> None:
        """An alarm does not wait for the end of a back-off pause; each one may cut it short once."""
        for number in self._journal.pending():
            if number <= self._hurried:
                continue
            try:
                if payload.event_kind(self._journal.entry(number)) == kinds.ALARM:
                    self._mqtt.retry_now()
                    self._hurried = number
            except Exception:  # an entry that cannot be read is logged when it is its turn to be sent
                continue

    def _send_event(self, number: int, now: int) -> int:
        """Send one event in a fresh frame; return the ms until it is due again."""
        entry = self._journal.entry(number)
        urgent = payload.event_kind(entry) == kinds.ALARM
        if not self._mqtt.takes(urgent):  # asked before a counter is spent: NVS pays for each
            return _FULL_MS
        older = self._tickets.pop(number, None)
        if older is not None:
            older.withdraw()
        counter = self._identity.next_counter()
        data = frame.seal_up(
            self._identity.key, kinds.UP_EVENT, self._identity.epoch, self._identity.node, counter, entry
        )
        self._tickets[number] = self._mqtt.publish(self._up_topic, data, 1, urgent)
        self._sent.add(counter, now)
        self._schedule.sent(number, now)
        self._log("I", "sent", "event=%d counter=%d" % (number, counter))
        return self._schedule.due_in_ms(number, now)

    def _send_heartbeat(self, _number: int, now: int) -> int:
        if self._beat_sent_ms is not None:
            wait_ms = self._heartbeat_ms - self._early_ms - ticks_diff(now, self._beat_sent_ms)
            if wait_ms > 0:
                return wait_ms
            self._early_ms = 0
        self._send(kinds.UP_HEARTBEAT, self._beat_topic, payload.encode_heartbeat(self._status()), 0, now)
        self._beat_sent_ms = now
        return self._heartbeat_ms - self._early_ms

    def _send_minute(self, pending, now: int) -> int:
        """Send one part of an alarm's history; return the ms after which to look again."""
        part = self._minutes.due(pending, now)
        if part is None:
            return _IDLE_MS
        if not self._mqtt.takes(False):
            return _FULL_MS
        try:
            counter = self._send(kinds.UP_HISTORY, self._up_topic, part[1], 1, now)
        except Exception as e:  # NVS has no counter to give: it must not cost the alarms their link
            self._log("E", "uplink", "history=%d err=%r" % (part[0], e))
            return _IDLE_MS
        self._minutes.sent(part, counter, now)
        return 0 if self._minutes.due(pending, now) else _IDLE_MS

    def _send(self, kind: int, topic: str, body: bytes, qos: int, now: int) -> int:
        """Seal and publish what is no event; return its counter. A full queue loses it (0): the next heartbeat comes,
        the sender asks again."""
        if not self._mqtt.takes(False):
            self._refuse("queue-full")
            return 0
        counter = self._identity.next_counter()
        data = frame.seal_up(self._identity.key, kind, self._identity.epoch, self._identity.node, counter, body)
        self._mqtt.publish(topic, data, qos)
        self._sent.add(counter, now)
        return counter

    # -- down

    def receive(self, topic: str, data: bytes) -> None:
        """Take a message from the network. Never raises: what is not understood, not authentic or not fresh is counted
        and has no effect."""
        try:
            self._take(data)
        except frame.FrameError as e:
            self._refuse(e.reason)
        except payload.PayloadError:
            self._refuse("payload")
        except Exception as e:  # flash that fails, for one: then nothing is done, and the receiver asks again
            self._refuse("error")
            self._log("E", "uplink", "err=%r" % e)

    def _take(self, data: bytes) -> None:
        header = frame.parse(data)
        if not header.down:
            raise frame.FrameError("direction")
        if header.node != self._identity.node:
            raise frame.FrameError("node")
        if header.epoch != self._identity.epoch:
            raise frame.FrameError("epoch")
        body = frame.open_frame(self._identity.key, header)
        if header.kind == kinds.DOWN_RECEIPT:
            self._take_receipt(payload.decode_receipt(body))
        else:
            self._take_command(header, payload.decode_command(body))

    def _refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def _take_receipt(self, receipt) -> None:
        now = self._ticks_ms()
        # A receipt may answer a frame of before the restart, whose counter was lower; one that answers a frame not yet
        # sent is nonsense.
        if self._sent.newest and receipt.answers > self._sent.newest:
            raise frame.FrameError("counter")
        self._minutes.answered(receipt.answers)
        server_ms = receipt.server_ms if self._sent.gives_time(receipt.answers, now) else None
        pending = self._journal.pending()
        done = [number for number in receipt.numbers if number in pending]
        for number in done:
            self._finish(number, now)
        if done and len(self._minutes):  # their histories may go now
            self._reason.set()
        if server_ms is not None:
            self._clock.server_time(server_ms)
        if done or server_ms is not None:
            self._on_receipt(done, server_ms)
        if server_ms is not None and not self._time_known:
            # At once, so that the receiver sees its own time come back and counts this node as heard.
            self._time_known = True
            self._beat_sent_ms = None
            self._reason.set()

    def _finish(self, number: int, now: int) -> None:
        self._journal.remove(number)
        ticket = self._tickets.pop(number, None)
        if ticket is not None:
            ticket.withdraw()
        after_ms = self._schedule.done(number, now)
        self._log("I", "receipt", "event=%d after_ms=%d" % (number, -1 if after_ms is None else after_ms))

    def _take_command(self, header, command) -> None:
        now = self._ticks_ms()
        if header.counter <= self._identity.newest_command(header.sender):
            raise frame.FrameError("replay")
        self._identity.note_command(
            header.sender, header.counter
        )  # on flash before anything is done: a replay after a power cut finds it there
        if self._sent.fresh(command.quotes, now):
            result = self._obey(command, header)
        else:
            self._refuse("stale")
            result = kinds.ANSWER_REFUSED
        answer = payload.Answer(header.counter, header.sender, command.code, result)
        self._send(kinds.UP_ANSWER, self._up_topic, payload.encode_answer(answer), 1, now)

    def _obey(self, command, header) -> int:
        if not kinds.CMD_TEST <= command.code <= kinds.CMD_UPDATE:
            return kinds.ANSWER_UNSUPPORTED
        try:
            return self._on_command(command, header)
        except Exception as e:
            self._log("E", "command", "code=%d err=%r" % (command.code, e))
            return kinds.ANSWER_FAILED
