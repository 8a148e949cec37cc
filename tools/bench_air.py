"""Readings of the air: bytes a reading in the store, and how many a second are taken in beside alarms.

    python tools/bench_air.py [--json] [--nodes 3000] [--rate 1437] [--seconds 20]

Size: a week of a node's readings a minute (six quantities that wander as rooms do, with noise), as the receiver writes
them, in an SQLite file of their own; bytes of the file (as written, not vacuumed) divided by readings, and of hours and
days by their number. Time: the real receiver on a broker and a station as in bench_path.py takes 50 alarms/s, first
alone, then with `rate` readings/s from all nodes (1,437/s: 86,221 homes, one a minute), sent by a process of its own.
Alarm latency is from the publisher's call to the station's answer. What is dropped is counted by the receiver.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import paho.mqtt.client as mqtt
from bench_market import Alarm, make, node_id, open_of
from bench_path import BenchError, Figures, Phase, Program, Publisher, measure, peers, wait_for_keys
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import func, select

from bongsu.receiver.air import pack
from bongsu.receiver.air.pack import Sample
from bongsu.receiver.air.shelf import DAYS, HOURS, RAW, Shelf
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master, usable_keys
from bongsu.receiver.store import Store, open_store, schema
from bongsu_wire import frame, kinds, measured, topics
from bongsu_wire.ccm import CcmKey

ALARMS_PER_S = 50
T0_S = 1_800_000_000
# Quantity: (begin, lowest, highest, step of the wandering, noise), wire values.
ROOM = {
    kinds.Q_TEMP_DK: (2942, 2832, 3052, 1, 1),
    kinds.Q_HUMIDITY_HALF: (90, 40, 180, 1, 1),
    kinds.Q_CO_DPPM: (5, 0, 90, 1, 2),
    kinds.Q_PM25_DUG: (150, 10, 1200, 6, 12),
    kinds.Q_PM10_DUG: (260, 20, 2000, 8, 20),
    kinds.Q_CO2_PPM: (650, 400, 2500, 12, 9),
}


@dataclass(frozen=True)
class Size:
    """Of `count` readings, hours or days of one node: bytes of the file each takes, and bytes of packs alone."""

    what: str
    count: int
    file_bytes_each: float
    pack_bytes_each: float
    city_gb: float  # 86,221 nodes for as long as they are kept by default


@dataclass(frozen=True)
class Intake:
    """What became of the readings."""

    sent: int
    stored: int
    seconds: float
    stored_per_s: float


class Room:
    """A room's air, seeded."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._now = {code: begin for code, (begin, *_) in ROOM.items()}

    def next(self) -> dict[int, int]:
        """The means of the next minute."""
        made = {}
        for code, (_, low, high, step, noise) in ROOM.items():
            here = self._now[code] + self._chance.randint(-step, step)
            self._now[code] = min(high, max(low, here))
            made[code] = max(0, self._now[code] + self._chance.randint(-noise, noise))
        return made


def sizes(folder: Path, nodes: int = 40, days: int = 7) -> list[Size]:
    """Write so many nodes' days, ten minutes at a time, and look at the file."""
    store = open_store(f"sqlite:///{folder / 'size.db'}")
    try:
        empty = _file_bytes(store)
        rooms = [Room(i) for i in range(nodes)]
        with store.write() as conn:
            shelf = Shelf(conn)
        for begin in range(0, days * 1440, 10):
            taken = {node_id(i): [_sample(room, begin + m, i) for m in range(10)] for i, room in enumerate(rooms)}
            with store.write() as conn:
                shelf.put(conn, taken, {node: ZoneInfo("Asia/Seoul") for node in taken})
        whole = _file_bytes(store) - empty
        packs = {level: _pack_bytes(store, level) for level in (RAW, HOURS, DAYS)}
    finally:
        store.close()
    in_all = sum(packs.values())
    kept = {RAW: 7 * 1440, HOURS: 365 * 24, DAYS: 1825}
    counts = {RAW: nodes * days * 1440, HOURS: nodes * days * 24, DAYS: nodes * (days + 1)}
    names = {RAW: "reading", HOURS: "hour", DAYS: "day"}
    return [
        Size(names[level], counts[level], round(whole * packs[level] / in_all / counts[level], 2),
             round(packs[level] / counts[level], 2),
             round(whole * packs[level] / in_all / counts[level] * kept[level] * 86_221 / 1e9, 1))
        for level in (RAW, HOURS, DAYS)
    ]  # fmt: skip


def _sample(room: Room, minute: int, i: int) -> Sample:
    return Sample(T0_S + 60 * minute + i, (minute * 3) & 0xFFFF, 60, tuple(sorted(room.next().items())))


def _file_bytes(store: Store) -> int:
    with store.read() as conn:
        pages, free, size = (
            conn.exec_driver_sql(f"PRAGMA {p}").scalar_one() for p in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def _pack_bytes(store: Store, level: int) -> int:
    c = schema.air_pack.c
    with store.read() as conn:
        return int(conn.execute(select(func.sum(func.length(c.data))).where(c.level == level)).scalar_one())


# ---- beside alarms


def publish(data: Path, port: int, rate: int, seconds: float) -> None:
    """Send readings of all nodes in turn, `rate` a second; prints how many."""
    store = open_of(data)
    try:
        with store.read() as conn:
            found = usable_keys(conn, load_master(data / MASTER_KEY_NAME), T0_S * 1000)
            keys = [(k.node_id, k.epoch, CcmKey(k.key)) for k in found]
    finally:
        store.close()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="readings")
    client.connect("127.0.0.1", port)
    client.loop_start()
    plains = [measured.encode_reading(measured.Reading(0, 60, room.next())) for room in map(Room, range(50))]
    start, sent = time.monotonic(), 0
    print("ready", flush=True)
    while (now := time.monotonic() - start) < seconds:
        while sent < now * rate:
            node, epoch, key = keys[sent % len(keys)]
            counter = 1000 + sent // len(keys)
            plain = plains[sent % len(plains)]
            data_ = frame.seal_up(key, kinds.UP_READING, epoch, topics.node_bytes(node), counter, plain)
            client.publish(topics.up_beats(node), data_, qos=0)
            sent += 1
        time.sleep(0.005)
    client.disconnect()
    client.loop_stop()
    print(f"sent={sent}", flush=True)


