# A model world for the node link, run by MicroPython in virtual time: import it before asyncio. The real MqttClient and
# Uplink talk over in-memory wires that delay, break and deliver bytes one by one to a model broker and a model
# receiver. Everything random comes from one seed.
import random
import sys


class VirtualTime:
    """Stands in for the module `time`."""

    now_ms = 1_000

    def ticks_ms(self):
        return self.now_ms

    def ticks_add(self, a, b):
        return a + b

    def ticks_diff(self, a, b):
        return a - b


class VirtualIo:
    """Stands in for asyncio's poller: nothing is ever ready, waiting takes no time."""

    map = {0: 0}

    def wait_io_event(self, dt):
        if dt < 0:
            raise RuntimeError("every task waits for another")
        vtime.now_ms += dt


vtime = VirtualTime()
sys.modules["time"] = vtime
import asyncio  # noqa: E402

asyncio.core._io_queue = VirtualIo()

from bongsu_node.link import packets  # noqa: E402
from bongsu_node.link.dial import DialError, NotNow  # noqa: E402
from bongsu_node.link.mqtt import MqttClient  # noqa: E402
from bongsu_node.link.uplink import Uplink  # noqa: E402
from bongsu_wire import ccm, frame, kinds, payload, topics  # noqa: E402

KEY = bytes(range(16))
NODE = "a0b1c2d3e4f5"


def sleep_ms(ms):
    return asyncio.sleep_ms(ms)


