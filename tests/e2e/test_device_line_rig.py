"""`bongsu device show|logs|console|identify --port` on a rig: whoever only listens disturbs nothing, whoever stops the
board starts it again, and every command leaves the port to the next one.
"""

import json
import os
import pty
import select
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bongsu.install import on_board
from bongsu.install.boards import load_board
from bongsu.install.link import BoardLink
from tests.registry_parts import Ran, bongsu, bongsu_process
from tests.rig_parts import MAC, Rig, put_files, rig, ticking_rig


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A board on which TICKING runs; nobody is at its port."""
    with ticking_rig(tmp_path_factory.mktemp("rig")) as made:
        yield made


@pytest.fixture(autouse=True)
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONGSU_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def _ticks(rows: list[dict[str, object]]) -> list[int]:
    return [int(str(row["ticks_ms"])) for row in rows if row["tag"] == "tick"]


def _read_logs(url: str, lines: int) -> list[dict[str, object]]:
    """The first lines of `device logs`, which is then told to end as by Ctrl-C."""
    process = bongsu_process("device", "logs", "--port", url, "--json")
    assert process.stdout is not None
    rows = [json.loads(process.stdout.readline()) for _ in range(lines)]
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    return rows


@pytest.mark.parametrize("control_lines", [True, False])
def test_following_the_log_does_not_reset_the_board(running: Rig, control_lines: bool) -> None:
    url = running.url if control_lines else running.bare_url
    before = running.boots
    seen: list[int] = []
    for _ in range(3):
        seen += _ticks(_read_logs(url, 4))
    assert len(seen) >= 9 and seen == sorted(seen), "its clock went on"
    assert running.boots == before


def test_show_listens_and_asks_only_when_told(running: Rig) -> None:
    before = running.boots
    row = json.loads(bongsu("device", "show", "--port", running.url, "--seconds", "5", "--json").out)
    assert row["state"] == "a node runs on it" and running.boots == before
    ran = bongsu("device", "show", "--port", running.url, "--ask", "--json")
    assert ran.code == 0, ran.err
    row = json.loads(ran.out)
    assert (row["node"], row["platform"], row["fs"], row["key_epoch"]) == (MAC, "esp32", "ok", None)
    assert len(running.boots) > len(before)
    assert _ticks(_read_logs(running.url, 20)), "it runs again"


@pytest.mark.parametrize("control_lines", [True, False])
def test_a_restart_that_was_asked_for_is_no_crash(running: Rig, control_lines: bool) -> None:
    """The node counts restarts that were not by power: four in a row, and it would start in safe mode."""
    nvs = "import esp32\nn=esp32.NVS('bongsu')\n"
    with BoardLink(running.url if control_lines else running.bare_url) as link:
        link.service()
        link.run(nvs + "n.set_i32('unclean',3)\nn.commit()")
        link.restart()
        link.service()
        assert link.value(nvs + "print(n.get_i32('unclean'))") == 0
        link.run(nvs + "n.erase_key('unclean')\nn.commit()")
        link.restart()
    assert _ticks(_read_logs(running.url, 20)), "it runs again"


def test_a_board_that_is_not_provisioned_flashes_by_its_kind(running: Rig) -> None:
    ran = bongsu("device", "identify", "--port", running.url)
    assert ran.code == 1 and "--board" in ran.err
    levels = set()
    done = threading.Event()
    found: list[Ran] = []

    def flash() -> None:
        found.append(bongsu("device", "identify", "--port", running.url, "--board", "esp32-devkitc", "--json"))
        done.set()

    thread = threading.Thread(target=flash)
    thread.start()
    while not done.wait(0.1):
        levels.add(running.say(state=True)["pins"].get("26"))
    thread.join()
    assert found[0].code == 0 and json.loads(found[0].out)["node"] == MAC, found[0].err
    assert {0, 1} <= levels, "its lamp flashed"
    assert _ticks(_read_logs(running.url, 20)), "it runs again"


def test_the_console_talks_to_the_board(running: Rig) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "bongsu.cli", "device", "console", "--port", running.url],
            stdin=slave, stdout=slave, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            _until(master, b"I tick n=1")
            os.write(master, b"\x03")
            _until(master, b">>> ")
            os.write(master, b"print(6 * 7)\r")
            _until(master, b"42\r\n>>> ")
            os.write(master, b"\x04")
            _until(master, b"I tick n=1")
            os.write(master, b"\x1d")
            _, err = process.communicate(timeout=60)
        assert process.returncode == 0 and b"may stand still" in err, err
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def _until(fd: int, wanted: bytes) -> None:
    got = b""
    while wanted not in got:
        ready, _, _ = select.select([fd], [], [], 60)
        assert ready, got
        got += os.read(fd, 4096)


def test_a_pulled_cable_and_a_busy_port_say_what_to_do(running: Rig) -> None:
    running.say(fault={"busy": True})
    try:
        process = bongsu_process("device", "logs", "--port", running.url)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1 and "next:" in err, err
    finally:
        running.say(fault={"busy": False})
    process = bongsu_process("device", "logs", "--port", running.url)
    assert process.stdout is not None and "tick" in process.stdout.readline() + process.stdout.readline()
    running.say(cable="pull")
    try:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1 and "next:" in err, err
    finally:
        running.say(cable="plug")


def test_a_blank_board_is_called_blank(tmp_path: Path) -> None:
    with rig(tmp_path) as blank:
        row = json.loads(bongsu("device", "show", "--port", blank.url, "--seconds", "5", "--json").out)
        assert row["state"] == "there is no program on it", row
        ran = bongsu("device", "show", "--port", blank.url, "--ask")
        assert ran.code == 1 and "bongsu device flash" in ran.err


def test_lines_that_do_nothing_are_seen_through(tmp_path: Path) -> None:
    """A port may take DTR and RTS and have them wired to nothing. The board may start just then all the same, and may
    say again and again that its file system is corrupt: it is not left in its REPL.
    """
    kind = load_board("esp32-devkitc")
    put_files(tmp_path, {"/main.py": b"print('main')\n"})
    with (tmp_path / "rig" / "chip.bin").open("r+b") as chip:
        chip.seek(kind.flash.vfs_offset)
        chip.write(bytes(2 * 4096))  # both copies of its first block
    with rig(tmp_path, speed=10) as board, BoardLink(board.bare_url) as link:
        link._lines_reset = True  # a plain socket takes them, and does nothing
        link.service()
        assert link.facts().fs == "corrupt"
        assert on_board.make_file_system(link)
        before = board.boots
        link.restart()
        assert any("SW_CPU_RESET" in line for line in link.lines(10))
        assert board.boots[len(before) :] == ["hard"]
