"""The MQTT 3.1.1 client of a node. Our own, because no library held when a broker was killed or frozen (it lost
messages, stalled the loop or hung).

One connection at a time, one choke point for its end: reader, writer and every deadline only say why the connection is
over; `run` then closes it, waits (jitter, at most 30 s) and dials again. So a crash of the reader or the writer is a
reconnect like any other, and never a client that only looks connected.

A PUBACK says that the broker has the message, even when its rules throw it away: only the receiver's receipt proves
anything (see uplink.py).
"""

import asyncio
from time import ticks_add, ticks_diff, ticks_ms

from bongsu_node.link import packets
from bongsu_node.link.backoff import Backoff
from bongsu_node.link.dial import DialError, NotNow, dial, tls_context
from bongsu_node.link.sendqueue import QueueFull, SendQueue, Ticket

__all__ = ("MqttClient", "QueueFull", "Ticket")

# Milliseconds. A dead connection is noticed after at most ping_every + pong = 25 s, and 5 s after an alarm: a ping goes
# with it, since a broker that is alive but busy storing may take longer over its PUBACK.
TIMES_MS = {
    "dial": 10_000,  # TCP, TLS handshake and sending CONNECT
    "connack": 10_000,
    "ack": 10_000,  # PUBACK, SUBACK
    "pong": 5_000,
    "write": 10_000,  # one packet into the socket
    "packet": 10_000,  # the rest of a packet whose first byte came
    "ping_every": 20_000,  # without traffic in either direction
    "resubscribe": 30_000,  # after a refused subscription
    "stable": 20_000,  # a connection that held this long ends the back-off
    "backoff_first": 1_000,
    "backoff_cap": 30_000,
}
KEEPALIVE_S = 60  # the broker gives us up after 1.5 times this
PACKET_CAP = 1024

_TICK_MS = 50  # how often the deadlines are looked at
_READ_SIZE = 256  # bounds the work between two turns of the loop
_CONTROL_MAX = 32  # acknowledgements a peer may make us owe it


def _no_beat() -> None:
    pass


class _Connection:
    """One connection: its wire and what is awaited on it."""

    def __init__(self, wire, now: int) -> None:
        self.wire = wire
        self.parser = packets.Parser(PACKET_CAP)
        self.over = None
        self.up = False
        self.control = []
        self.deadlines = {}
        self.subscribe_id = 0
        self.subscribe_at = None
        self.started_ms = self.last_rx_ms = self.last_tx_ms = now

    def end(self, why: str) -> None:
        """Say why the connection is over; the first reason counts."""
        if self.over is None:
            self.over = why

    def expect(self, what: str, within_ms: int) -> None:
        self.deadlines[what] = ticks_add(ticks_ms(), within_ms)

    def came(self, what: str) -> None:
        self.deadlines.pop(what, None)

    def owe(self, packet: bytes) -> None:
        """Queue a packet that goes before all messages."""
        if len(self.control) >= _CONTROL_MAX:
            raise packets.ProtocolError("flood")
        self.control.append(packet)


