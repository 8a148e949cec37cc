"""The client and the uplink on MicroPython in virtual time (tests/data/link_world.py): back-off, permission, deadlines,
repeats, receipts, time, commands.

Each test is a scenario in MicroPython that prints what happened, one Python literal a line.
"""

import ast
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from tests import mpy

DATA = Path(__file__).parents[1] / "data"

HEAD = """
import link_world
from link_world import *
from link_world import asyncio, kinds, random, sleep_ms, vtime, Node, Trouble, world
broker, receiver, flash = world(1)

def logged(node, tag, start):
    return [e for e in node.logged if e[2] == tag and e[3].startswith(start)]

async def main():
"""


def play(scenario: str) -> list[Any]:
    """Run a scenario (the body of main()) and return the values that it printed."""
    out = mpy.run(HEAD + indent(dedent(scenario), "    ") + "\n\nasyncio.run(main())\n", paths=[DATA])
    return [ast.literal_eval(line) for line in out.splitlines()]


def test_no_handshake_is_started_while_it_is_forbidden() -> None:
    before, after_ms, connected = play("""
        rising = [True]
        node = Node(flash, broker, receiver, may_connect=lambda: not rising[0])
        node.power_on()
        node.event(kinds.ALARM)
        await sleep_ms(600_000)
        print(len(broker.dials))
        rising[0] = False
        at = vtime.now_ms
        await sleep_ms(1_000)
        print(broker.dials[0] - at)
        print(node.client.connected)
    """)
    assert before == 0
    assert after_ms <= 50
    assert connected


def test_a_handshake_forbidden_while_dialling_is_put_off_without_a_pause() -> None:
    dials, connected = play("""
        answers = [True, False, False, True, True]
        node = Node(flash, broker, receiver, may_connect=lambda: answers.pop(0) if answers else True)
        node.power_on()
        await sleep_ms(500)
        print(len(broker.dials))
        print(node.client.connected)
    """)
    assert (dials, connected) == (2, True)


