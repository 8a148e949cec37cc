"""Commissioning for quick tests: the real store and the receiver's writer, a bench that only says what it would do, and
a node that lives while somebody waits.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import update

from bongsu.install import walk_test
from bongsu.install.commission import Commissioning, Flashed, Found, Outcome, Place, Settled, Status, Tell, Wish
from bongsu.install.waiting import Waiting
from bongsu.receiver import audit, keys
from bongsu.receiver.commissioning_desk import CommissioningDesk
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.store import schema
from bongsu.receiver.writer import Wake
from bongsu_wire import frame, kinds, payload, topics
from tests.receiver_parts import SITE, Desk, FrameMaker, Market, make_market

URLS = {"station-0": "http://127.0.0.1:9/s", "centre-0": "http://127.0.0.1:9/c", "sms": "http://127.0.0.1:9"}
NEW = "a0b1c2ffff01"
PORT = "/dev/ttyUSB0"


@dataclass
class Board:
    """What is on a board."""

    node_id: str = NEW
    image: str | None = None
    epoch: int | None = None
    files: bool = False


class Killed(BaseException):
    """The process ends here."""


@dataclass
class FakeBench:
    """A bench with one board. fail: raises at these steps; kill: ends there, before or after the step was done."""

    shop: "Shop"
    board: Board = field(default_factory=Board)
    fail: dict[str, Exception] = field(default_factory=dict)
    kill: tuple[str, str] | None = None
    acts: list[str] = field(default_factory=list)
    label_file: str | None = None

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        if self.kill == (name, "before"):
            raise Killed
        if name in self.fail:
            raise self.fail[name]
        yield
        if self.kill == (name, "after"):
            raise Killed

    def find(self, tell: Tell) -> Found:
        with self._step("find"):
            return Found(self.board.node_id, "esp32-devkitc", "ESP32")

    def check(self, found: Found, place: Place) -> None:
        with self._step("check"):
            pass

    def flash(self, found: Found, tell: Tell) -> Flashed:
        with self._step("flash"):
            if self.board.image == "mp.bin":
                return Flashed("mp.bin", "ab" * 32, already=True)
            tell("write", 1, 2)
            self.board.image, self.board.epoch, self.board.files = "mp.bin", None, False
            self.acts.append("flash")
            return Flashed("mp.bin", "ab" * 32)

    def provision(self, found: Found, place: Place, tell: Tell) -> Settled:
        with self._step("provision"):
            copied = 0 if self.board.files else 200_000
            new_key = self.board.epoch is None
            self.board.files = True
            if new_key:
                self.board.epoch = self.shop.key(found.node_id)
            self.acts.append(f"provision {copied} {new_key}")
            self.shop.beat(found.node_id)
            return Settled(self.board.epoch or 0, "cd" * 32, copied, new_key)

    def label(self, found: Found, desk: CommissioningDesk) -> str | None:
        with self._step("label"):
            return self.label_file


class Shop:
    """A market with its receiver's writer; unit u-0 has a node in service, u-1 waits for one."""

    def __init__(self, market: Market) -> None:
        self.desk = Desk(market)
        self.market = market
        self.master = load_master(market.data / MASTER_KEY_NAME)
        self.radios: dict[str, FrameMaker] = {}
        self.numbers: dict[str, int] = {}
        self.read = 0
        self.presses: set[str] = set()
        self.deaf = False
        self.text = "accepted"
        self.statuses: list[Status] = []
        self.mono_s = 0.0

    # -- what the installer has

    def waiting(self) -> Waiting:
        return Waiting(lambda: self.mono_s, self._sleep, 0.2)

    @contextmanager
    def _writing(self, topic: Any) -> Iterator[Any]:
        with self.desk.store.write() as conn:
            audit.begin(conn)
            yield conn
            audit.conclude(conn, actor="kim", action="device.commission", now_ms=self.desk.clock.now_ms())
        self.desk.writer.turn([Wake(topic)])

    def office(self) -> CommissioningDesk:
        return CommissioningDesk(
            self.desk.store, self._writing, installer="kim", version="0.1", now_ms=self.desk.clock.now_ms
        )

    def run(self, bench: FakeBench, *, unit: str = "u-1", **wish: Any) -> Outcome:
        walk = walk_test.Wish(**{"auto": True, "minutes": 2, **wish.pop("walk", {})})
        place = Place((SITE, unit), wish.pop("label", ""))
        return Commissioning(
            PORT,
            bench,
            self.office(),
            lambda node_id, unit: place,
            Wish(walk=walk, **wish),
            self.statuses.append,
            self.waiting(),
        ).run()

    # -- what the node does

    def key(self, node_id: str) -> int:
        """A new key of the node, which it has at once."""
        with self.desk.store.write() as conn:
            made = keys.make_node_key(conn, self.master, node_id, self.desk.clock.now_ms())
            conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(state="provisioned"))
        self.radios[node_id] = FrameMaker(node_id, made.key, made.epoch)
        self.desk.writer.turn([Wake("registry")])
        return made.epoch

    def beat(self, node_id: str) -> None:
        """A heartbeat with a signal of -61 dBm."""
        radio = self.radios[node_id]
        beat = payload.Heartbeat(echo_server_ms=self.desk.clock.now_ms(), echo_age_ms=0, rssi_dbm=-61)
        data = radio.seal(kinds.UP_HEARTBEAT, payload.encode_heartbeat(beat))
        self.desk.arrive((node_id, data), topic=topics.up_beats(node_id))
        self.desk.pass_time(6_000)  # heartbeats are written every few seconds

    def press(self, node_id: str) -> None:
        """The test button."""
        number = self.numbers[node_id] = self.numbers.get(node_id, 0) + 1
        radio = self.radios[node_id]
        made = payload.Event(number, kinds.TEST, 0)
        self.desk.arrive((node_id, radio.seal(kinds.UP_EVENT, payload.encode_event(made))))

    def _sleep(self, seconds: float) -> None:
        self.mono_s += seconds
        self.desk.pass_time(round(seconds * 1000))
        for node_id in sorted(self.presses):
            self.presses.discard(node_id)
            self.press(node_id)
        while self.read < len(self.desk.edge.published):
            topic, data = self.desk.edge.published[self.read]
            self.read += 1
            self._obey(topic, data)
        for job in list(self.desk.jobs):
            self.desk.end(job, self.text, "ref")

    def _obey(self, topic: str, data: bytes) -> None:
        node_id = next((n for n in self.radios if topic == topics.down(n)), None)
        header = frame.parse(data)
        if node_id is None or header.kind != kinds.DOWN_COMMAND or self.deaf:
            return
        radio = self.radios[node_id]
        with contextlib.suppress(ValueError):  # of an earlier key
            header, plain = radio.open(data)
            command = payload.decode_command(plain)
            if command.code == kinds.CMD_TEST:
                self.press(node_id)
            answer = payload.Answer(header.counter, header.sender, command.code, kinds.ANSWER_DONE)
            self.desk.arrive((node_id, radio.seal(kinds.UP_ANSWER, payload.encode_answer(answer))))

    # -- what came of it

    def deliveries(self) -> list[tuple[str, str, str]]:
        return [(r.channel, r.recipient, r.state) for r in self.desk.rows(schema.delivery)]

    def records(self) -> list[Any]:
        return self.desk.rows(schema.commissioning)

    def keys(self, node_id: str = NEW) -> list[tuple[int, str]]:
        return [(k.epoch, k.state) for k in self.desk.rows(schema.node_key) if k.node_id == node_id]


@contextmanager
def shop(folder: Path, **more: Any) -> Iterator[Shop]:
    """A shop, set up and taken down. Its unit u-1 has contacts, and no node."""
    market = make_market(folder / "data", 2, urls=more.get("urls", URLS))
    made = Shop(market)
    try:
        with made.desk.store.write() as conn:
            second = market.bundles[1].node_id
            for table in (schema.node_key, schema.node_broker, schema.node_live):
                conn.execute(table.delete().where(table.c.node_id == second))
            conn.execute(schema.node.delete().where(schema.node.c.id == second))
        made.desk.writer.turn([Wake("registry")])
        yield made
    finally:
        made.desk.close()
