"""`bongsu device provision` on a rig: the real firmware under the real MicroPython behind a serial port, a real
receiver and its broker over TLS, and the command as a process of its own.
"""

import base64
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from bongsu.install import on_board
from bongsu.install.boards import load_board
from bongsu.install.link import BoardLink
from bongsu.install.transfer import Files
from bongsu.receiver import keys
from bongsu.receiver.store import Store, schema
from tests.receiver_parts import Child
from tests.registry_parts import bongsu, bongsu_process, new_store, on_this_engine
from tests.rig_parts import MAC, SSID, Rig, rig

UNIT = "hannae/a-07"
PASSPHRASE = "a wifi passphrase"
PSK_SSID = "market"
SPEED = 4  # board seconds per second: boot.py's 3 s take less
END_S = 150.0
KILLS = 6


@dataclass(frozen=True)
class Ran:
    """What the command said."""

    code: int
    out: str
    err: str

    @property
    def row(self) -> dict[str, Any]:
        """Of --json."""
        assert self.code == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True)
class Hall:
    """A market whose receiver runs."""

    data: Path
    store: Store
    receiver: Child
    passphrase: Path

    def start(self, port: Rig | str, *options: object) -> Any:
        """The command as a process."""
        url = port if isinstance(port, str) else port.url
        return bongsu_process(
            *("device", "provision", "--data", self.data, "--port", url, "--board", "esp32-devkitc", "--json"), *options
        )

    def run(self, port: Rig | str, *options: object) -> Ran:
        """The command to its end."""
        with self.start(port, *options) as process:
            out, err = process.communicate(timeout=END_S)
        return Ran(process.returncode, out, err)

    @property
    def wifi(self) -> Sequence[str]:
        """Options of a network with a passphrase."""
        return ("--wifi", f"{PSK_SSID}={self.passphrase}")

    def key_states(self, node: str = MAC) -> dict[int, str]:
        """State by epoch."""
        c = schema.node_key.c
        with self.store.read() as conn:
            return {r.epoch: r.state for r in conn.execute(select(c.epoch, c.state).where(c.node_id == node))}

    def nodes(self) -> set[str]:
        """Those that are registered."""
        with self.store.read() as conn:
            return {r.id for r in conn.execute(select(schema.node.c.id))}

    def secrets(self, node: str = MAC) -> list[str]:
        """All that nobody may read of a node, as it might be written."""
        master = keys.load_master(self.data / "master.key")
        with self.store.read() as conn:
            made = [key.key for key in keys.usable_keys(conn, master, 0, node)]
            login = keys.broker_logins(conn, master, node)[0]
        written = [form for key in made for form in (key.hex(), base64.b64encode(key).decode(), repr(key)[2:-1])]
        assert len(written) >= 3
        return [*written, PASSPHRASE, login.password, login.client_id]


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """With two shops, and no node."""
    folder = tmp_path_factory.mktemp("hall")
    data = folder / "data"
    assert bongsu("init", "--data", data, *on_this_engine(data)).code == 0
    path = data / "receiver.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("\nport = 8883\n", "\nport = 0\n"), encoding="utf-8")
    bongsu("site", "add", "hannae", "--name", "한내시장", "--data", data)
    for unit in (UNIT, "hannae/a-08"):
        assert bongsu("unit", "add", unit, "--name", "가게", "--data", data).code == 0
    passphrase = folder / "passphrase"
    passphrase.write_text(PASSPHRASE)
    receiver = Child("--data", data, "receiver", "run", "--log-format", "json")
    try:
        receiver.wait_for("receiver.ready")
        with new_store(data) as store:
            yield Hall(data, store, receiver, passphrase)
    finally:
        receiver.stop()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Rig]:
    """A board that has been flashed and nothing else."""
    with rig(tmp_path, flashed=True, speed=SPEED) as made:
        made.say(networks=[[SSID, None, -55], [PSK_SSID, PASSPHRASE, -60]])  # not in a command line
        yield made


