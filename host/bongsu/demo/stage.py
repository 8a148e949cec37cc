"""Sets the demo up as a newcomer would: the same commands, the same processes; and takes it down again."""

import contextlib
import io
import json
import queue
import secrets
import shlex
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bongsu.demo import market
from bongsu.demo.guard import TEMP_PREFIX, Guard
from bongsu.demo.processes import Child, Line, Lines
from bongsu.errors import BongsuError
from bongsu.install.bundle import Bundle
from bongsu.receiver.responders import new_secret
from bongsu.resources import resources
from bongsu.sim.board import VirtualBoard
from bongsu.sim.scenarios import quiet_air
from bongsu.sim.serial_log import LogLine

READY_S = 20.0
# Lines so near to one another are told in the order of the data path.
MOMENT_S = 0.1
_HTTP_S = 5.0
_QUIET_S = 600.0

Say = Callable[[str], None]


class Stage:
    """Everything that runs in the demo. `say`: prints a line; `speed`: board seconds per wall second."""

    def __init__(self, say: Say, speed: float) -> None:
        self.lines: Lines = Lines()
        self.boards: dict[str, VirtualBoard] = {}
        self._say = say
        self._speed = speed
        self._children: list[Child] = []
        self._ports: dict[str, int] = {}
        self._guard = Guard()
        self.folder = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX))
        self._guard.watch_folder(self.folder)
        self.data = self.folder / "data"

    # -- setting up, in order

    def set_up(self) -> None:
        """Data folder, registry, peers, receiver, boards. Raises BongsuError."""
        self.command("init")
        self._start_peers()
        self._register()
        self._import_shops()
        self._start_receiver()
        self._provision()
        self._power_on()

    def command(self, *args: str, shown: str | None = "") -> str:
        """Run a bongsu command on the demo's data folder as the command line does, and return what it prints. `shown`:
        another text for the terminal, None for nothing.
        """
        from bongsu.cli.main import cli

        if shown is not None:
            self._say(f"  $ bongsu {shown or shlex.join(args)}")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            cli.main(["--data", str(self.data), *args], prog_name="bongsu", standalone_mode=False)
        return out.getvalue()

    def _start_peers(self) -> None:
        options = []
        for responder in ("station", "centre"):
            path = self.folder / f"{responder}.whsec"
            path.write_text(new_secret(), encoding="ascii")
            path.chmod(0o600)
            options += ["--secret-file", str(path)]
        self._peer("station", *options)
        self._peer("phone", "--delivery-ms", "300")

    def _peer(self, name: str, *args: str) -> None:
        self._say(f"  $ bongsu sim {name} &")
        child = self._child(name, ["sim", name, *args], Lines(), stream="stdout")
        self._ports[name] = child.wait_ready(READY_S)

    def _child(self, name: str, args: list[str], lines: Lines, *, stream: str) -> Child:
        child = Child(name, args, lines, self._guard, stream=stream)
        self._children.append(child)
        return child

    def _register(self) -> None:
        for site in market.SITES:
            self.command("site", "add", site.id, "--name", site.name, "--address", site.address)
        for kind, name in (("station", "119안전센터"), ("centre", "시장 관제센터")):
            url = self.url("station", kind)
            secret_file = str(self.folder / f"{kind}.whsec")
            args = ["responder", "add", kind, "--kind", kind, "--name", name, "--url", url]
            self.command(*args, "--secret-file", secret_file, shown=shlex.join(args))

    def _import_shops(self) -> None:
        for site in market.SITES:
            path = self.folder / f"{site.id}.csv"
            path.write_text(market.shop_list_csv(site.id), encoding="utf-8")
            self.command("import", str(path), "--site", site.id, shown=f"import {path.name} --site {site.id}")

    def _start_receiver(self) -> None:
        path = self.data / "receiver.toml"
        text = path.read_text(encoding="utf-8").replace("\nport = 8883\n", "\nport = 0\n")
        sms = f'\n[sms]\nurl = "{self.url("phone", "send")}"\nstatus_url = "{self.url("phone", "status/{ref}")}"\n'
        path.write_text(text + sms, encoding="utf-8")
        self._say("  $ bongsu receiver run &")
        args = ["--data", str(self.data), "receiver", "run", "--log-format", "json"]
        receiver = self._child("receiver", args, self.lines, stream="stderr")
        self._await_event("receiver.ready", receiver)

    def _await_event(self, name: str, child: Child) -> None:
        end = time.monotonic() + READY_S
        while (line := self.next_line(end - time.monotonic())) is not None:
            if line.name == name:
                return
            if line.name == "ended":
                raise child.failure("ended")
        raise child.failure(f"is not ready after {READY_S:.0f} s")

    def _provision(self) -> None:
        passphrase = self.folder / "wifi.txt"
        passphrase.write_text(secrets.token_urlsafe(12), encoding="ascii")
        for shop in market.SHOPS:
            bundle = self.folder / "bundles" / shop.node
            shown = f"node provision {shop.node} --wifi market=wifi.txt --out bundles/{shop.node}   (and 7 more)"
            args = ["node", "provision", shop.node, "--wifi", f"market={passphrase}", "--out", str(bundle)]
            self.command(*args, shown=shown if shop is market.SHOPS[0] else None)

    def _power_on(self) -> None:
        self._say("  flash and start 8 virtual boards on real MicroPython")
        firmware = resources().firmware
        for number, shop in enumerate(market.SHOPS):
            folder = self.folder / "boards" / shop.node
            board = VirtualBoard(folder, node_id=shop.node, speed=self._speed, seed=number)
            self.boards[shop.address] = board
            board.flash(firmware)
            board.provision(Bundle.load(self.folder / "bundles" / shop.node))
            board.set_scenario(quiet_air(_QUIET_S, seed=number))
            board.on_log(_listener(shop.address, self.lines))
        for board in self.boards.values():
            board.power_on()

    # -- while it runs

    def next_lines(self, timeout_s: float) -> list[Line]:
        """The next lines, waiting at most `timeout_s` for the first; what comes in the same moment comes with it."""
        found = []
        line = self.next_line(timeout_s)
        end = time.monotonic() + MOMENT_S
        while line is not None:
            found.append(line)
            line = self.next_line(end - time.monotonic())
        return found

    def next_line(self, timeout_s: float) -> Line | None:
        """The next line of the receiver or a board; None if there is none in time."""
        try:
            return self.lines.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None

    def url(self, peer: str, path: str) -> str:
        """An address at the station or phone."""
        return f"http://127.0.0.1:{self._ports[peer]}/{path}"

    def received(self, peer: str) -> dict[str, Any]:
        """What the station or the phone says that it got. Raises BongsuError."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.url(peer, "received"), timeout=_HTTP_S) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError) as err:
            raise BongsuError(f"the demo's {peer} does not answer: {err}") from None

    def incidents(self) -> list[dict[str, Any]]:
        """`bongsu incident list --json`."""
        found: list[dict[str, Any]] = json.loads(self.command("incident", "list", "--json", shown=None))
        return found

    def check_alive(self) -> None:
        """Raises BongsuError if a part of the demo has died."""
        for child in self._children:
            if not child.running:
                raise child.failure("has ended")
        for board in self.boards.values():
            if board.crash is not None:
                raise BongsuError(f"board {board.node_id}: {board.crash}")

    # -- the end

    def close(self) -> None:
        """End every process and remove the folder; the guard sees to what does not end by itself."""
        for board in self.boards.values():
            with contextlib.suppress(Exception):
                board.close()
        for child in self._children:
            child.ask_to_end()
        self._guard.close()
        for child in self._children:
            child.reap()


def _listener(source: str, lines: Lines) -> Callable[[LogLine], None]:
    def listen(line: LogLine) -> None:
        fields = {**line.fields, "ticks_ms": line.ticks_ms}
        lines.put(Line(source, line.wall_s, line.tag, fields, line.text))

    return listen
