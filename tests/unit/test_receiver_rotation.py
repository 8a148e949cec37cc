"""A node's next key, from the order to its first frame: never in the clear, never lost, and nobody is locked out."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bongsu.receiver import books, keys, orders, registry, rotation, settle
from bongsu.receiver.doctor import registry as doctor
from bongsu.receiver.doctor.finding import WARN, Finding
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.mqtt_edge import Arrived
from bongsu.receiver.rotation import Rotation
from bongsu.receiver.store import schema
from bongsu_node import rotation as on_node
from bongsu_wire import frame, kinds, payload, topics
from tests.cluster_parts import Desks, desks
from tests.postgres_parts import Server
from tests.receiver_parts import Desk, FrameMaker, Market, desk, make_market

DAY_MS = 24 * 3_600_000
ANSWERS = (kinds.ANSWER_DONE, kinds.ANSWER_REFUSED, kinds.ANSWER_UNSUPPORTED, kinds.ANSWER_FAILED)


@pytest.fixture
def d(tmp_path: Path) -> Iterator[Desk]:
    """A desk with two nodes in service."""
    with desk(tmp_path, units=2) as made:
        for node in made.nodes:
            beat(made, node)
        yield made


def beat(d: Desk, node: FrameMaker) -> None:
    d.arrive((node.id, node.heartbeat(d.clock.now_ms())), topic=topics.up_beats(node.id))


def begin(d: Desk, node: FrameMaker) -> Rotation:
    with d.store.write() as conn:
        master = load_master(d.data / MASTER_KEY_NAME)
        return rotation.begin(conn, master, node.id, actor="test", now_ms=d.clock.now_ms())


def state(d: Desk, begun: Rotation) -> str:
    with d.store.read() as conn:
        return rotation.state(conn, begun)


def key_states(d: Desk, node: FrameMaker) -> dict[int, str]:
    c = schema.node_key.c
    with d.store.read() as conn:
        return {r.epoch: r.state for r in conn.execute(select(c.epoch, c.state).where(c.node_id == node.id))}


def ordered(d: Desk, node: FrameMaker) -> tuple[frame.Header, bytes]:
    """The command that came down to the node: its header, and its arguments."""
    found = []
    for topic, data in d.edge.published:
        if topic == topics.down(node.id):
            header, plain = node.open(data)
            if header.kind == kinds.DOWN_COMMAND:
                command = payload.decode_command(plain)
                assert command.code == kinds.CMD_ROTATE_KEY
                found.append((header, command.args))
    (only,) = found
    return only


def answer(d: Desk, node: FrameMaker, header: frame.Header, result: int) -> None:
    made = payload.Answer(header.counter, header.sender, kinds.CMD_ROTATE_KEY, result)
    d.arrive((node.id, node.seal(kinds.UP_ANSWER, payload.encode_answer(made))))


def after(node: FrameMaker, args: bytes) -> FrameMaker:
    """The node under the key that it was given."""
    return FrameMaker(node.id, args[2:], args[1])


def test_the_key_goes_out_sealed_and_is_in_force_from_the_first_frame_under_it(d: Desk) -> None:
    node = d.nodes[0]
    begun = begin(d, node)
    assert (begun.epoch, begun.is_new, state(d, begun)) == (2, True, rotation.ASKED)
    beat(d, node)
    header, args = ordered(d, node)
    assert args[:2] == bytes([1, 2]) and len(args) == 18 and header.epoch == 1
    answer(d, node, header, kinds.ANSWER_DONE)
    assert state(d, begun) == rotation.GIVEN and key_states(d, node) == {1: "active", 2: "pending"}
    d.event(0, 1)  # the old one holds on
    assert len(d.rows(schema.event)) == 1
    later = after(node, args)
    beat(d, later)
    assert state(d, begun) == rotation.ACTIVE and key_states(d, node) == {1: "old", 2: "active"}
    d.event(0, 2, kinds.RESTORE)  # for 24 h
    assert len(d.rows(schema.event)) == 2
    assert '"key.active"' in (d.log.close() or d.lines.getvalue())


def test_what_a_node_takes_is_what_was_sealed(d: Desk) -> None:
    """The two formats are one."""
    node = d.nodes[0]
    begin(d, node)
    beat(d, node)
    _, args = ordered(d, node)

    class Nvs:
        held = {"ident": bytes([1, 1]) + bytes(16)}

        def get_blob(self, name: str, buffer: bytearray) -> int:
            data = self.held.get(name, b"")
            buffer[: len(data)] = data
            return len(data)

        def set_blob(self, name: str, data: bytes) -> None:
            self.held[name] = data

        def commit(self) -> None:
            pass

    assert on_node.take(Nvs(), args)
    assert Nvs.held["next"][:18] == args


def test_nothing_but_the_sealed_frame_and_the_wrapped_key_holds_it(d: Desk, tmp_path: Path) -> None:
    node = d.nodes[0]
    begin(d, node)
    beat(d, node)
    header, args = ordered(d, node)
    answer(d, node, header, kinds.ANSWER_DONE)
    beat(d, after(node, args))
    secret = args[2:]
    (row,) = d.rows(schema.command)
    assert bytes(row.args) == bytes([2]) and secret not in bytes(d.rows(schema.node_key)[1].wrapped)
    d.log.close()
    said = d.lines.getvalue() + repr([tuple(r) for r in d.rows(schema.audit)])
    assert "rotate_key; epoch 2" in said and "command.answered" in said
    for form in (secret.hex(), repr(secret), repr(secret)[2:-1]):
        assert form not in said
    for _, data in d.edge.published:
        assert secret not in data
    for path in d.data.rglob("*"):  # the database and its log too
        assert not path.is_file() or secret not in path.read_bytes(), path
    assert secret.hex() not in repr(d.writer.books.directory.nodes[node.id])


@pytest.mark.parametrize("result", ANSWERS)
def test_only_a_node_that_cannot_have_it_loses_it(d: Desk, result: int) -> None:
    node = d.nodes[0]
    begun = begin(d, node)
    beat(d, node)
    header, args = ordered(d, node)
    answer(d, node, header, result)
    kept = result in (kinds.ANSWER_DONE, kinds.ANSWER_FAILED)
    assert key_states(d, node) == {1: "active", 2: "pending" if kept else "retired"}
    assert (2 in d.writer.books.directory.nodes[node.id].keys) == kept
    ends = (rotation.GIVEN, rotation.UNSUPPORTED, rotation.REFUSED, rotation.FAILED)
    assert state(d, begun) == ends[result]
    d.event(0, 1)
    assert [r.numbers for r in d.receipts(0)][-1] == [1], "its own key holds on"
    beat(d, after(node, args))
    assert key_states(d, node)[2] == ("active" if kept else "retired")


def test_a_next_key_that_a_node_does_not_go_over_to_is_said_after_a_day(d: Desk) -> None:
    """Its quiet moment may never come: whoever asked has gone home long since."""
    node = d.nodes[0]
    begin(d, node)
    beat(d, node)
    header, args = ordered(d, node)
    answer(d, node, header, kinds.ANSWER_DONE)

    def found(after_ms: int) -> list[Finding]:
        with d.store.read() as conn:
            return list(doctor.keys(conn, d.clock.now_ms() + after_ms))

    assert found(DAY_MS - 1_000) == []
    (said,) = found(DAY_MS + 1_000)
    assert said.level == WARN and node.id in said.what and d.nodes[1].id not in said.what
    beat(d, after(node, args))
    assert found(2 * DAY_MS) == []


def test_an_order_that_never_went_out_takes_its_key_along(d: Desk) -> None:
    node = d.nodes[0]
    d.pass_time(orders.QUOTE_MAX_AGE_MS)  # nothing can be quoted any more
    begun = begin(d, node)
    d.pass_time(orders.EXPIRE_AFTER_MS + 60_000)
    assert state(d, begun) == rotation.EXPIRED and key_states(d, node) == {1: "active", 2: "retired"}
    assert 2 not in d.writer.books.directory.nodes[node.id].keys
    beat(d, node)
    again = begin(d, node)
    assert (again.epoch, again.is_new) == (3, True)


def test_an_order_that_went_out_and_was_not_answered_leaves_its_key(d: Desk) -> None:
    """The node may have taken it, and its answer may be lost: then it must be let in."""
    node = d.nodes[0]
    begun = begin(d, node)
    beat(d, node)
    _, args = ordered(d, node)
    d.pass_time(orders.EXPIRE_AFTER_MS + 60_000)
    assert state(d, begun) == rotation.EXPIRED and key_states(d, node) == {1: "active", 2: "pending"}
    beat(d, after(node, args))
    assert state(d, begun) == rotation.ACTIVE and key_states(d, node) == {1: "old", 2: "active"}


def test_one_that_is_under_way_is_not_begun_anew(d: Desk) -> None:
    node = d.nodes[0]
    begun = begin(d, node)
    again = begin(d, node)
    assert (again.order_id, again.epoch, again.is_new) == (begun.order_id, 2, False)
    beat(d, node)
    header, args = ordered(d, node)
    answer(d, node, header, kinds.ANSWER_DONE)
    assert begin(d, node).order_id == begun.order_id
    beat(d, after(node, args))
    assert begin(d, after(node, args)).epoch == 3


def test_a_key_that_may_be_lost_is_given_again(d: Desk) -> None:
    """And neither a refusal of the second command nor its end takes away what the first may have brought."""
    node = d.nodes[0]
    begun = begin(d, node)
    beat(d, node)
    _, args = ordered(d, node)
    d.pass_time(rotation.GIVE_AGAIN_MS - 1_000)
    assert begin(d, node).order_id == begun.order_id
    d.pass_time(2_000)
    again = begin(d, node)
    assert (again.epoch, again.is_new) == (2, False) and again.order_id > begun.order_id
    d.edge.published.clear()
    beat(d, node)
    header, same = ordered(d, node)
    assert same == args
    answer(d, node, header, kinds.ANSWER_REFUSED)
    assert state(d, again) == rotation.REFUSED and key_states(d, node) == {1: "active", 2: "pending"}
    d.pass_time(rotation.GIVE_AGAIN_MS)
    third = begin(d, node)
    assert third.epoch == 2
    d.pass_time(orders.EXPIRE_AFTER_MS + 60_000)
    assert state(d, third) == rotation.EXPIRED and key_states(d, node)[2] == "pending"
    beat(d, after(node, args))
    assert state(d, third) == rotation.ACTIVE


def test_it_survives_a_restart_of_the_receiver(tmp_path: Path) -> None:
    market: Market = make_market(tmp_path / "data", 1)
    first = Desk(market)
    node = first.nodes[0]
    beat(first, node)
    begun = begin(first, node)
    first.close()
    second = Desk(market)
    try:
        second.nodes = [node]
        beat(second, node)
        header, args = ordered(second, node)
        assert (header.epoch, args[1]) == (1, begun.epoch)
    finally:
        second.close()


def test_a_key_that_went_out_after_the_backup_outlives_its_restore(tmp_path: Path) -> None:
    """By the backup the order waits still; the node may have the key all the same."""
    market: Market = make_market(tmp_path / "data", 1)
    before = Desk(market)
    node = before.nodes[0]
    beat(before, node)
    before.pass_time(orders.QUOTE_MAX_AGE_MS)
    begun = begin(before, node)
    now_ms = before.clock.now_ms()
    with before.store.read() as conn:
        (given,) = keys.usable_keys(conn, load_master(before.data / MASTER_KEY_NAME), now_ms, node.id)[:1]
    with before.store.write() as conn:
        settle.settle(conn, now_ms, now_ms, settle.RESEND_WITHIN_MS)
    before.close()
    d = Desk(market, before.clock)
    try:
        again = begin(d, node)
        assert (again.epoch, again.is_new) == (begun.epoch, False)
        d.pass_time(orders.EXPIRE_AFTER_MS + 60_000)
        assert state(d, again) == rotation.EXPIRED and key_states(d, node) == {1: "active", 2: "pending"}
        beat(d, FrameMaker(node.id, given.key, given.epoch))
        assert state(d, again) == rotation.ACTIVE
    finally:
        d.close()


def test_who_has_only_an_old_key_is_given_nothing_and_takes_nothing_away(tmp_path: Path) -> None:
    """It is accepted for a day for what the node reported under it. Whoever stole it must not get the next one by it,
    nor say in the node's name that the node refuses it.
    """
    market: Market = make_market(tmp_path / "data", 1)
    first = Desk(market)
    thief = first.nodes[0]
    beat(first, thief)
    begin(first, thief)
    beat(first, thief)
    node = after(thief, ordered(first, thief)[1])
    beat(first, node)
    first.close()
    d = Desk(market, first.clock)  # it has heard nobody yet
    try:
        beat(d, thief)
        begun = begin(d, node)
        beat(d, thief)
        assert begun.epoch == 3 and state(d, begun) == rotation.ASKED
        assert [r.state for r in d.rows(schema.command)] == ["sent", "pending"]
        d.edge.published.clear()
        beat(d, node)
        header, args = ordered(d, node)
        assert header.epoch == 2
        answer(d, thief, header, kinds.ANSWER_REFUSED)
        assert state(d, begun) == rotation.ASKED and key_states(d, node) == {1: "old", 2: "active", 3: "pending"}
        answer(d, node, header, kinds.ANSWER_DONE)
        beat(d, after(node, args))
        assert state(d, begun) == rotation.ACTIVE
        d.arrive((thief.id, thief.event(1)))
        assert [(r.epoch, r.number) for r in d.rows(schema.event)] == [(1, 1)], "for 24 h what was reported counts"
    finally:
        d.close()


def test_a_key_that_was_retired_meanwhile_is_not_given(d: Desk) -> None:
    node = d.nodes[0]
    d.pass_time(orders.QUOTE_MAX_AGE_MS)
    begun = begin(d, node)
    with d.store.write() as conn:
        assert keys.give_up(conn, node.id, begun.epoch)
    beat(d, node)
    assert [r.state for r in d.rows(schema.command)] == ["failed"] and state(d, begun) == rotation.EXPIRED
    beat(d, node)
    mine = [node.open(data)[0] for topic, data in d.edge.published if topic == topics.down(node.id)]
    assert mine and not any(header.kind == kinds.DOWN_COMMAND for header in mine)


def test_a_key_that_is_proven_while_the_registry_is_read_aside_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put in place then was read before: by it the node would have no key in force, and nobody would watch."""
    monkeypatch.setattr(books, "READ_ASIDE", 0)
    with desk(tmp_path) as d:
        node = d.nodes[0]
        with d.store.write() as conn:
            conn.execute(update(schema.unit).values(name="renamed"))
        d.arrive()
        read_aside = d.writer.inbox.get(10)
        beat(d, node)
        assert key_states(d, node) == {1: "active"}
        d.writer.turn([read_aside])
        known = d.writer.books.directory.nodes[node.id].keys
        assert {epoch: key.state for epoch, key in known.items()} == {1: "active"}
        assert node.id in d.writer.books.liveness.watched()


