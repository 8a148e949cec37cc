"""The README's receiver of your own, done as it stands there: every block in order, terminals in the background.

Changed for the test: only the ports, which the system picks.
"""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import image_parts

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEADLINE_S = 180
BLOCK = re.compile(r"(?:<!-- terminal: (\w+) -->\n)?```(\w+)\n(.*?)```\n", re.DOTALL)
# What each terminal prints when the next step may come.
READY = {
    "station": "ready port=",
    "phone": "ready port=",
    "receiver": "receiver.ready",
    "board": " receipt event=",
    "rig": "ready url=",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: language, text, terminal that it runs in, and the words before it."""

    kind: str
    text: str
    terminal: str | None
    before: str


def _blocks(section: str) -> list[Block]:
    text = README.split(f"## {section}\n")[1].split("\n## ")[0]
    found, at = [], 0
    for match in BLOCK.finditer(text):
        found.append(Block(match[2], match[3], match[1], text[at : match.start()]))
        at = match.end()
    return found


def _free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


class Walk:
    """A folder in which the README is being followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: _free_port() for port in ("8119", "8120", "8883", "4000")}
        self.exports = "set -euo pipefail\n"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.printed: list[str] = []
        bin_folder = Path(sys.executable).parent
        self.env = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(folder), "LANG": "C.UTF-8"}

    def follow(self, block: Block) -> None:
        """Do what one block says."""
        text = re.sub("|".join(self.ports), lambda m: self.ports[m[0]], block.text)
        if block.kind in ("csv", "toml"):
            name = re.findall(r"`([\w/.]+\.(?:csv|toml))`", block.before)[-1]
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(text)
        elif block.terminal:
            self._background(block.terminal, text)
        else:
            self._foreground(text)

    def _foreground(self, text: str) -> None:
        done = subprocess.run(
            ["bash", "-c", self.exports + text],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, text + done.stdout + done.stderr
        self.printed.append(done.stdout)
        self.exports += "".join(line + "\n" for line in text.splitlines() if line.startswith("export "))
        if "bongsu init" in text:
            settings = self.folder / "market" / "receiver.toml"
            settings.write_text(settings.read_text().replace("port = 8883", f"port = {self.ports['8883']}"))

    def _background(self, terminal: str, text: str) -> None:
        with (self.folder / f"{terminal}.log").open("wb") as log:
            self.running[terminal] = subprocess.Popen(
                ["bash", "-c", f"{self.exports}exec {text}"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.PIPE,  # a terminal that stays open: the rig takes orders there
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.until(lambda: READY[terminal] in self.log(terminal), terminal)

    def log(self, terminal: str) -> str:
        """What a terminal shows."""
        return (self.folder / f"{terminal}.log").read_text(errors="replace")

    def until(self, true: Callable[[], bool], terminal: str) -> None:
        """Wait for something; fails with the terminal's text."""
        end = time.monotonic() + DEADLINE_S
        while not true():
            ended = self.running[terminal].poll() is not None
            assert not ended and time.monotonic() < end, f"{terminal}:\n{self.log(terminal)[-4000:]}"
            time.sleep(0.1)

    def received(self, port: str) -> str:
        """What a peer has received, as JSON text."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}/received", timeout=10) as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        """Ctrl-C in every terminal; nothing may be left of any."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                pass
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    walk = Walk(tmp_path)
    yield walk
    walk.close()


def _json(walk: Walk, command: str) -> object:
    walk.follow(Block("sh", command + " --json\n", None, ""))
    return json.loads(walk.printed[-1])


def test_a_receiver_of_your_own(walk: Walk) -> None:
    blocks = _blocks("A receiver of your own")
    fire = next(i for i, block in enumerate(blocks) if "incident list" in block.text)
    for block in blocks[:fire]:
        walk.follow(block)
    assert "Would import 2 units" in "".join(walk.printed)
    walk.until(lambda: "bongsu.fire.alarm" in walk.received("8119"), "station")
    walk.until(lambda: "+821012345678" in walk.received("8120"), "phone")
    walk.follow(blocks[fire])
    assert "hannae/a-07" in walk.printed[-1]
    for block in blocks[fire + 1 :]:
        walk.follow(block)
    assert "Exercise 1 is over" in walk.printed[-1]
    shown = json.dumps(_json(walk, "bongsu incident show 1"), ensure_ascii=False)
    assert '"disposition": "fire"' in shown
    assert "010-1234-5678" not in shown
    assert "1234" not in walk.log("receiver")


@pytest.mark.timeout(400)
def test_boards_from_the_box_to_the_wall(walk: Walk) -> None:
    """On a rig that is blank at first. Changed beside the ports: the image is a file, since tests download nothing."""
    blocks = _blocks("A receiver of your own")
    receiver = next(i for i, block in enumerate(blocks) if block.terminal == "receiver")
    for block in blocks[: receiver + 1]:
        walk.follow(block)
    image = image_parts.real_image()
    for block in _blocks("Boards: from the box to the wall"):
        if not block.before.endswith("<!-- not run -->\n"):
            text = block.text.replace("--board esp32-devkitc", f"--board esp32-devkitc --image {image}")
            walk.follow(dataclasses.replace(block, text=text))
    assert "a0b1c2d3e4f6 is in service in hannae/a-08" in "".join(walk.printed)
    assert "+821023456789" in walk.received("8120")
    assert json.loads(walk.received("8119"))["reports"] == []
    assert (walk.folder / "labels.pdf").is_file()


def test_a_broker_of_your_own(walk: Walk) -> None:
    walk.follow(_blocks("A receiver of your own")[0])
    for block in _blocks("A broker of your own"):
        walk.follow(block)
    assert (walk.folder / "cluster" / "n3" / "nats.conf").is_file()
    assert 'mode = "external"' in walk.printed[-1]


def test_backup_and_records(walk: Walk) -> None:
    walk.follow(_blocks("A receiver of your own")[0])
    for block in _blocks("Backup and records"):
        walk.follow(block)
    assert (walk.folder / "restored" / "receiver.toml").is_file()


def test_the_two_commands_are_targets() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE))
    assert named <= targets
    assert {"demo", "test"} <= named


def test_every_path_named_is_there() -> None:
    for path in set(re.findall(r"`((?:firmware|host|tests|tools|boards)/[\w./-]*)`", README)):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([\w.]+)\)", README):
        assert (ROOT / path).exists(), path


def test_the_line_that_installs_what_is_missing_is_that_of_the_check() -> None:
    line = "sudo apt-get install -y git make python3-venv"
    assert line in README
    assert line in (ROOT / "tools" / "check_machine.sh").read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="the README's blocks are for bash")
def test_blocks_are_shell_that_parses() -> None:
    for block in _blocks("A receiver of your own") + _blocks("A broker of your own") + _blocks("Two commands"):
        if block.kind == "sh":
            subprocess.run(["bash", "-n", "-c", block.text], check=True, timeout=10)
