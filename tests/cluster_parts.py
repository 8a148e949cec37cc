"""Several receivers on one PostgreSQL for tests: their writers alone, with one clock that stands and no network; and as
processes, on a broker.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bongsu.receiver import identity
from bongsu.receiver.clock import SetClock
from bongsu.receiver.join import join
from bongsu.receiver.store import open_store, schema
from bongsu.sim.hostnode import HostNode
from bongsu.sim.link import LinkProxy
from tests.broker_parts import Cluster, Nats, await_true, use_broker
from tests.postgres_parts import Server
from tests.receiver_parts import DEADLINE_S, SECRET, Child, Desk, Market, ask, make_market


class Desks:
    """Writers of several receivers; any of them may die and come back."""

    def __init__(self, folder: Path, server: Server, units: int, count: int) -> None:
        self.url = server.create()
        self.market: Market = make_market(folder / "data", units, store_url=self.url)
        self.clock = SetClock(1_800_000_000_000)
        store = open_store(self.url)
        with store.write() as conn:
            for _ in range(count - 1):
                identity.add(conn, self.clock.now_ms())
            self.senders = list(conn.execute(select(schema.receiver.c.sender)).scalars())
        store.close()
        self.desks = [Desk(self.market, self.clock, sender) for sender in self.senders]
        for desk in self.desks[1:]:
            desk.nodes = self.desks[0].nodes  # the very same frames reach all of them

    def kill(self, i: int) -> None:
        """One of them is gone, without a word."""
        self.desks[i].close()

    def restart(self, i: int) -> None:
        """And comes back."""
        nodes = self.desks[0].nodes
        self.desks[i] = Desk(self.market, self.clock, self.senders[i])
        self.desks[i].nodes = nodes

    def close(self) -> None:
        """Close all."""
        for desk in self.desks:
            desk.close()


@contextmanager
def desks(folder: Path, server: Server, units: int = 2, count: int = 2) -> Iterator[Desks]:
    """Several receivers, set up and taken down."""
    made = Desks(folder, server, units, count)
    try:
        yield made
    finally:
        made.close()


class Ring:
    """Several receivers as processes, each with its own way to the one PostgreSQL that can be cut, on one external
    broker; a station and a phone; nodes in this process.
    """

    def __init__(
        self,
        folder: Path,
        server: Server,
        *,
        units: int,
        count: int,
        stack: ExitStack,
        make_broker: Callable[[Path], Nats | Cluster] = Nats,
        launch: Sequence[str] = ("-m", "bongsu.cli"),
        patience_s: int = 20,
    ) -> None:
        """`launch`: how receivers are started (Child); `patience_s`: of the nodes with their broker (HostNode)."""
        self.server, self._launch = server, launch
        secret = folder / "secret"
        secret.write_text(SECRET)
        self.station = self._child(stack, "sim", "station", "--quiet", "--secret-file", secret)
        self.phone = self._child(stack, "sim", "phone", "--quiet")
        self.station_port, phone_port = (
            int(peer.wait_for("ready port=").rpartition("=")[2]) for peer in (self.station, self.phone)
        )
        urls = {"station-0": f"http://127.0.0.1:{self.station_port}/station", "sms": f"http://127.0.0.1:{phone_port}"}
        self.url = server.create()
        self.market = make_market(folder / "r0", units, urls=urls, store_url=self.url)
        self.folders = [folder / f"r{i}" for i in range(count)]
        first = self.folders[0]
        for other in self.folders[1:]:
            join(other, settings=first / "receiver.toml", master_key=first / "master.key", ca=first / "ca",
                 now_ms=time.time_ns() // 1_000_000)  # fmt: skip
        self.broker = stack.enter_context(make_broker(folder / "nats"))
        ports = self.broker.start(self.market)
        self.port = ports[0]
        self.links = [stack.enter_context(LinkProxy("127.0.0.1", server.port)) for _ in range(count)]
        for other, link in zip(self.folders, self.links, strict=True):
            use_broker(other, [f"mqtt://127.0.0.1:{port}" for port in ports])
            config = other / "receiver.toml"
            config.write_text(config.read_text().replace(f"127.0.0.1:{server.port}/", f"127.0.0.1:{link.port}/"))
        self.store = open_store(self.url)
        stack.callback(self.store.close)
        with self.store.read() as conn:
            ids = {r.mqtt_client_id: r.sender for r in conn.execute(select(schema.receiver))}
        self.senders = [ids[(f / identity.ID_NAME).read_text().strip()] for f in self.folders]
        self._stack = stack
        self.receivers: list[Child] = []
        for i in range(count):  # all at once
            self.receivers.append(self._start(i))
        for receiver in self.receivers:
            receiver.wait_for("receiver.ready")
        self.nodes = [
            stack.enter_context(HostNode(b, port=ports[i % len(ports)], repeat_s=1.0, patience_s=patience_s))
            for i, b in enumerate(self.market.bundles)
        ]
        for node in self.nodes:
            assert node.wait_connected(DEADLINE_S)

    def _child(self, stack: ExitStack, *args: object) -> Child:
        child = Child(*args)
        stack.callback(child.stop)
        return child

    def _start(self, i: int) -> Child:
        words = ("--data", self.folders[i], "receiver", "run", "--log-format", "json")
        child = Child(*words, launch=self._launch)
        self._stack.callback(child.stop)
        return child

    def start(self, i: int) -> None:
        """Start a receiver again."""
        self.receivers[i] = self._start(i)
        self.receivers[i].wait_for("receiver.ready")

    def freeze(self, i: int) -> None:
        """SIGSTOP, of the receiver and what it started."""
        os.killpg(self.receivers[i].process.pid, signal.SIGSTOP)

    def thaw(self, i: int) -> None:
        """SIGCONT."""
        os.killpg(self.receivers[i].process.pid, signal.SIGCONT)

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table by id."""
        with self.store.read() as conn:
            return list(conn.execute(select(table).order_by(*table.primary_key.columns)))

    def alarms(self, which: Iterable[int]) -> dict[int, int]:
        """These nodes report an alarm; {node: its event's number}."""
        return {i: self.nodes[i].alarm() for i in which}

    def await_receipts(self, numbers: dict[int, int], timeout_s: float = DEADLINE_S) -> None:
        """Until each of these has its receipt."""
        end = time.monotonic() + timeout_s
        for i, number in numbers.items():
            assert self.nodes[i].wait_receipt(number, end - time.monotonic()), f"no receipt for node {i}: {self.said()}"

    def reports(self) -> list[dict[str, Any]]:
        """Reports that the station took, one an idempotency key."""
        found: list[dict[str, Any]] = ask(self.station_port, "/received")["reports"]
        return found

    def await_reports(self, count: int, timeout_s: float = DEADLINE_S) -> None:
        """Until the station has so many."""
        await_true(lambda: len(self.reports()) >= count, f"not {count} reports: {self.said()}", timeout_s)

    def said(self) -> str:
        """What the receivers said last."""
        return "\n".join("\n".join(r.lines[-12:]) for r in self.receivers)

    def each_once(self, count: int) -> None:
        """So many alarms: each one event, one incident, one report."""
        assert len({(e.node_id, e.epoch, e.number) for e in self.rows(schema.event)}) == count
        assert len(self.rows(schema.event)) == count
        fires = [i for i in self.rows(schema.incident) if i.class_ == "fire"]
        assert [i.round for i in fires] == [1] * count
        told = [d for d in self.rows(schema.delivery) if d.recipient == "responder:station-0"]
        assert len(told) == count and {d.state for d in told} == {"accepted"}
        keys = [r["id"] for r in self.reports()]
        assert sorted(keys) == sorted(d.idempotency_key for d in told)


@contextmanager
def ring(folder: Path, server: Server, *, units: int = 4, count: int = 2, **more: Any) -> Iterator[Ring]:
    """Several receivers, set up and taken down; `more`: as Ring takes it."""
    with ExitStack() as stack:
        yield Ring(folder, server, units=units, count=count, stack=stack, **more)
