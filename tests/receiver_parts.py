"""The receiver for tests: a market in a data folder, the real receiver, station and phone as processes, nodes in this
process; and, for the quick tests, the receiver's writer alone with a clock that stands.
"""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from sqlalchemy import select

from bongsu.channels.base import Outcome
from bongsu.install.boards import load_board
from bongsu.install.bundle import Bundle
from bongsu.receiver import provision, registry, responders
from bongsu.receiver.books import Settings
from bongsu.receiver.certificates import der_of_pem
from bongsu.receiver.clock import SetClock
from bongsu.receiver.config import load
from bongsu.receiver.init_data import init_data
from bongsu.receiver.jobs import SEND, Done, Job
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.log import Log
from bongsu.receiver.mqtt_edge import Arrived, LinkChanged
from bongsu.receiver.store import open_store, schema
from bongsu.receiver.wake import notify
from bongsu.receiver.writer import Wake, Writer
from bongsu.sim.hostnode import HostNode
from bongsu_wire import frame, kinds, measured, payload, topics
from bongsu_wire.ccm import CcmKey
from tests import postgres_parts

SITE = "hannae"
DEADLINE_S = 20.0
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
NODE0 = 0xA0B1C2000000


def node_id(i: int) -> str:
    """The id of the market's i-th node."""
    return f"{NODE0 + i:012x}"


@dataclass(frozen=True)
class Market:
    """A data folder with one market in it: unit u-<i> has node i, an owner and a deputy."""

    data: Path
    bundles: list[Bundle]


def make_market(
    data: Path,
    units: int,
    *,
    tls: bool = False,
    urls: dict[str, str] | None = None,
    now_ms: int | None = None,
    console: bool = False,
    store_url: str | None = None,
) -> Market:
    """Make it. `urls`: addresses of responders by "<kind>-<rank>", and of "sms" (the gateway); `store_url`: an empty
    PostgreSQL database, whatever this run's engine is.
    """
    at_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    urls = {"station-0": "http://127.0.0.1:9/station", "sms": "http://127.0.0.1:9"} if urls is None else urls
    url = store_url or postgres_parts.store_url(data)
    init_data(data, now_ms=at_ms, store_url=None if url.startswith("sqlite") else url)
    text = f'[store]\nurl = "{url}"\n[broker]\nhost = "127.0.0.1"\nport = 0\ntls = {str(tls).lower()}\n'
    text += f"[console]\nenabled = {str(console).lower()}\n"
    if "sms" in urls:
        text += f'[sms]\nurl = "{urls["sms"]}/send"\nstatus_url = "{urls["sms"]}/status/{{ref}}"\n'
    (data / "receiver.toml").write_text(text)
    store = open_store(url)
    master = load_master(data / MASTER_KEY_NAME)
    try:
        with store.write() as conn:
            registry.add_site(
                conn, site_id=SITE, name="한내시장", kind="market", address="한내로 12", tz="Asia/Seoul", now_ms=at_ms
            )
            for name, url in urls.items():
                kind, _, rank = name.partition("-")
                if kind != "sms":
                    _add_responder(conn, master, name, kind, int(rank), url, at_ms)
            return Market(data, [add_unit(conn, master, data, i, tls, at_ms) for i in range(units)])
    finally:
        store.close()


def _add_responder(conn: Any, master: Any, name: str, kind: str, rank: int, url: str, at_ms: int) -> None:
    responders.add_responder(
        conn, master, responder_id=name, kind=kind, name=name, url=url, secret=SECRET, sites=(), rank=rank, now_ms=at_ms
    )


def add_unit(conn: Any, master: Any, data: Path, i: int, tls: bool, at_ms: int) -> Bundle:
    """Unit u-<i> with its contacts and its node, provisioned."""
    unit = f"u-{i}"
    registry.add_unit(conn, site_id=SITE, unit_id=unit, name=f"가게 {i}", place="1층", now_ms=at_ms)
    for role, prefix in (("owner", "1234"), ("deputy", "5678")):
        person = f"{role}-{i}"
        number = f"010-{prefix}-{i:04d}"
        registry.add_contact(conn, contact_id=person, name=person, number=number, lang="ko", now_ms=at_ms)
        registry.assign_contact(conn, contact_id=person, site_id=SITE, unit_id=unit, role=role)
    registry.add_node(conn, node_id=node_id(i), unit=(SITE, unit), label="", now_ms=at_ms)
    return provision.provision_node(
        conn,
        master,
        node_id=node_id(i),
        broker=provision.BrokerAddress("127.0.0.1", 1, tls=tls),
        board=load_board("esp32-devkitc"),
        wifi=[],
        ca_der=der_of_pem((data / "ca" / "ca.crt").read_bytes()),
        actor="test",
        now_ms=at_ms,
    )


