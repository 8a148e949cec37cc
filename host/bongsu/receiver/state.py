"""The receiver's state: what it counts, and one picture of it a second for the console, /healthz and /metrics.

Whoever does the work counts it in `Vitals`: plain numbers, each written by one thread, read by the main thread, which
makes a `State` of them. A State is plain JSON; it names nobody: no people, no phone numbers, no secrets.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypedDict

# Upper ends in ms; the last, open class is implied.
COMMIT_BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
ACCEPTED_BOUNDS_MS = (5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000)


class HistogramState(TypedDict):
    """How long something took. `counts` has one more than `bounds_ms` (upper ends): what took longer than the last."""

    bounds_ms: list[int]
    counts: list[int]
    sum_ms: int


class ReasonState(TypedDict):
    """Something that is wrong now: its name, in words, and what to do."""

    name: str
    what: str
    next: str


class BrokerState(TypedDict):
    """The receiver's link to its broker. `since_ms`: UTC, when it came up or went down."""

    connected: bool
    mode: str  # "embedded", "external"
    host: str
    port: int
    since_ms: int


class CanaryState(TypedDict):
    """The message that the receiver sends itself through the broker."""

    round_trip_ms: float | None
    last_ms: int | None  # UTC, when the last one came back
    missing: int  # in a row
    lost: bool  # two or more: a fault
    renewed: int  # sessions begun anew since the start


class StoreState(TypedDict):
    """The database, and the writer's work on it."""

    ok: bool
    engine: str  # "sqlite", "postgresql"
    last_commit_ms: int | None  # UTC
    writer_stuck_s: float  # since the writer last ended a turn, while something waits; 0.0: it works


class BacklogState(TypedDict):
    """What waits."""

    queue: int  # for the writer
    deliveries: int  # not done
    under_way: int  # with the relay
    oldest_alarm_s: float | None  # the oldest alarm that nobody has accepted yet


class NodesState(TypedDict):
    """Nodes in service. `silent` counts those in silent sites too."""

    watched: int
    silent: int
    silent_sites: list[str]


class DiskState(TypedDict):
    """One file system. `what`: "data" or "store"."""

    what: str
    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int


class CertificateState(TypedDict):
    """One certificate. `days`: left; None if it cannot be read. `problem`: "" if it is good."""

    what: str  # "server", "ca", "broker", "responder:<id>"
    days: float | None
    problem: str


class ClockState(TypedDict):
    """Steps of the machine's clock since the start of the receiver."""

    steps: int
    last_step_ms: int  # how far (+: forward)
    last_at_ms: int | None  # UTC after it


class CountersState(TypedDict):
    """Counted since the start of the receiver."""

    events: dict[str, int]  # by kind: "alarm", "restore", ...
    heartbeats: int
    readings: int  # of the air, taken in
    readings_dropped: int  # there was no room for them
    refused: dict[str, int]  # frames, by reason
    deliveries: dict[str, dict[str, int]]  # channel -> state ("accepted", "retry", ...) -> how many
    receipts: int
    incidents: dict[str, int]  # opened or begun anew, by class
    log_dropped: int


class State(TypedDict):
    """The whole picture."""

    at_ms: int  # UTC, when it was made
    started_ms: int
    version: str
    sender: int
    host: str
    pid: int
    ok: bool  # no reason below: fit to receive and to tell alarms
    reasons: list[ReasonState]
    broker: BrokerState
    canary: CanaryState
    store: StoreState
    backlog: BacklogState
    nodes: NodesState
    incidents: dict[str, int]  # open ones, by class: "fire", "co_gas", "fault", "care", "exercise"
    faults: list[str]  # of the receiver itself, that stand
    disk: list[DiskState]
    certificates: list[CertificateState]
    clock: ClockState
    counters: CountersState
    commit: HistogramState  # from arrival at the receiver to the commit, of events
    accepted: HistogramState  # from commit to the other side's acceptance, of alarms


class Histogram:
    """Counts spans by their length."""

    def __init__(self, bounds_ms: tuple[int, ...]) -> None:
        self._bounds_ms = bounds_ms
        self._counts = [0] * (len(bounds_ms) + 1)
        self._sum_ms = 0

    def add(self, ms: int) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds_ms, ms)] += 1
        self._sum_ms += ms

    def state(self) -> HistogramState:
        """As it is now."""
        return {"bounds_ms": list(self._bounds_ms), "counts": list(self._counts), "sum_ms": self._sum_ms}


@dataclass(slots=True)
class Vitals:
    """What the data path counts, in the writer's thread."""

    events: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)
    incidents: Counter[str] = field(default_factory=Counter)
    heartbeats: int = 0
    readings: int = 0  # taken in
    readings_kept: int = 0  # stored, each once
    readings_dropped: int = 0  # there was no room, or no time
    receipts: int = 0
    commit: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS_MS))
    accepted: Histogram = field(default_factory=lambda: Histogram(ACCEPTED_BOUNDS_MS))

    def happened(self, line: str, fields: dict[str, Any]) -> None:
        """Count by a line of the log: each is written once, after the commit of what it tells."""
        if line == "event.committed":
            self.events[fields["kind"]] += 1
            self.commit.add(max(0, fields["commit_ms"]))
        elif line == "incident.opened":
            self.incidents[fields["class"]] += 1
        elif line == "receipt.sent":
            self.receipts += 1
        elif line.startswith("delivery.") and "channel" in fields:
            self.deliveries[fields["channel"], line[9:]] += 1
            if line == "delivery.accepted" and fields["purpose"] == "alarm":
                self.accepted.add(fields["after_ms"])

    def counters(self, log_dropped: int, readings_dropped: int = 0) -> CountersState:
        """As they are now; from any thread. `readings_dropped`: before they came to the writer."""
        deliveries: dict[str, dict[str, int]] = {}
        for (channel, state), count in sorted(dict(self.deliveries).items()):
            deliveries.setdefault(channel, {})[state] = count
        return {
            "events": dict(self.events),
            "heartbeats": self.heartbeats,
            "readings": self.readings,
            "readings_dropped": self.readings_dropped + readings_dropped,
            "refused": dict(self.refused),
            "deliveries": deliveries,
            "receipts": self.receipts,
            "incidents": dict(self.incidents),
            "log_dropped": log_dropped,
        }
