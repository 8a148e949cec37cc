"""Chaos: the receiver is killed at random moments while alarms flow; at the end each alarm has counted exactly once.

`python -m tests.chaos --points 200 --seed 7` from the checkout; the test suite runs 20 points. The seed fixes which
blow falls after which pause; what it hits differs from run to run, which is the point.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bongsu.receiver.store import schema
from bongsu.sim.hostnode import HostNode
from tests.receiver_parts import Hall, ask, hall

UNITS = 8
SETTLE_S = 90.0
_RECEIPT_S = 60.0
_LOOK_S = 0.05
# A blow falls so long after the receiver has begun to commit again: somewhere on the alarms' way through it.
_PAUSE_MAX_S = 0.25
# Beside the receiver's own deaths: one blow in so many is another one.
_OTHER_EVERY = 5


@dataclass
class Findings:
    """What is wrong at the end; empty if nothing is. `alarms`: how many were raised; `blows`: what fell."""

    alarms: int = 0
    again: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Shop(threading.Thread):
    """A shop that burns, goes out, burns again, until it is told to stop. Its node waits for each receipt."""

    def __init__(self, node: HostNode, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.node, self._stop_wanted = node, stop
        self.alarms: list[int] = []
        self.unreceipted: list[int] = []

    def run(self) -> None:
        while not self._stop_wanted.is_set():
            self.alarms.append(self._told(self.node.alarm()))
            self._told(self.node.restore())

    def _told(self, number: int) -> int:
        if not self.node.wait_receipt(number, _RECEIPT_S):
            self.unreceipted.append(number)
            self._stop_wanted.set()
        return number


class Blows:
    """What can happen to the receiver."""

    def __init__(self, town: Hall, chance: random.Random) -> None:
        self._town, self._chance = town, chance
        self.fallen: Counter[str] = Counter()
        self._seen = 0  # lines of the present receiver's log that are from before the last blow

    def strike(self, point: int) -> None:
        """One blow while alarms flow, and up again."""
        self._town.receiver.wait_for("event.committed", since=self._seen)
        time.sleep(self._chance.uniform(0, _PAUSE_MAX_S))  # the moment of the blow, not a wait for anything
        others = (self.kill_broker, self.freeze_broker, self.stop_and_start, self.station_away)
        blow = self._chance.choice(others) if point % _OTHER_EVERY == _OTHER_EVERY - 1 else self.kill
        self.fallen[blow.__name__] += 1
        blow()
        self._seen = len(self._town.receiver.lines) if blow == self.kill_broker else 0

    def kill(self) -> None:
        """kill -9 of the receiver; its broker goes with it."""
        self._town.kill_receiver()
        self._town.start_receiver()

    def stop_and_start(self) -> None:
        """SIGTERM: it drains and ends by itself."""
        assert self._town.stop_receiver() == 0
        self._town.start_receiver()

    def _broker(self) -> psutil.Process:
        children = psutil.Process(self._town.receiver.process.pid).children(recursive=True)
        return next(c for c in children if "nats-server" in c.name())

    def kill_broker(self) -> None:
        """kill -9 of the broker; the receiver starts another."""
        mark = len(self._town.receiver.lines)
        self._broker().kill()
        self._town.receiver.wait_for("mqtt.up", since=mark)

    def freeze_broker(self) -> None:
        """The broker stands still for a while, and then the receiver dies too."""
        broker = self._broker()
        broker.send_signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.2, 1.0))  # how long it stands still
        broker.send_signal(signal.SIGCONT)
        self.kill()

    def station_away(self) -> None:
        """The station gives no answer to the next reports, then answers one twice; the receiver dies meanwhile."""
        ask(self._town.station_port, "/faults", {"mode": "down", "n": 3})
        self.kill()
        ask(self._town.station_port, "/faults", {"mode": "twice", "n": 1})


def storm(folder: Path, points: int, seed: int, tell: bool = False) -> Findings:
    """Run `points` blows while every shop burns and goes out; judge what came of it."""
    with hall(folder, UNITS) as town:
        stop = threading.Event()
        shops = [Shop(node, stop) for node in town.nodes]
        blows = Blows(town, random.Random(seed))
        for shop in shops:
            shop.start()
        try:
            for point in range(points):
                if stop.is_set():
                    break
                blows.strike(point)
                if tell:
                    print(f"{point + 1}/{points} {sum(len(s.alarms) for s in shops)} alarms", file=sys.stderr)
        finally:
            stop.set()
            for shop in shops:
                shop.join(_RECEIPT_S + 5)
        settled = _settle(town)
        found = judge(town, shops)
        found.blows = blows.fallen
        found.wrong += settled
        return found


def _settle(town: Hall) -> list[str]:
    """Wait until no delivery is under way; what is left, if they do not end."""
    end = time.monotonic() + SETTLE_S
    while True:
        waiting = [r for r in town.rows(schema.delivery) if r.state in ("pending", "sent")]
        if not waiting:
            return []
        if time.monotonic() > end:
            return [f"delivery {r.id} ({r.purpose} to {r.recipient}) is still {r.state}" for r in waiting]
        time.sleep(_LOOK_S)


def judge(town: Hall, shops: list[Shop]) -> Findings:
    """Each alarm: one event, one round of one incident, one key at each responder, all of them arrived."""
    found = Findings(alarms=sum(len(s.alarms) for s in shops))
    events = Counter((e.node_id, e.number) for e in town.rows(schema.event) if e.kind == "alarm")
    raised = Counter((s.node.node, number) for s in shops for number in s.alarms)
    found.wrong += [f"no receipt for {s.node.node} event {n}" for s in shops for n in s.unreceipted]
    found.wrong += [f"alarm {key} is in the store {events[key]} times" for key in raised if events[key] != 1]
    found.wrong += [f"event {key} was never raised" for key in events if key not in raised]
    incidents = {i.subject: i for i in town.rows(schema.incident) if i.class_ == "fire"}
    fires = sum(1 for i in town.rows(schema.incident) if i.class_ == "fire")
    if fires != len(shops):
        found.wrong.append(f"{fires} fire incidents for {len(shops)} shops")
    for i, shop in enumerate(shops):
        incident = incidents.get(f"unit:hannae/u-{i}")
        if incident is None or incident.round != len(shop.alarms):
            rounds = None if incident is None else incident.round
            found.wrong.append(f"shop {i} raised {len(shop.alarms)} alarms in {rounds} rounds")
    _judge_deliveries(town, found, len(raised))
    return found


def _judge_deliveries(town: Hall, found: Findings, alarms: int) -> None:
    """Every alarm's delivery arrived; the station counts as many keys as the store does, and none twice."""
    rows = town.rows(schema.delivery)
    for path in ("/station", "/centre"):
        reports = {r["id"]: r for r in town.reports(path)}
        mine = [r for r in rows if r.recipient == f"responder:{path[1:]}-0"]
        told = [r for r in mine if r.purpose == "alarm"]
        found.again += sum(r["times"] - 1 for r in reports.values())
        if len(told) != alarms or {r.state for r in told} - {"accepted"}:
            found.wrong.append(f"{path}: {len(told)} alarm deliveries, {Counter(r.state for r in told)}")
        if missing := [r.id for r in told if r.idempotency_key not in reports]:
            found.wrong.append(f"{path}: deliveries {missing} are accepted, but the station never saw them")
        got = [r for r in reports.values() if r["body"]["type"] == "bongsu.fire.alarm"]
        if len(got) != alarms:
            found.wrong.append(f"{path}: {len(got)} alarm keys for {alarms} alarms")
        if unknown := set(reports) - {r.idempotency_key for r in mine}:
            found.wrong.append(f"{path}: keys that are not in the store: {unknown}")
    texts = [r for r in rows if r.purpose == "alarm" and r.channel == "sms"]
    if len(texts) != alarms or {r.state for r in texts} != {"delivered"}:
        found.wrong.append(f"{len(texts)} texts for {alarms} alarms, {Counter(r.state for r in texts)}")


def main(arguments: list[str]) -> int:
    """The command; 1 if an alarm was lost or counted twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=200, help="blows (default 200)")
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock; it is printed")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else int(time.time())
    print(f"seed {seed}, pid {os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="bongsu-chaos-") as folder:
        found = storm(Path(folder), options.points, seed, tell=True)
    print(f"{found.alarms} alarms, {dict(found.blows)}, {found.again} reports came again under their key")
    for line in found.wrong:
        print(f"WRONG: {line}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
