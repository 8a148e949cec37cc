"""Chaos over the whole of a city's receivers: two of them on one PostgreSQL and a broker of three nodes, each of these
killed, frozen and cut off at seeded moments while alarms flow, and the receivers' clocks stepped by an hour.

At the end each alarm has been one round of its shop's incident, dispatched once by its key, and no dispatch came later
than 15 s after the cure of what was broken. `python -m tests.chaos_cluster --points 60 --seed 7` from the checkout; the
test suite runs a few points. The seed fixes which blow falls when and how long it lasts.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bongsu.errors import BongsuError
from bongsu.receiver.store import schema
from bongsu.sim.hostnode import HostNode
from tests.broker_parts import Cluster
from tests.cluster_parts import Ring, ring
from tests.postgres_parts import Server, serving
from tests.receiver_parts import node_id
from tests.stepped_clock import SteppedClock

UNITS = 6
CURE_S = 15.0
HOUR_MS = 3_600_000
_RECEIPT_S = 60.0
_SETTLE_S = 60.0
_LOOK_S = 0.1
# Between two fires of a shop, and how long a blow lasts, in s.
_PAUSE_S = (0.1, 0.4)
_LASTS_S = (0.5, 6.0)
# Of the nodes with a broker that has stopped answering.
_PATIENCE_S = 3


@dataclass
class Blow:
    """What was done and when; wall-clock s of the machine, which nobody steps."""

    name: str
    began_s: float
    cured_s: float = float("inf")


@dataclass
class Findings:
    """What is wrong at the end; empty if nothing is. `slowest_s`: longest time from a cure until all that
    waited was dispatched and every shop heard."""

    alarms: int = 0
    slowest_s: float = 0.0
    blows: list[Blow] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def fallen(self) -> dict[str, int]:
        """How often each blow fell."""
        return dict(Counter(blow.name.split(" ")[0] for blow in self.blows))


class Shop(threading.Thread):
    """A shop that burns, goes out, burns again, until it is told to stop."""

    def __init__(self, node: HostNode, stop: threading.Event, seed: int) -> None:
        super().__init__(daemon=True)
        self.node, self._stop_wanted, self._chance = node, stop, random.Random(seed)
        self.alarms: list[int] = []
        self.unreceipted: list[int] = []

    def run(self) -> None:
        while not self._stop_wanted.wait(self._chance.uniform(*_PAUSE_S)):
            self.alarms.append(self._told(self.node.alarm()))
            self._told(self.node.restore())

    def _told(self, number: int) -> int:
        if not self.node.wait_receipt(number, _RECEIPT_S):
            self.unreceipted.append(number)
            self._stop_wanted.set()
        return number


class Blows:
    """What can happen; each breaks something and, after a while, cures it."""

    def __init__(self, town: Ring, cluster: Cluster, clock: SteppedClock, chance: random.Random) -> None:
        self._town, self._cluster, self._clock, self._chance = town, cluster, clock, chance
        self.struck: list[Blow] = []
        self._kinds: tuple[Callable[[], tuple[str, Callable[[], object]]], ...] = (
            self._kill_receiver,
            self._freeze_receiver,
            self._cut_receiver,
            self._kill_broker,
            self._freeze_broker,
            self._cut_broker,
            self._kill_database,
            self._freeze_database,
            self._cut_database,
            self._step_clock,
        )
        self._order: list[Callable[[], tuple[str, Callable[[], object]]]] = []

    def strike(self) -> Blow:
        """One blow and its cure. Every kind falls before one falls again."""
        if not self._order:
            self._order = self._chance.sample(self._kinds, len(self._kinds))
        lasts_s = self._chance.uniform(*_LASTS_S)
        began_s = time.time()
        name, cure = self._order.pop()()
        blow = Blow(name, began_s)
        self.struck.append(blow)
        try:
            time.sleep(lasts_s)  # how long it is broken
        finally:
            cure()
            blow.cured_s = time.time()
        return blow

    def _receiver(self) -> int:
        return self._chance.randrange(len(self._town.receivers))

    def _kill_receiver(self) -> tuple[str, Callable[[], object]]:
        i = self._receiver()
        self._town.receivers[i].kill()
        return f"kill_receiver {i}", lambda: self._town.start(i)

    def _freeze_receiver(self) -> tuple[str, Callable[[], object]]:
        i = self._receiver()
        self._town.freeze(i)
        return f"freeze_receiver {i}", lambda: self._town.thaw(i)

    def _cut_receiver(self) -> tuple[str, Callable[[], object]]:
        link = self._town.links[i := self._receiver()]
        link.freeze()
        return f"cut_receiver {i}", link.restore

    def _member(self) -> str:
        return self._chance.choice(self._cluster.NAMES)

    def _kill_broker(self) -> tuple[str, Callable[[], object]]:
        name = self._member()
        self._cluster.members[name].kill()
        return f"kill_broker {name}", self._cluster.members[name].start

    def _freeze_broker(self) -> tuple[str, Callable[[], object]]:
        name = self._member()
        self._cluster.members[name].freeze()
        return f"freeze_broker {name}", self._cluster.members[name].thaw

    def _cut_broker(self) -> tuple[str, Callable[[], object]]:
        name = self._member()
        self._cluster.cut(name)
        return f"cut_broker {name}", lambda: self._cluster.mend(name)

    def _kill_database(self) -> tuple[str, Callable[[], object]]:
        self._town.server.kill()
        return "kill_database", self._town.server.start

    def _freeze_database(self) -> tuple[str, Callable[[], object]]:
        self._town.server.freeze()
        return "freeze_database", self._town.server.thaw

    def _cut_database(self) -> tuple[str, Callable[[], object]]:
        for link in self._town.links:
            link.cut()
        return "cut_database", self._restore_all

    def _restore_all(self) -> None:
        for link in self._town.links:
            link.restore()

    def _step_clock(self) -> tuple[str, Callable[[], object]]:
        ms = self._chance.choice((HOUR_MS, -HOUR_MS))
        self._clock.step(ms)
        return f"step_clock {ms}", lambda: self._clock.step(-ms)


def storm(folder: Path, server: Server, points: int, seed: int, tell: bool = False) -> Findings:
    """Run `points` blows while every shop burns and goes out; judge what came of it."""
    clock = SteppedClock(folder / "clock")
    cluster = Cluster(folder / "nats")
    more: dict[str, Any] = {"make_broker": lambda _: cluster, "launch": clock.launch, "patience_s": _PATIENCE_S}
    with ring(folder, server, units=UNITS, count=2, **more) as town:
        chance, stop = random.Random(seed), threading.Event()
        shops = [Shop(node, stop, seed + i) for i, node in enumerate(town.nodes)]
        blows = Blows(town, cluster, clock, chance)
        for shop in shops:
            shop.start()
        found = Findings(blows=blows.struck)
        try:
            for point in range(points):
                if stop.is_set():
                    break
                blow = blows.strike()
                _await_cured(town, shops, found, blow)
                if tell:
                    lasted = f"{blow.name} for {blow.cured_s - blow.began_s:.1f} s"
                    print(f"{point + 1}/{points} {lasted}, {sum(len(s.alarms) for s in shops)} alarms", flush=True)
        finally:
            stop.set()
            for shop in shops:
                shop.join(_RECEIPT_S + 5)
        _settle(town, found)
        _judge(town, shops, found)
        if found.wrong and tell:
            print(town.said())
        return found


def _await_cured(town: Ring, shops: list[Shop], found: Findings, blow: Blow) -> None:
    """Until every shop has been heard again, and all that waited at the cure has arrived."""
    before = [len(s.alarms) for s in shops]
    waiting: list[str] = ["not looked yet"]
    while waiting and time.time() < blow.cured_s + CURE_S:
        time.sleep(_LOOK_S)
        heard = zip(shops, before, strict=True)
        waiting = [f"shop {s.node.node} is not heard" for s, then in heard if len(s.alarms) <= then]
        waiting += _undelivered(town, round(blow.cured_s * 1000))
    found.slowest_s = max(found.slowest_s, time.time() - blow.cured_s)
    found.wrong += [f"{CURE_S} s after {blow.name}: {what}" for what in waiting]


def _undelivered(town: Ring, before_ms: int) -> list[str]:
    """Reports to the station that are older than this and have not arrived."""
    table = schema.delivery
    late = select(table.c.id, table.c.purpose, table.c.state, table.c.last_error).where(
        table.c.state == "pending", table.c.channel == "webhook", table.c.created_ms < before_ms
    )
    try:
        with town.store.read() as conn:
            return [f"delivery {r.id} ({r.purpose}) is {r.state}: {r.last_error}" for r in conn.execute(late)]
    except BongsuError as err:  # this process's own connections ended with the database
        return [err.message]


def _settle(town: Ring, found: Findings) -> None:
    """Until no delivery is under way."""
    end = time.monotonic() + _SETTLE_S
    while waiting := [d for d in town.rows(schema.delivery) if d.state in ("pending", "sent")]:
        if time.monotonic() > end:
            found.wrong += [f"delivery {d.id} ({d.purpose} to {d.recipient}) is still {d.state}" for d in waiting]
            return
        time.sleep(_LOOK_S)


def _judge(town: Ring, shops: list[Shop], found: Findings) -> None:
    """Each alarm: one event, one round, one key."""
    raised = {(s.node.node, number) for s in shops for number in s.alarms}
    found.alarms = len(raised)
    events = Counter((e.node_id, e.number) for e in town.rows(schema.event) if e.kind == "alarm")
    found.wrong += [f"no receipt for {s.node.node} event {n}" for s in shops for n in s.unreceipted]
    found.wrong += [f"alarm {key} is in the store {events[key]} times" for key in raised if events[key] != 1]
    found.wrong += [f"event {key} was never raised" for key in events if key not in raised]
    incidents = [i for i in town.rows(schema.incident) if i.class_ == "fire"]
    by_subject = {i.subject: i for i in incidents}
    if len(incidents) != len(shops):
        found.wrong.append(f"{len(incidents)} fire incidents for {len(shops)} shops")
    reports = {r["id"]: r for r in town.reports()}
    told = {(d.incident_id, d.round): d for d in town.rows(schema.delivery) if _is_dispatch(d)}
    if len(told) != len(raised) or sum(_is_dispatch(d) for d in town.rows(schema.delivery)) != len(raised):
        found.wrong.append(f"{len(told)} dispatches for {len(raised)} alarms")
    for i, shop in enumerate(shops):
        assert shop.node.node == node_id(i)
        incident = by_subject.get(f"unit:hannae/u-{i}")
        if incident is None or incident.round != len(shop.alarms):
            found.wrong.append(f"shop {i}: {len(shop.alarms)} alarms in {incident and incident.round} rounds")
            continue
        for n, number in enumerate(shop.alarms):
            _judge_dispatch(found, f"shop {i} event {number}", told.get((incident.id, n + 1)), reports)


def _is_dispatch(row: Any) -> bool:
    return bool(row.recipient == "responder:station-0" and row.purpose == "alarm")


def _judge_dispatch(found: Findings, what: str, row: Any, reports: dict[str, Any]) -> None:
    if row is None or row.state != "accepted" or row.idempotency_key not in reports:
        found.wrong.append(f"{what}: dispatch {row and row.state}, not at the station")
        return


def main(arguments: list[str]) -> int:
    """The command; 1 if an alarm was lost, counted twice, or late."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=60, help="blows (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock; it is printed")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else int(time.time())
    print(f"seed {seed}, pid {os.getpid()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bongsu-chaos-") as folder, serving() as server:
        found = storm(Path(folder), server, options.points, seed, tell=True)
    print(f"{found.alarms} alarms, {found.fallen()}")
    print(f"all dispatched and every shop heard at most {found.slowest_s:.1f} s after a cure")
    for line in found.wrong:
        print(f"WRONG: {line}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
