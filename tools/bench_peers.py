"""The same flow (MQTT QoS 1 -> durable store -> HTTP POST) in Bongsu, in plain Python and in Node-RED, in one run.

    python tools/bench_peers.py [--json] [--only floor,plain,receiver,node-red] [--node-red DIR]

Each has a broker (nats-server, same settings) and a station (bench_sink.py) of its own and gets the same messages from
the same publisher: 500/s for 8 s, a burst of 5,000; and once more a burst of 5,000 in which it is killed (kill -9) when
the station has its first 500, and started again: "kept" is how many of them the station has in the end. Times run
from the publisher's call to the station's answer.

  floor     bench_floor.py: paho, one fsync'd insert, one POST, one acknowledgement, nothing else
  plain     bench_plain.py: paho, sqlite3 and requests, as they are usually put together
  receiver  `bongsu receiver run`: keys, frames, incidents, outbox, receipts, retries
  node-red  mqtt in, sqlite node, http request; installed by npm into a temporary folder (or DIR, which is kept), left
            out with the reason where there is no node or npm

All on loopback, bounded, and everything started here is ended here.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import bench_nodered
from bench_market import Alarm, frames, make, node_id
from bench_path import (
    DRAIN_S,
    LOOK_S,
    TOOLS,
    BenchError,
    Figures,
    Phase,
    Program,
    Publisher,
    free_port,
    measure,
    peers,
    received,
    wait_for_keys,
)

PEERS = ("floor", "plain", "receiver", "node-red")
_KILL_AFTER = 500
_QUIET_S = 12.0  # nothing new at the station for so long: more than the broker's ack_wait (5 s), twice


@dataclass
class Peer:
    """One of them. `start`: begins it, ready or not ready; `ready`: the words that say that it is."""

    name: str
    start: Callable[[Path], Program]
    ready: str
    alarms: list[Alarm]
    data: Path | None = None
    figures: list[Figures] = field(default_factory=list)
    kept: int = 0
    killed_at: int = 0


def run_peer(name: str, folder: Path, rate_s: int, burst: int, node_red: Path) -> Peer:
    """All that is measured of one peer."""
    phases = [Phase("500/s", 500, 500 * rate_s), Phase(f"burst of {burst:,}", 0, burst)]
    with peers(folder) as (broker_port, sink_port):
        peer = _peer(name, folder, sum(p.count for p in phases) + burst, broker_port, sink_port, node_red)
        rest = iter(peer.alarms)
        program = _started(peer, folder)
        try:
            if peer.data is not None:
                _prove_keys(peer, broker_port)
            publisher = Publisher(broker_port)
            try:
                for phase in phases:
                    alarms = [next(rest) for _ in range(phase.count)]
                    peer.figures.append(measure(program, phase, alarms, publisher, sink_port))
                program = _kill_in_burst(peer, program, list(rest), publisher, folder, sink_port)
            finally:
                publisher.close()
        finally:
            program.close()
    return peer


def _peer(name: str, folder: Path, count: int, broker_port: int, sink_port: int, node_red: Path) -> Peer:
    ports = (str(broker_port), str(sink_port))
    if name == "receiver":
        data = folder / "data"
        alarms = make(data, count, broker_port, sink_port)
        receive = (sys.executable, "-m", "bongsu.cli", "--data", data, "receiver", "run", "--log-format", "json")
        return Peer(name, lambda at: Program(at, name, *receive), "receiver.ready", alarms, data)
    alarms = [frames(node_id(i), bytes(16), 1) for i in range(count)]
    if name == "node-red":
        program, user_dir = bench_nodered.install(node_red), folder / "user"
        bench_nodered.write_flow(user_dir, node_red, broker_port, sink_port, free_port())
        words = ("node", program, "--userDir", user_dir, "--settings", user_dir / "settings.js")
        return Peer(name, lambda at: Program(at, name, *words), "Connected to broker", alarms)
    script = TOOLS / f"bench_{name}.py"
    command = (sys.executable, script, *ports, folder / f"{name}.db")
    return Peer(name, lambda at: Program(at, name, *command), "ready", alarms)


def _started(peer: Peer, folder: Path) -> Program:
    program = peer.start(folder)
    try:
        program.wait_for(peer.ready)
    except BaseException:
        program.close()
        raise
    return program


def _prove_keys(peer: Peer, broker_port: int) -> None:
    assert peer.data is not None
    publisher = Publisher(broker_port)
    publisher.heartbeats(peer.alarms)
    wait_for_keys(peer.data, len(peer.alarms))
    publisher.close()


def _kill_in_burst(
    peer: Peer, program: Program, alarms: list[Alarm], publisher: Publisher, folder: Path, sink_port: int
) -> Program:
    """kill -9 of all its processes in mid-burst, and a new start; how many alarms the station has in the end."""
    before = received(sink_port)["count"]
    publisher.alarms(alarms, 0)
    end = time.monotonic() + DRAIN_S
    while received(sink_port)["count"] < before + min(_KILL_AFTER, len(alarms) // 2) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(program.ps.pid, signal.SIGKILL)
    peer.killed_at = received(sink_port)["count"] - before
    program.close()
    program = _started(peer, folder)
    count, changed_s = -1, time.monotonic()
    while time.monotonic() - changed_s < _QUIET_S and count < before + len(alarms):
        time.sleep(LOOK_S)
        now = received(sink_port)["count"]
        if now != count:
            count, changed_s = now, time.monotonic()
    arrived = received(sink_port, "?times")["times"]
    peer.kept = sum(alarm.node in arrived for alarm in alarms)
    return program


def table(done: list[Peer], burst: int) -> str:
    """The figures as a Markdown table."""
    lines = [
        f"| | 500/s p50 ms | p99 ms | burst of {burst:,} p50 ms | p99 ms | alarms/s | RSS MiB | kept after kill -9 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for peer in done:
        steady, rush = peer.figures
        lines.append(
            f"| {peer.name} | {steady.p50_ms} | {steady.p99_ms} | {rush.p50_ms} | {rush.p99_ms} "
            f"| {rush.rate_per_s:,.0f} | {rush.rss_mib} | {peer.kept}/{burst} |"
        )
    return "\n".join(lines)


def _report(peer: Peer) -> dict[str, object]:
    figures = [asdict(f) for f in peer.figures]
    return {"peer": peer.name, "figures": figures, "killed_after": peer.killed_at, "kept": peer.kept}


def main(arguments: list[str]) -> int:
    """Run them one after the other; 1 if Bongsu lost an alarm."""
    parser = argparse.ArgumentParser(description="the same flow in Bongsu, plain Python and Node-RED")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=int, default=8, help="length of the 500/s phase (default 8)")
    parser.add_argument("--burst", type=int, default=5000, help="alarms in each burst (default 5000)")
    parser.add_argument("--only", default=",".join(PEERS), help="which, with commas (default: all)")
    parser.add_argument("--node-red", type=Path, help="keep Node-RED here (default: a temporary folder)")
    options = parser.parse_args(arguments)
    done: list[Peer] = []
    with tempfile.TemporaryDirectory(prefix="bongsu-peers-") as name:
        folder = Path(name)
        for peer in options.only.split(","):
            try:
                place = (options.node_red or folder / "npm").resolve()
                done.append(run_peer(peer, folder / peer, options.seconds, options.burst, place))
            except bench_nodered.Absent as err:
                print(f"bench_peers: {peer} is left out: {err}", file=sys.stderr)
            except BenchError as err:
                print(f"bench_peers: {err}", file=sys.stderr)
                return 1
    print(json.dumps([_report(p) for p in done], indent=1) if options.json else table(done, options.burst))
    lost = [p for p in done if p.name == "receiver" and p.kept < options.burst]
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
