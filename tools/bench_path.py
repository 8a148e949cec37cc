"""How long an alarm takes from the broker to the fire station's acceptance, through the real receiver process.

    python tools/bench_path.py [--json] [--seconds 8] [--burst 5000]

Phases: 50 alarms/s, 500 alarms/s, one burst; every alarm comes from a node and shop of its own, so each makes one
incident and one dispatch. Before it, in the same run, the same phases through the floor (bench_floor.py): a bare paho
subscriber, one fsync'd insert, one POST. Both use the same broker program with the same settings (nats-server,
as `receiver run` writes them), the same station (bench_sink.py) and the same publisher. A time runs from the
publisher's call to the station's answer 200. CPU and RSS are those of what is measured and its children, without the
broker's; "machine %" is how busy all cores were, with broker, station and publisher: near 100 these are the limit too.
All on loopback, bounded, and everything started here is ended here.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import paho.mqtt.client as mqtt
import psutil
from bench_market import Alarm, active_keys, frames, make, node_id, open_of
from paho.mqtt.enums import CallbackAPIVersion

from bongsu_wire import topics

TOOLS = Path(__file__).resolve().parent
START_S = 30.0  # for a process to say that it is ready
DRAIN_S = 60.0  # after the last alarm of a phase, for all of them to be accepted
LOOK_S = 0.25  # between two looks at whether a phase is through; each costs the station a little
PACE_S = 0.002  # the publisher's tick: alarms due are sent at least so often


@dataclass(frozen=True)
class Phase:
    """`rate` in alarms/s; 0: all at once."""

    name: str
    rate: int
    count: int


@dataclass(frozen=True)
class Figures:
    """What one phase gave. Times in ms; `rate_per_s` from the first publish to the last acceptance."""

    who: str
    phase: str
    alarms: int
    accepted: int
    again: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    rate_per_s: float
    cpu_s: float
    rss_mib: float
    machine_percent: int


class BenchError(RuntimeError):
    """The benchmark cannot go on."""


class Program:
    """A child process in a group of its own, its output in a file; ended with its children on close."""

    def __init__(self, folder: Path, name: str, *command: str | Path) -> None:
        self.name = name
        self._log_path = folder / f"{name}.log"
        self._log: IO[bytes] = self._log_path.open("wb")
        self._process = subprocess.Popen(
            [str(c) for c in command], stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.ps = psutil.Process(self._process.pid)

    def tail(self) -> str:
        """The end of its output."""
        return self._log_path.read_text(errors="replace")[-3000:]

    def wait_for(self, words: str, within_s: float = START_S) -> str:
        """The first line of output with `words` in it. Raises BenchError if the process ends or the time is over."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for line in self._log_path.read_text(errors="replace").splitlines():
                if words in line:
                    return line
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise BenchError(f"{self.name} is not ready:\n{self.tail()}")

    def _family(self) -> list[psutil.Process]:
        return [self.ps, *self.ps.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds of the process and its children so far, user and system."""
        return float(sum(sum(p.cpu_times()[:2]) for p in self._family()))

    def rss_mib(self) -> float:
        """Resident memory of the process and its children, MiB (what they share counts for each)."""
        return float(sum(p.memory_info().rss for p in self._family())) / 2**20

    def close(self) -> None:
        """SIGTERM to the process, then SIGKILL to what is left of its group."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_port() -> int:
    """A port that the system considers free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A nats-server with a durable store in `folder`; its MQTT port."""
    port = free_port()
    folder.mkdir()
    (folder / "nats.conf").write_text(
        f'server_name: bench\nlisten: "127.0.0.1:-1"\n'
        f'jetstream {{ store_dir: "{folder}/js", sync_interval: "1s" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}", ack_wait: "5s", max_ack_pending: 1000 }}\n'
    )
    server = Path(sys.executable).parent / "nats-server"
    with Program(folder, "broker", server, "-c", folder / "nats.conf") as program:
        program.wait_for("Server is ready")
        yield port


class Publisher:
    """One MQTT client that sends for all nodes, as a busy broker would deliver them."""

    def __init__(self, port: int) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="publisher")
        self._client.max_inflight_messages_set(1000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def heartbeats(self, alarms: list[Alarm]) -> None:
        """One heartbeat a node, so that its key is active before it is measured."""
        for alarm in alarms:
            self._client.publish(topics.up_beats(alarm.node), alarm.heartbeat, qos=1)

    def alarms(self, alarms: list[Alarm], rate: int) -> dict[str, int]:
        """Send them, `rate` a second (0: all at once); when each was sent, ns of the monotonic clock."""
        sent = {}
        start = time.monotonic()
        for i, alarm in enumerate(alarms):
            while rate and time.monotonic() < start + i / rate:
                time.sleep(min(PACE_S, max(0.0, start + i / rate - time.monotonic())))
            sent[alarm.node] = time.monotonic_ns()
            self._client.publish(topics.up_events(alarm.node), alarm.event, qos=1)
        return sent

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def received(sink_port: int, query: str = "") -> dict[str, Any]:
    """What the station has accepted (bench_sink.py)."""
    connection = http.client.HTTPConnection("127.0.0.1", sink_port, timeout=10)
    try:
        connection.request("GET", f"/received{query}")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def measure(who: Program, phase: Phase, alarms: list[Alarm], publisher: Publisher, sink_port: int) -> Figures:
    """Send one phase and wait until every alarm of it was accepted, or DRAIN_S passed."""
    cpu_before, before = who.cpu_s(), received(sink_port)
    psutil.cpu_percent()  # begins its span
    sent = publisher.alarms(alarms, phase.rate)
    end = time.monotonic() + DRAIN_S
    while received(sink_port)["count"] < before["count"] + len(sent) and time.monotonic() < end:
        time.sleep(LOOK_S)
    cpu_s, machine_percent = who.cpu_s() - cpu_before, psutil.cpu_percent()
    after = received(sink_port, "?times")
    accepted = {node: after["times"][node] for node in sent if node in after["times"]}
    late = sorted((accepted[node] - sent[node]) / 1e6 for node in accepted) or [float("nan")]
    seconds = (max(accepted.values(), default=0) - min(sent.values())) / 1e9
    return Figures(
        who=who.name,
        phase=phase.name,
        alarms=len(sent),
        accepted=len(accepted),
        again=after["again"] - before["again"],
        p50_ms=round(statistics.median(late), 2),
        p99_ms=round(late[min(len(late) - 1, int(len(late) * 0.99))], 2),
        max_ms=round(late[-1], 2),
        rate_per_s=round(len(accepted) / seconds, 1),
        cpu_s=round(cpu_s, 2),
        rss_mib=round(who.rss_mib(), 1),
        machine_percent=round(machine_percent),
    )


def wait_for_keys(data: Path, count: int) -> None:
    """Until every node's key is active: the receiver has taken all heartbeats."""
    store = open_of(data)
    try:
        end = time.monotonic() + DRAIN_S
        while active_keys(store) < count:
            if time.monotonic() > end:
                raise BenchError("the receiver did not take the heartbeats of all nodes")
            time.sleep(0.2)
    finally:
        store.close()


def run_phases(
    who: Program, phases: list[Phase], alarms: list[Alarm], broker_port: int, sink_port: int
) -> list[Figures]:
    """All phases, one after the other, each with nodes of its own."""
    rest = iter(alarms)
    publisher = Publisher(broker_port)
    try:
        return [measure(who, p, [next(rest) for _ in range(p.count)], publisher, sink_port) for p in phases]
    finally:
        publisher.close()


@contextlib.contextmanager
def peers(folder: Path) -> Iterator[tuple[int, int]]:
    """A broker and a station of their own: (MQTT port, station port)."""
    folder.mkdir()
    with broker(folder / "broker") as port, Program(folder, "sink", sys.executable, TOOLS / "bench_sink.py") as sink:
        yield port, int(sink.wait_for("ready port=").rpartition("=")[2])


def run_floor(folder: Path, phases: list[Phase]) -> list[Figures]:
    """The phases through the bare subscriber."""
    count = sum(p.count for p in phases)
    with peers(folder) as (broker_port, sink_port):
        alarms = [frames(node_id(i), bytes(16), 1) for i in range(count)]
        database = folder / "floor.db"
        command = (sys.executable, TOOLS / "bench_floor.py", str(broker_port), str(sink_port), database)
        with Program(folder, "floor", *command) as floor:
            floor.wait_for("ready")
            return run_phases(floor, phases, alarms, broker_port, sink_port)


def run_receiver(folder: Path, phases: list[Phase]) -> list[Figures]:
    """The phases through `bongsu receiver run`."""
    count = sum(p.count for p in phases)
    with peers(folder) as (broker_port, sink_port):
        data = folder / "data"
        alarms = make(data, count, broker_port, sink_port)
        command = (sys.executable, "-m", "bongsu.cli", "--data", data, "receiver", "run", "--log-format", "json")
        with Program(folder, "receiver", *command) as receiver:
            receiver.wait_for("receiver.ready")
            publisher = Publisher(broker_port)
            publisher.heartbeats(alarms)
            wait_for_keys(data, count)
            publisher.close()
            return run_phases(receiver, phases, alarms, broker_port, sink_port)


def table(figures: list[Figures]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| | phase | accepted | p50 ms | p99 ms | max ms | alarms/s | CPU s | RSS MiB | machine % |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for f in figures:
        lines.append(
            f"| {f.who} | {f.phase} | {f.accepted}/{f.alarms} | {f.p50_ms} | {f.p99_ms} | {f.max_ms} "
            f"| {f.rate_per_s:,.0f} | {f.cpu_s} | {f.rss_mib} | {f.machine_percent} |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run the benchmark; 1 if an alarm was not accepted or came twice."""
    parser = argparse.ArgumentParser(description="alarm at the broker -> dispatch accepted, beside the floor")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=int, default=8, help="length of the 50/s and 500/s phases (default 8)")
    parser.add_argument("--burst", type=int, default=5000, help="alarms in the burst (default 5000)")
    options = parser.parse_args(arguments)
    phases = [
        Phase("50/s", 50, 50 * options.seconds),
        Phase("500/s", 500, 500 * options.seconds),
        Phase(f"burst of {options.burst:,}", 0, options.burst),
    ]
    with tempfile.TemporaryDirectory(prefix="bongsu-bench-") as folder:
        try:
            figures = run_floor(Path(folder) / "floor", phases) + run_receiver(Path(folder) / "receiver", phases)
        except BenchError as err:
            print(f"bench_path: {err}", file=sys.stderr)
            return 1
    print(json.dumps([asdict(f) for f in figures], indent=1) if options.json else table(figures))
    whole = all(f.accepted == f.alarms and not f.again for f in figures)
    if not whole:
        print("bench_path: not every alarm was accepted exactly once", file=sys.stderr)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
