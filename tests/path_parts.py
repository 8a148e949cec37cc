"""The whole path for tests: the demo's stage (eight shops with virtual boards, receiver, station, phone), each board
behind a link of its own that can be cut, and a receiver that can be killed and started again.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import psutil

from bongsu.demo import market
from bongsu.demo.stage import Stage
from bongsu.install.bundle import Bundle
from bongsu.resources import resources
from bongsu.sim.board import VirtualBoard
from bongsu.sim.link import LinkProxy

UNITS = tuple(shop.address for shop in market.SHOPS)
SPEED = 16.0
FIRE = {"temp_c": 30.0, "smoke_od": 0.2}
CLEAR = {"temp_c": 21.0, "smoke_od": 0.001}
_LOOK_S = 0.05


class Town(Stage):
    """The stage with links in between. `outfits`: only these units have boards, each provisioned with these options."""

    def __init__(self, outfits: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(lambda text: None, SPEED)
        self.links: dict[str, LinkProxy] = {}
        self._outfits = outfits if outfits is not None else dict.fromkeys(UNITS, ())

    def _provision(self) -> None:
        passphrase = self.folder / "wifi.txt"
        passphrase.write_text("secret12", encoding="ascii")
        for unit, options in self._outfits.items():
            node = market.shop(unit).node
            args = ["--wifi", f"market={passphrase}", "--out", str(self.folder / "bundles" / node)]
            self.command("node", "provision", node, *options, *args, shown=None)

    def _power_on(self) -> None:
        firmware = resources().firmware
        port = int((self.data / "run" / "broker.port").read_text())
        for shop in map(market.shop, self._outfits):
            board = VirtualBoard(self.folder / "boards" / shop.node, node_id=shop.node, speed=SPEED)
            link = LinkProxy("127.0.0.1", port)
            bundle = Bundle.load(self.folder / "bundles" / shop.node)
            bundle.node_json["broker"]["port"] = link.port
            board.link = link
            board.flash(firmware)
            board.provision(bundle)
            board.set_values(**CLEAR)
            self.boards[shop.address], self.links[shop.address] = board, link
        for board in self.boards.values():
            board.power_on()
        for board in self.boards.values():
            board.wait_log("mqtt state=up", 30)

    # -- what is done to it

    @property
    def receiver_pid(self) -> int:
        """The running receiver."""
        return next(child.process.pid for child in reversed(self._children) if child.name == "receiver")

    @property
    def broker_pid(self) -> int:
        """Its embedded broker."""
        children = psutil.Process(self.receiver_pid).children(recursive=True)
        return next(c.pid for c in children if "nats-server" in c.name())

    def kill_receiver(self) -> None:
        """kill -9; its broker dies with it."""
        child = next(c for c in reversed(self._children) if c.name == "receiver")
        child.process.kill()
        child.reap()
        self._children.remove(child)
        while (line := self.next_line(1.0)) is not None and line.name != "ended":
            pass

    def start_receiver(self) -> None:
        """Start it again on the same data."""
        args = ["--data", str(self.data), "receiver", "run", "--log-format", "json"]
        self._await_event("receiver.ready", self._child("receiver", args, self.lines, stream="stderr"))

    def tell_peer(self, peer: str, path: str, **values: Any) -> None:
        """POST to the station's or phone's controls."""
        body = json.dumps(values).encode()
        build_opener(ProxyHandler({})).open(Request(self.url(peer, path), data=body), timeout=5).close()

    def burn(self, *units: str) -> None:
        """Smoke in these shops from now on."""
        for unit in units:
            self.boards[unit].set_values(**FIRE)

    def clear(self, *units: str) -> None:
        """Clean air again."""
        for unit in units:
            self.boards[unit].set_values(**CLEAR)

    def close(self) -> None:
        super().close()
        for link in self.links.values():
            link.close()

    # -- what came of it

    def reports(self, unit: str, kind: str = "bongsu.fire.alarm", path: str = "/station") -> list[dict[str, Any]]:
        """Reports of a shop that the station took, one an idempotency key."""
        found = self.received("station")["reports"]
        return [r for r in found if r["path"] == path and r["body"]["type"] == kind and _unit_of(r) == unit]

    def fires(self) -> Counter[str]:
        """Open fire incidents by shop."""
        return Counter(
            i["subject"].removeprefix("unit:")
            for i in self.incidents()
            if i["class"] == "fire" and i["state"] == "open"
        )

    def events(self, unit: str) -> list[dict[str, Any]]:
        """The newest events of a shop's node, oldest first (`bongsu node show`)."""
        row = json.loads(self.command("node", "show", self.boards[unit].node_id, "--json", shown=None))
        return list(reversed(row["events"]))

    def texts(self, unit: str) -> set[str]:
        """Keys of the texts that the owner's phone got. One may come twice under its key: rather twice than never."""
        phone = "+82" + market.shop(unit).phone.replace("-", "")[1:]
        texts = self.received("phone")["texts"]
        return {t["key"] for t in texts if t["to"] == phone and t["status"] == "delivered"}

    def until(self, true: Callable[[], object], what: str, seconds: float = 40) -> None:
        """Wait for something at the far end, which has no event to wait for; fails with `what`."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{what}\n" + "\n".join(b.log_lines[-1].text for b in self.boards.values())
            time.sleep(_LOOK_S)


def _unit_of(report: dict[str, Any]) -> str:
    data = report["body"]["data"]
    return f"{data['market']['id']}/{data['shop']['id']}"


@contextmanager
def town(outfits: Mapping[str, Sequence[str]] | None = None) -> Iterator[Town]:
    """A town, set up and taken down."""
    made = Town(outfits)
    try:
        made.set_up()
        yield made
    finally:
        made.close()


def stop(pid: int) -> None:
    """SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)


def go_on(pid: int) -> None:
    """SIGCONT."""
    os.kill(pid, signal.SIGCONT)
