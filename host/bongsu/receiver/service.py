"""The receiver as a whole: who is started in which order, what the main thread waits for, how it ends.

broker -> MQTT edge (paho's thread) -> queue -> writer (thread) -> relay (process, asyncio) -> channels
"""

import fcntl
import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from bongsu.channels import texts
from bongsu.channels.wiring import sms_gateway
from bongsu.errors import BongsuError
from bongsu.receiver import canary, mqtt_edge
from bongsu.receiver.books import Settings
from bongsu.receiver.broker import RECEIVER_USER, EmbeddedBroker
from bongsu.receiver.broker_link import client_tls, external_login
from bongsu.receiver.broker_sessions import drop_session
from bongsu.receiver.clock import SystemClock
from bongsu.receiver.cluster import DatabaseClock, LineWatch, Listener, Retired
from bongsu.receiver.config import Config
from bongsu.receiver.feed import Feed
from bongsu.receiver.identity import ID_NAME, identity
from bongsu.receiver.keys import MASTER_KEY_NAME, BrokerLogin, MasterKey, broker_logins, load_master
from bongsu.receiver.log import Log
from bongsu.receiver.mqtt_edge import CanarySeen, LinkChanged, MqttEdge
from bongsu.receiver.relay_process import RelayProcess
from bongsu.receiver.store import Store, open_store
from bongsu.receiver.store.checkpoint import Checkpointer
from bongsu.receiver.systemd import Notifier
from bongsu.receiver.wake import SOCKET_NAME, STATE_WANTED
from bongsu.receiver.watch import Parts as WatchParts
from bongsu.receiver.watch import Watch
from bongsu.receiver.web import WebProcess
from bongsu.receiver.writer import Wake, Writer

LOCK_FILE = "run/receiver.lock"
# The threads share the interpreter; an alarm must not wait 5 ms (Python's default) for its turn.
_SWITCH_S = 0.0002
# Heartbeats that wait to be written are some 50,000 objects in a city: the collector must not look at them each second.
_GC_THRESHOLDS = (100_000, 20, 50)
_TOPICS = ("registry", "outbox")
_BROKER_PAUSE_S = (0.0, 1.0, 2.0, 5.0, 10.0)
# A broker that is up restores the receiver's session within a second, and a canary comes back in milliseconds; the
# pauses between tries go up to 5 s. One that does not serve after it was started anew gets twice as long each time: it
# may only be busy with a city that comes back.
_HEAL_AFTER_S, _HEAL_AFTER_MAX_S = 15.0, 240.0
_WELL_AGAIN_S = 600.0
# A disk that is full and not, again and again, must not end the broker each time.
_RENEW_APART_S = 5.0
_HEAL_LOOK_S = 2.0


class ServiceError(BongsuError):
    """The receiver cannot run."""


def run(config: Config, log_form: str = "text") -> int:
    """Run the receiver until SIGTERM or SIGINT; returns 0. Raises BongsuError if it cannot start."""
    sys.setswitchinterval(_SWITCH_S)
    with ExitStack() as stack:
        _lock_folder(config, stack)
        signals = _Signals(stack)
        store = open_store(config.store_url)
        stack.callback(store.close)
        log = Log(log_form)
        stack.callback(log.close)
        return _Service(config, store, log, signals, stack).run()


def _lock_folder(config: Config, stack: ExitStack) -> None:
    """One receiver a data folder: a second one would send everything twice."""
    (config.data_dir / "run").mkdir(mode=0o700, exist_ok=True)
    fd = os.open(config.data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ServiceError(
            f"a receiver runs on {config.data_dir} already", "Stop it first, or name another data folder by --data."
        ) from None


class _Signals:
    """SIGTERM and SIGINT as something to wait for."""

    def __init__(self, stack: ExitStack) -> None:
        self.reader, self._writer = socket.socketpair()
        stack.callback(self.reader.close)
        stack.callback(self._writer.close)
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.signal(number, lambda *_: None))

    def poke(self) -> None:
        """Wake the main thread, from any other."""
        with suppress(BlockingIOError):
            self._writer.send(b"\0")

    def stop_wanted(self) -> bool:
        """True if one of them came."""
        with suppress(BlockingIOError):
            return bool(set(self.reader.recv(64)) & {signal.SIGTERM, signal.SIGINT})
        return False


