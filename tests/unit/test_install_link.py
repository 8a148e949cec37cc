"""The line to a board: how a running program is stopped, whatever the port and the board are like, and what is said
when it cannot be. The board is a small pretence; the real MicroPython comes in tests/e2e/test_device_provision.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import serial

from bongsu.errors import BongsuError
from bongsu.install import link, ports
from bongsu.install.link import BoardLink, LinkError, OnBoardError

PROMPT = b"\r\n>>> "
ROM = b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
BOOT = b"boot.py: 3 s for service, Ctrl-C to stop here\r\n"
BANNER = b"MicroPython v1.25.0 on 2025-04-15; Generic ESP32 module with ESP32\r\n"
SECRET = "wifi passphrase"


class Port:
    """A serial port with a board behind it. start: what it says after a reset; waits: boot.py, or another program, runs
    until Ctrl-C, else it is at its prompt; wired: DTR and RTS reset it.
    """

    def __init__(self, start: bytes = ROM + BOOT, *, waits: bool = True, wired: bool = True) -> None:
        self.start, self.waits, self.wired = start, waits, wired
        self.state = "app"  # app, boot, prompt, raw, dead
        self.heard = bytearray(b"1000 I heartbeat\r\n")
        self.events: list[str] = []
        self.answers: dict[str, tuple[bytes, bytes]] = {}
        self.gone = False
        self.unclean = 3  # restarts in a row, as the node counts them
        self.after_reset: Callable[[], None] = lambda: None
        self._text: bytearray | None = None
        self._rts = False

    # -- the board

    def reset(self) -> None:
        self.events.append("reset")
        rom, self._rest = (self.start[: len(ROM)], self.start[len(ROM) :]) if self.start else (b"", b"")
        self.heard += rom
        self.state, self._polls = "rom", 0

    def _boots(self) -> None:
        self.heard += self._rest
        self.state = "boot" if self.waits else "prompt"
        if not self.waits and self.start:
            self.heard += BANNER + PROMPT
        self.after_reset()

    def _key(self, key: int) -> None:
        if self._text is not None:
            self._line(key)
        elif key == 3:
            self.events.append(f"Ctrl-C in {self.state}")
            if self.state in ("app", "boot"):
                self.state = "prompt"
                self.heard += b"KeyboardInterrupt: \r\n" + BANNER
            if self.state == "prompt":
                self.heard += PROMPT
        elif key == 2 and self.state in ("raw", "prompt"):
            self.state = "prompt"
            self.heard += BANNER + PROMPT
        elif key == 1 and self.state == "prompt":
            self.state = "raw"
            self.heard += b"raw REPL; CTRL-B to exit\r\n>"
        elif self.state == "raw" and key != 13:
            self._text = bytearray([key])

    def _line(self, key: int) -> None:
        assert self._text is not None
        self._text.append(key)
        if self._text == b"\x05A\x01":
            self.heard += b"R\x00"  # no raw paste
            self._text = bytearray()
        elif key == 4:
            code, self._text = self._text[:-1].decode(), None
            self.heard += b"OK"
            if "machine.reset()" in code:
                self.reset()
                return
            if code != link._NO_CRASH:
                self.events.append(f"ran {code}")
            else:
                self.unclean = 0
            out, err = self.answers.get(code, (b"", b""))
            self.heard += out + b"\x04" + err + b"\x04>"

    # -- as pyserial has it

    @property
    def in_waiting(self) -> int:
        if self.gone:
            raise serial.SerialException("device reports readiness to read but returned no data (device disconnected?)")
        if self.state == "rom":
            self._polls += 1
            if self._polls > 3 and not self.heard:  # it takes a moment
                self._boots()
        return len(self.heard)

    def read(self, size: int = 1) -> bytes:
        found = bytes(self.heard[:size])
        del self.heard[:size]
        return found

    def write(self, data: bytes) -> None:
        if self.gone:
            raise serial.SerialException("write failed: [Errno 5] Input/output error")
        for key in data:
            self._key(key)

    def close(self) -> None:
        self.events.append("closed")

    dtr = True

    @property
    def rts(self) -> bool:
        return self._rts

    @rts.setter
    def rts(self, level: bool) -> None:
        if self._rts and not level and self.wired and not self.dtr:
            self.reset()
        self._rts = level


class NoLines(Port):
    """A port without control lines."""

    @property
    def rts(self) -> bool:
        return False

    @rts.setter
    def rts(self, level: bool) -> None:
        raise OSError(25, "Inappropriate ioctl for device")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The waits are of real boards."""
    for name in ("_PULSE_S", "_SIGN_S", "_QUIET_S", "_PROMPT_S", "_MOMENT_S", "_LOOK_S", "_DRAIN_S"):
        monkeypatch.setattr(link, name, getattr(link, name) / 50)
    for name in ("_BOOT_S", "_AWAY_S"):
        monkeypatch.setattr(link, name, 1.0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[BoardLink, Any]]:
    """A link whose port is this one."""

    def made(port: Any, url: str = "/dev/ttyUSB7") -> tuple[BoardLink, Any]:
        monkeypatch.setattr(ports, "open_serial", lambda url, timeout_s: port)
        return BoardLink(url), port

    return made