def files_on(port: Rig) -> dict[str, str]:
    """Hashes of what is on the board, which runs afterwards."""
    with BoardLink(port.url) as link:
        link.service()
        found = Files(link, unpacks=True).hashes("/lib", ["/boot.py", "/main.py", "/node.json", "/ca.der"])
        link.restart()
        return found


def is_our_key(hall: Hall, port: Rig) -> bool:
    """Whether the board has the newest key of the store."""
    master = keys.load_master(hall.data / "master.key")
    with BoardLink(port.url) as link:
        link.service()
        identity = on_board.identity(link)
        link.restart()
    with hall.store.read() as conn:
        newest = keys.newest_key(conn, master, MAC, 0)
    assert newest is not None and identity is not None
    return identity.epoch == newest.epoch and identity.is_of(newest.key)


def test_a_blank_board_is_heard_and_a_second_run_copies_nothing(hall: Hall, board: Rig) -> None:
    """With control lines, and then without them."""
    first = hall.run(board, "--unit", UNIT, *hall.wifi, "--wifi", SSID).row
    assert (first["node"], first["new_key"], first["registered"], first["reformatted"]) == (MAC, True, True, False)
    assert first["heard_ms"] and first["rssi_dbm"] == -60 and 40_000 < first["bytes_copied"] < 250_000
    assert hall.key_states()[first["epoch"]] == "active"
    files = files_on(board)
    second = hall.run(board.bare_url).row
    assert (second["bytes_copied"], second["new_key"], second["epoch"]) == (0, False, first["epoch"])
    assert second["heard_ms"] > first["heard_ms"] and files_on(board) == files and is_our_key(hall, board)


@pytest.mark.timeout(240)  # eight runs of the command
def test_killed_at_any_moment_it_is_finished_by_another_run(hall: Hall, board: Rig) -> None:
    """Killed in each step, at a moment of it that is drawn; in between, the power may fail too."""
    draw = random.Random(20_26)
    steps = ["Stop what runs", "Copy the application", "Write the settings", "Write the key", "Restart", "Wait for"]
    if MAC not in hall.nodes():
        assert bongsu("node", "add", MAC, "--unit", UNIT, "--data", hall.data).code == 0
    for step in [*steps, *draw.choices(steps, k=KILLS - len(steps))]:
        process = hall.start(board, "--wifi", SSID)
        with process:
            for line in process.stderr:
                if line.startswith(step):
                    break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0, 0.8))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        if draw.random() < 0.4:
            board.say(power="off")
            board.say(power="on")
    made = hall.run(board, "--wifi", SSID).row
    states = hall.key_states()
    assert states.pop(made["epoch"]) == "active" and not {"active", "pending"} & set(states.values())
    assert made["heard_ms"] and is_our_key(hall, board)
    assert hall.run(board).row["bytes_copied"] == 0


def test_a_damaged_file_system_is_made_anew_and_said(hall: Hall, board: Rig) -> None:
    hall.run(board, "--unit", UNIT, "--wifi", SSID, "--no-wait")
    board.say(power="off")
    with (board.folder / "chip.bin").open("r+b") as chip:
        chip.seek(load_board("esp32-devkitc").flash.vfs_offset)
        chip.write(b"\x5a" * 65_536)
    board.say(power="on")
    forgotten = hall.run(board)
    assert forgotten.code == 1 and "no Wi-Fi network is named" in forgotten.err
    ran = hall.run(board, "--wifi", SSID)
    assert ran.row["reformatted"] and ran.row["heard_ms"] and not ran.row["new_key"]
    assert "file system is damaged: make a new one" in ran.err


def test_a_full_flash_registers_nothing(hall: Hall, tmp_path: Path) -> None:
    other = "a0b1c2d30001"
    with rig(tmp_path, flashed=True, speed=SPEED, mac=other) as board:
        board.say(fault={"full": True})
        ran = hall.run(board, "--unit", "hannae/a-08", "--wifi", SSID)
        assert ran.code == 1 and "flash" in ran.err and "next:" in ran.err
        assert other not in hall.nodes() and hall.key_states(other) == {}
        board.say(fault={})
        assert hall.run(board, "--unit", "hannae/a-08", "--wifi", SSID).row["heard_ms"]
        files = files_on(board)
        board.say(fault={"full": True})
        assert hall.run(board, "--profile", "home", "--reading-s", "30").code == 1
        board.say(fault={})
        assert files_on(board) == files
        assert hall.run(board).row["heard_ms"]  # what was there works


