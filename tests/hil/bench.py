"""The bench: the board under test and its states, off -> flashed -> provisioned -> running.

Each state is reached from the one before it, once; what failed is not tried again, and every test that needs the state
fails with the same words. What stands behind the port is not known: a chip on a desk, a remote rig, an emulator, or the
virtual board.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bongsu.errors import BongsuError
from bongsu.install.boards import Board, load_board
from bongsu.install.link import BoardLink
from tests.hil.centre import SITE, UNIT, Centre
from tests.hil.network import Way, find_way

STATES = ("off", "flashed", "provisioned", "running")
# An emulator may be many times slower than a chip.
HEARTBEAT_S = 300.0


@dataclass(frozen=True)
class Options:
    """What the command line said (tests/conftest.py). wifi: SSID or SSID=FILE, None: the strongest open network;
    host: this machine as the board sees it, None: found by trying; bind: where the receiver listens; flash: even if it
    runs MicroPython already; image: to flash, None: the board's own; sensors: fitted to it.
    """

    port: str
    board: str
    wifi: str | None = None
    host: str | None = None
    bind: str = "127.0.0.1"
    flash: bool = False
    image: Path | None = None
    sensors: tuple[str, ...] = ("lm75",)


class Bench:
    """One board on its port, and a receiver for it. `heat`: warms the air around it (degC), None where nothing can."""

    def __init__(self, options: Options, folder: Path, heat: Callable[[float], None] | None = None) -> None:
        self.options = options
        self.board: Board = load_board(options.board)
        self.heat = heat
        self.state = "off"
        self.node = ""
        self.way: Way | None = None
        self.provisioned: dict[str, Any] = {}
        self.flashed: dict[str, Any] | None = None  # None: it came with MicroPython
        self.spoken: list[str] = []  # everything that commands printed, for the search for secrets
        self._folder = folder
        self._failed = ""
        self._centre: Centre | None = None

    # -- states

    def to(self, wanted: str) -> "Bench":
        """Bring the board to a state, or to one beyond it."""
        while STATES.index(self.state) < STATES.index(wanted):
            if self._failed:
                pytest.fail(f"the board did not get beyond {self.state!r}: {self._failed}", pytrace=False)
            following = STATES[STATES.index(self.state) + 1]
            try:
                {"flashed": self._flash, "provisioned": self._provision, "running": self._run}[following]()
            except BaseException as err:
                self._failed = f"on the way to {following!r}: {err}"
                raise
            self.state = following
        return self

    def _flash(self) -> None:
        why = "--hil-flash" if self.options.flash else self._no_micropython()
        if not why:
            return
        image = ["--image", str(self.options.image)] if self.options.image else []
        try:
            self.flashed = self.device("flash", "--board", self.options.board, *image)
        except AssertionError as err:
            raise AssertionError(f"it was to be flashed, because: {why}\n{err}") from None

    def _no_micropython(self) -> str:
        """Why it is to be flashed; "" if MicroPython runs on it."""
        try:
            with self.link() as link:
                return "" if link.facts().machine else "what runs on it is no MicroPython"
        except BongsuError as err:
            return err.message

    def _provision(self) -> None:
        with self.link() as link:
            self.node = link.facts().mac
            self.way = find_way(link, self.options.wifi, self.options.host, self.options.bind)
        self.centre.start()
        self.provisioned = self.provision()

    def _run(self) -> None:
        epoch = self.provisioned["epoch"]
        self.centre.until(lambda: self.heard() and self.key_state(epoch) == "active", "a heartbeat", HEARTBEAT_S)

    # -- what tests do with it

    @property
    def centre(self) -> Centre:
        """The receiver of this bench."""
        if self._centre is None:
            self._centre = Centre(self._folder, self.options.bind)
        return self._centre

    @contextmanager
    def link(self) -> Iterator[BoardLink]:
        """The board in its raw REPL; it runs again afterwards."""
        with BoardLink(self.options.port) as link:
            link.service()
            try:
                yield link
            finally:
                link.restart()

    def device(self, command: str, *args: str) -> dict[str, Any]:
        """Run `bongsu device COMMAND --port ... --json`; what it says. Fails with its words if it fails."""
        done = self.run("device", command, "--port", self.options.port, *args, "--json")
        assert done.returncode == 0, f"device {command}: {done.stdout}{done.stderr}"
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def run(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """Run `bongsu` on the bench's data folder."""
        done = self.centre.bongsu(*args, check=False)
        self.spoken += [done.stdout, done.stderr]
        return done

    def provision(self) -> dict[str, Any]:
        """Provision it, as an installer does."""
        assert self.way is not None
        wifi = [part for text in self.way.wifi for part in ("--wifi", text)]
        sensors = [part for text in self.options.sensors for part in ("--sensor", text)]
        where = ["--board", self.options.board, "--unit", f"{SITE}/{UNIT}", "--broker-ip", self.way.host]
        return self.device("provision", *where, "--only-sensors", *sensors, *wifi, "--wait", str(HEARTBEAT_S))

    def heard(self) -> dict[str, Any]:
        """The last heartbeat that the receiver took; {} if none."""
        return self.centre.show(self.node).get("heartbeat") or {}

    def key_state(self, epoch: int) -> str:
        """Of a key epoch at the receiver."""
        return next(key["state"] for key in self.centre.show(self.node)["keys"] if key["epoch"] == epoch)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Its events of a kind at the receiver, newest first."""
        return [event for event in self.centre.show(self.node)["events"] if event["kind"] == kind]

    def close(self) -> None:
        """End the receiver; the board stays as it is."""
        if self._centre is not None:
            self._centre.stop()