Board = Callable[..., tuple[BoardLink, Any]]


def test_ctrl_c_comes_in_the_three_seconds_and_not_before(board: Board) -> None:
    """Earlier, it could keep the image from mounting its file system."""
    to, port = board(Port())
    with to:
        to.service()
        assert port.events == ["reset", "Ctrl-C in boot"] and port.state == "raw"
        port.answers["print(1)"] = (b"1\r\n", b"")
        assert to.run("print(1)") == "1\n" and to.value("print(1)") == 1
    assert port.events[-1] == "closed"


@pytest.mark.parametrize("port", [NoLines(), Port(wired=False)], ids=["no lines", "not wired"])
def test_without_control_lines_it_resets_itself(board: Board, port: Port) -> None:
    """The running program's watchdog would go on otherwise."""
    to, _ = board(port)
    with to:
        to.service()
        assert port.events == ["Ctrl-C in app", "reset", "Ctrl-C in boot"] and port.state == "raw"
        to.restart()
        assert port.events[-1] == "reset" and port.state == "rom"


def test_a_board_that_starts_by_itself_is_not_left_in_its_repl(board: Board) -> None:
    """Some rigs start it when their port is opened, just as if its lines had done it; but they do nothing."""
    to, port = board(Port())
    with to:
        to.service()
        port.wired = False
        to.restart()
        assert port.events[:2] == ["reset", "Ctrl-C in boot"]
        assert port.events[-1] == "reset" and port.events.count("reset") == 2


@pytest.mark.parametrize("wired", [True, False])
def test_what_was_asked_for_is_no_crash(board: Board, wired: bool) -> None:
    """A chip whose own USB resets it does not call that power (ESP-IDF's ESP_RST_USB has no number in MicroPython):
    served a few times, its node would start in safe mode.
    """
    to, port = board(Port(wired=wired))
    with to:
        to.service()
        assert port.unclean == 0
        to.restart()
        assert port.events.count("reset") == 2


def test_a_plain_socket_is_not_asked_for_lines(board: Board) -> None:
    to, port = board(Port(wired=False), "socket://192.0.2.7:4000")
    port.__class__ = NoLines
    with to:
        to.service()
    assert port.events[:2] == ["Ctrl-C in app", "reset"]


def test_a_stock_board_is_at_its_prompt_at_once(board: Board) -> None:
    to, port = board(Port(ROM, waits=False))
    with to:
        to.service()
    assert port.events[:1] == ["reset"] and not any("Ctrl-C" in event for event in port.events)


def test_a_repl_that_was_left_behind(board: Board) -> None:
    """An earlier run was killed in the raw REPL."""
    to, port = board(Port(wired=False))
    port.state = "raw"
    with to:
        to.service()
        assert port.state == "raw" and port.events[1] == "reset"


@pytest.mark.parametrize(
    "start", [ROM + b"The filesystem appears to be corrupted. If you had", ROM + b"a program of somebody's\r\n"]
)
def test_what_waits_or_runs_is_stopped(board: Board, start: bytes) -> None:
    to, port = board(Port(start))
    with to:
        to.service()
        assert port.state == "raw"


@pytest.mark.parametrize(
    ("start", "says", "step"),
    [
        (ROM + b"waiting for download\r\n", "waits in its ROM loader", "BOOT"),
        (ROM + b"invalid header: 0xffffffff\r\n" * 3, "there is no MicroPython on the board", "bongsu device flash"),
    ],
)
def test_what_is_no_running_board_is_said(board: Board, start: bytes, says: str, step: str) -> None:
    to, _ = board(Port(start))
    with to, pytest.raises(LinkError, match=says) as said:
        to.service()
    assert step in said.value.next_step


def test_a_board_that_says_nothing(board: Board) -> None:
    to, port = board(Port(b"", wired=False))
    port.state = "dead"
    with to, pytest.raises(LinkError, match="no MicroPython answers there") as said:
        to.service()
    assert "RESET" in said.value.next_step


