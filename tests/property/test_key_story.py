"""A node's keys over rotations, provisionings, restores and restarts, with several receivers: whatever comes in which
order, every receiver takes the key that the node has, and the one that it may go over to; in the end there is one.
"""

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, insert, select

from bongsu.install.identity_blobs import ctr, ident
from bongsu.receiver import identity, ingest, keys, rotation, settle
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.mqtt_edge import Arrived
from bongsu.receiver.store import changes, schema
from bongsu_node import provisioned
from bongsu_node import rotation as on_node
from bongsu_wire import frame, kinds, payload, topics
from bongsu_wire.ccm import CcmKey
from tests.cluster_parts import Desks
from tests.postgres_parts import Server
from tests.property.test_key_rotation import Nvs
from tests.receiver_parts import Desk

_FRESH_MS = 60_000
_DAY_MS = keys.OLD_KEY_VALID_MS
# Of a backup, as far as keys go.
_KEPT = (schema.node_key, schema.command, schema.node_window, schema.node_live)
_WHO = st.sampled_from(((0,), (1,), (0, 1), (1, 0)))


class Node:
    """What the firmware does with its keys; the link is the test's."""

    def __init__(self, node_id: str, epoch: int, key: bytes) -> None:
        self.id, self.bytes = node_id, topics.node_bytes(node_id)
        self.nvs = Nvs({"ident": ident(epoch, key), "ctr": ctr(epoch), "down": b""})
        self.boot()

    def boot(self) -> None:
        self.nvs.pending.clear()
        self.identity = provisioned.load(self.nvs, self.bytes)
        self.sent: dict[int, int] = {}

    def write_key(self, epoch: int, key: bytes) -> None:
        """As provisioning writes it."""
        self.nvs.durable = {"ctr": ctr(epoch), "ident": ident(epoch, key)}

    def seal(self, kind: int, plain: bytes, now_ms: int) -> bytes:
        counter = self.identity.next_counter()
        self.sent[counter] = now_ms
        return frame.seal_up(self.identity.key, kind, self.identity.epoch, self.bytes, counter, plain)

    def obey(self, data: bytes, now_ms: int, *, refuses: bool) -> bytes | None:
        """The answer to a frame from the network; None: it takes no notice."""
        header = frame.parse(data)
        if header.epoch != self.identity.epoch or header.kind != kinds.DOWN_COMMAND:
            return None
        command = payload.decode_command(frame.open_frame(self.identity.key, header))
        if header.counter <= self.identity.newest_command(header.sender):
            return None
        self.identity.note_command(header.sender, header.counter)
        result = kinds.ANSWER_REFUSED
        if now_ms - self.sent.get(command.quotes, -_FRESH_MS) < _FRESH_MS and not refuses:
            taken = on_node.take(self.nvs, command.args)
            self.identity.next_waits = self.identity.next_waits or taken
            result = kinds.ANSWER_DONE if taken else kinds.ANSWER_REFUSED
        answer = payload.Answer(header.counter, header.sender, command.code, result)
        return self.seal(kinds.UP_ANSWER, payload.encode_answer(answer), now_ms)

    def move(self) -> bool:
        """Its quiet moment."""
        if not self.identity.next_waits:
            return False
        on_node.move(self.nvs)
        self.boot()
        return True

    def held(self) -> list[tuple[int, bytes]]:
        """(epoch, key) in force, and that waits."""
        blobs = [self.nvs.durable["ident"]]
        if self.identity.next_waits:
            blobs.append(self.nvs.durable["next"])
        return [(blob[1], bytes(blob[2:18])) for blob in blobs]