def test_wrong_boards_and_ports_change_nothing(hall: Hall, board: Rig) -> None:
    before = (hall.nodes(), hall.key_states())
    files = files_on(board)
    for options, says in (
        (["a0b1c2d30009"], f"the board there is {MAC}, not a0b1c2d30009"),
        (["--board", "esp32-c3-devkitm-1"], "has the chip esp32c3"),
    ):
        ran = hall.run(board, *options, "--wifi", SSID)
        assert ran.code == 1 and says in ran.err and "next:" in ran.err
    board.say(fault={"busy": True})
    ran = hall.run(board)
    assert ran.code == 1 and "next:" in ran.err
    board.say(fault={})
    assert hall.run("socket://127.0.0.1:1").code == 1 and hall.run("carrier://pigeon").code == 2
    assert (hall.nodes(), hall.key_states()) == before and files_on(board) == files


def test_the_cable_is_pulled(hall: Hall, board: Rig) -> None:
    process = hall.start(board, "--unit", UNIT, "--wifi", SSID, "--no-wait")
    with process:
        for line in process.stderr:
            if line.startswith("Copy the application"):
                break
        board.say(cable="pull")
        _, err = process.communicate(timeout=END_S)
    assert process.returncode == 1 and "the connection was lost" in err and "next:" in err
    board.say(cable="plug")
    assert hall.run(board, "--unit", UNIT, "--wifi", SSID).row["heard_ms"]


class Eyes(threading.Thread):
    """Reads the command line and environment of every process, as any user's `ps` may, until it is closed."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[str] = set()
        self._closed = threading.Event()

    def run(self) -> None:
        while not self._closed.wait(0.05):
            for process in psutil.process_iter():
                try:
                    self.seen.add(" ".join(process.cmdline()))
                except psutil.Error:
                    pass

    def __enter__(self) -> "Eyes":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.join()


@pytest.mark.timeout(240)  # four runs of the command
def test_no_secret_is_left_anywhere(hall: Hall, board: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in what it prints, also where it fails and shows its traceback, nor in a command line, what the board says,
    what the receiver logs, or a file on this machine.
    """
    for name in ("XDG_RUNTIME_DIR", "TMPDIR", "HOME"):
        (tmp_path / name).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("BONGSU_DEBUG", "1")
    with Eyes() as eyes:
        ran = [hall.run(board, "--unit", UNIT, *hall.wifi)]
        ran.append(hall.run(board, "--profile", "home", "--no-wait"))
        board.say(fault={"full": True})
        ran.append(hall.run(board, "--profile", "market_dry", *hall.wifi))
        board.say(fault={})
        monkeypatch.delenv("BONGSU_DEBUG")
        board.say(networks=[["elsewhere", None, -50]])
        ran.append(hall.run(board, "--wait", "6", *hall.wifi))
    assert [one.code for one in ran] == [0, 0, 1, 1] and "was not heard in 6 s" in ran[-1].err
    places = {"output": "\n".join(one.out + one.err for one in ran), "processes": "\n".join(eyes.seen)}
    places["receiver"] = "\n".join(hall.receiver.lines)
    places["board"] = (board.folder / "serial.log").read_text(errors="replace")
    for path in (*tmp_path.rglob("*"), *Path(os.environ["XDG_CACHE_HOME"]).rglob("*")):
        if path.is_file() and board.folder not in path.parents:
            places[str(path)] = path.read_bytes().decode("latin-1")
    assert "device provision" in places["processes"] and re.search("boot cause", places["board"])
    for secret in hall.secrets():
        for place, text in places.items():
            assert secret not in text, f"a secret in {place}"