# ---- the writer alone


@dataclass
class SilentEdge:
    """An edge that remembers what was published and acknowledged."""

    published: list[tuple[str, bytes]] = field(default_factory=list)
    acked: list[Arrived] = field(default_factory=list)

    def publish(self, topic: str, data: bytes) -> None:
        """Keep it."""
        self.published.append((topic, data))

    def ack(self, message: Arrived) -> None:
        """Keep it."""
        self.acked.append(message)

    def take_beats(self, most: int) -> list[Arrived]:
        """There are none: the tests hand heartbeats over like anything else."""
        return []


class FrameMaker:
    """Makes a node's frames and reads what comes down to it."""

    def __init__(self, node: str, key: bytes, epoch: int) -> None:
        self.id = node
        self._key, self._epoch, self._mac = CcmKey(key), epoch, topics.node_bytes(node)
        self.counter = 0

    @staticmethod
    def of(bundle: Bundle) -> "FrameMaker":
        """For a provisioned node."""
        return FrameMaker(bundle.node_id, bundle.key, bundle.key_epoch)

    def event(self, number: int, kind: int = kinds.ALARM, phenomena: int = kinds.HEAT, **fields: Any) -> bytes:
        """An event's frame under a fresh counter."""
        made = payload.Event(number, kind, phenomena, **{"sustained_ms": 5000, "temp_dk": 3302, **fields})
        return self.seal(kinds.UP_EVENT, payload.encode_event(made))

    def heartbeat(self, echo_ms: int = 0, age_ms: int = 0) -> bytes:
        """A heartbeat that echoes this server time."""
        beat = payload.Heartbeat(echo_server_ms=echo_ms, echo_age_ms=age_ms if echo_ms else payload.AGE_UNKNOWN)
        return self.seal(kinds.UP_HEARTBEAT, payload.encode_heartbeat(beat))

    def history(self, part: measured.History) -> bytes:
        """A part of the minute before an alarm."""
        return self.seal(kinds.UP_HISTORY, measured.encode_history(part))

    def seal(self, kind: int, plain: bytes) -> bytes:
        """Any payload's frame."""
        self.counter += 1
        return frame.seal_up(self._key, kind, self._epoch, self._mac, self.counter, plain)

    def open(self, data: bytes) -> tuple[frame.Header, bytes]:
        """A downlink frame's header and payload."""
        header = frame.parse(data)
        return header, frame.open_frame(self._key, header)