def beside_alarms(folder: Path, nodes: int, rate: int, seconds: int) -> tuple[list[Figures], Intake]:
    """50 alarms/s alone, then with readings."""
    phases = [Phase("alarms alone", ALARMS_PER_S, ALARMS_PER_S * seconds),
              Phase(f"with {rate:,} readings/s", ALARMS_PER_S, ALARMS_PER_S * seconds)]  # fmt: skip
    nodes = max(nodes, sum(p.count for p in phases))
    with peers(folder) as (broker_port, sink_port):
        data = folder / "data"
        alarms = make(data, nodes, broker_port, sink_port)
        command = (sys.executable, "-m", "bongsu.cli", "--data", data, "receiver", "run", "--log-format", "json")
        with Program(folder, "receiver", *command) as receiver:
            receiver.wait_for("receiver.ready")
            publisher = Publisher(broker_port)
            publisher.heartbeats(alarms)
            wait_for_keys(data, nodes)
            try:
                return _phases(folder, data, broker_port, sink_port, phases, alarms, publisher, receiver, rate, seconds)
            finally:
                publisher.close()


def _phases(
    folder: Path, data: Path, broker_port: int, sink_port: int, phases: list[Phase], alarms: list[Alarm],
    publisher: Publisher, receiver: Program, rate: int, seconds: int,
) -> tuple[list[Figures], Intake]:  # fmt: skip
    rest = iter(alarms)
    alone = measure(receiver, phases[0], [next(rest) for _ in range(phases[0].count)], publisher, sink_port)
    begun_s = time.monotonic()
    words = [TOOLS / "bench_air.py", "--publish", data, broker_port, rate, seconds]
    with Program(folder, "readings", sys.executable, *(str(w) for w in words)) as readings:
        readings.wait_for("ready")
        some = [next(rest) for _ in range(phases[1].count)]
        beside = measure(receiver, phases[1], some, publisher, sink_port)
        sent = int(readings.wait_for("sent=", within_s=seconds + 60).rpartition("=")[2])
    stored, took_s = _wait_stored(data, sent, begun_s)
    return [alone, beside], Intake(sent, stored, round(took_s, 1), round(stored / took_s, 1))


TOOLS = Path(__file__).resolve().parent


def _wait_stored(data: Path, sent: int, begun_s: float) -> tuple[int, float]:
    """Until all is stored, or nothing more comes for ten seconds: (how many, how long it took)."""
    store, last, changed_s = open_of(data), -1, time.monotonic()
    try:
        while time.monotonic() < changed_s + 10:
            found = _stored(store)
            if found != last:
                last, changed_s = found, time.monotonic()
            if found >= sent:
                break
            time.sleep(0.5)
    finally:
        store.close()
    return last, changed_s - begun_s


def _stored(store: Store) -> int:
    c = schema.air_pack.c
    with store.read() as conn:
        rows = conn.execute(select(c.slot, c.data).where(c.level == RAW)).all()
    return sum(len(pack.decode_samples(r.slot, bytes(r.data))) for r in rows)


def main(arguments: list[str]) -> int:
    """Run it."""
    if arguments[:1] == ["--publish"]:
        publish(Path(arguments[1]), int(arguments[2]), int(arguments[3]), float(arguments[4]))
        return 0
    parser = argparse.ArgumentParser(description="readings of the air: bytes each, and how many beside alarms")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--nodes", type=int, default=3000)
    parser.add_argument("--rate", type=int, default=1437, help="readings a second")
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bongsu-bench-") as folder:
        try:
            size = sizes(Path(folder))
            figures, intake = beside_alarms(Path(folder) / "r", options.nodes, options.rate, options.seconds)
        except (BenchError, subprocess.SubprocessError) as err:
            print(f"bench_air: {err}", file=sys.stderr)
            return 1
    found: dict[str, Any] = {
        "size": [asdict(s) for s in size],
        "alarms": [asdict(f) for f in figures],
        "readings": asdict(intake),
    }
    print(json.dumps(found, indent=1) if options.json else _tables(size, figures, intake))
    return 0 if all(f.accepted == f.alarms for f in figures) else 1


def _tables(size: list[Size], figures: list[Figures], intake: Intake) -> str:
    lines = ["| a node's | bytes in the file | of pack | a city, as long as kept |", "|---|--:|--:|--:|"]
    lines += [f"| {s.what} | {s.file_bytes_each} | {s.pack_bytes_each} | {s.city_gb} GB |" for s in size]
    lines += ["", "| 50 alarms/s | accepted | p50 ms | p99 ms | max ms | CPU s | RSS MiB | machine % |"]
    lines += ["|---|--:|--:|--:|--:|--:|--:|--:|"]
    lines += [
        f"| {f.phase} | {f.accepted}/{f.alarms} | {f.p50_ms} | {f.p99_ms} | {f.max_ms} | {f.cpu_s} | {f.rss_mib} "
        f"| {f.machine_percent} |"
        for f in figures
    ]
    lines += ["", f"{intake.sent:,} readings sent, {intake.stored:,} stored, in {intake.seconds} s"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
