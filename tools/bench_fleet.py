"""How the receiver carries a city: heartbeats of 1,000, 10,000 and 86,221 nodes, alarms under that load, a market's
power cut, all nodes coming back at once.

    python tools/bench_fleet.py [--json] [--nodes N ...] [--connections 10000] [--idle 10] [--fires 60]

For each number of nodes: an installation with that many provisioned nodes, a broker (nats-server) with a login for each
connection, the fire station (bench_sink.py), the real receiver, and `bongsu sim fleet`, each a process of its own on
this machine. Nodes beyond --connections are behind gateways of 500. Every node sends a heartbeat in 45 s, with keys,
frames and counters as in service. The stages, one after the other, fires at 2/s from the second on:

    idle     heartbeats only: CPU of each process in % of one core
    fires    alarm -> accepted by the station, in ms; a time runs from the node's alarm to the station's answer
    cut      a market of 500 shops without power for 5 s: all gone in a second, back within 30 s
    return   all connections break at once and come back as the firmware does (back-off with jitter)

All on loopback, bounded, and everything started here is ended here.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from bench_city import GATEWAY, broker_conf, make
from bench_path import TOOLS, BenchError, Program, free_port, received

CITY = (1_000, 10_000, 86_221)
FIRES_PER_MINUTE = 120
# All nodes have sent a heartbeat, and another one after the receiver's answer.
WARM_S, WARM_OWN_S = 50, 12
CUT_FOR_S, CUT_STAGE_S, RETURN_STAGE_S = 5, 40, 40
NODES_A_GATEWAY = 500
_BUSY = 85.0  # % of a core from which a process counts as the limit
_READY_S = 180.0


@dataclass(frozen=True)
class Stage:
    """A span of the run: s from "ready"."""

    name: str
    from_s: float
    to_s: float


@dataclass
class Load:
    """CPU of one process and its children in % of a core, and their memory, over a stage."""

    cpu: float
    rss_mib: float


@dataclass
class Figures:
    """One stage of one size of city. Times in ms."""

    nodes: int
    connections: int
    stage: str
    beats_per_s: float
    load: dict[str, Load]
    alarms: int = 0
    accepted: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    limit: str = ""


@dataclass
class Bench:
    """What runs, and when it began."""

    folder: Path
    nodes: int
    connections: int
    parts: dict[str, Program] = field(default_factory=dict)
    sink_port: int = 0
    start_s: float = 0.0


def stages(nodes: int, connections: int, idle_s: float, fires_s: float) -> list[Stage]:
    """When what is measured."""
    at = float(WARM_OWN_S if nodes <= connections else WARM_S)
    found = []
    for name, length in (("idle", idle_s), ("fires", fires_s), ("cut", CUT_STAGE_S), ("return", RETURN_STAGE_S)):
        found.append(Stage(name, at, at + length))
        at += length
    return found


def run(folder: Path, nodes: int, connections: int, idle_s: float, fires_s: float) -> list[Figures]:
    """One city from its making to its end."""
    folder.mkdir()
    bench = Bench(folder, nodes, min(nodes, connections))
    plan = stages(nodes, connections, idle_s, fires_s)
    try:
        _start(bench, plan)
        return _measure(bench, plan)
    finally:
        for part in reversed(bench.parts.values()):
            part.close()


def _start(bench: Bench, plan: list[Stage]) -> None:
    folder, data, port = bench.folder, bench.folder / "data", free_port()
    sink = bench.parts["station"] = Program(folder, "sink", sys.executable, TOOLS / "bench_sink.py")
    bench.sink_port = int(sink.wait_for("ready port=").rpartition("=")[2])
    begun_s = time.monotonic()
    users = make(data, bench.nodes, bench.connections, port, bench.sink_port)
    say(f"{bench.nodes} nodes provisioned in {time.monotonic() - begun_s:.1f} s")
    (folder / "nats.conf").write_text(broker_conf(folder, port, users))
    server = Path(sys.executable).parent / "nats-server"
    bench.parts["broker"] = Program(folder, "broker", server, "-c", folder / "nats.conf")
    bench.parts["broker"].wait_for("Server is ready")
    command = (sys.executable, "-m", "bongsu.cli", "--data", data, "receiver", "run", "--log-format", "json")
    begun_s = time.monotonic()
    bench.parts["receiver"] = Program(folder, "receiver", *command)
    bench.parts["receiver"].wait_for("receiver.ready")
    say(f"receiver ready after {time.monotonic() - begun_s:.1f} s")
    bench.parts["generator"] = fleet = Program(folder, "fleet", *_fleet_command(bench, plan))
    ready = fleet.wait_for("ready nodes=", _READY_S)
    bench.start_s = float(ready.rpartition("at=")[2])
    say(ready)


def _fleet_command(bench: Bench, plan: list[Stage]) -> list[str | Path]:
    by_name = {stage.name: stage for stage in plan}
    fires = by_name["fires"].from_s
    data = bench.folder / "data"
    return [
        *(sys.executable, "-m", "bongsu.cli", "--data", data, "sim", "fleet", "--json"),
        *("--nodes", str(bench.nodes), "--connections", str(bench.connections)),
        *("--gateway-user", GATEWAY, "--gateway-password-file", data / f"{GATEWAY}.password"),
        *("--fires-per-minute", f"{FIRES_PER_MINUTE}@{fires:g}", "--fire-s", "0"),
        *("--cut", f"m-000@{by_name['cut'].from_s:g}+{CUT_FOR_S}", "--reconnect", f"{by_name['return'].from_s:g}"),
        *("--seconds", f"{plan[-1].to_s:g}", "--alarms", bench.folder / "alarms"),
    ]


def _measure(bench: Bench, plan: list[Stage]) -> list[Figures]:
    loads, beats = {}, {}
    for stage in plan:
        _sleep_until(bench, stage.from_s)
        before, at_s = _used(bench), time.monotonic()
        _sleep_until(bench, stage.to_s)
        after, seconds = _used(bench), time.monotonic() - at_s
        loads[stage.name] = {
            name: Load(round(100 * (after[name][0] - before[name][0]) / seconds, 1), round(after[name][1], 1))
            for name in after
        }
        beats[stage.name] = bench.nodes / 45
        say(f"{stage.name}: " + ", ".join(f"{name} {load.cpu} %" for name, load in loads[stage.name].items()))
    report = json.loads(bench.parts["generator"].wait_for('"alarm_receipt_ms"', 60))
    say(f"fleet: {json.dumps(report)}")
    times = received(bench.sink_port, "?times")["times"]
    alarms = [json.loads(line) for line in (bench.folder / "alarms").read_text().splitlines()]
    found = []
    for stage in plan:
        figures = Figures(bench.nodes, bench.connections, stage.name, round(beats[stage.name], 1), loads[stage.name])
        _fill_times(figures, _of_stage(alarms, bench.start_s, stage), times)
        busy = {name: load.cpu for name, load in loads[stage.name].items() if load.cpu >= _BUSY}
        figures.limit = max(busy, key=lambda name: busy[name]) if busy else ""
        found.append(figures)
    missing = report["events"]["waiting"]
    if missing:
        raise BenchError(f"{missing} alarms have no receipt")
    return found


def _of_stage(alarms: list[dict[str, Any]], start_s: float, stage: Stage) -> list[dict[str, Any]]:
    return [a for a in alarms if stage.from_s <= a["raised"] - start_s < stage.to_s]


def _fill_times(figures: Figures, alarms: list[dict[str, Any]], accepted_ns: dict[str, int]) -> None:
    late = sorted(accepted_ns[a["node"]] / 1e6 - a["raised"] * 1000 for a in alarms if a["node"] in accepted_ns)
    figures.alarms, figures.accepted = len(alarms), len(late)
    if late:
        figures.p50_ms = round(late[len(late) // 2], 1)
        figures.p99_ms = round(late[min(len(late) - 1, int(len(late) * 0.99))], 1)
        figures.max_ms = round(late[-1], 1)


def _sleep_until(bench: Bench, at_s: float) -> None:
    """Until so long after "ready"; BenchError if a part ends before."""
    while (left_s := bench.start_s + at_s - time.monotonic()) > 0:
        for name, part in bench.parts.items():
            if not part.ps.is_running() or part.ps.status() == psutil.STATUS_ZOMBIE:
                raise BenchError(f"{name} ended:\n{part.tail()}")
        time.sleep(min(left_s, 1.0))


def _used(bench: Bench) -> dict[str, tuple[float, float]]:
    """CPU seconds and MiB of each part, its children included."""
    return {name: (part.cpu_s(), part.rss_mib()) for name, part in bench.parts.items()}


def table(figures: list[Figures]) -> str:
    """The figures as a Markdown table."""
    names = list(figures[0].load)
    lines = [
        "| nodes | connections | heartbeats/s | stage | alarms accepted | p50 ms | p99 ms | max ms | "
        + " | ".join(f"{name} %" for name in names)
        + " | MiB | limit |",
        "|--:|--:|--:|---|--:|--:|--:|--:|" + "--:|" * len(names) + "--:|---|",
    ]
    for f in figures:
        load = " | ".join(f"{f.load[name].cpu}" for name in names)
        mib = f"{f.load['receiver'].rss_mib:.0f}"
        times = " | ".join("" if ms is None else f"{ms}" for ms in (f.p50_ms, f.p99_ms, f.max_ms))
        lines.append(
            f"| {f.nodes:,} | {f.connections:,} | {f.beats_per_s:,.0f} | {f.stage} | {f.accepted}/{f.alarms} | {times} "
            f"| {load} | {mib} | {f.limit} |"
        )
    idle = [f for f in figures if f.stage == "idle"]
    costs = ", ".join(f"{f.nodes:,}: {f.load['receiver'].cpu / 100 / f.beats_per_s * 1e6:.0f}" for f in idle)
    return "\n".join(lines) + f"\n\nThe receiver's CPU in µs a heartbeat, by nodes: {costs}"


def say(line: str) -> None:
    """Progress, for who waits."""
    print(f"bench_fleet: {line}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Run the benchmark; 1 if an alarm was not accepted."""
    parser = argparse.ArgumentParser(description="heartbeats of a city, and alarms under that load")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--nodes", type=int, nargs="+", default=CITY, help="sizes of the city (default: all three)")
    parser.add_argument("--connections", type=int, default=10_000, help="at most so many (default 10,000)")
    parser.add_argument("--idle", type=float, default=10, help="length of the stage with heartbeats only, s")
    parser.add_argument("--fires", type=float, default=60, help="length of the stage with fires, s")
    options = parser.parse_args(arguments)
    figures: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="bongsu-fleet-") as folder:
        try:
            for nodes in options.nodes:
                figures += run(Path(folder) / str(nodes), nodes, options.connections, options.idle, options.fires)
        except BenchError as err:
            print(f"bench_fleet: {err}", file=sys.stderr)
            return 1
    print(json.dumps([asdict(f) for f in figures], indent=1) if options.json else table(figures))
    return 0 if all(f.accepted == f.alarms for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
