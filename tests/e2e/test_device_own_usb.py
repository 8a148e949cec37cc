"""A chip with USB of its own, as ESP32-S3 and C3 have it: with each reset its device file goes away, and comes back as
another one under the same name. What it says meanwhile nobody hears.
"""

import contextlib
import json
import os
import pty
import select
import socket
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bongsu.install import link as board_link
from bongsu.install.link import BoardLink
from bongsu.install.ports import PortError
from tests.registry_parts import bongsu
from tests.rig_parts import MAC, Rig, ticking_rig

AWAY_S = 0.5
END_S = 20.0
_SIGN = b"rst:0x"  # of the ROM, after each reset
_LOOK_S = 0.05


class OwnUsb:
    """A rig's plain port as a device file that each reset takes away. `path`: its name; `resets`: acquired once for
    each.
    """

    def __init__(self, url: str, path: Path) -> None:
        self.path = path
        self.resets = threading.Semaphore(0)
        self.comes_back = True
        about = urlsplit(url)
        self._line = socket.create_connection((str(about.hostname), int(about.port or 0)))
        self._end = threading.Event()
        self._fds: tuple[int, ...] = ()
        self._plug_in()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _plug_in(self) -> None:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self._fds = (ours, theirs)
        self.path.symlink_to(os.ttyname(theirs))

    def _pull_out(self) -> None:
        self.path.unlink(missing_ok=True)
        fds, self._fds = self._fds, ()
        for fd in fds:
            os.close(fd)

    def _carry(self) -> None:
        while not self._end.is_set():
            ready, _, _ = select.select([self._line, *self._fds[:1]], [], [], _LOOK_S)
            if self._fds and self._fds[0] in ready:
                self._line.sendall(os.read(self._fds[0], 4096))
            if self._line in ready and not self._heard(self._line.recv(4096)):
                return

    def _heard(self, data: bytes) -> bool:
        """What the board says; False: the rig has ended."""
        if _SIGN in data:
            self._reset()
        elif self._fds:
            os.write(self._fds[0], data)
        return bool(data)

    def _reset(self) -> None:
        self._pull_out()
        self._end.wait(AWAY_S)
        if self.comes_back:
            self._plug_in()
        self.resets.release()

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._pull_out()
        self._line.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A board on which TICKING runs, behind its boot.py."""
    with ticking_rig(tmp_path_factory.mktemp("rig")) as made:
        yield made


@pytest.fixture
def usb(running: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnUsb]:
    monkeypatch.setenv("BONGSU_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with contextlib.closing(OwnUsb(running.bare_url, tmp_path / "ttyACM0")) as made:
        yield made


def _ticks(link: BoardLink, seconds: float) -> int:
    return sum(" I tick " in line for line in link.lines(seconds))


def _resets(usb: OwnUsb, times: int) -> bool:
    """Whether it was reset so often; the last one may be under way."""
    return all(usb.resets.acquire(timeout=END_S) for _ in range(times)) and not usb.resets.acquire(blocking=False)


def test_the_line_is_found_again_after_each_reset(usb: OwnUsb) -> None:
    with BoardLink(str(usb.path)) as link:
        for _ in range(2):
            link.service()
            assert link.facts().mac == MAC
            link.restart()
            assert _ticks(link, 8.0) > 3, "it runs again"
    assert _resets(usb, 4)


def test_a_command_asks_such_a_board(usb: OwnUsb) -> None:
    ran = bongsu("device", "show", "--port", usb.path, "--ask", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["node"] == MAC and _resets(usb, 2)


def test_a_board_that_does_not_come_back_is_said(usb: OwnUsb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_link, "_AWAY_S", 1.0)
    usb.comes_back = False
    with BoardLink(str(usb.path)) as link, pytest.raises(PortError, match="no such port") as said:
        link.service()
    assert "cable" in said.value.next_step or "Ports that are there" in said.value.next_step
