"""A city of nodes in one process: real keys, real frames, real MQTT connections, no boards.

Each carrier is one connection: a node's own, or that of a gateway that carries the frames of many nodes on their
topics. Heartbeats go round on a wheel of 45 s; alarms leave at once. What a carrier does when its connection breaks is
what the firmware does: back-off with jitter, which an alarm cuts short once.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

from bongsu.errors import BongsuError
from bongsu.sim.fleet_carrier import Broker, Carrier
from bongsu.sim.fleet_line import Line
from bongsu.sim.fleet_node import HEARTBEAT_MS, Entry, FleetNode, Heard
from bongsu.sim.fleet_plan import Cut, Fires, Plan, Storm
from bongsu.sim.fleet_rogue import Rogue
from bongsu.sim.fleet_tally import Tally
from bongsu_node.link.backoff import Backoff
from bongsu_wire import kinds

_SLOT_S = 0.025
_SLOTS = round(HEARTBEAT_MS / 1000 / _SLOT_S)
_DIAL_S = 10.0
# A connection that held this long ends the back-off.
_STABLE_S = 20.0
_GONE_WITHIN_S = 1.0
_READY_S = 120.0
_SHOW_EVERY_S = 5.0


class Fleet:
    """All carriers, and what happens to them. `say` is told one line at a time; `note` each alarm's receipt: (node,
    number, raised, receipted), s of the monotonic clock.
    """

    def __init__(
        self,
        broker: Broker,
        carriers: list[Carrier],
        plan: Plan,
        *,
        seed: int = 0,
        connects_per_s: float = 1000.0,
        say: Callable[[str], None] = lambda line: None,
        note: Callable[[str, int, float, float], None] = lambda *_: None,
    ) -> None:
        self._broker, self._carriers, self._plan = broker, carriers, plan
        self._say, self._note = say, note
        self._connects_per_s = connects_per_s
        self._chance = random.Random(seed)
        self.tally = Tally()
        self.nodes = [node for carrier in carriers for node in carrier.nodes]
        self._carrier_of: dict[str, Carrier] = {}
        for i, carrier in enumerate(carriers):
            carrier.tries = i  # spread over the broker's addresses
            carrier.by_topic = {node.down_topic: node for node in carrier.nodes}
            self._carrier_of.update((node.id, carrier) for node in carrier.nodes)
        self._rogue = Rogue(plan.misbehave, self.nodes, self._chance, self.tally)
        self._pool = self._chance.sample(self.nodes, len(self.nodes))
        self._next_fire = 0
        self._burning: set[str] = set()
        self._wheel: list[list[FleetNode]] = [[] for _ in range(_SLOTS)]
        self._by_line: dict[Line, Carrier] = {}
        self._up = 0
        self._ready, self._stopped = asyncio.Event(), asyncio.Event()
        self._finished = False

    # ---- its life

    async def run(self, seconds: float | None, drain_s: float = 60.0) -> dict[str, Any]:
        """Connect, live for `seconds` from then on (None: until `stop`), wait for the last receipts; the report. Raises
        BongsuError if the connections do not come up.
        """
        self._loop = asyncio.get_running_loop()
        self._begun_s = self._loop.time()
        jobs = [asyncio.create_task(job) for job in (self._beat(), self._look(), self._show())]
        try:
            await self._connect_all()
            self._say(f"ready nodes={len(self.nodes)} connections={len(self._carriers)} at={self._loop.time():.3f}")
            self._arrange()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), seconds)
            self._finished = True
            await self._drain(drain_s)
        finally:
            self._finished = True
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            await self._leave()
        return {"nodes": len(self.nodes), "carriers": len(self._carriers)} | self.tally.report()

    def stop(self) -> None:
        """Come to the end now."""
        self._stopped.set()
        self._ready.set()

    async def _connect_all(self) -> None:
        for i, carrier in enumerate(self._carriers):
            self._loop.call_later(i / self._connects_per_s, self._connect, carrier)
        try:
            await asyncio.wait_for(self._ready.wait(), _READY_S + len(self._carriers) / self._connects_per_s)
        except TimeoutError:
            why = ", ".join(f"{why} ({count})" for why, count in self.tally.failed.most_common(3)) or "no answer"
            raise BongsuError(
                f"{self._up} of {len(self._carriers)} connections came up: {why}",
                "Look at the broker's log: its limits, its logins, and who may do what.",
            ) from None

    async def _drain(self, drain_s: float) -> None:
        end_s = self._loop.time() + drain_s
        while self.tally.waiting() and self._loop.time() < end_s and not self._stopped.is_set():
            await asyncio.sleep(_SLOT_S)

    async def _leave(self) -> None:
        dialling = [c.dialling for c in self._carriers if c.dialling is not None]
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        for carrier in self._carriers:
            if carrier.retry is not None:
                carrier.retry.cancel()
            if carrier.line is not None:
                carrier.line.leave()
        await asyncio.sleep(0)  # the sockets close in the loop's next turn
        await asyncio.sleep(0)

    # ---- heartbeats

    async def _beat(self) -> None:
        """The wheel: each node's turn comes every 45 s."""
        nodes = self._chance.sample(self.nodes, len(self.nodes))
        for i, node in enumerate(nodes):
            self._give_slot(node, i * _SLOTS // len(nodes))
        start_s, turn = self._begun_s, 0
        while True:
            turn += 1
            await asyncio.sleep(max(0.0, start_s + turn * _SLOT_S - self._loop.time()))
            bucket = self._wheel[turn % _SLOTS]
            here = [node for node in bucket if node.beat_slot == turn % _SLOTS]
            bucket[:] = here
            for node in here:
                self._send_beat(node)

    def _give_slot(self, node: FleetNode, slot: int) -> None:
        if node.beat_slot != slot:
            node.beat_slot = slot
            self._wheel[slot].append(node)

    def _beat_now(self, node: FleetNode) -> None:
        """Send a heartbeat out of turn; the next one comes 45 s later. At the start every node keeps its turn: nodes
        that have been in service for a while are spread evenly.
        """
        self._send_beat(node)
        if self._ready.is_set():
            self._give_slot(node, int((self._loop.time() - self._begun_s) / _SLOT_S) % _SLOTS)

    def _send_beat(self, node: FleetNode) -> None:
        carrier = self._carrier_of[node.id]
        line = carrier.line
        if line is None or not line.up:
            return
        data = node.heartbeat_frame(self._loop.time() * 1000)
        line.publish(node.beats_topic, data, 0)
        self.tally.beats += 1
        self._rogue.after_beat(node, line, data)

    # ---- events

    def alarm(self, node: FleetNode) -> None:
        """A fire at this node."""
        self._burning.add(node.id)
        self._report(node, kinds.ALARM)
        if self._plan.fire_s:
            self._loop.call_later(self._plan.fire_s, self._restore, node)

    def _restore(self, node: FleetNode) -> None:
        if not self._finished:
            self._burning.discard(node.id)
            self._report(node, kinds.RESTORE)

    def _report(self, node: FleetNode, kind: int) -> None:
        entry = node.report(kind, kinds.HEAT, self._loop.time() * 1000)
        self.tally.raised[kind] += 1
        carrier = self._carrier_of[node.id]
        if carrier.up:
            self._send_event(node, entry)
        elif kind == kinds.ALARM and carrier.powered and carrier.retry is not None:
            carrier.retry.cancel()  # an alarm does not wait for the end of a pause
            self._connect(carrier)

    def _send_event(self, node: FleetNode, entry: Entry) -> None:
        """Send an event that is still in the journal, and look at it again after its pause."""
        line = self._carrier_of[node.id].line
        if entry.number not in node.journal or line is None or not line.up:
            return
        now_ms = self._loop.time() * 1000
        data = node.event_frame(entry, now_ms)
        line.publish(node.events_topic, data, 1)
        self.tally.sendings += 1
        self._rogue.after_event(node, line, data)
        self._loop.call_later(entry.repeat_ms() / 1000, self._again, node, entry, entry.sendings)

    def _again(self, node: FleetNode, entry: Entry, sendings: int) -> None:
        if entry.sendings == sendings:  # nobody sent it meanwhile
            self._send_event(node, entry)

    def _fresh_nodes(self) -> Iterator[FleetNode]:
        """Nodes with power that do not burn, each in its turn."""
        for _ in range(len(self._pool)):
            node = self._pool[self._next_fire % len(self._pool)]
            self._next_fire += 1
            if node.id not in self._burning and self._carrier_of[node.id].powered:
                yield node

    # ---- the plan

    def _arrange(self) -> None:
        plan, later = self._plan, self._loop.call_later
        for fires in plan.fires:
            later(fires.from_s, self._burn, fires, self._loop.time() + fires.from_s, 0)
        for storm in plan.storms:
            later(storm.at_s, self._storm, storm)
        for cut in plan.cuts:
            later(cut.at_s, self._cut, cut)
        for at_s in plan.reconnects:
            later(at_s, self._break_all)

    def _burn(self, fires: Fires, start_s: float, done: int) -> None:
        """One fire, and the next one when it is due."""
        if self._finished or (fires.for_s is not None and done >= fires.for_s * fires.per_minute / 60):
            return
        if not done:
            self._say(f"fires per_minute={fires.per_minute:g}")
        node = next(self._fresh_nodes(), None)
        if node is not None:
            self.alarm(node)
        due_s = start_s + (done + 1) * 60 / fires.per_minute
        self._loop.call_at(due_s, self._burn, fires, start_s, done + 1)

    def _storm(self, storm: Storm) -> None:
        self._say(f"storm nodes={storm.count}")
        fresh = self._fresh_nodes()
        for _ in range(storm.count):
            node = next(fresh, None)
            if node is None:
                break
            self.alarm(node)

    def _cut(self, cut: Cut) -> None:
        there = [c for c in self._carriers if c.nodes and c.nodes[0].site == cut.site]
        self._say(f"cut site={cut.site} nodes={sum(len(c.nodes) for c in there)} connections={len(there)}")
        for carrier in there:
            gone_s = self._chance.uniform(0, min(_GONE_WITHIN_S, cut.for_s))
            self._loop.call_later(gone_s, self._power_off, carrier)
            self._loop.call_later(
                cut.for_s + self._chance.uniform(0, self._plan.back_within_s), self._power_on, carrier
            )

    def _power_off(self, carrier: Carrier) -> None:
        """Not a word any more: the broker finds out by itself, or when the node comes back."""
        carrier.powered, carrier.down_s = False, self._loop.time()
        if carrier.retry is not None:
            carrier.retry.cancel()
            carrier.retry = None
        if carrier.line is not None:
            self._up -= carrier.line.up
            carrier.line.freeze()

    def _power_on(self, carrier: Carrier) -> None:
        now_s = self._loop.time()
        carrier.powered, carrier.down_s = True, now_s
        carrier.backoff, carrier.up_s = Backoff(), 0.0
        if carrier.dialling is not None:
            carrier.dialling.cancel()
        if carrier.line is not None:
            self._by_line.pop(carrier.line, None)
            carrier.line.end("power cut")
        carrier.dialling = carrier.line = None
        for node in carrier.nodes:
            node.boot(now_s * 1000)
        self._connect(carrier)

    def _break_all(self) -> None:
        self._say(f"reconnect connections={self._up}")
        for carrier in self._carriers:
            if carrier.line is not None and carrier.powered:
                carrier.line.end("broken on purpose")

    # ---- connections

    def _connect(self, carrier: Carrier) -> None:
        carrier.retry = None
        if self._finished or not carrier.powered or carrier.line is not None:
            return
        if carrier.dialling is not None:  # the try that has just failed is not put away yet
            carrier.retry = self._loop.call_later(_SLOT_S, self._connect, carrier)
            return
        carrier.dialling = asyncio.create_task(self._dial(carrier))

    async def _dial(self, carrier: Carrier) -> None:
        broker = self._broker
        host, port = broker.addresses[carrier.tries % len(broker.addresses)]
        carrier.tries += 1
        try:
            line = Line(self, carrier.hello, carrier.by_topic)
            self._by_line[line] = carrier
            carrier.line = line
            connection = self._loop.create_connection(
                lambda: line, host, port, ssl=broker.tls, server_hostname=broker.name if broker.tls else None
            )
            await asyncio.wait_for(connection, _DIAL_S)
        except (OSError, TimeoutError) as err:
            self.line_down(line, f"{type(err).__name__}: {err}" if str(err) else type(err).__name__)
        finally:
            if carrier.dialling is asyncio.current_task():
                carrier.dialling = None

    def line_up(self, line: Line) -> None:
        """Everything that waits goes out at once, and a heartbeat."""
        carrier, now_s = self._by_line[line], self._loop.time()
        self._up += 1
        self.tally.connects += 1
        carrier.up_s = now_s
        if carrier.down_s is not None:
            self.tally.back_s.append(now_s - carrier.down_s)
            carrier.down_s = None
        for node in carrier.nodes:
            for entry in list(node.journal.values()):
                entry.sendings = 0
                self._send_event(node, entry)
        if not carrier.gateway:
            self._beat_now(carrier.nodes[0])
        if self._up == len(self._carriers):
            self._ready.set()

    def line_down(self, line: Line, why: str) -> None:
        """Try again after a pause."""
        carrier = self._by_line.pop(line, None)
        if carrier is None or carrier.line is not line:
            return
        now_s = self._loop.time()
        carrier.line = None
        if carrier.up_s:
            self._up -= 1
            self.tally.lost += 1
            if now_s - carrier.up_s >= _STABLE_S:
                carrier.backoff.reset()
        else:
            self.tally.failed[why] += 1
        carrier.up_s = 0.0
        if carrier.down_s is None:
            carrier.down_s = now_s
        if carrier.powered and not self._finished:
            carrier.retry = self._loop.call_later(carrier.backoff.next_ms() / 1000, self._connect, carrier)

    def line_heard(self, line: Line, topic: bytes, data: bytes) -> None:
        """A frame for one of the carrier's nodes."""
        carrier = self._by_line.get(line)
        node = carrier.by_topic.get(topic) if carrier is not None else None
        if node is None:
            self.tally.refused += 1
            return
        now_s = self._loop.time()
        taken = node.take(data, now_s * 1000)
        if taken.heard is Heard.REFUSED:
            self.tally.refused += 1
        elif taken.heard is Heard.COMMAND:
            self.tally.commands += 1
            assert taken.answer is not None
            line.publish(node.events_topic, taken.answer, 1)
        else:
            self._receipted(node, taken.receipted, now_s)
            if taken.heard is Heard.TIME_AT_FIRST:  # as the firmware does, to be counted as heard at once
                self._beat_now(node)

    def _receipted(self, node: FleetNode, entries: tuple[Entry, ...], now_s: float) -> None:
        if not entries:
            self.tally.answered += 1
        for entry in entries:
            self.tally.receipted[entry.kind] += 1
            if entry.kind == kinds.ALARM:
                self.tally.receipt_ms.append(now_s * 1000 - entry.raised_ms)
                self._note(node.id, entry.number, entry.raised_ms / 1000, now_s)

    async def _look(self) -> None:
        """Deadlines of all connections, once a second."""
        while True:
            await asyncio.sleep(1)
            now_s = self._loop.time()
            for line in list(self._by_line):
                if (why := line.overdue(now_s)) is not None:
                    line.end(why)

    async def _show(self) -> None:
        while True:
            await asyncio.sleep(_SHOW_EVERY_S)
            up = f"up={self._up}/{len(self._carriers)}"
            self._say(f"t={self._loop.time() - self._begun_s:.0f}s {up} {self.tally.line(_SHOW_EVERY_S)}")
