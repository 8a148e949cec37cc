"""The MQTT edge: paho in its own thread, a persistent session, acknowledgement by the writer after the commit.

A message goes into the writer's queue as it comes; nothing is looked at here. What the broker was told and what it
answered is checked: a refused subscription (0x80) leaves a session that looks alive and hears nothing.
"""

import itertools
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.matcher import MQTTMatcher
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bongsu.receiver.clock import Clock
from bongsu.receiver.log import Log, Seldom
from bongsu_wire import kinds, topics

# A frame has at most 255 bytes; what is longer is no frame, and not worth a place in the queue.
PAYLOAD_MAX = 1024
# Heartbeats (topics.up_beats) are gathered; as many may wait as all nodes of a city send in half a minute.
_BEATS_END = "/h"
_BEATS_MAX = 65_536
# Readings come on the same topic and are worth less: apart from the heartbeats, and dropped where there are too many.
_READINGS_MAX = 16_384
_KIND_MASK = 0x1F  # of a frame's first byte
# A broker that answers nothing any more is left after two of these.
_KEEPALIVE_S = 5
_BACKOFF_MIN_S, _BACKOFF_MAX_S = 1, 2
_REFUSED = 0x80


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """How to reach the broker. `tls`: None for a plain connection (loopback only); `more`: (host, port) of further
    members of its cluster.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    client_id: str = field(repr=False)
    tls: ssl.SSLContext | None = None
    more: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Arrived:
    """A message as it came. `mid`, `qos`, `session`: for its acknowledgement; `received_ms`: UTC."""

    topic: str
    data: bytes
    received_ms: int
    mid: int
    qos: int
    session: int


@dataclass(slots=True)
class LinkChanged:
    """The broker can be heard, or no longer."""

    up: bool


@dataclass(frozen=True, slots=True)
class CanarySeen:
    """One of the receiver's own canaries came back."""

    data: bytes


@dataclass(frozen=True, slots=True)
class BeatsWait:
    """Heartbeats wait in the edge (`take_beats`): they are many, and may wait a little for company, unless these are
    left over from a turn that took some (`at_once`).
    """

    at_once: bool = False


class _NoFilters(MQTTMatcher):
    """No callback has a filter of its own here. paho's matcher leaves six objects in a cycle for each message: at 1,916
    heartbeats a second the collector, which has to find them, stopped everything for 20 to 40 ms each second.
    """

    def iter_match(self, topic: str) -> Iterator[Any]:
        return iter(())


