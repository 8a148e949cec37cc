"""`bongsu device logs|console|show --port` on a serial line that a peer of the test is at the other end of."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu.install import node_log, port_report, ports
from bongsu.install.ports import Port, PortError
from tests.registry_parts import bongsu
from tests.serial_peer import SerialPeer, serial_peer

LOG = (
    b"boot.py: 3 s for service, Ctrl-C to stop here\r\n"
    b"3012 I boot cause=power fw=0.1.0 boots=3 safe=0\r\n"
    b"3500 W link state=down\r\n"
    b"Traceback (most recent call last):\r\n"
    b"4000 E journal state=failed err=OSError\r\n"
    b"\xff\xfe\x00\x1b[31mnoise\x07\r\n"
    b"4100 I sensor name=lm75 state=ok\r\n"
)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("BONGSU_DATA", str(tmp_path / "none"))


@pytest.fixture
def peer() -> Iterator[SerialPeer]:
    with serial_peer() as made:
        yield made


class _Line:
    """An open port that has these reads, and then nothing, or a cable that is pulled. A read takes 0.1 s."""

    def __init__(self, *reads: bytes, pulled: bool = False) -> None:
        self.now_s = 0.0
        self.open = True
        self._reads = list(reads)
        self._pulled = pulled

    def read(self, _size: int) -> bytes:
        self.now_s += 0.1
        if not self._reads and self._pulled:
            raise OSError(5, "Input/output error")
        return self._reads.pop(0) if self._reads else b""

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> _Line:
    """A port p, on which a board says LOG before its cable is pulled; nothing can be sent to it."""
    made = _Line(*(LOG[at : at + 13] for at in range(0, len(LOG), 13)), pulled=True)
    monkeypatch.setattr(ports, "pick", lambda url: Port(url or "p", "a board"))
    monkeypatch.setattr(ports, "open_serial", lambda url, *, timeout_s: made)
    return made


# ---- lines


def test_a_line_comes_whole_however_it_is_cut() -> None:
    for size in (1, 2, 7, 64):
        cutter = node_log.LineCutter()
        got = [line for at in range(0, len(LOG), size) for line in cutter.feed(LOG[at : at + size])]
        assert got == LOG.split(b"\n")[:-1] and cutter.end() == []


def test_noise_without_an_end_does_not_fill_the_memory() -> None:
    cutter = node_log.LineCutter()
    got = cutter.feed(b"\xff" * (3 * node_log.LONGEST_LINE + 5))
    assert [len(line) for line in got] == [node_log.LONGEST_LINE] * 3
    assert cutter.end() == [b"\xff" * 5] and cutter.end() == []


def test_following_ends_when_the_time_is_over() -> None:
    line: Any = _Line(b"1 I a x=1\n2 I ", b"b\n", b"cut")
    got = list(port_report.follow(line, "p", 0.95, monotonic_s=lambda: line.now_s, wall_s=lambda: 5.0))
    assert [(one.index, one.wall_s, one.tag, one.text) for one in got] == [
        (0, 5.0, "a", "1 I a x=1"), (1, 5.0, "b", "2 I b"), (2, 5.0, "", "cut")
    ]  # fmt: skip
    assert 0.9 < line.now_s < 1.1


def test_a_pulled_cable_is_a_port_error() -> None:
    line: Any = _Line(pulled=True)
    with pytest.raises(PortError) as caught:
        list(port_report.follow(line, "/dev/ttyUSB0", None))
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (b"rst:0x1 (POWERON_RESET)\ninvalid header: 0xffffffff\ninvalid header: 0xffffffff", "no program"),
        (b"rst:0x1\nwaiting for download", "ROM's loader"),
        (b"The filesystem appears to be corrupted. If you had\nmay want to make", "its file system is damaged"),
        (b"MicroPython v1.25.0 on 2025-04-15; Generic ESP32 module with ESP32\n>>> ", "at its prompt"),
        (LOG, "a node runs"),
        (b"boot.py: 3 s for service, Ctrl-C to stop here\n", "it starts"),
        (b"hello", "nothing that is known"),
        (b"", "said nothing"),
    ],
)
def test_what_a_board_says_means(said: bytes, meaning: str) -> None:
    lines = [node_log.parse(n, 0.0, text) for n, text in enumerate(said.decode(errors="replace").splitlines())]
    assert meaning in port_report.meaning(lines)


# ---- logs


def test_logs_are_shown_without_what_a_terminal_would_obey(line: _Line) -> None:
    ran = bongsu("device", "logs")
    lines = ran.out.splitlines()
    assert len(lines) == 7 and lines[1] == "3012 I boot cause=power fw=0.1.0 boots=3 safe=0"
    assert "\x1b" not in ran.out and "\x07" not in ran.out and "noise" in lines[5]
    assert ran.code == 1 and "unplugged" in ran.err and "next:" in ran.err
    assert not line.open


def test_logs_are_picked_by_level(line: _Line) -> None:
    out = bongsu("device", "logs", "--level", "warn").out
    assert [text.split()[2] for text in out.splitlines() if text[0].isdigit()] == ["link", "journal"]
    assert "Traceback" in out


def test_logs_are_picked_by_tag(line: _Line) -> None:
    out = bongsu("device", "logs", "--tag", "sensor", "--tag", "link", "--level", "info").out
    assert [text.split()[2] for text in out.splitlines()] == ["link", "sensor"]


def test_logs_as_json_are_an_object_a_line(line: _Line) -> None:
    rows = [json.loads(text) for text in bongsu("device", "logs", "--json").out.splitlines()]
    assert len(rows) == 7
    assert {**rows[2], "at_ms": 0} == {
        "at_ms": 0, "ticks_ms": 3500, "level": "W", "tag": "link", "fields": {"state": "down"},
        "text": "3500 W link state=down",
    }  # fmt: skip
    assert rows[3]["level"] is None and rows[3]["fields"] == {}


def test_logs_end_by_themselves_and_release_the_port(peer: SerialPeer) -> None:
    for clients in (1, 2):
        ran = bongsu("device", "logs", "--port", peer.url, "--seconds", "0.1")
        assert ran.code == 0, ran.err
        peer.wait_gone(clients)
    assert bytes(peer.told) == b"", "nothing is sent to the board"


@pytest.mark.parametrize("words", ["--level loud", "--seconds 0", "--port nonsense://x"])
def test_logs_refuse_what_is_wrong_usage(words: str) -> None:
    assert bongsu("device", "logs", *words.split()).code == 2


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    for command in ("logs", "show"):
        ran = bongsu("device", command, "--port", tmp_path / "ttyUSB9")
        assert ran.code == 1 and "there is no such port" in ran.err and "next:" in ran.err


# ---- show --port


def test_show_only_listens(line: _Line) -> None:
    line._pulled = False
    ran = bongsu("device", "show", "--port", "p", "--seconds", "0.1", "--json")
    row = json.loads(ran.out)
    assert row["port"] == "p" and row["boards"] == [] and not line.open
    assert row["lines"] and row["state"]


def test_show_releases_a_silent_port(peer: SerialPeer) -> None:
    ran = bongsu("device", "show", "--port", peer.url, "--seconds", "0.1")
    assert ran.code == 0 and port_report.SILENT in ran.out, ran.err
    peer.wait_gone()
    assert bytes(peer.told) == b""


# ---- console


class _Console:
    """`bongsu device console` in a terminal of its own."""

    def __init__(self, peer: SerialPeer) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bongsu.cli", "device", "console", "--port", peer.url],
            stdin=self.slave, stdout=self.slave, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def read_until(self, wanted: bytes) -> bytes:
        got = b""
        while wanted not in got:
            ready, _, _ = select.select([self.master], [], [], 60)
            assert ready, got
            got += os.read(self.master, 4096)
        return got

    def end(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err.decode()

    def as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def console(peer: SerialPeer) -> Iterator[_Console]:
    made = _Console(peer)
    made.type(b"x")
    peer.wait_told(b"x")  # so the port is open, and the terminal in raw mode
    yield made
    made.close()


def test_the_console_carries_every_byte_both_ways(peer: SerialPeer, console: _Console) -> None:
    assert not console.as_before()
    everything = bytes(n for n in range(256) if n not in (0x1D, 0x03))
    console.type(everything)
    peer.wait_told(everything)
    peer.say(bytes(range(256)))
    assert bytes(range(256)) in console.read_until(b"\xff")
    console.type(b"\x1dnot sent")
    code, err = console.end()
    assert (code, console.as_before()) == (0, True), err
    assert "Ctrl-] leaves" in err and "stand still" not in err
    assert b"not sent" not in peer.told
    peer.wait_gone()


def test_the_console_warns_of_a_node_that_was_stopped(peer: SerialPeer, console: _Console) -> None:
    console.type(b"\x03")
    peer.wait_told(b"\x03")
    console.type(b"\x1d")
    code, err = console.end()
    assert (code, console.as_before()) == (0, True) and "may stand still" in err


def test_a_pulled_cable_ends_the_console(peer: SerialPeer, console: _Console) -> None:
    peer.pull()
    code, err = console.end()
    assert (code, console.as_before()) == (1, True) and "next:" in err


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_console_leaves_the_terminal_as_it_was(
    peer: SerialPeer, console: _Console, ending: signal.Signals
) -> None:
    console.process.send_signal(ending)
    code, _ = console.end()
    assert (code, console.as_before()) == (128 + ending, True)
    peer.wait_gone()


def test_a_console_without_a_terminal_is_refused(peer: SerialPeer) -> None:
    ran = bongsu("device", "console", "--port", peer.url)
    assert ran.code == 1 and "needs a terminal" in ran.err and peer.clients == 0


def test_two_at_one_port_do_not_meet(peer: SerialPeer, console: _Console) -> None:
    ran = bongsu("device", "logs", "--port", peer.url)
    assert ran.code == 1 and f"process {console.process.pid}" in ran.err
