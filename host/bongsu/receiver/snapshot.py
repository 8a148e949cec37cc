"""Makes the State out of what the threads keep: reads only, copies before it counts, and never waits for anybody."""

import os
import socket
from collections import Counter
from dataclasses import dataclass

from bongsu.receiver.books import Books
from bongsu.receiver.canary import Canary
from bongsu.receiver.clock import Clock
from bongsu.receiver.incidents import FAULT
from bongsu.receiver.state import (
    BacklogState,
    BrokerState,
    CanaryState,
    CertificateState,
    ClockState,
    DiskState,
    NodesState,
    ReasonState,
    State,
    StoreState,
)
from bongsu.release import this_version


@dataclass(frozen=True)
class Identity:
    """What never changes while the receiver runs."""

    sender: int
    started_ms: int
    version: str
    host: str
    pid: int

    @staticmethod
    def of(sender: int, now_ms: int) -> "Identity":
        """This process's."""
        return Identity(sender, now_ms, this_version(), socket.gethostname(), os.getpid())


@dataclass(frozen=True)
class Findings:
    """What the main thread found out itself."""

    reasons: list[ReasonState]
    broker: BrokerState
    canary: CanaryState
    store: StoreState
    queue: int
    disk: list[DiskState]
    certificates: list[CertificateState]
    log_dropped: int
    readings_dropped: int = 0


def snapshot(identity: Identity, books: Books, clock: Clock, found: Findings) -> State:
    """The picture of this moment."""
    cases = [case for case in list(books.casebook.cases.values())]
    own = [c for c in cases if c.incident.subject == books.downlink.subject and c.incident.class_ == FAULT]
    return {
        "at_ms": clock.now_ms(),
        "started_ms": identity.started_ms,
        "version": identity.version,
        "sender": books.downlink.sender,
        "host": identity.host,
        "pid": identity.pid,
        "ok": not found.reasons,
        "reasons": found.reasons,
        "broker": found.broker,
        "canary": found.canary,
        "store": found.store,
        "backlog": _backlog(books, clock, found.queue),
        "nodes": _nodes(books),
        "incidents": dict(Counter(case.incident.class_ for case in cases)),
        "faults": sorted({name for case in own for names in case.incident.active.values() for name in names}),
        "disk": found.disk,
        "certificates": found.certificates,
        "clock": _clock(books),
        "counters": books.vitals.counters(found.log_dropped, found.readings_dropped),
        "commit": books.vitals.commit.state(),
        "accepted": books.vitals.accepted.state(),
    }


def _backlog(books: Books, clock: Clock, queue: int) -> BacklogState:
    since_ms = books.outbox.oldest_alarm_ms()
    return {
        "queue": queue,
        "deliveries": len(books.outbox),
        "under_way": books.outbox.under_way,
        "oldest_alarm_s": None if since_ms is None else round(max(0, clock.mono_ms() - since_ms) / 1000, 3),
    }


def _nodes(books: Books) -> NodesState:
    return {
        "watched": len(books.liveness),
        "silent": len(books.liveness.silent),
        "silent_sites": books.silent_sites.standing,
    }


def _clock(books: Books) -> ClockState:
    watch = books.clock_watch
    return {"steps": watch.steps, "last_step_ms": watch.last_step_ms, "last_at_ms": watch.last_at_ms}


def canary_state(canary: Canary, last_ms: int | None, renewed: int) -> CanaryState:
    """The canary's part."""
    trip = canary.round_trip_ms
    return {
        "round_trip_ms": None if trip is None else round(trip, 2),
        "last_ms": last_ms,
        "missing": canary.missing,
        "lost": canary.lost,
        "renewed": renewed,
    }