class _Client(mqtt.Client):
    """paho's client, which keeps why a connection failed (its callback does not say), and takes another address for
    each connection.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._on_message_filtered = _NoFilters()  # type: ignore[no-untyped-call]

    failure: BaseException | None = None
    looked_s: float | None = None
    addresses: Iterator[tuple[str, int]]

    def loop_misc(self) -> MQTTErrorCode:
        self.looked_s = time.monotonic()  # paho's thread comes by here about once a second
        return super().loop_misc()

    def reconnect(self) -> MQTTErrorCode:
        self.looked_s = time.monotonic()
        self.connect_async(*next(self.addresses), keepalive=_KEEPALIVE_S)
        try:
            return super().reconnect()
        except Exception as err:
            self.failure = err
            raise


class MqttEdge:
    """The receiver's session. `put` takes Arrived and LinkChanged, in paho's thread."""

    def __init__(
        self, login: BrokerLogin, put: Callable[[Any], None], clock: Clock, log: Log, canary_topic: str | None = None
    ) -> None:
        self._login, self._put, self._clock, self._log = login, put, clock, log
        self._canary_topic, self._canary_mid = canary_topic, -1
        self.canary_refused = False
        self.broker_not_after: str | None = None  # the end of the certificate that it showed, as Python's ssl tells it
        self._seldom = Seldom()
        self._session = 0
        self._waiting_for: set[int] = set()
        self._up = False
        self._beats: deque[Arrived] = deque()
        self._beats_told = False
        self._readings: deque[Arrived] = deque()
        self.readings_dropped = 0
        # What cut off one member of a cluster may last: each connection is to the next one.
        self._addresses = itertools.cycle([(login.host, login.port), *login.more])
        self._client = self._made(login)

    def _made(self, login: BrokerLogin) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=login.client_id,
            clean_session=False,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
        )
        if login.user:
            client.username_pw_set(login.user, login.password)
        if login.tls is not None:
            client.tls_set_context(login.tls)
        client.addresses = self._addresses
        client.reconnect_delay_set(_BACKOFF_MIN_S, _BACKOFF_MAX_S)
        client.max_queued_messages_set(0)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def start(self) -> None:
        """Connect, and keep connecting. Returns at once."""
        self._client.connect_async(self._login.host, self._login.port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def close(self) -> None:
        """Leave the broker; the session stays, and what was not acknowledged comes again."""
        self._up = False
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def looked_s(self) -> float | None:
        """When paho's thread was last seen at work (monotonic s); None: it has not begun."""
        return self._client.looked_s

    def renew_session(self, client_id: str) -> None:
        """Leave the session for a new one under this client id. What the old one still held, the nodes bring again."""
        old = self._client
        self._session += 1  # nothing of the old session is acknowledged in the new one
        self._client = self._made(replace(self._login, client_id=client_id))
        if self._up:
            self._up = False
            self._put(LinkChanged(False))
        old.disconnect()
        self.start()
        old.loop_stop()

    def send_canary(self, data: bytes) -> None:
        """Send ourselves a canary, if the broker lets us hear it."""
        if self._canary_topic is not None and not self.canary_refused:
            self._client.publish(self._canary_topic, data, 1)

    def ack(self, message: Arrived) -> None:
        """The writer is done with a message: the broker may forget it. A session that ended meanwhile brings it again,
        and its packet ids mean other messages now.
        """
        if message.qos and message.session == self._session:
            self._client.ack(message.mid, message.qos)

    def take_beats(self, most: int) -> list[Arrived]:
        """The heartbeats that wait, then readings, at most so many in all; what is left is announced again. From the
        writer's thread.
        """
        self._beats_told = False  # before looking: what comes from now on is announced
        taken: list[Arrived] = []
        for waiting in (self._beats, self._readings):
            while waiting and len(taken) < most:
                taken.append(waiting.popleft())
        if self._beats or self._readings:
            self._tell_beats(at_once=True)
        return taken

    def _tell_beats(self, at_once: bool = False) -> None:
        if not self._beats_told:
            self._beats_told = True
            self._put(BeatsWait(at_once))

    def publish(self, topic: str, data: bytes) -> None:
        """Send a frame down, QoS 0: who does not get it asks again."""
        self._client.publish(topic, data, 0)

    # ---- paho's thread

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Properties | None
    ) -> None:
        if client is not self._client:
            return
        if reason.is_failure:
            self._say("refused", f"the broker refuses the receiver: {reason}", _NEXT_STEPS["login"])
            return
        self._session += 1
        if isinstance(sock := client.socket(), ssl.SSLSocket):
            self.broker_not_after = str((sock.getpeercert() or {}).get("notAfter", "")) or None
        filters = [(topics.UP_EVENTS_FILTER, 1), (topics.UP_BEATS_FILTER, 0)]
        error, mid = client.subscribe(filters)
        self._waiting_for = {mid} if error == mqtt.MQTT_ERR_SUCCESS and mid is not None else set()
        if self._canary_topic is not None:  # by itself: a broker that refuses it must not cost the alarms
            self._canary_mid = client.subscribe(self._canary_topic, 1)[1] or -1

    def _on_subscribe(
        self, client: mqtt.Client, _data: Any, mid: int, reasons: list[ReasonCode], _props: Properties | None
    ) -> None:
        if mid == self._canary_mid:
            self._canary_answered(reasons)
        if mid not in self._waiting_for or client is not self._client:
            return
        refused = [str(r) for r in reasons if r.value >= _REFUSED]
        if refused:
            self._say("subscribe", "the broker refuses the subscription", _NEXT_STEPS["subscribe"])
            sock = client.socket()
            if isinstance(sock, socket.socket):  # paho comes back by itself, after its pause, and asks again
                with suppress(OSError):  # the broker may be gone already
                    sock.shutdown(socket.SHUT_RDWR)
            return
        self._seldom = Seldom()
        self._up = True
        self._put(LinkChanged(True))

    def _canary_answered(self, reasons: list[ReasonCode]) -> None:
        self.canary_refused = any(r.value >= _REFUSED for r in reasons)
        if self.canary_refused:
            self._say("canary", "the broker refuses the receiver's canary", _NEXT_STEPS["canary"])

    def _on_connect_fail(self, client: mqtt.Client, _data: Any) -> None:
        failure = getattr(client, "failure", None)
        what, step = connection_failure(failure, replace(self._login, host=client.host, port=client.port))
        self._say(type(failure).__name__, what, step)

    def _on_disconnect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Properties | None
    ) -> None:
        if self._up and client is self._client:
            self._up = False
            self._put(LinkChanged(False))
            self._log.warning("mqtt.down", why=str(reason))

    def _on_message(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if client is not self._client:
            return
        data = bytes(message.payload[:PAYLOAD_MAX])  # still too long for a frame, and counted as such
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        if topic == self._canary_topic:
            client.ack(message.mid, message.qos)
            self._put(CanarySeen(data))
            return
        arrived = Arrived(topic, data, self._clock.now_ms(), message.mid, message.qos, self._session)
        if message.qos == 0 and topic.endswith(_BEATS_END) and self._gather(arrived):
            self._tell_beats()
        else:
            self._put(arrived)

    def _gather(self, arrived: Arrived) -> bool:
        """Keep a heartbeat or a reading until the writer has room for it. False: a heartbeat for which there is no room
        here.
        """
        if arrived.data[:1] and arrived.data[0] & _KIND_MASK == kinds.UP_READING:
            if len(self._readings) < _READINGS_MAX:
                self._readings.append(arrived)
            else:
                self.readings_dropped += 1
            return True
        if len(self._beats) >= _BEATS_MAX:
            return False
        self._beats.append(arrived)
        return True

    def _say(self, kind: str, what: str, next_step: str) -> None:
        times = self._seldom.due(kind, self._clock.mono_ms())
        if times:
            self._log.warning("mqtt.refused", what=what, next=next_step, times=times)


_NEXT_STEPS = {
    "login": "Write the broker's users anew (bongsu broker config), or check [broker] user and password_file.",
    "subscribe": "Give the receiver's user the right to subscribe to bongsu/v1/up/#, and look at max_ack_pending.",
    "canary": "Give the receiver's user the right to publish and to subscribe to bongsu/v1/canary/+.",
    "certificate": "Check [broker] ca_file, and that the broker's certificate names this host and is not expired.",
    "tls": "Check that the broker speaks TLS on this port (mqtts://), or use mqtt:// on loopback.",
    "refused": "Check that the broker runs and that [broker] names its host and port.",
}


def connection_failure(failure: BaseException | None, login: BrokerLogin) -> tuple[str, str]:
    """(what is wrong, next step) of a failed connection."""
    where = f"{login.host}:{login.port}"
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"the certificate of the broker {where} is refused: {failure.verify_message}", _NEXT_STEPS["certificate"]
    if isinstance(failure, ssl.SSLError):
        return f"TLS with the broker {where} failed: {failure.reason or failure}", _NEXT_STEPS["tls"]
    if login.tls is not None and isinstance(failure, ConnectionResetError):
        return f"TLS with the broker {where} failed: it closed the connection", _NEXT_STEPS["tls"]
    return f"no connection to the broker {where}: {failure}", _NEXT_STEPS["refused"]
