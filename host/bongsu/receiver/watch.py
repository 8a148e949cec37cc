"""The receiver's watch over itself: what the main thread does once a second beside waiting.

It sends the canary, sees whether the other threads move, asks the lookouts, tells the writer which faults stand, feeds
systemd's watchdog, and makes the picture of the receiver's state. It never waits for what it watches.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import update

from bongsu.receiver import backlog, certificate_watch, disk, reasons
from bongsu.receiver.backlog import Lasting, Progress
from bongsu.receiver.canary import Canary
from bongsu.receiver.clock import Clock
from bongsu.receiver.config import Config
from bongsu.receiver.log import Log
from bongsu.receiver.lookout import Lookout
from bongsu.receiver.mqtt_edge import MqttEdge
from bongsu.receiver.own_faults import Standing
from bongsu.receiver.snapshot import Findings, Identity, canary_state, snapshot
from bongsu.receiver.state import CertificateState, DiskState, State
from bongsu.receiver.store import Store, changes, schema
from bongsu.receiver.systemd import Notifier
from bongsu.receiver.writer import Writer

EVERY_S = 1.0
DISK_EVERY_S, CERTIFICATES_EVERY_S = 30.0, 3600.0
# systemd is let start us anew only if these did not move for so long. The writer may wait for the store's lock, paho's
# thread for a name server and then for a connection.
WRITER_PATIENCE_S, EDGE_PATIENCE_S, RELAY_PATIENCE_S = 45.0, 120.0, 45.0
# A link that was lost for less is a blip.
_LINK_FOR_S = 5.0


class Tick:
    """Put to the writer once a second: it has something to do, so that a writer that stands still is seen."""


class _Relay(Protocol):
    looked_s: float


@dataclass
class Parts:
    """What is watched. `remove_session`: ends a session at the broker, by its client id."""

    config: Config
    store: Store
    writer: Writer
    edge: MqttEdge
    relay: _Relay
    clock: Clock
    log: Log
    sender: int
    client_id: str
    address: tuple[str, int]
    remove_session: Callable[[str], None]


class Watch:
    """Use it from the main thread; `link`, `canary_seen` and `state` from any."""

    def __init__(self, parts: Parts, notifier: Notifier) -> None:
        config = parts.config
        self._parts, self._notifier = parts, notifier
        self._identity = Identity.of(parts.sender, parts.clock.now_ms())
        now_s = time.monotonic()
        self._due_s = now_s
        self._canary = Canary()
        self._nonce = secrets.token_hex(8)
        self._canary_ms: int | None = None
        self._renewed = 0
        self._renewing: threading.Thread | None = None
        self._up, self._link_ms, self._link_s = False, parts.clock.now_ms(), now_s
        self._writer, self._edge, self._relay = Progress(now_s), Progress(now_s), Progress(now_s)
        self._queue_long = Lasting(backlog.QUEUE_FOR_S, backlog.STANDS_S)
        self._stuck = Lasting(0.0, backlog.STANDS_S)
        self._told: dict[str, tuple[str, ...]] = {}
        self._state: State | None = None
        places = disk.places(config)
        self._disk: Lookout[list[DiskState]] = Lookout(lambda: disk.measure(places), [], DISK_EVERY_S)
        self._certificates: Lookout[list[CertificateState]] = Lookout(
            self._look_at_certificates, [], CERTIFICATES_EVERY_S
        )

    def start(self) -> None:
        """The parts run."""
        self._disk.start()
        self._certificates.start()
        self._notifier.ready()

    def close(self) -> None:
        """The end begins."""
        self._notifier.stopping()
        self._disk.close()
        self._certificates.close()

    # ---- from other threads

    def link(self, up: bool) -> None:
        """The broker can be heard, or no longer."""
        self._up, self._link_ms, self._link_s = up, self._parts.clock.now_ms(), time.monotonic()

    def canary_seen(self, data: bytes) -> None:
        """A canary came back; those of an earlier process say nothing."""
        nonce, _, number = data.decode("ascii", "replace").partition(" ")
        if nonce == self._nonce and number.isdigit():
            self._canary_ms = self._parts.clock.now_ms()
            self._canary.heard(int(number), time.monotonic() * 1000)

    def unserved_s(self) -> float:
        """For how long the broker has not proved that it serves the receiver; 0.0: nothing is owed."""
        since_ms = self._canary.owed_since_ms
        if since_ms is None or (self._up and self._parts.edge.canary_refused):
            return 0.0
        return max(0.0, time.monotonic() - since_ms / 1000)

    def state(self) -> State | None:
        """The newest picture; None: there is none yet."""
        return self._state

    # ---- the main thread

    def wait_s(self) -> float:
        """How long until the next look."""
        return max(0.0, self._due_s - time.monotonic())

    def look(self) -> None:
        """Look at everything, if it is time."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = max(self._due_s + EVERY_S, now_s + EVERY_S / 2)
        self._fly(now_s)
        stuck_s = self._moves(now_s)
        names = self._find(now_s, stuck_s)
        self._state = self._picture(names, stuck_s)
        self._notifier.status(_status(self._state))

    def _fly(self, now_s: float) -> None:
        edge = self._parts.edge
        act = self._canary.look(now_s * 1000, self._up and not edge.canary_refused)
        if act == "send":
            edge.send_canary(f"{self._nonce} {self._canary.number}".encode())
        elif act == "renew" and (self._renewing is None or not self._renewing.is_alive()):
            self._renewing = threading.Thread(target=self._renew, name="renew", daemon=True)
            self._renewing.start()

    def _renew(self) -> None:
        """Begin a new session under a new client id: stored first, so that the next start knows it as well."""
        parts, old_id = self._parts, self._parts.client_id
        parts.client_id = f"r-{secrets.token_urlsafe(16)}"
        parts.log.error("canary.lost", what=reasons.WORDS[reasons.CANARY_LOST][0], act="new session")
        try:
            with parts.store.write() as conn:
                mine = schema.receiver.c.sender == parts.sender
                conn.execute(update(schema.receiver).where(mine).values(mqtt_client_id=parts.client_id))
                changes.note(conn, "receiver", parts.sender)
            parts.edge.renew_session(parts.client_id)
            self._renewed += 1
            parts.remove_session(old_id)
        except Exception as err:  # the fault stands, and this is tried again; the receiver must go on
            parts.log.error("canary.not_renewed", error=repr(err))

    def _moves(self, now_s: float) -> float:
        """Watch the threads, and feed systemd's watchdog if all of them move. Returns how long the writer has not."""
        parts = self._parts
        stuck_s = self._writer.stuck_s(parts.writer.turns, now_s)
        if parts.writer.waiting == 0 or stuck_s == 0.0:
            parts.writer.put(Tick())
        alive = (
            stuck_s < WRITER_PATIENCE_S
            and self._edge.stuck_s(parts.edge.looked_s, now_s) < EDGE_PATIENCE_S
            and self._relay.stuck_s(parts.relay.looked_s, now_s) < RELAY_PATIENCE_S
        )
        if alive:
            self._notifier.alive()
        return stuck_s

    def _find(self, now_s: float, stuck_s: float) -> list[str]:
        """The names of what is wrong now; the writer is told of what is a fault of the receiver."""
        limits = self._parts.config.supervision
        by_source = {
            "canary": (reasons.CANARY_LOST,) if self._canary.lost else (),
            backlog.WRITER: self._lasts(self._stuck, stuck_s >= backlog.STUCK_AFTER_S, backlog.WRITER_STUCK, now_s),
            backlog.BACKLOG: self._lasts(
                self._queue_long, self._parts.writer.waiting > limits.queue_max, backlog.QUEUE_LONG, now_s
            ),
        }
        if self._disk.found or self._disk.hangs:
            by_source[disk.DISK] = (disk.DISK_MUTE,) if self._disk.hangs else disk.faults(self._disk.found, limits)
        if self._certificates.found:
            found = self._all_certificates()
            by_source[certificate_watch.CERTIFICATE] = certificate_watch.faults(found, limits.certificate_days)
        for source, names in by_source.items():
            if self._told.get(source) != names:
                self._told[source] = names
                self._parts.writer.put(Standing(source, names))
        return self._link_and_store(now_s) + [name for names in by_source.values() for name in names]

    def _lasts(self, lasting: Lasting, holds: bool, name: str, now_s: float) -> tuple[str, ...]:
        return (name,) if lasting.look(holds, now_s) else ()

    def _link_and_store(self, now_s: float) -> list[str]:
        names = []
        if not self._up and now_s - self._link_s >= _LINK_FOR_S:
            names.append(reasons.BROKER_AWAY)
        if not self._parts.writer.store_ok:
            names.append(reasons.STORE_FAILED)
        return names

    def _look_at_certificates(self) -> list[CertificateState]:
        parts = self._parts
        return certificate_watch.look(parts.config.data_dir / "ca", parts.clock.now_ms())

    def _all_certificates(self) -> list[CertificateState]:
        """Our own, and the broker's where it is another's."""
        end = self._parts.edge.broker_not_after
        if end is None or self._parts.config.broker.mode == "embedded":
            return self._certificates.found
        return [*self._certificates.found, certificate_watch.peer("broker", end, self._parts.clock.now_ms())]

    def _picture(self, names: list[str], stuck_s: float) -> State:
        parts = self._parts
        host, port = parts.address
        found = Findings(
            reasons=[reasons.reason(name) for name in names if name in reasons.SEVERE],
            broker={
                "connected": self._up,
                "mode": parts.config.broker.mode,
                "host": host,
                "port": port,
                "since_ms": self._link_ms,
            },
            canary=canary_state(self._canary, self._canary_ms, self._renewed),
            store={
                "ok": parts.writer.store_ok,
                "engine": parts.store.engine.dialect.name,
                "last_commit_ms": parts.writer.committed_ms,
                "writer_stuck_s": round(stuck_s, 1) if stuck_s >= 2 * EVERY_S else 0.0,
            },
            queue=parts.writer.waiting,
            disk=self._disk.found,
            certificates=self._all_certificates(),
            log_dropped=parts.log.dropped,
            readings_dropped=parts.edge.readings_dropped,
        )
        return snapshot(self._identity, parts.writer.books, parts.clock, found)


def _status(state: State) -> str:
    """One line for `systemctl status`; it changes only when something does."""
    if state["reasons"]:
        return "not fit: " + "; ".join(reason["what"] for reason in state["reasons"])
    alarms = sum(count for class_, count in state["incidents"].items() if class_ != "fault")
    return f"{state['nodes']['watched']} nodes, {state['nodes']['silent']} silent, {alarms} alarms open"