class Story(RuleBasedStateMachine):
    """Two receivers, one node, people with their orders."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.c = Desks(Path(self.folder.name), self.server, 1, 2)
        bundle = self.c.market.bundles[0]
        self.node = Node(bundle.node_id, bundle.key_epoch, bundle.key)
        self.master = load_master(self.c.desks[0].data / MASTER_KEY_NAME)
        self.down: list[bytes] = []
        self.answers: list[bytes] = []
        self.backup: tuple[int, dict[str, list[dict[str, Any]]]] | None = None
        self.beat((0, 1), at_once=True)

    def teardown(self) -> None:
        self.end()
        self.c.close()
        self.folder.cleanup()
        self.server.drop_all()

    @property
    def now_ms(self) -> int:
        return self.c.clock.now_ms()

    def hear(self, who: tuple[int, ...], topic: str, data: bytes, *, at_once: bool = False) -> None:
        """`at_once`: before it hears of what the other committed."""
        for i in who:
            d = self.c.desks[i]
            message = Arrived(topic, data, self.now_ms, 1, 1, 1)
            if at_once:
                d.writer.turn([message])
            else:
                d.arrive_on([(topic, data)])
        self.collect()

    def collect(self) -> None:
        """Commands that went out."""
        for d in self.c.desks:
            frames = [data for topic, data in d.edge.published if topic == topics.down(self.node.id)]
            self.down += [data for data in frames if frame.parse(data).kind == kinds.DOWN_COMMAND]
            d.edge.published.clear()

    @rule(who=_WHO, at_once=st.booleans())
    def beat(self, who: tuple[int, ...], at_once: bool) -> None:
        beat = payload.encode_heartbeat(payload.Heartbeat(echo_server_ms=self.now_ms, echo_age_ms=0))
        data = self.node.seal(kinds.UP_HEARTBEAT, beat, self.now_ms)
        self.hear(who, topics.up_beats(self.node.id), data, at_once=at_once)

    @rule(i=st.integers(0, 1))
    def rotate(self, i: int) -> None:
        with self.c.desks[i].store.write() as conn:
            rotation.begin(conn, self.master, self.node.id, actor="test", now_ms=self.now_ms)
        for d in self.c.desks:
            d.arrive()
        self.collect()

    @rule(how=st.sampled_from(("takes", "takes", "refuses", "is lost")))
    def order_comes_down(self, how: str) -> None:
        """One frame of those under way; the node may be in safe mode."""
        if self.down and (data := self.down.pop(0)) and how != "is lost":
            answer = self.node.obey(data, self.now_ms, refuses=how == "refuses")
            self.answers += [answer] if answer is not None else []

    @rule(who=st.one_of(st.just(()), _WHO), at_once=st.booleans())
    def answer_arrives(self, who: tuple[int, ...], at_once: bool) -> None:
        """Or is lost."""
        if self.answers:
            self.hear(who, topics.up_events(self.node.id), self.answers.pop(0), at_once=at_once)

    @rule()
    def quiet_moment(self) -> None:
        self.node.move()

    @rule(who=st.sampled_from((None, None, 0, 1)))
    def restart(self, who: int | None) -> None:
        """Of the node, or a receiver."""
        if who is None:
            self.node.boot()
        else:
            self.c.kill(who)
            self.c.restart(who)

    @rule(seconds=st.sampled_from((1, 50, 80, 660, 25 * 3600)))
    def time_passes(self, seconds: int) -> None:
        self.c.clock.advance(seconds * 1000)
        for _ in range(3):
            self.c.clock.advance(2_000)
            for d in self.c.desks:
                d.arrive()
        self.collect()

    @rule(cut=st.sampled_from((False, False, True)))
    def provision(self, cut: bool) -> None:
        """At its serial port (receiver.enrolment). `cut`: before the key is written."""
        epoch, key = self.node.held()[0]
        with self.c.desks[0].store.write() as conn:
            newest = keys.newest_key(conn, self.master, self.node.id, self.now_ms)
            if self.node.identity.next_waits or newest is None or (epoch, key) != (newest.epoch, newest.key):
                made = keys.make_node_key(conn, self.master, self.node.id, self.now_ms, epoch)
                changes.note(conn, "node", self.node.id)
                if not cut:
                    self.node.write_key(made.epoch, made.key)
        self.node.boot()
        for d in self.c.desks:
            d.arrive()
        self.collect()

    @rule()
    def back_up(self) -> None:
        with self.c.desks[0].store.read() as conn:
            kept = {t.name: [dict(r._mapping) for r in conn.execute(select(t))] for t in _KEPT}
        self.backup = (self.now_ms, kept)

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        assert self.backup is not None
        made_ms, kept = self.backup
        with self.c.desks[0].store.write() as conn:
            for table in _KEPT:
                conn.execute(delete(table))
                if kept[table.name]:
                    conn.execute(insert(table), kept[table.name])
            settle.settle(conn, made_ms, self.now_ms, settle.RESEND_WITHIN_MS)
            identity.add(conn, self.now_ms)
            c = schema.receiver.c
            senders = list(conn.execute(select(c.sender).where(c.retired_ms.is_(None))).scalars())
        for i in (0, 1):
            self.c.kill(i)
        self.down.clear()  # nobody has a key any more that is given after its backup
        self.c.senders = senders
        for i in (0, 1):
            self.c.desks[i] = Desk(self.c.market, self.c.clock, senders[i])
        with self.c.desks[0].store.read() as conn:
            known = {k.key for k in keys.usable_keys(conn, self.master, self.now_ms, self.node.id)}
        if any(key not in known for _, key in self.node.held()):
            self.provision(False)  # made after the backup: nobody has it any more, and the board is gone to

    @invariant()
    def every_receiver_takes_what_the_node_has_or_may_have(self) -> None:
        for d in self.c.desks:
            d.arrive()
        self.collect()
        for epoch, key in self.node.held():
            data = frame.seal_up(CcmKey(key), kinds.UP_EVENT, epoch, self.node.bytes, 1, event())
            for d in self.c.desks:
                ingest.open_uplink(d.writer.books.directory, topics.up_events(self.node.id), data, self.now_ms)

    def rotated(self) -> bool:
        """A rotation that nothing hinders comes to its end."""
        for _ in range(6):
            self.rotate(0)
            self.beat((0, 1), at_once=True)
            while self.down:
                self.order_comes_down("takes")
            while self.answers:
                self.answer_arrives((1, 0), at_once=True)
            moved = self.node.move()
            self.beat((1, 0), at_once=True)
            if moved:
                return True
            self.time_passes(80)
        return False

    def end(self) -> None:
        """And leaves one key: the second one also where a provisioning was broken off after the first was begun."""
        self.down.clear()
        self.answers.clear()
        assert self.rotated() and self.rotated()
        self.time_passes(_DAY_MS // 1000 + 10)
        with self.c.desks[0].store.read() as conn:
            stored = [(k.epoch, k.key) for k in keys.usable_keys(conn, self.master, self.now_ms, self.node.id)]
        assert stored == self.node.held()
        for d in self.c.desks:
            known = d.writer.books.directory.nodes[self.node.id].keys
            assert [epoch for epoch, key in known.items() if key.usable_at(self.now_ms)] == [stored[0][0]]


def event() -> bytes:
    return payload.encode_event(payload.Event(1, kinds.ALARM, kinds.HEAT, sustained_ms=5000))


def test_the_keys_of_a_node_whatever_happens(postgres: Server) -> None:
    Story.server = postgres
    run_state_machine_as_test(Story, settings=settings(max_examples=6, stateful_step_count=30, deadline=None))
