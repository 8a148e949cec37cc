"""`bongsu sim rig` as a program."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig_parts import ROOT, Terminal, rig


def _start(*args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bongsu.cli", "sim", "rig", *args],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'host'}:{ROOT / 'firmware'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_says_where_it_is_and_ends_with_its_input() -> None:
    with _start("--flashed") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready url=rfc2217://127.0.0.1:")
        answers, errors = process.communicate('{"state": true}\nnonsense\n', timeout=60)
        assert process.returncode == 0, errors
        assert [line[:8] for line in answers.splitlines()] == ['{"ok": t', '{"error"']


def test_a_signal_ends_it_and_its_board() -> None:
    with _start("--flashed") as process:  # the check after every test sees a board that is left behind
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--wifi", "=x"], 2, "Give --wifi SSID"),
        (["--mac", "XX"], 1, "12 lower-case hex digits"),
        (["--board", "toaster"], 1, "Known boards: "),
        (["--sensor", "nose"], 2, "Known types: "),
        (["--speed", "99"], 2, "0.1<=x<=20"),
    ],
)
def test_what_it_cannot_be_is_said_with_the_next_step(args: list[str], code: int, words: str) -> None:
    with _start(*args) as process:
        _, errors = process.communicate("", timeout=60)
    assert process.returncode == code
    assert words in errors and "Traceback" not in errors


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with rig(tmp_path) as first:
        with _start("--port", first.url.rpartition(":")[2]) as process:
            _, errors = process.communicate("", timeout=60)
    assert process.returncode == 1
    assert "Address already in use" in errors and "name another port" in errors


def test_networks_by_option(tmp_path: Path) -> None:
    with rig(tmp_path, flashed=True, wifi=["market=secret12", "lobby"]) as board, Terminal(board.url) as terminal:
        terminal.enter_raw()
        code = "import network\nw = network.WLAN()\nw.active(True)\nprint([(n[0], n[4]) for n in w.scan()])"
        assert terminal.raw(code) == b"[(b'market', 3), (b'lobby', 0)]\r\n"