def test_usb_that_leaves_the_bus_with_a_reset(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """boot.py's words are lost meanwhile."""
    to, port = board(Port(b""))
    opened: list[str] = []

    def vanish() -> None:
        port.heard.clear()
        port.gone = True

    def open_again(url: str, timeout_s: float) -> Any:
        opened.append(url)
        if len(opened) < 3:
            raise ports.PortError("no such port")
        port.gone, port.after_reset = False, lambda: None
        return port

    with to:
        port.after_reset = vanish
        monkeypatch.setattr(ports, "open_serial", open_again)
        to.service()
        assert len(opened) == 3 and port.state == "raw" and port.events[-1] == "Ctrl-C in boot"


def test_unplugged_in_the_middle(board: Board) -> None:
    to, port = board(Port())
    with to:
        to.service()
        port.gone = True
        with pytest.raises(BongsuError, match="was unplugged") as said:
            to.run(f"write('{SECRET}')", secret=True)
    assert SECRET not in repr(said.value) + said.value.next_step


def test_a_script_that_fails(board: Board) -> None:
    """Its class and number are known; with a secret in it nothing of its text is repeated."""
    to, port = board(Port())
    trace = f"Traceback (most recent call last):\r\n  File ...\r\nOSError: [Errno 28] {SECRET}\r\n".encode()
    port.answers["f()"] = (b"", trace)
    with to:
        to.service()
        with pytest.raises(OnBoardError, match=SECRET) as said:
            to.run("f()")
        assert (said.value.kind, said.value.number) == ("OSError", 28)
        with pytest.raises(OnBoardError) as said:
            to.run("f()", secret=True)
        assert (said.value.kind, said.value.number) == ("OSError", 28)
        assert SECRET not in str(said.value) + said.value.next_step and said.value.__cause__ is None


class Flood(Port):
    """Once `floods`, it sends this byte for ever, whatever it is told."""

    floods = b""

    @property
    def in_waiting(self) -> int:
        return 1 if self.floods else super().in_waiting

    def read(self, size: int = 1) -> bytes:
        return self.floods * size if self.floods else super().read(size)


@pytest.mark.parametrize("byte", [b"x", b"\x01"])
def test_a_board_that_talks_without_an_end(board: Board, monkeypatch: pytest.MonkeyPatch, byte: bytes) -> None:
    for name in ("_SCRIPT_MOST_S", "_ENTER_MOST_S"):
        monkeypatch.setattr(link, name, 0.2)
    to, port = board(Flood(wired=False))
    with to:
        to.service()
        port.floods = byte
        for do in (lambda: to.run("pass"), to.restart, to.service):
            with pytest.raises(LinkError) as said:
                do()
            assert said.value.next_step
        port.floods = b""
        to.service()
        assert to.run("pass") == ""


def test_definitions_are_sent_once_a_repl(board: Board) -> None:
    to, port = board(Port())
    with to:
        for _ in range(2):
            to.service()
            to.tools("X=1")
            to.tools("X=1")
    assert port.events.count("ran X=1") == 2


def test_a_board_that_is_left_alone_restarts(board: Board) -> None:
    """Each script feeds the watchdog; after a restart there is none."""
    to, port = board(Port())
    with to:
        to.service()
        to.guard(180)
        to.run("pass")
        to.service()
        to.run("pass")
    ran = [event for event in port.events if event.startswith("ran")]
    assert ran == ["ran import machine\n_W=machine.WDT(timeout=180000)", "ran _W.feed()\npass", "ran pass"]


def test_lines_of_the_running_node(board: Board) -> None:
    to, port = board(Port(ROM + "1 I boot\r\n2 W 한내\r\n3 I unfinis".encode()))
    with to:
        to.service()
        to.restart()
        assert list(to.lines(0.1))[-2:] == ["1 I boot", "2 W 한내"]


def test_a_line_that_is_cut_by_the_time_is_whole_next_time(board: Board) -> None:
    to, port = board(Port())
    with to:
        port.heard[:] = b"1 I wifi sta"
        assert list(to.lines(0.05)) == []
        port.heard[:] = b"te=up\r\n"
        assert list(to.lines(0.05)) == ["1 I wifi state=up"]
        port.heard[:] = b"\xff" * 9000
        assert list(to.lines(0.05)) == [] and len(to._early) == 4096


def test_outside_of_the_repl_nothing_runs(board: Board) -> None:
    to, _ = board(Port())
    with to, pytest.raises(LinkError, match="not in its REPL"):
        to.run("pass")