def test_back_off_grows_to_30_s_with_jitter_and_ends_when_asked() -> None:
    gaps, hurried_ms, beats = play("""
        broker.reachable = False
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(3_600_000)
        d = broker.dials
        print([d[i + 1] - d[i] for i in range(len(d) - 1)])
        at = vtime.now_ms
        node.client.retry_now()
        await sleep_ms(100)
        print(broker.dials[-1] - at)
        print(node.beats)
    """)
    assert 500 <= gaps[0] <= 1_100
    assert max(gaps) <= 30_100
    assert min(gaps[6:]) >= 15_000
    assert len({g // 100 for g in gaps[6:]}) > 20, "no jitter"
    assert hurried_ms <= 60
    assert beats > 3_600_000 // 15_000


def test_an_alarm_does_not_wait_for_the_end_of_a_pause() -> None:
    waited_ms, for_a_restore = play("""
        broker.reachable = False
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(600_000)
        while vtime.now_ms - broker.dials[-1] > 1_000:
            await sleep_ms(50)
        broker.reachable = True
        at = vtime.now_ms
        number = node.event(kinds.ALARM)
        while flash.events:
            await sleep_ms(10)
        print(vtime.now_ms - at)
        broker.reachable = False
        broker.drop()
        await sleep_ms(600_000)
        tries = len(broker.dials)
        node.event(kinds.RESTORE)
        await sleep_ms(200)
        print(len(broker.dials) - tries)
    """)
    assert waited_ms < 500
    assert for_a_restore == 0


def test_an_alarm_on_a_half_open_connection_is_through_within_10_s() -> None:
    after_ms, why = play("""
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(31_000)
        broker.wire.half_open = True
        at = vtime.now_ms
        node.event(kinds.ALARM)
        while flash.events:
            await sleep_ms(10)
        print(vtime.now_ms - at)
        print(repr(logged(node, "mqtt", "state=down")[0][3].split()[1]))
    """)
    assert after_ms <= 6_000
    assert why == "why=pingresp-timeout"


def test_wifi_that_comes_back_has_the_connection_proven() -> None:
    after_ms, connected = play("""
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(3_000)
        broker.wire.half_open = True
        at = vtime.now_ms
        node.client.retry_now()
        while node.client.connected:
            await sleep_ms(10)
        print(vtime.now_ms - at)
        await sleep_ms(2_000)
        print(node.client.connected)
    """)
    assert after_ms <= 5_100
    assert connected


def test_a_broker_that_answers_no_ping_is_left_within_25_s_of_silence() -> None:
    (why, after_ms), reconnected = play(
        """
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(100_000)
        broker.answers_pings = False
        at = vtime.now_ms
        while node.client.connected:
            await sleep_ms(50)
        after_ms = vtime.now_ms - at
        await sleep_ms(2_000)
        print((logged(node, "mqtt", "state=down")[-1][3].split()[1], after_ms))
        print(node.client.connected)
    """
    )
    assert why == "why=pingresp-timeout"
    assert after_ms <= 25_200
    assert reconnected


def test_a_write_that_does_not_end_is_left_after_10_s() -> None:
    (why, after_ms), acked = play("""
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(1_000)
        stuck = broker.wire
        async def never(packet):
            await sleep_ms(3_600_000)
        stuck.write = never
        ticket = node.client.publish("t", b"1")
        broker.on_publish = None
        at = vtime.now_ms
        while node.client.connected:
            await sleep_ms(50)
        after_ms = vtime.now_ms - at
        await sleep_ms(3_000)
        print((logged(node, "mqtt", "state=down")[0][3].split()[0:2], after_ms))
        print(ticket.acked)
    """)
    assert why[1] in ("why=write-timeout", "why=puback-timeout")
    assert after_ms <= 10_100
    assert acked


def test_unacknowledged_messages_are_sent_again_in_order_marked_dup_only_in_a_kept_session() -> None:
    first, kept, fresh = play("""
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(1_000)
        broker.acks = False
        del broker.log[:]
        broker.on_publish = None
        for text in (b"1", b"2", b"3"):
            node.client.publish("t", text)
        await sleep_ms(5_000)
        print([(p, d) for t, p, d in broker.log if t == "t"])
        del broker.log[:]
        broker.drop()
        await sleep_ms(5_000)
        print([(p, d) for t, p, d in broker.log if t == "t"])
        del broker.log[:]
        broker.session = False
        broker.acks = True
        broker.drop()
        await sleep_ms(5_000)
        print([(p, d) for t, p, d in broker.log if t == "t"])
    """)
    assert first == [(b"1", False), (b"2", False), (b"3", False)]
    assert kept == [(b"1", True), (b"2", True), (b"3", True)]
    assert fresh == first


def test_an_event_is_repeated_after_5_10_20_40_60_60_s_until_its_receipt() -> None:
    gaps, left, after = play("""
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(1_000)
        broker.on_publish = lambda topic, data: None
        number = node.event(kinds.ALARM)
        await sleep_ms(300_000)
        at = [e[0] for e in logged(node, "sent", "event=%d " % number)]
        print([at[i + 1] - at[i] for i in range(len(at) - 1)])
        print(sorted(flash.events))
        broker.on_publish = receiver.published
        await sleep_ms(61_000)
        tries = len(logged(node, "sent", "event=%d " % number))
        await sleep_ms(300_000)
        print((sorted(flash.events), len(logged(node, "sent", "event=%d " % number)) - tries))
    """)
    assert [round(g / 1000) for g in gaps] == [5, 10, 20, 40, 60, 60, 60]
    assert left == [1]
    assert after == ([], 0)


def test_an_event_from_before_an_outage_arrives_with_its_true_age() -> None:
    (ages,) = play("""
        from bongsu_wire import payload
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(1_000)
        broker.acks = False
        broker.on_publish = lambda topic, data: None
        node.event(kinds.ALARM)
        await sleep_ms(1_000)
        broker.reachable = False
        broker.drop()
        await sleep_ms(600_000)
        ages = []
        async def commit(counter, body):
            ages.append(payload.decode_event(body).age_ms)
        receiver._commit = commit
        broker.on_publish = receiver.published
        broker.reachable = broker.acks = True
        node.client.retry_now()
        await sleep_ms(2_000)
        print(ages)
    """)
    assert ages
    assert min(ages) >= 600_000, "a frame sealed before the outage was sent again with the age it had then"


def test_heartbeats_at_once_again_after_the_first_time_early_once_then_every_45_s() -> None:
    (at,) = play("""
        node = Node(flash, broker, receiver)
        at = []
        def published(topic, data):
            at.append(vtime.now_ms - start)
            receiver.published(topic, data)
        broker.on_publish = published
        start = vtime.now_ms
        node.power_on()
        await sleep_ms(200_000)
        print(at)
    """)
    assert at[0] < 200
    assert at[1] - at[0] < 200
    assert 22_400 <= at[2] - at[1] <= 45_100, "nodes that came back together would beat in step for ever"
    assert [round((b - a) / 1000) for a, b in zip(at[2:-1], at[3:], strict=True)] == [45] * (len(at) - 3)
    assert len(at) >= 5


def test_the_time_is_taken_only_from_answers_to_fresh_frames_and_once_for_each() -> None:
    fresh, again, stale, receipted = play("""
        node = Node(flash, broker, receiver)
        broker.on_publish = lambda topic, data: frames.append(data)
        frames = []
        node.power_on()
        await sleep_ms(100)
        from bongsu_wire import frame
        first = frame.parse(frames[0]).counter
        await sleep_ms(29_000)
        receiver.receipt(first, [])
        await sleep_ms(100)
        print(len(node.times))
        receiver.receipt(first, [])
        await sleep_ms(100)
        print(len(node.times) - 1)
        number = node.event(kinds.ALARM)
        await sleep_ms(100)
        receiver.committed[number] = b""
        at = frame.parse(frames[-1]).counter
        await sleep_ms(30_000)
        receiver.receipt(at, [number])
        await sleep_ms(100)
        print(len(node.times) - 1)
        print(node.receipted)
    """)
    assert (fresh, again, stale) == (1, 0, 0)
    assert receipted == [1], "a late receipt still proves the event"


def test_commands_are_obeyed_once_and_only_if_fresh_and_all_fresh_counters_are_answered() -> None:
    once, replayed, stale, unknown, future, refused = play("""
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(1_000)
        def answers():
            found = [(a.code, a.result) for a in receiver.answers]
            del receiver.answers[:]
            return (len(node.obeyed), found)
        data = receiver.command(kinds.CMD_TEST, receiver.newest)
        await sleep_ms(200)
        print(answers())
        broker.down(data)
        await sleep_ms(200)
        print(answers())
        old = receiver.newest
        await sleep_ms(61_000)
        receiver.command(kinds.CMD_TEST, old - 3)
        await sleep_ms(200)
        print(answers())
        kinds.COMMAND_NAMES.pop(kinds.CMD_UPDATE)
        kinds.COMMAND_NAMES[77] = "from-the-future"
        from bongsu_wire import payload
        broker.down(receiver._seal(kinds.DOWN_COMMAND, payload.encode_command(payload.Command(77, receiver.newest))))
        kinds.COMMAND_NAMES.pop(77)
        await sleep_ms(1)
        await sleep_ms(200)
        print(answers())
        receiver.command(kinds.CMD_TEST, receiver.newest + 100)
        await sleep_ms(200)
        print(answers())
        print((node.uplink.refused.get("replay"), node.uplink.refused.get("stale")))
    """)
    assert once == (1, [(1, 0)])
    assert replayed == (1, [])
    assert stale == (1, [(1, 3 - 1)])
    assert unknown == (1, [(77, 1)])
    assert future == (1, [(1, 2)])
    assert refused == (1, 2)


def test_a_command_is_on_flash_before_it_is_done() -> None:
    (seen,) = play("""
        node = Node(flash, broker, receiver)
        seen = []
        def on_command(command, header):
            seen.append(flash.senders.get(header.sender) == header.counter)
            return kinds.ANSWER_DONE
        node.uplink._on_command = on_command
        node.power_on()
        await sleep_ms(1_000)
        receiver.command(kinds.CMD_TEST, receiver.newest)
        await sleep_ms(200)
        print(seen)
    """)
    assert seen == [True]


def test_a_command_is_not_done_when_its_counter_cannot_be_stored() -> None:
    obeyed, refused = play("""
        node = Node(flash, broker, receiver)
        def broken(sender, counter):
            raise OSError(5)
        node.uplink._identity.note_command = broken
        node.power_on()
        await sleep_ms(1_000)
        receiver.command(kinds.CMD_TEST, receiver.newest)
        await sleep_ms(200)
        print(node.obeyed)
        print(node.uplink.refused)
    """)
    assert obeyed == []
    assert refused == {"error": 1}


def test_a_refused_subscription_is_logged_asked_again_and_does_not_stop_events() -> None:
    logged, out, subscribed = play("""
        broker.suback = 0x80
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(100_000)
        print(len(logged(node, "mqtt", "subscribe=refused")))
        node.event(kinds.ALARM)
        await sleep_ms(1_000)
        print((sorted(receiver.committed), node.client.connections))
        broker.suback = 0
        await sleep_ms(31_000)
        print(node.client.subscribed)
    """)
    assert logged == 4  # at 0, 30, 60 and 90 s
    assert out == ([1], 1)
    assert subscribed


def test_nothing_that_the_node_hands_in_ends_the_link() -> None:
    committed, levels, running = play("""
        def broken(*_):
            raise ValueError("broken")
        node = Node(flash, broker, receiver, may_connect=broken)
        node.uplink._status = broken
        node.uplink._on_receipt = broken
        node.uplink._on_command = broken
        node.client.on_state = lambda up, why: (node.uplink.link_changed(up, why), broken())
        node.power_on()
        bad = node.event(kinds.ALARM)
        flash.events[bad] = (kinds.ALARM, 0, b"not an event")
        entry = node.journal.entry
        node.journal.entry = lambda number: broken() if number == bad else entry(number)
        node.event(kinds.FAULT)
        await sleep_ms(5_000)
        print(sorted(receiver.committed))
        print(sorted(set([e[2] for e in node.logged if e[1] == "E"])))
        print([t.done() for t in node.tasks])
    """)
    assert committed == [2]
    assert levels == ["mqtt", "uplink"]
    assert running == [False, False]


def test_the_queue_is_bounded_and_alarms_go_first() -> None:
    taken, sent = play("""
        from bongsu_node.link.mqtt import QueueFull
        broker.reachable = False
        node = Node(flash, broker, receiver)
        node.power_on()
        taken = 0
        for i in range(40):
            try:
                node.client.publish("t", b"%d" % i)
                taken += 1
            except QueueFull:
                pass
        node.client.publish("t", b"alarm", 1, True)
        print(taken)
        broker.reachable = True
        broker.on_publish = None
        node.client.retry_now()
        await sleep_ms(3_000)
        print([p for t, p, d in broker.log if t == "t"])
    """)
    assert taken == 16
    assert sent == [b"alarm"] + [b"%d" % i for i in range(15)]


def test_what_the_queue_does_not_take_costs_no_counter() -> None:
    """A broker that holds back its PUBACKs, more alarms than the queue takes: each counter used is a frame queued."""
    sent, spent, refused = play("""
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(2_000)
        link_world.packets.puback = lambda packet_id: b""
        before, logged_before = node.uplink._identity._next, len(logged(node, "sent", "event="))
        for _ in range(24):
            node.event(kinds.ALARM)
        broker.on_publish = None
        await sleep_ms(8_000)
        for _ in range(3):
            node.uplink._send(kinds.UP_ANSWER, "t", b"answer", 1, vtime.now_ms)
        print(len(logged(node, "sent", "event=")) - logged_before)
        print(node.uplink._identity._next - before)
        print(node.uplink.refused)
    """)
    assert (sent, spent) == (16, 16)
    assert refused == {"queue-full": 3}


def test_run_ends_only_when_cancelled_and_leaves_no_connection() -> None:
    (ended,) = play("""
        node = Node(flash, broker, receiver)
        node.power_on()
        await sleep_ms(1_000)
        wire = broker.wire
        await node.power_off()
        print((wire.open, node.client.connected, [t.done() for t in node.tasks]))
    """)
    assert ended == (False, False, [True, True])


def test_a_handshake_may_compute_for_longer_than_it_may_wait() -> None:
    """Its arithmetic is no silence of the broker: a chip that is slow at it would never connect."""
    said = mpy.run("""
import asyncio, errno, time
from bongsu_node.link import dial
now = [0]
class Slow:
    steps = 0
    def write(self, data):
        self.steps += 1
        now[0] += 12_000
        return len(data) if self.steps == 3 else None
class Silent:
    def write(self, data):
        return None
async def main():
    dial.ticks_ms = lambda: now[0]
    await dial._send(Slow(), b"hello", 10_000)
    print("sent")
    dial.ticks_ms = time.ticks_ms
    try:
        await dial._send(Silent(), b"hello", time.ticks_add(time.ticks_ms(), 100))
    except OSError as e:
        print(e.errno == errno.ETIMEDOUT)
asyncio.run(main())
""")
    assert said.split() == ["sent", "True"]
