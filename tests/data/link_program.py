# The node link in a MicroPython process of its own (see tests/link_parts.py). The first line of its input is its
# configuration (JSON), each further one an order:
#   pub TEXT [qos] [urgent]   publish; prints "acked TEXT" when the PUBACK came
#   event KIND                put an event into the journal (uplink only)
#   rising 0|1                whether a handshake is forbidden
#   crash reader|writer       let that task crash at its next turn
#   heap, stall, journaled, refused   print a number: bytes in use; longest stall of the loop in ms since asked last;
#                             events without receipt; frames refused
import asyncio
import gc
import json
import sys
from time import ticks_diff, ticks_ms

from bongsu_node.link.mqtt import MqttClient, QueueFull
from bongsu_node.link.uplink import Uplink
from bongsu_wire import ccm, payload, topics

CONFIG = json.loads(sys.stdin.readline())


def log(level, tag, text):
    print(ticks_ms() & 0x3FFFFFFF, level, tag, text)


class Identity:
    def __init__(self):
        self.node_text = CONFIG["node"]
        self.node = topics.node_bytes(self.node_text)
        self.epoch = 1
        self.key = ccm.CcmKey(bytes(range(16)))
        self._counter = 256
        self._senders = {}

    def next_counter(self):
        self._counter += 1
        return self._counter

    def newest_command(self, sender):
        return self._senders.get(sender, 0)

    def note_command(self, sender, counter):
        self._senders[sender] = counter


class Journal:
    def __init__(self):
        self._events = {}

    def add(self, kind):
        number = max(self._events or (0,)) + 1
        self._events[number] = payload.encode_event(payload.Event(number, kind, 1, 1))
        return number

    def pending(self):
        return sorted(self._events)

    def entry(self, number):
        return self._events[number]

    def remove(self, number):
        del self._events[number]


class Clock:
    def server_time(self, server_ms):
        log("I", "clock", f"server_ms={server_ms}")


def on_command(command, header):
    log("I", "command", f"code={command.code} counter={header.counter}")
    return 0


async def acked(ticket, text):
    while not ticket.acked and not ticket.dropped:
        await asyncio.sleep_ms(2)
    print("acked" if ticket.acked else "dropped", text)


async def watch_stall(program):
    last = ticks_ms()
    while True:
        await asyncio.sleep_ms(5)
        now = ticks_ms()
        program.stall_ms = max(program.stall_ms, ticks_diff(now, last) - 5)
        last = now


class Program:
    def __init__(self):
        self.is_rising = False
        self.stall_ms = 0
        ca = bytes.fromhex(CONFIG["broker"].get("ca_hex", "")) or None
        up = "bongsu/v1/up/" + CONFIG["node"] + "/e"
        self.topic = CONFIG["broker"].get("topic", up)
        self.client = MqttClient(
            CONFIG["broker"],
            ca,
            self.got,
            lambda: not self.is_rising,
            log,
            down_topic=topics.down(CONFIG["node"]),
            times_ms=CONFIG["times_ms"],
        )
        self.journal = Journal()
        self.uplink = None
        if CONFIG["uplink"]:
            self.uplink = Uplink(
                Identity(),
                self.journal,
                self.client,
                Clock(),
                payload.Heartbeat,
                on_receipt=lambda n, t: None,
                on_command=on_command,
                log=log,
                heartbeat_ms=500,
                repeat_after_ms=(300, 600),
            )

    def got(self, topic, data):
        print("got", topic, data)

    def pub(self, text, qos="1", urgent="0"):
        try:
            asyncio.create_task(acked(self.client.publish(self.topic, text.encode(), int(qos), urgent == "1"), text))
        except QueueFull:
            print("full", text)

    def event(self, kind):
        print("event", self.journal.add(int(kind)))
        self.uplink.wake()

    def rising(self, on):
        self.is_rising = on == "1"
        print("rising", on)

    def heap(self):
        gc.collect()
        gc.collect()
        print("heap =", gc.mem_alloc())

    def stall(self):
        print("stall =", self.stall_ms)
        self.stall_ms = 0

    def refused(self):
        print("refused =", sum(self.uplink.refused.values()))

    def journaled(self):
        print("journaled =", len(self.journal.pending()))

    def crash(self, part):
        def broken(*_):
            delattr(self.client, name)
            raise RuntimeError("broken by the test")

        name = {"reader": "_received", "writer": "_next_packet"}[part]
        setattr(self.client, name, broken)

    async def main(self):
        asyncio.create_task(self.client.run())
        asyncio.create_task(watch_stall(self))
        if self.uplink is not None:
            asyncio.create_task(self.uplink.run())
        orders = asyncio.StreamReader(sys.stdin.buffer)
        print("ready")
        while True:
            line = await orders.readline()
            if not line:
                return
            words = line.decode().split()
            getattr(self, words[0])(*words[1:])


asyncio.run(Program().main())