def test_a_transaction_that_fails_retires_nothing(d: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    node = d.nodes[0]
    begin(d, node)
    beat(d, node)
    header, args = ordered(d, node)
    broken = [True]
    real = keys.give_up

    def give_up(conn: object, node_id: str, epoch: int) -> bool:
        done = real(conn, node_id, epoch)  # type: ignore[arg-type]
        if broken.pop():
            broken.append(False)
            raise RuntimeError("broken by the test")
        broken.append(False)
        return done

    monkeypatch.setattr(keys, "give_up", give_up)
    answer(d, node, header, kinds.ANSWER_REFUSED)
    states = key_states(d, node)
    assert (states[2] == "pending") == (2 in d.writer.books.directory.nodes[node.id].keys)
    assert args[1] == 2


def test_who_was_never_heard_cannot_be_told(d: Desk) -> None:
    with d.store.write() as conn:
        registry.add_node(conn, node_id="a0b1c2d3e4ff", unit=None, label="", now_ms=1)
        master = load_master(d.data / MASTER_KEY_NAME)
        with pytest.raises(registry.RegistryError, match="not been heard"):
            rotation.begin(conn, master, "a0b1c2d3e4ff", actor="test", now_ms=1)
        with pytest.raises(registry.RegistryError, match="not registered"):
            rotation.begin(conn, master, "a0b1c2d3e4fe", actor="test", now_ms=1)


def test_a_site_s_nodes_are_those_in_service(d: Desk) -> None:
    with d.store.write() as conn:
        registry.add_node(conn, node_id="a0b1c2d3e4ff", unit=("hannae", "u-0"), label="", now_ms=1)
        live = schema.node_live
        conn.execute(update(live).where(live.c.node_id == d.nodes[1].id).values(silent=True, silent_since_ms=1))
    with d.store.read() as conn:
        assert rotation.in_service(conn, "hannae") == ([d.nodes[0].id], [d.nodes[1].id])


def test_used_up_epochs_are_said(d: Desk) -> None:
    node = d.nodes[0]
    with d.store.write() as conn:
        conn.execute(update(schema.node_key).where(schema.node_key.c.node_id == node.id).values(epoch=255))
    with pytest.raises(keys.KeyFault, match="255"):
        begin(d, node)
    assert json.dumps(key_states(d, node)) == '{"255": "active"}'


# ---- several receivers


def at_once(c: Desks, node: FrameMaker) -> None:
    """One heartbeat reaches every receiver before any of them has heard of the others' commits."""
    data, now_ms = node.heartbeat(c.clock.now_ms()), c.clock.now_ms()
    for d in c.desks:
        d.writer.turn([Arrived(topics.up_beats(node.id), data, now_ms, 1, 1, 1)])


def test_the_next_key_ends_at_no_receiver_that_hears_it_at_once_with_another(tmp_path: Path, postgres: Server) -> None:
    """The receiver that comes second must not count the key in force as the one before."""
    with desks(tmp_path, postgres, units=1) as c:
        a, b = c.desks
        node = a.nodes[0]
        at_once(c, node)
        begin(a, node)
        for d in c.desks:
            beat(d, node)
        _, args = ordered(a, node)
        later = after(node, args)
        at_once(c, later)
        assert key_states(a, node) == {1: "old", 2: "active"}
        for d in (a, b):
            known = d.writer.books.directory.nodes[node.id].keys
            assert {epoch: key.state for epoch, key in known.items()} == {1: "old", 2: "active"}
        c.clock.advance(keys.OLD_KEY_VALID_MS + 1)
        for number, d in enumerate(c.desks, start=1):
            data = later.event(number)
            d.writer.turn([Arrived(topics.up_events(node.id), data, c.clock.now_ms(), 1, 1, 1)])
        assert [r.number for r in a.rows(schema.event)] == [1, 2]


def test_an_order_goes_out_once_from_whichever_receiver(tmp_path: Path, postgres: Server) -> None:
    """A second one could be refused by a node that has the key from the first, and would take that away."""
    with desks(tmp_path, postgres, units=1) as c:
        a, b = c.desks
        node = a.nodes[0]
        at_once(c, node)
        c.clock.advance(orders.QUOTE_MAX_AGE_MS)
        begin(a, node)
        for d in c.desks:
            d.arrive()  # hears of it
        at_once(c, node)
        header, args = ordered(a, node)
        assert not [1 for _, data in b.edge.published if node.open(data)[0].kind == kinds.DOWN_COMMAND]
        (row,) = a.rows(schema.command)
        assert (row.state, row.sender, row.counter) == ("sent", c.senders[0], header.counter)
        answer(b, node, header, kinds.ANSWER_DONE)
        beat(a, after(node, args))
        beat(b, after(node, args))
        assert [r.state for r in a.rows(schema.command)] == ["answered"]