class Wire:
    """The client's end of a connection; `fault(): bool` says whether it breaks now."""

    def __init__(self, broker, trouble):
        self._broker = broker
        self._trouble = trouble
        self._inbox = bytearray()
        self.open = True
        self.half_open = False  # nothing gets through any more, and neither end knows
        self._parser = ServerParser()

    def deliver(self, data):
        if self.open:
            self._inbox.extend(data)

    async def read(self, size):
        while self.open and not self._inbox:
            await sleep_ms(10)
        if not self.open:
            raise OSError(104)
        n = min(size, self._trouble.chunk())
        data = bytes(self._inbox[:n])
        self._inbox = self._inbox[n:]
        await sleep_ms(self._trouble.delay_ms() // 8)
        return data

    async def write(self, packet):
        await sleep_ms(self._trouble.delay_ms() // 4)
        if not self.open:
            raise OSError(32)
        if self._trouble.breaks():  # somewhere in the packet
            self._feed(packet[: random.randrange(len(packet) + 1)])
            self.open = False
            raise OSError(104)
        self._feed(packet)

    def _feed(self, data):
        for i in range(len(data)):
            for first, body in self._parser.feed(data[i : i + 1]):
                self._broker.handle(self, first, body)

    def close(self):
        self.open = False


class ServerParser(packets.Parser):
    """The same cutting of a byte stream, for what a client sends."""

    def _checked_first(self, first):
        return first

    def _count(self, digit):
        self._length |= (digit & 0x7F) << self._shift
        self._shift += 7
        self._counting = bool(digit & 0x80)


class Trouble:
    """What goes wrong, and how often; `calm` ends it."""

    def __init__(self, loss=0.0, breaks=0.0, delay_ms=20):
        self.loss = loss
        self.break_rate = breaks
        self.max_delay_ms = delay_ms

    def calm(self):
        self.loss = self.break_rate = 0.0
        self.max_delay_ms = 20

    def breaks(self):
        return random.random() < self.break_rate

    def lost(self):
        return random.random() < self.loss

    def delay_ms(self):
        return random.randrange(self.max_delay_ms + 1)

    def chunk(self):
        return 1 if self.break_rate else 64


class Broker:
    """A model broker with one client: acknowledges QoS 1, may lose what it acknowledged, may forget the session."""

    def __init__(self, trouble):
        self.trouble = trouble
        self.on_publish = None
        self.wire = None
        self.session = False
        self.reachable = True
        self.dials = []  # ticks
        self.log = []  # (topic, payload, dup) of every PUBLISH
        self.answers_pings = True
        self.acks = True
        self.suback = 0

    async def dial(self, broker, context, hello, timeout_ms, may_handshake):
        self.dials.append(vtime.now_ms)
        await sleep_ms(self.trouble.delay_ms())
        if not may_handshake():
            raise NotNow
        if not self.reachable or self.trouble.breaks():
            raise DialError("tcp:refused")
        self.wire = Wire(self, self.trouble)
        self.wire._feed(hello)
        return self.wire

    def handle(self, wire, first, body):
        kind = first & 0xF0
        if wire.half_open:
            return
        if kind == 0x10:
            if self.trouble.lost():
                self.session = False
            wire.deliver(bytes([0x20, 2, 1 if self.session else 0, 0]))
            self.session = True
        elif kind == 0x80:
            wire.deliver(b"\x90\x03" + body[:2] + bytes([self.suback]))
        elif kind == 0xC0 and self.answers_pings:
            wire.deliver(b"\xd0\x00")
        elif kind == 0x30:
            topic, data, packet_id = packets.split_publish(first, body)
            self.log.append((topic, data, bool(first & 8)))
            if packet_id and self.acks and not self.trouble.lost():
                wire.deliver(packets.puback(packet_id))
            if self.on_publish is not None and not self.trouble.lost():
                self.on_publish(topic, data)

    def down(self, data):
        """Publish to the node, QoS 0: lost if it is not connected."""
        if self.wire is not None and self.wire.open and not self.wire.half_open:
            self.wire.deliver(packets.publish(topics.down(NODE), data, 0, 0, False))

    def drop(self):
        if self.wire is not None:
            self.wire.open = False


class Receiver:
    """A model receiver: commits an event after a while, then sends a receipt, which may get lost. Checks what the node
    must never do."""

    def __init__(self, broker, trouble):
        self._broker = broker
        self._trouble = trouble
        self._key = ccm.CcmKey(KEY)
        self._counter = 0
        self._frames = {}  # counter -> frame
        self.committed = {}  # number -> content
        self.beats = 0
        self.answers = []
        self.receipts = []
        self.wrong = []
        self.newest = 0
        broker.on_publish = self.published

    def published(self, topic, data):
        header = frame.parse(data)
        body = frame.open_frame(self._key, header)
        if self._frames.get(header.counter, data) != data:
            self.wrong.append(f"counter {header.counter} twice")
        self._frames[header.counter] = data
        self.newest = max(self.newest, header.counter)
        if header.kind == kinds.UP_EVENT:
            asyncio.create_task(self._commit(header.counter, body))
        elif header.kind == kinds.UP_HEARTBEAT:
            self.beats += 1
            asyncio.create_task(self._answer(header.counter, []))
        else:
            self.answers.append(payload.decode_answer(body))

    async def _commit(self, counter, body):
        if self._trouble.lost():  # a stranger is quicker
            self._broker.down(self.forged([payload.decode_event(body).number]))
        await sleep_ms(self._trouble.delay_ms())
        if self._trouble.lost():  # killed before the commit
            return
        event = payload.decode_event(body)
        content = payload.event_content(body)
        if self.committed.get(event.number, content) != content:
            self.wrong.append(f"event {event.number} with two contents")
        self.committed[event.number] = content
        await self._answer(counter, [event.number])

    async def _answer(self, counter, numbers):
        await sleep_ms(self._trouble.delay_ms())
        if self._trouble.lost():  # killed after the commit, or the way down is
            return
        self.receipt(counter, numbers)

    def receipt(self, counter, numbers):
        data = self._seal(
            kinds.DOWN_RECEIPT,
            payload.encode_receipt(payload.Receipt(1_800_000_000_000 + vtime.now_ms, counter, numbers)),
        )
        self.receipts.append(data)
        self._broker.down(data)

    def forged(self, numbers):
        """A receipt for `numbers` by someone who can change the text but not make the tag."""
        data = bytearray(
            self._seal(
                kinds.DOWN_RECEIPT,
                payload.encode_receipt(payload.Receipt(1_800_000_000_000, self.newest, numbers[:50])),
            )
        )
        data[-1 - random.randrange(8)] ^= 1 << random.randrange(8)
        return bytes(data)

    def command(self, code, quotes):
        data = self._seal(kinds.DOWN_COMMAND, payload.encode_command(payload.Command(code, quotes)))
        self._broker.down(data)
        return data

    def _seal(self, kind, body):
        self._counter += 1
        return frame.seal_down(self._key, kind, 1, topics.node_bytes(NODE), self._counter, 7, body)


class Flash:
    """What a node keeps over a restart: journal, counters, senders."""

    def __init__(self):
        self.events = {}
        self.counter_ceiling = 1
        self.event_number = 0
        self.senders = {}


class Identity:
    def __init__(self, flash):
        self.node_text = NODE
        self.node = topics.node_bytes(NODE)
        self.epoch = 1
        self.key = ccm.CcmKey(KEY)
        self._flash = flash
        self._next = flash.counter_ceiling
        flash.counter_ceiling += 256

    def next_counter(self):
        if self._next >= self._flash.counter_ceiling:
            self._flash.counter_ceiling += 256
        self._next += 1
        return self._next - 1

    def newest_command(self, sender):
        return self._flash.senders.get(sender, 0)

    def note_command(self, sender, counter):
        self._flash.senders[sender] = counter


class Journal:
    def __init__(self, flash, receiver):
        self._flash = flash
        self._receiver = receiver

    def add(self, kind):
        self._flash.event_number += 1
        number = self._flash.event_number
        self._flash.events[number] = (kind, vtime.now_ms, payload.encode_event(payload.Event(number, kind, 1, 1)))
        return number

    def pending(self):
        events = self._flash.events
        return sorted(events, key=lambda n: (events[n][0] != kinds.ALARM, n))

    def entry(self, number):
        kind, at, data = self._flash.events[number]
        return payload.with_age(data, vtime.now_ms - at)

    def remove(self, number):
        if number not in self._receiver.committed:
            self._receiver.wrong.append(f"event {number} left the journal uncommitted")
        del self._flash.events[number]


class Node:
    """The link of one node, from power-on to power-off."""

    def __init__(self, flash, broker, receiver, may_connect=lambda: True, **times_ms):
        self.logged = []
        self.times = []  # server times taken
        self.obeyed = []
        self.receipted = []
        self.beats = 0
        self.journal = Journal(flash, receiver)
        settings = {"ip": "192.0.2.1", "port": 1883, "tls": False, "client_id": "x"}
        self.client = MqttClient(
            settings,
            None,
            None,
            may_connect,
            self.log,
            down_topic=topics.down(NODE),
            dialler=broker.dial,
            times_ms=times_ms,
        )
        self.uplink = Uplink(
            Identity(flash),
            self.journal,
            self.client,
            self,
            payload.Heartbeat,
            on_receipt=self.on_receipt,
            on_command=self.on_command,
            log=self.log,
        )
        self.tasks = []

    def log(self, level, tag, text):
        self.logged.append((vtime.now_ms, level, tag, text))

    def server_time(self, server_ms):
        self.times.append((vtime.now_ms, server_ms))

    def on_receipt(self, numbers, server_ms):
        self.receipted.extend(numbers)

    def on_command(self, command, header):
        self.obeyed.append((header.sender, header.counter))
        return kinds.ANSWER_DONE

    def beat(self):
        self.beats += 1

    def event(self, kind):
        number = self.journal.add(kind)
        self.uplink.wake()
        return number

    def power_on(self):
        self.tasks = [asyncio.create_task(self.client.run(self.beat)), asyncio.create_task(self.uplink.run(self.beat))]

    async def power_off(self):
        for task in self.tasks:
            task.cancel()
        await sleep_ms(0)


def world(seed, trouble=None):
    """(broker, receiver, flash) under one seed."""
    random.seed(seed)
    trouble = trouble or Trouble()
    broker = Broker(trouble)
    return broker, Receiver(broker, trouble), Flash()