class MqttClient:
    """`broker`: the node.json section, in which its addresses take turns; `ca_der`: our CA (None only without TLS);
    `on_message(topic, payload)`: called for every message on `down_topic`; `may_connect()`: False while a handshake
    must not block the loop; `log(level, tag, text)`: one line, text = "key=value ..."; `on_state(up, why)`: called at
    every change.

    `times_ms` overrides entries of TIMES_MS; `capacity`: messages held at most; `dialler`: another dial() for tests.
    """

    def __init__(
        self,
        broker: dict,
        ca_der,
        on_message,
        may_connect,
        log,
        *,
        down_topic: str,
        on_state=None,
        times_ms=None,
        capacity: int = 16,
        dialler=dial,
    ) -> None:
        self.on_message = on_message
        self.on_state = on_state
        self.connected = False
        self.subscribed = False
        self.connections = 0  # since boot
        self.strays = 0  # packets that nothing here asked for
        self._broker = broker
        self._ca_der = ca_der
        self._context = None
        self._may_connect = may_connect
        self._log = log
        self._down_topic = down_topic
        self._times = dict(TIMES_MS, **times_ms) if times_ms else TIMES_MS
        self._backoff = Backoff(self._times["backoff_first"], self._times["backoff_cap"])
        self._queue = SendQueue(capacity)
        self._work = asyncio.Event()
        self._hurry = False
        self._probe = False
        self._dial = dialler

    # -- what the node uses

    def takes(self, urgent: bool) -> bool:
        """Whether publish() takes a message now."""
        return self._queue.takes(urgent)

    def publish(self, topic: str, payload: bytes, qos: int = 1, urgent: bool = False) -> Ticket:
        """Queue a message; it goes at once if connected. QoS 1 is kept until the PUBACK, over reconnects; QoS 0 is
        dropped when not connected.

        Raises QueueFull, and ValueError for a message beyond the size cap.
        """
        if len(topic) + len(payload) > PACKET_CAP - 4:
            raise ValueError("message too long")
        ticket = Ticket(topic, payload, qos, urgent)
        if not qos and not self.connected:
            ticket.dropped = True
            return ticket
        self._queue.add(ticket)
        self._probe = self._probe or urgent
        self._work.set()
        return ticket

    def idle(self) -> bool:
        """Nothing waits to be sent, or for its PUBACK."""
        return not len(self._queue)

    def retry_now(self) -> None:
        """Wi-Fi is back, or an alarm waits: end the back-off pause, or prove that the connection lives."""
        self._hurry = self._probe = True

    async def run(self, beat=_no_beat) -> None:
        """Keep connected for ever; `beat()` is called at least every 15 s. Raises nothing but CancelledError."""
        pause_ms = 0
        while True:
            await self._turn(pause_ms, beat)
            try:
                why = await self._connect(beat)
                pause_ms = self._backoff.next_ms()
            except NotNow:
                pause_ms = 0
                continue
            except DialError as e:
                why = e.why
                pause_ms = self._backoff.next_ms()
            except Exception as e:  # whatever it was, a node without its link tries again
                why = "crash:" + repr(e)
                pause_ms = self._backoff.next_ms()
            self._log("W", "mqtt", "state=down why=%s retry_ms=%d" % ("-".join(why.split()), pause_ms))
            self._next_address()

    def _next_address(self) -> None:
        """A broker of several members: the next try goes to the next one, in turn."""
        b = self._broker
        if b.get("more"):
            b["more"].append({"ip": b["ip"], "port": b["port"]})
            b.update(b["more"].pop(0))

    # -- one connection from dialling to its end

    async def _turn(self, pause_ms: int, beat) -> None:
        """Wait out the pause, and until the handshake is allowed."""
        end = ticks_add(ticks_ms(), pause_ms)
        while (ticks_diff(end, ticks_ms()) > 0 and not self._hurry) or not self._allowed():
            beat()
            await asyncio.sleep_ms(_TICK_MS)
        self._hurry = False
        beat()

    def _allowed(self) -> bool:
        try:
            return self._may_connect()
        except Exception as e:  # a question that fails must not silence the node
            self._log("E", "mqtt", "may_connect=%r" % e)
            return True

    async def _connect(self, beat) -> str:
        """Dial, live through one connection, clean up; return why it ended. Raises DialError."""
        b = self._broker
        hello = packets.connect(b["client_id"], b.get("user", ""), b.get("password", ""), KEEPALIVE_S)
        wire = await self._dial(b, self._tls(), hello, self._times["dial"], self._allowed)
        c = _Connection(wire, ticks_ms())
        tasks = ()
        try:
            c.expect("connack", self._times["connack"])
            tasks = (
                asyncio.create_task(self._guard(c, self._read, "reader")),
                asyncio.create_task(self._guard(c, self._write, "writer")),
            )
            while c.over is None:
                beat()
                self._supervise(c)
                await asyncio.sleep_ms(_TICK_MS)
            return c.over
        finally:
            c.end("stopped")
            for task in tasks:  # always both: cancelling one forgets the other's wait for the same socket
                task.cancel()
            wire.close()
            self._queue.connection_lost()
            self._change(False, c.over)

    def _tls(self):
        if not self._broker.get("tls", True):
            return None
        if self._context is None:
            if not self._ca_der:
                raise DialError("no-ca")
            self._context = tls_context(self._ca_der)
            self._ca_der = None  # the context has it
        return self._context

    async def _guard(self, c: _Connection, part, name: str) -> None:
        """Run reader or writer; however it ends, so does the connection."""
        try:
            await part(c)
            c.end("closed-by-peer")
        except packets.ProtocolError as e:
            c.end("protocol:" + str(e))
        except OSError as e:
            c.end(name + ":" + str(e))
        except Exception as e:
            c.end(name + "-crash:" + repr(e))

    def _change(self, up: bool, why: str) -> None:
        if up == self.connected:
            return
        self.connected = up
        self.subscribed = False
        if self.on_state is not None:
            try:
                self.on_state(up, why)
            except Exception as e:
                self._log("E", "mqtt", "on_state=%r" % e)

    # -- deadlines

    def _supervise(self, c: _Connection) -> None:
        now = ticks_ms()
        for what in c.deadlines:
            if ticks_diff(c.deadlines[what], now) <= 0:
                c.end(what + "-timeout")
        if not c.up:
            return
        oldest = self._queue.oldest_sent_ms()
        if oldest is not None and ticks_diff(now, oldest) >= self._times["ack"]:
            c.end("puback-timeout")
        silent_ms = max(ticks_diff(now, c.last_rx_ms), ticks_diff(now, c.last_tx_ms))
        if (self._probe or silent_ms >= self._times["ping_every"]) and "pingresp" not in c.deadlines:
            self._probe = False
            c.expect("pingresp", self._times["pong"])
            c.owe(packets.PINGREQ_PACKET)
            self._work.set()
        if c.subscribe_at is not None and ticks_diff(c.subscribe_at, now) <= 0:
            self._subscribe(c)
        if c.started_ms is not None and ticks_diff(now, c.started_ms) >= self._times["stable"]:
            c.started_ms = None  # no tick anchor grows old
            self._backoff.reset()

    # -- writer

    async def _write(self, c: _Connection) -> None:
        while c.over is None:
            packet = self._next_packet(c) if c.up else None
            if packet is None:
                self._work.clear()
                await self._work.wait()
                continue
            c.expect("write", self._times["write"])
            await c.wire.write(packet)
            c.came("write")
            c.last_tx_ms = ticks_ms()

    def _next_packet(self, c: _Connection):
        if c.control:
            return c.control.pop(0)
        ticket = self._queue.next(ticks_ms())
        if ticket is None:
            return None
        return packets.publish(ticket.topic, ticket.payload, ticket.qos, ticket.packet_id, ticket.dup)

    def _subscribe(self, c: _Connection) -> None:
        c.subscribe_at = None
        c.subscribe_id = self._queue.new_packet_id()
        c.expect("suback", self._times["ack"])
        c.owe(packets.subscribe(c.subscribe_id, self._down_topic, 0))
        self._work.set()

    # -- reader

    async def _read(self, c: _Connection) -> None:
        while True:
            data = await c.wire.read(_READ_SIZE)
            if not data:
                return
            c.last_rx_ms = ticks_ms()
            arrived = c.parser.feed(data)
            if arrived or not c.parser.mid_packet:
                c.came("packet")
            if c.parser.mid_packet and "packet" not in c.deadlines:
                c.expect("packet", self._times["packet"])
            for first, body in arrived:
                self._received(c, first, body)

    def _received(self, c: _Connection, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if (kind == packets.CONNACK) == c.up:
            raise packets.ProtocolError("packet 0x%02x out of turn" % first)
        if kind == packets.CONNACK:
            self._on_connack(c, body)
        elif kind == packets.PUBLISH:
            self._on_publish(c, first, body)
        elif kind == packets.PUBACK:
            if not self._queue.acked(body[0] << 8 | body[1]):
                self.strays += 1
            self._work.set()  # the window has a place again
        elif kind == packets.SUBACK:
            self._on_suback(c, body)
        else:
            c.came("pingresp")

    def _on_connack(self, c: _Connection, body: bytes) -> None:
        c.came("connack")
        if body[1]:
            c.end("refused-%d" % body[1])
            return
        session_present = bool(body[0] & 1)
        c.up = True
        self.connections += 1
        self._queue.connected(session_present)
        # Asked anew in a session that is present, too: a broker can present one that delivers nothing.
        self._subscribe(c)
        self._log("I", "mqtt", "state=up session=%d" % session_present)
        self._change(True, "connected")

    def _on_suback(self, c: _Connection, body: bytes) -> None:
        if body[0] << 8 | body[1] != c.subscribe_id:
            self.strays += 1
            return
        c.came("suback")
        self.subscribed = body[2] != packets.SUBACK_REFUSED
        if not self.subscribed:
            # Alarms still go out on this connection; without receipts they are repeated until the broker is put right.
            self._log("E", "mqtt", "subscribe=refused topic=" + self._down_topic)
            c.subscribe_at = ticks_add(ticks_ms(), self._times["resubscribe"])

    def _on_publish(self, c: _Connection, first: int, body: bytes) -> None:
        topic, payload, packet_id = packets.split_publish(first, body)
        if topic != self._down_topic:
            self.strays += 1
        else:
            try:
                self.on_message(topic, payload)
            except Exception as e:
                self._log("E", "mqtt", "on_message=%r" % e)
        if packet_id:
            c.owe(packets.puback(packet_id))
            self._work.set()
