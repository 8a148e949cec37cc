"""A node without a board: real frames over real MQTT from this process, for tests of the receiver and for benchmarks.

It keeps what DESIGN asks of a node's link: an alarm stays until its receipt, is sent again in a fresh frame until then,
and goes out at once after a reconnection. It senses nothing; the caller says what happened.
"""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bongsu.install.bundle import Bundle
from bongsu_wire import frame, kinds, measured, payload, topics
from bongsu_wire.ccm import CcmKey

_REPEAT_S = 5.0
# Short, because tests wait for it; a real node's back-off is its own link's (bongsu_node/link).
_RECONNECT_S = (0.1, 0.5)
_NS_PER_MS = 1_000_000


def tls_context(ca_der: bytes) -> ssl.SSLContext:
    """What a node trusts: the installation's own CA, nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_der)
    return context


class _Client(mqtt.Client):
    """paho's client, which takes the broker's next address for each connection, as a board does."""

    addresses: Iterator[tuple[str, int]]

    def reconnect(self) -> MQTTErrorCode:
        self.connect_async(*next(self.addresses), keepalive=self.keepalive)
        return super().reconnect()


class HostNode:
    """One node. Start it with `start`, or as a context manager; all methods may be called from any thread.

    `port`: of the broker, if another than the bundle's (its further addresses stay). `repeat_s`: pause before an
    unreceipted event is sent again. `patience_s`: after twice this without a sound of the broker, or after one without
    a PUBACK, the next address is tried.
    """

    def __init__(
        self, bundle: Bundle, *, port: int | None = None, repeat_s: float = _REPEAT_S, patience_s: int = 20
    ) -> None:
        broker = bundle.node_json["broker"]
        self.node = bundle.node_id
        self._key, self._epoch = CcmKey(bundle.key), bundle.key_epoch
        self._mac = topics.node_bytes(bundle.node_id)
        first = (broker["ip"], port or broker["port"])
        more = [(a["ip"], a["port"]) for a in broker.get("more", ())]
        self._addresses = [first, *(address for address in more if address != first)]
        self._repeat_s, self._patience_s = repeat_s, patience_s
        self._unacked: dict[int, float] = {}
        self._changed = threading.Condition()
        self._counter = 0
        self._number = 0
        self._journal: dict[int, tuple[bytes, int]] = {}
        self._sent_at: dict[int, float] = {}
        self._server: tuple[int, int] | None = None
        self._active = 0
        self._closing = False
        self.connected = False
        self.lost = 0  # connections that ended
        self.receipts: dict[int, float] = {}
        self.answered: set[int] = set()  # counters that receipts answered
        self.commands: list[payload.Command] = []
        self.on_command: Callable[[payload.Command], int] = lambda _command: kinds.ANSWER_DONE
        self._client = self._make_client(broker, bundle.ca_der)
        self._thread = threading.Thread(target=self._repeat, name=f"node {self.node}", daemon=True)

    def _make_client(self, broker: dict[str, Any], ca_der: bytes) -> mqtt.Client:
        client = _Client(CallbackAPIVersion.VERSION2, client_id=broker["client_id"], clean_session=False)
        client.addresses = itertools.cycle(self._addresses)
        client.username_pw_set(broker["user"], broker["password"])
        if broker["tls"]:
            client.tls_set_context(tls_context(ca_der))
        client.reconnect_delay_set(*_RECONNECT_S)  # type: ignore[arg-type]  # paho takes fractions as well
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def start(self) -> "HostNode":
        """Connect, and keep connecting. Returns at once."""
        self._client.connect_async(*self._addresses[0], keepalive=self._patience_s)
        self._client.loop_start()
        self._thread.start()
        return self

    def close(self) -> None:
        """Disconnect; what has no receipt is forgotten with the object."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> "HostNode":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- what happens at the node

    def report(self, kind: int, phenomena: int = 0, criterion: int = 0, *, detail: int = 0, temp_dk: int = 3302) -> int:
        """Report an event (kinds.ALARM ...); returns its number. It is sent until its receipt comes."""
        with self._changed:
            self._number += 1
            event = payload.Event(
                self._number, kind, phenomena, criterion, sustained_ms=5000, temp_dk=temp_dk, detail=detail
            )
            self._journal[self._number] = (payload.encode_event(event), time.monotonic_ns() // _NS_PER_MS)
            number = self._number
            self._changed.notify_all()
        self._send_event(number)
        return number

    def alarm(self, phenomena: int = kinds.HEAT) -> int:
        """An alarm; returns its event number."""
        self._active |= phenomena
        return self.report(kinds.ALARM, phenomena, kinds.CRIT_HEAT_FIXED)

    def restore(self, phenomena: int = 0) -> int:
        """The alarm's restore (of all phenomena, if none is named); returns its event number."""
        self._active &= ~phenomena if phenomena else 0
        return self.report(kinds.RESTORE, phenomena)

    def heartbeat(self) -> bytes:
        """Send a heartbeat; returns its frame."""
        with self._changed:
            echo = self._server
            depth = len(self._journal)
        server_ms, age_ms = (0, payload.AGE_UNKNOWN) if echo is None else echo
        if echo is not None:
            age_ms = time.monotonic_ns() // _NS_PER_MS - echo[1]
        beat = payload.Heartbeat(
            uptime_s=60, active=self._active, echo_server_ms=server_ms, echo_age_ms=age_ms, journal_depth=depth
        )
        data = self._seal(kinds.UP_HEARTBEAT, payload.encode_heartbeat(beat))[0]
        self._client.publish(topics.up_beats(self.node), data, qos=0)
        return data

    def history(self, part: measured.History) -> int:
        """Send a part of the minute before an alarm; returns its frame's counter, which its receipt answers."""
        data, counter = self._seal(kinds.UP_HISTORY, measured.encode_history(part))
        self.send_raw(data)
        return counter

    def reading(self, values: dict[int, int], *, age_ms: int = 0, interval_s: int = 60) -> bytes:
        """Send what it measured ({kinds.Q_*: wire value}); returns its frame. Nothing answers it."""
        plain = measured.encode_reading(measured.Reading(age_ms, interval_s, values))
        data = self._seal(kinds.UP_READING, plain)[0]
        self._client.publish(topics.up_beats(self.node), data, qos=0)
        return data

    def send_raw(self, data: bytes, *, qos: int = 1) -> None:
        """Publish any bytes as this node's event frame."""
        self._client.publish(topics.up_events(self.node), data, qos=qos)

    # ---- waiting

    def wait_connected(self, timeout_s: float) -> bool:
        """True once the broker has taken the node in."""
        with self._changed:
            return self._changed.wait_for(lambda: self.connected, timeout_s)

    def wait_receipt(self, number: int, timeout_s: float) -> bool:
        """True once the event has its receipt."""
        with self._changed:
            return self._changed.wait_for(lambda: number in self.receipts, timeout_s)

    def wait_answered(self, counter: int, timeout_s: float) -> bool:
        """True once a receipt answered the frame with this counter."""
        with self._changed:
            return self._changed.wait_for(lambda: counter in self.answered, timeout_s)

    def wait_server_time(self, timeout_s: float) -> bool:
        """True once a receipt brought the server's time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._server is not None, timeout_s)

    def wait_command(self, timeout_s: float) -> bool:
        """True once a command came."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self.commands), timeout_s)

    def pending(self) -> list[int]:
        """Numbers of events that have no receipt yet."""
        with self._changed:
            return sorted(self._journal)

    # ---- frames

    def _seal(self, kind: int, plain: bytes) -> tuple[bytes, int]:
        with self._changed:
            self._counter += 1
            counter = self._counter
        return frame.seal_up(self._key, kind, self._epoch, self._mac, counter, plain), counter

    def _send_event(self, number: int) -> None:
        with self._changed:
            entry = self._journal.get(number)
            if entry is None or not self.connected:
                return
            self._sent_at[number] = time.monotonic()
        age_ms = time.monotonic_ns() // _NS_PER_MS - entry[1]
        data, _ = self._seal(kinds.UP_EVENT, payload.with_age(entry[0], age_ms))
        mid = self._client.publish(topics.up_events(self.node), data, qos=1).mid
        with self._changed:
            self._unacked[mid] = time.monotonic()

    def _repeat(self) -> None:
        """Send again what has no receipt."""
        while True:
            with self._changed:
                if self._closing:
                    return
                now = time.monotonic()
                self._leave_deaf(now)
                due = [n for n in self._journal if now - self._sent_at.get(n, 0.0) >= self._repeat_s]
                if not due or not self.connected:
                    self._changed.wait(self._repeat_s / 4)
                    continue
            for number in due:
                self._send_event(number)

    def _leave_deaf(self, now: float) -> None:
        """A broker that answers pings and acknowledges nothing is left, as a board leaves it."""
        if any(now - at >= self._patience_s for at in self._unacked.values()):
            self._unacked.clear()
            sock = self._client.socket()
            if isinstance(sock, socket.socket):
                with suppress(OSError):  # it may be gone already
                    sock.shutdown(socket.SHUT_RDWR)

    # ---- paho's thread

    def _on_publish(self, _client: mqtt.Client, _data: Any, mid: int, _reason: ReasonCode, _props: Properties) -> None:
        with self._changed:
            self._unacked.pop(mid, None)

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Properties | None
    ) -> None:
        if reason.is_failure:
            return
        client.subscribe(topics.down(self.node), 0)
        with self._changed:
            self.connected = True
            self._sent_at.clear()  # everything that waits is due
            self._changed.notify_all()

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, _reason: ReasonCode, _props: Properties | None
    ) -> None:
        with self._changed:
            self.lost += self.connected
            self.connected = False
            self._unacked.clear()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            header = frame.parse(bytes(message.payload))
            plain = frame.open_frame(self._key, header)
            if header.kind == kinds.DOWN_RECEIPT:
                self._on_receipt(payload.decode_receipt(plain))
            else:
                self._on_command(payload.decode_command(plain), header)
        except (frame.FrameError, payload.PayloadError):
            return  # not from the receiver

    def _on_receipt(self, receipt: payload.Receipt) -> None:
        with self._changed:
            self._server = (receipt.server_ms, time.monotonic_ns() // _NS_PER_MS)
            self.answered.add(receipt.answers)
            for number in receipt.numbers:
                if self._journal.pop(number, None) is not None:
                    self.receipts[number] = time.monotonic()
            self._changed.notify_all()

    def _on_command(self, command: payload.Command, header: frame.Header) -> None:
        result = self.on_command(command)
        answer = payload.Answer(header.counter, header.sender, command.code, result)
        data, _ = self._seal(kinds.UP_ANSWER, payload.encode_answer(answer))
        self._client.publish(topics.up_events(self.node), data, qos=1)
        with self._changed:
            self.commands.append(command)
            self._changed.notify_all()