class Desk:
    """The receiver's writer with a clock that stands, an edge that remembers, and deliveries that the test ends."""

    def __init__(self, market: Market, clock: SetClock | None = None, sender: int | None = None) -> None:
        config = load(market.data / "receiver.toml")
        self.data = market.data
        self.clock = clock or SetClock(time.time_ns() // 1_000_000)
        self.store = open_store(config.store_url)
        self.lines = io.StringIO()
        self.log = Log("json", self.lines)
        with self.store.read() as conn:
            mine = select(schema.receiver.c.sender).where(schema.receiver.c.retired_ms.is_(None))
            sender = sender or conn.execute(mine).scalar_one()
        settings = Settings.of(config, sender)
        self.edge, self.jobs = SilentEdge(), list[Job]()
        master = load_master(market.data / MASTER_KEY_NAME)
        try:
            self.writer = Writer(self.store, settings, master, self.clock, self.log)
        except BaseException:
            self.log.close()
            self.store.close()
            raise
        self.writer.edge = self.edge
        self.writer.take_jobs = self.jobs.extend
        self.nodes = [FrameMaker.of(bundle) for bundle in market.bundles]
        self.writer.turn([LinkChanged(True)])

    def close(self) -> None:
        """Close the store."""
        self.writer.close()
        self.log.close()
        self.store.close()

    # what happens

    def _turn(self, items: list[Any]) -> None:
        """One turn. On PostgreSQL somebody listens for others' commits; here the turn begins with what he would say."""
        self.writer.turn(items if self.store.is_sqlite else [Wake("registry"), *items])

    def arrive(self, *frames: tuple[str, bytes], topic: str | None = None) -> None:
        """These frames ((node id, bytes)) arrive together."""
        now_ms = self.clock.now_ms()
        self._turn(
            [
                Arrived(topic if topic is not None else topics.up_events(n), data, now_ms, i, 1, 1)
                for i, (n, data) in enumerate(frames)
            ]
        )

    def arrive_on(self, frames: list[tuple[str, bytes]]) -> None:
        """These messages ((topic, bytes)) arrive together."""
        now_ms = self.clock.now_ms()
        self._turn([Arrived(topic, data, now_ms, i, 1, 1) for i, (topic, data) in enumerate(frames)])

    def event(self, i: int, number: int, kind: int = kinds.ALARM, phenomena: int = kinds.HEAT, **more: Any) -> None:
        """Node i's event arrives."""
        node = self.nodes[i]
        self.arrive((node.id, node.event(number, kind, phenomena, **more)))

    def end(self, job: Job, state: str = "accepted", ref: str | None = None, detail: str = "") -> None:
        """A job comes to its end."""
        self.jobs.remove(job)
        outcome = Outcome(state, detail or state, ref)  # type: ignore[arg-type]
        self._turn([Done(job.delivery_id, job.action, outcome, 1)])

    def end_all(self, state: str = "accepted") -> None:
        """Every job comes to its end, webhooks with `state`, texts as sent and delivered."""
        for job in list(self.jobs):
            text = job.channel == "sms"
            self.end(job, ("sent" if job.action == SEND else "accepted") if text else state, "ref" if text else None)

    def pass_time(self, ms: int) -> None:
        """Time passes, and the writer looks at what is due, second by second."""
        left = ms
        while left > 0:
            step = min(left, 1000)
            self.clock.advance(step)
            left -= step
            self._turn([])

    # what came of it

    def job(self, recipient: str, action: str = SEND) -> Job:
        """The one job for this recipient ("contact:owner-0") that waits to be ended."""
        with self.store.read() as conn:
            table = schema.delivery
            ids = set(conn.execute(select(table.c.id).where(table.c.recipient == recipient)).scalars())
        (found,) = [job for job in self.jobs if job.delivery_id in ids and job.action == action]
        return found

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table by id."""
        with self.store.read() as conn:
            return list(conn.execute(select(table).order_by(*table.primary_key.columns)))

    def receipts(self, i: int) -> list[payload.Receipt]:
        """The receipts that node i got."""
        found = []
        for topic, data in self.edge.published:
            if topic == topics.down(self.nodes[i].id):
                header, plain = self.nodes[i].open(data)
                if header.kind == kinds.DOWN_RECEIPT:
                    found.append(payload.decode_receipt(plain))
        return found


@contextmanager
def desk(folder: Path, units: int = 1, urls: dict[str, str] | None = None) -> Iterator[Desk]:
    """A market of `units` and the writer over it."""
    made = Desk(make_market(folder / "data", units, urls=urls))
    try:
        yield made
    finally:
        made.close()


# ---- the whole receiver as a process


class Child:
    """A process in a group of its own whose lines of output are kept."""

    def __init__(self, *args: object, launch: Sequence[str] = ("-m", "bongsu.cli")) -> None:
        """`launch`: what Python is given before the arguments (stepped_clock.SteppedClock has another)."""
        self._changed = threading.Condition()
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, *launch, *(str(a) for a in args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append("<end>")
            self._changed.notify_all()

    def wait_for(self, words: str, timeout_s: float = DEADLINE_S, since: int = 0) -> str:
        """The first line with `words` in it; fails if the process ends or time passes."""

        def look() -> str | None:
            return next((line for line in self.lines[since:] if words in line), None)

        with self._changed:
            self._changed.wait_for(lambda: look() is not None or "<end>" in self.lines, timeout_s)
            found = look()
        assert found is not None, f"no {words!r} in:\n" + "\n".join(self.lines[-30:])
        return found

    def kill(self) -> None:
        """SIGKILL, to it alone."""
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        return self._reap()

    def _reap(self) -> int:
        code = self.process.wait()
        self._thread.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET (or POST, with `body`) at a peer's controls."""
    request = Request(f"http://127.0.0.1:{port}{path}", data=None if body is None else json.dumps(body).encode())
    with build_opener(ProxyHandler({})).open(request, timeout=5) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


class Hall:
    """A market whose receiver, station and phone run, and whose nodes are in this process. `launch`: how the receiver
    is started the next time (Child).
    """

    launch: Sequence[str] = ("-m", "bongsu.cli")

    def __init__(
        self,
        folder: Path,
        units: int,
        *,
        tls: bool = False,
        repeat_s: float = 1.0,
        console: bool = False,
        external: Callable[[Market], list[int]] | None = None,
        patience_s: int = 20,
    ) -> None:
        """`external`: makes a market's own broker and returns the ports for the nodes, in turn."""
        self._stack: list[Any] = []
        folder.mkdir(exist_ok=True)
        secret = folder / "secret"
        secret.write_text(SECRET)
        self.station = Child("sim", "station", "--quiet", "--secret-file", secret)
        self.phone = Child("sim", "phone", "--quiet")
        self._stack += [self.station, self.phone]
        self.station_port, self.phone_port = (
            int(peer.wait_for("ready port=").rpartition("=")[2]) for peer in (self.station, self.phone)
        )
        urls = {
            "station-0": f"http://127.0.0.1:{self.station_port}/station",
            "centre-0": f"http://127.0.0.1:{self.station_port}/centre",
            "sms": f"http://127.0.0.1:{self.phone_port}",
        }
        self.market = make_market(folder / "data", units, tls=tls, urls=urls, console=console)
        self.data = self.market.data
        ports = external(self.market) if external is not None else []
        self.receiver = self._start()
        ports = ports or [int((self.data / "run" / "broker.port").read_text())]
        self.port = ports[0]
        self.nodes = [
            HostNode(b, port=ports[i % len(ports)], repeat_s=repeat_s, patience_s=patience_s).start()
            for i, b in enumerate(self.market.bundles)
        ]
        for node in self.nodes:
            assert node.wait_connected(DEADLINE_S)

    def _start(self) -> Child:
        child = Child("--data", self.data, "receiver", "run", "--log-format", "json", launch=self.launch)
        self._stack.append(child)
        child.wait_for("receiver.ready")
        return child

    def kill_receiver(self) -> None:
        """kill -9."""
        self.receiver.kill()
        self._stack.remove(self.receiver)

    def start_receiver(self) -> None:
        """Start it again."""
        self.receiver = self._start()

    def stop_receiver(self) -> int:
        """SIGTERM; its exit code."""
        code = self.receiver.stop()
        self._stack.remove(self.receiver)
        return code

    def wake(self, topic: Any) -> None:
        """As a command does after its commit."""
        assert notify(self.data, topic)

    def reports(self, path: str = "/station") -> list[dict[str, Any]]:
        """Reports that a responder took, one an idempotency key."""
        return [r for r in ask(self.station_port, "/received")["reports"] if r["path"] == path]

    def texts(self) -> list[dict[str, Any]]:
        """Texts that the gateway took."""
        found: list[dict[str, Any]] = ask(self.phone_port, "/received")["texts"]
        return found

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table."""
        store = open_store(postgres_parts.store_url(self.data))
        try:
            with store.read() as conn:
                return list(conn.execute(select(table)))
        finally:
            store.close()

    def close(self) -> None:
        """End everything."""
        for node in getattr(self, "nodes", []):
            node.close()
        for child in reversed(self._stack):
            child.stop()


@contextmanager
def hall(folder: Path, units: int, **more: Any) -> Iterator[Hall]:
    """A hall, set up and taken down; `more`: as Hall takes it."""
    made = Hall.__new__(Hall)
    try:
        made.__init__(folder, units, **more)  # type: ignore[misc]
        yield made
    finally:
        made.close()