class _Service:
    """The parts, and the main thread's loop."""

    def __init__(self, config: Config, store: Store, log: Log, signals: _Signals, stack: ExitStack) -> None:
        self._config, self._store, self._log, self._signals = config, store, log, signals
        self._clock = _clock_of(store)
        self._master: MasterKey = load_master(config.data_dir / MASTER_KEY_NAME)
        self._sender, self._client_id = identity(store, config.data_dir, self._clock.now_ms())
        self._control = _control_socket(config.data_dir, stack)
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._selector.register(signals.reader, selectors.EVENT_READ)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._broker: EmbeddedBroker | None = None
        self._broker_fd: int | None = None
        self._broker_faults = 0
        self._broker_again_s = 0.0
        self._users_stale = False
        self._heal_after_s, self._healed_s = _HEAL_AFTER_S, 0.0
        self._disk_freed, self._renew_wanted = 0, False
        self._ready = False
        self._feed = Feed()
        self._notifier = Notifier()
        stack.callback(self._notifier.close)
        self._watch: Watch | None = None

    def _state(self) -> dict[str, Any]:
        """How the receiver is, for the console."""
        state = self._watch.state() if self._watch is not None else None
        return dict(state) if state is not None else {"at_ms": self._clock.now_ms(), "sender": self._sender}

    def _watch_over(self, writer: Writer, edge: MqttEdge, relay: RelayProcess) -> Watch:
        login = self._login()
        return Watch(
            WatchParts(
                self._config, self._store, writer, edge, relay, self._clock, self._log, self._sender, self._client_id,
                (login.host, login.port), lambda client_id: drop_session(replace(login, client_id=client_id))
            ),
            self._notifier,
        )  # fmt: skip

    def _join_others(self, writer: Writer, parts: ExitStack) -> None:
        """On a database that several receivers share: hear of their commits, and of a database that says nothing."""
        if not isinstance(self._clock, DatabaseClock):
            return
        line_watch = LineWatch(self._store.engine, self._log)
        line_watch.start()
        parts.callback(line_watch.close)
        listener = Listener(self._store, self._sender, self._clock, lambda: writer.put(Wake("registry")), self._log)
        listener.start()
        parts.callback(listener.close)

    def _logins(self) -> list[BrokerLogin]:
        with self._store.read() as conn:
            return broker_logins(conn, self._master)

    def run(self) -> int:
        """Start the parts in order, wait, end them in the opposite order."""
        config = self._config
        settings = Settings.of(config, self._sender)
        writer = Writer(self._store, settings, self._master, self._clock, self._log)
        writer.on_failure = self._signals.poke
        if config.sms is not None:
            sms_gateway(config, config.sms)  # what is wrong with it is said now, not by the relay
        relay = RelayProcess(config, writer.put, writer.books.lease, self._log)
        if config.broker.mode == "embedded":
            self._broker = EmbeddedBroker(config.broker, config.data_dir, self._sender, self._log)
        with ExitStack() as parts:
            if self._broker is not None:
                parts.callback(self._broker.stop)
                self._broker.start(self._logins())
                self._watch_broker()
            texts.load_messages()  # now, not with the first alarm
            relay.start()
            parts.callback(relay.close)
            edge = MqttEdge(
                self._login(), self._heard_from_edge(writer), self._clock, self._log, canary.topic(self._sender)
            )
            self._join_others(writer, parts)
            writer.start(edge, relay.take)
            parts.callback(writer.stop)
            checkpointer = Checkpointer(self._store, self._log)
            checkpointer.start()
            parts.callback(checkpointer.close)
            _spare_the_collector()
            self._watch = self._watch_over(writer, edge, relay)
            edge.start()
            parts.callback(edge.close)
            self._watch.start()
            parts.callback(self._watch.close)
            if config.console.enabled:
                web = WebProcess(config, self._feed, self._state, self._log)
                writer.on_committed = self._feed.changed
                web.start()
                parts.callback(web.close)
            self._loop(writer)
            self._log.info("receiver.stopping")
        self._raise_failure(writer)
        self._log.info("receiver.stopped")
        return 0

    def _raise_failure(self, writer: Writer) -> None:
        """Why the writer ended, if it did so by itself."""
        if isinstance(writer.failed, Retired):
            raise ServiceError(
                f"receiver {self._sender} was retired",
                f"To begin as a new receiver, remove {self._config.data_dir / ID_NAME} and start it again.",
            )
        if writer.failed is not None:
            raise ServiceError(f"the receiver's writer failed: {writer.failed!r}", "Start it again and report this.")

    def _heard_from_edge(self, writer: Writer) -> Callable[[object], None]:
        """The writer's queue; the first time that the broker hears us is told in the log."""

        def put(item: object) -> None:
            if isinstance(item, CanarySeen):
                if self._watch is not None:
                    self._watch.canary_seen(item.data)
                return
            if isinstance(item, LinkChanged) and self._watch is not None:
                self._watch.link(item.up)
            if isinstance(item, LinkChanged) and item.up:
                self._broker_faults = 0
                if not self._ready:
                    self._ready = True
                    self._log.info("receiver.ready", sender=self._sender, port=self._login().port)
                else:
                    self._log.info("mqtt.up")
            writer.put(item)

        return put

    def _login(self) -> mqtt_edge.BrokerLogin:
        config = self._config.broker
        if self._broker is not None:
            tls = client_tls(self._config.data_dir / "ca" / "ca.crt") if config.tls else None
            broker = self._broker
            return mqtt_edge.BrokerLogin(broker.host, broker.port, RECEIVER_USER, broker.password, self._client_id, tls)
        return external_login(self._config, self._master, self._sender, self._client_id)

    # ---- the main thread

    def _watch_broker(self) -> None:
        assert self._broker is not None
        self._broker_fd = os.pidfd_open(self._broker.pid)
        self._selector.register(self._broker_fd, selectors.EVENT_READ)

    def _loop(self, writer: Writer) -> None:
        """Wait for a signal, a hint from another command, or the broker's end."""
        while writer.failed is None:
            ready = {key.fileobj for key, _ in self._selector.select(self._look_s())}
            if self._signals.reader in ready and self._signals.stop_wanted():
                return
            if self._control in ready:
                self._take_hints(writer)
            if self._broker_fd in ready:
                self._lost_broker()
            if self._watch is not None:
                self._watch.look()
            self._heal_broker(writer)
            self._try_broker()
            self._let_users_in()

    def _look_s(self) -> float:
        """How long the main thread may wait for something to happen."""
        look_s = self._watch.wait_s() if self._watch is not None else _HEAL_LOOK_S
        if self._broker is None or self._broker_fd is not None:
            return min(look_s, _HEAL_LOOK_S)
        return min(look_s, max(0.0, self._broker_again_s - time.monotonic()))

    def _take_hints(self, writer: Writer) -> None:
        hints = set()
        with suppress(BlockingIOError):
            while True:
                data, asker = self._control.recvfrom(64)
                hints.add(data.decode("ascii", "replace"))
                if data == STATE_WANTED and asker:
                    with suppress(OSError):  # who asked may be gone
                        self._control.sendto(msgspec.json.encode(self._state()), asker)
        for topic in hints.intersection(_TOPICS):
            writer.put(Wake(topic))
        self._users_stale = self._users_stale or "registry" in hints

    def _let_users_in(self) -> None:
        """Give the broker the registry's logins; if the store cannot be read now, at the next look."""
        if not self._users_stale or self._broker is None or self._broker_fd is None:
            return
        try:
            self._broker.set_users(self._logins())
        except BongsuError as err:
            self._log.warning("broker.users", what=err.message, next=err.next_step)
            return
        self._users_stale = False

    def _heal_broker(self, writer: Writer) -> None:
        """A broker that runs and does not serve the receiver (frozen, its store full) is of no use: end it, so that it
        starts anew. So is one whose disk was full: it never writes to the streams again that it could not write to,
        however much room there is. Nodes keep their alarms meanwhile.
        """
        if writer.disk_freed != self._disk_freed:
            self._disk_freed, self._renew_wanted = writer.disk_freed, True
        if self._broker is None or self._broker_fd is None or self._watch is None:
            return
        since_s = time.monotonic() - self._healed_s
        unserved_s = min(self._watch.unserved_s(), since_s)
        if unserved_s == 0.0 and since_s > _WELL_AGAIN_S:
            self._heal_after_s = _HEAL_AFTER_S
        if self._renew_wanted and since_s > _RENEW_APART_S and self._broker.has_room():
            self._log.warning("broker.renewed", why="the disk was full")
        elif unserved_s >= self._heal_after_s:
            self._log.error("broker.stuck", after_s=round(unserved_s))
            self._heal_after_s = min(2 * self._heal_after_s, _HEAL_AFTER_MAX_S)
        else:
            return
        self._renew_wanted = False
        self._healed_s = time.monotonic()
        os.kill(self._broker.pid, signal.SIGKILL)

    def _lost_broker(self) -> None:
        """The broker ended without being asked to; the loop starts it again, each time a little later."""
        assert self._broker is not None and self._broker_fd is not None
        self._selector.unregister(self._broker_fd)
        os.close(self._broker_fd)
        self._broker_fd = None
        self._broker.stop()  # only reaps it
        self._put_off_broker("broker.ended")

    def _put_off_broker(self, line: str, **why: str) -> None:
        pause_s = _BROKER_PAUSE_S[min(self._broker_faults, len(_BROKER_PAUSE_S) - 1)]
        self._broker_faults += 1
        self._broker_again_s = time.monotonic() + pause_s
        self._log.error(line, again_s=pause_s, **why)

    def _try_broker(self) -> None:
        """Start the broker again, if its pause is over."""
        if self._broker is None or self._broker_fd is not None or time.monotonic() < self._broker_again_s:
            return
        try:
            self._broker.start(self._logins())
        except BongsuError as err:
            self._put_off_broker("broker.not_started", what=err.message, next=err.next_step or "")
            return
        self._renew_wanted = False
        self._watch_broker()


def _clock_of(store: Store) -> SystemClock | DatabaseClock:
    """The clock that all who use this store agree on."""
    if store.is_sqlite:
        return SystemClock()
    clock = DatabaseClock()
    with store.read() as conn:
        clock.measure(conn)
    return clock


def _spare_the_collector() -> None:
    """What was loaded lives as long as the process: the collector need not look through it in mid-alarm."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _control_socket(data_dir: Path, stack: ExitStack) -> socket.socket:
    """control.sock, bound by way of the folder's descriptor: a socket's address holds only 107 bytes."""
    path = data_dir / SOCKET_NAME
    path.unlink(missing_ok=True)
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        stack.callback(control.close)
        control.bind(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
    finally:
        os.close(folder)
    stack.callback(path.unlink, True)
    path.chmod(0o600)
    control.setblocking(False)
    return control
