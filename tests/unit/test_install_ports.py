"""Serial ports: which one is meant, and what is said when it does not open."""

import errno
import getpass
import grp
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from bongsu.errors import UsageFault
from bongsu.install import ports
from bongsu.install.ports import Port, PortBusy, PortError, PortLock, PortUrlError, explain, open_serial, pick

BRIDGE = "10c4:ea60"


def _info(device: str, usb: str | None = None, title: str = "CP2102N", number: str | None = None) -> ListPortInfo:
    info = ListPortInfo(device)
    info.description = title
    if usb is not None:
        info.vid, info.pid = (int(word, 16) for word in usb.split(":"))
    info.serial_number = number
    return info


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> list[ListPortInfo]:
    """The ports that this machine seems to have."""
    there: list[ListPortInfo] = []
    monkeypatch.setattr(list_ports, "comports", lambda *_: there)
    monkeypatch.setattr(ports, "usb_ids", lambda: frozenset({BRIDGE, "303a:1001"}))
    return there


@pytest.fixture
def tty() -> Iterator[str]:
    """A device file that is a serial line."""
    host, board = pty.openpty()
    yield os.ttyname(board)
    os.close(host)
    os.close(board)


def test_ports_are_found_by_their_usb_ids_alone(plugged: list[ListPortInfo]) -> None:
    plugged += [_info("/dev/ttyUSB1", BRIDGE, number="0002"), _info("/dev/ttyS0"), _info("/dev/ttyACM9", "2341:0043")]
    plugged.append(_info("/dev/ttyACM0", "303a:1001", "USB JTAG/serial"))
    assert ports.found() == [
        Port("/dev/ttyACM0", "USB JTAG/serial", "303a:1001"),
        Port("/dev/ttyUSB1", "CP2102N", BRIDGE, "0002"),
    ]
    assert [port.url for port in ports.found({"2341:0043"})] == ["/dev/ttyACM9"]


def test_the_only_port_is_picked(plugged: list[ListPortInfo]) -> None:
    plugged += [_info("/dev/ttyUSB0", BRIDGE), _info("/dev/ttyACM9", "2341:0043")]
    assert pick(None).url == "/dev/ttyUSB0"


def test_of_two_ports_none_is_guessed(plugged: list[ListPortInfo]) -> None:
    plugged += [_info("/dev/ttyUSB0", BRIDGE, number="0001"), _info("/dev/ttyUSB1", BRIDGE, number="0002")]
    with pytest.raises(PortError) as e:
        pick(None)
    for word in ("/dev/ttyUSB0", "/dev/ttyUSB1", "serial number 0002"):
        assert word in e.value.message
    assert "--port" in e.value.next_step


def test_without_a_port_the_others_are_listed(plugged: list[ListPortInfo]) -> None:
    plugged.append(_info("/dev/ttyACM9", "2341:0043", "Arduino"))
    with pytest.raises(PortError, match="no board was found") as e:
        pick(None)
    assert "cable that carries data" in e.value.next_step
    assert "/dev/ttyACM9 (Arduino, USB 2341:0043)" in e.value.next_step


def test_a_named_port_is_taken_whatever_it_is(plugged: list[ListPortInfo], tty: str, tmp_path: Path) -> None:
    assert pick("rfc2217://rig:4000").url == "rfc2217://rig:4000"
    assert pick(tty) == Port(tty, "")
    link = tmp_path / "by-id"
    link.symlink_to(tty)
    plugged.append(_info(tty, BRIDGE))
    assert pick(str(link)).usb == BRIDGE


def test_a_named_port_that_is_not_there(plugged: list[ListPortInfo], tmp_path: Path) -> None:
    plugged.append(_info("/dev/ttyUSB0", BRIDGE))
    with pytest.raises(PortError, match="there is no such port") as e:
        pick("/dev/ttyUSB7")
    assert "/dev/ttyUSB0" in e.value.next_step
    with pytest.raises(PortError, match="is not a serial port"):
        pick(str(tmp_path))


@pytest.mark.usefixtures("plugged")
def test_a_search_that_finds_no_port_has_a_next_step() -> None:
    with pytest.raises(PortError, match="there is no such port") as e:
        pick("hwgrep://no-such-thing")
    assert "by a cable that carries data" in e.value.next_step


@pytest.mark.usefixtures("plugged")
def test_a_port_opens_for_one_alone(tty: str) -> None:
    with open_serial(tty, timeout_s=0.1) as line:
        assert line.baudrate == 115_200
        with pytest.raises(PortError, match="is in use"):
            open_serial(tty)
    open_serial(tty).close()


def test_who_has_the_port_is_named(tty: str) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", f"line = open({tty!r}); print(flush=True); input()"], stdin=-1, stdout=-1
    )
    assert other.stdout is not None
    other.stdout.readline()
    with open_serial(tty, timeout_s=0.1), pytest.raises(PortError) as e:
        open_serial(tty)
    other.communicate(b"\n")
    assert f"(process {other.pid})" in e.value.message


@pytest.mark.usefixtures("plugged")
def test_what_is_no_serial_port_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PortError, match="is not a serial port"):
        open_serial(str(tmp_path / "file"))
    with pytest.raises(PortError, match="there is no such port"):
        open_serial("/dev/ttyUSB77")


@pytest.mark.parametrize(
    "url", ["", "telepathy://board", "socket://nowhere", "rfc2217://nowhere", "socket://rig:x", "rfc2217://:1"]
)
def test_what_can_never_be_a_port_is_wrong_usage(url: str) -> None:
    with pytest.raises(PortUrlError):
        open_serial(url)
    with pytest.raises(PortUrlError) as e:
        pick(url)
    assert isinstance(e.value, UsageFault)
    assert "rfc2217://HOST:PORT" in e.value.next_step


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_nothing_listens(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    with pytest.raises(PortError, match="nothing listens there"):
        open_serial(f"{scheme}://127.0.0.1:{number}")


def test_a_server_that_speaks_no_rfc2217() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(PortError, match="RFC 2217") as e:
        open_serial(f"rfc2217://127.0.0.1:{server.getsockname()[1]}?timeout=0.1")
    assert "one client at a time" in e.value.next_step


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(
    "err,message,step",
    [
        (OSError(errno.EBUSY, "busy"), "is in use", "Close what has it open"),
        (OSError(errno.EACCES, "no"), "no permission", "sudo usermod -aG dialout $USER"),
        (serial.SerialException(errno.ENOENT, "no"), "no such port", "by a cable that carries data"),
        (OSError(errno.EIO, "gone"), "was unplugged", "Plug it in again"),
        (serial.SerialException("device disconnected"), "was unplugged", "Plug it in again"),
        (TimeoutError("timed out"), "does not answer", "the network"),
        (socket.gaierror(-2, "unknown"), "no such host", "name"),
        (serial.SerialException("a mystery"), "a mystery", "Unplug the board"),
    ],
)
def test_each_error_has_its_next_step(err: OSError, message: str, step: str) -> None:
    said = explain("/dev/ttyUSB77", err)
    assert message in said.message and "/dev/ttyUSB77" in said.message
    assert step in said.next_step


def test_a_server_that_hangs_up_at_once_serves_another() -> None:
    for scheme in ("socket", "rfc2217"):
        with pytest.raises(PortBusy, match="is in use") as e:
            raise explain(f"{scheme}://rig:1", BrokenPipeError(errno.EPIPE, "Broken pipe"), opening=True)
        assert "one client at a time" in e.value.next_step
        assert "its board is unplugged" in e.value.message and "cable" in e.value.next_step
    assert not isinstance(explain("/dev/ttyUSB77", OSError(errno.EIO, "gone"), opening=True), PortBusy)


def test_a_lost_connection_is_no_unplugged_board() -> None:
    assert "connection was lost" in explain("socket://rig:1", serial.SerialException("socket disconnected")).message


@pytest.mark.parametrize(
    ("gid", "mode", "members", "said"),
    [
        (1, 0o660, [], "sudo usermod -aG serial $USER"),
        (1, 0o660, [getpass.getuser()], "newgrp serial"),
        (1, 0o620, [], "sudo chown $USER"),  # a member may not read either
        (1, 0o600, [getpass.getuser()], "sudo chown $USER"),
        (0, 0o660, [], "sudo chown $USER"),  # nobody joins root's group for a cable
    ],
)
def test_which_command_opens_a_port(gid: int, mode: int, members: list[str], said: str) -> None:
    """Not every system calls the group dialout."""
    with pytest.MonkeyPatch.context() as patch:  # pytest itself needs the real one
        patch.setattr(os, "stat", lambda path: SimpleNamespace(st_gid=gid, st_mode=mode))
        patch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="serial", gr_mem=members))
        step = explain("/dev/ttyUSB77", PermissionError(errno.EACCES, "no")).next_step
    assert said in step


def test_the_boards_know_their_usb_ids() -> None:
    assert all(len(one) == 9 and one[4] == ":" and one == one.lower() for one in ports.usb_ids())


HOLD = """
import sys
from pathlib import Path
from bongsu.install.ports import PortLock
with PortLock(sys.argv[1], Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_bongsu_do_not_share_a_port(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, "rfc2217://rig:1", str(tmp_path)], stdin=-1, stdout=-1)
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with PortLock("rfc2217://rig:2", tmp_path), pytest.raises(PortError, match=f"process {other.pid}"):
        PortLock("rfc2217://RIG:1?logging=debug", tmp_path).__enter__()
    other.kill()  # however it ends
    other.communicate()
    with PortLock("rfc2217://rig:1", tmp_path):
        pass


def test_a_step_within_another_takes_the_lock_again(tmp_path: Path) -> None:
    refused: list[PortError] = []

    def another_thread() -> None:
        try:
            PortLock("socket://rig:1", tmp_path).__enter__()
        except PortError as err:
            refused.append(err)

    def ask() -> None:
        thread = threading.Thread(target=another_thread)
        thread.start()
        thread.join()

    with PortLock("socket://rig:1", tmp_path):
        with PortLock("socket://rig:1", tmp_path):
            pass
        ask()
        assert len(refused) == 1
    ask()
    assert len(refused) == 1


def test_a_link_and_what_it_leads_to_are_one_port(tty: str, tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(tty)
    code = HOLD, str(tmp_path / "by-id"), str(tmp_path)
    with PortLock(tty, tmp_path):
        other = subprocess.run([sys.executable, "-c", *code], input=b"", capture_output=True, check=False)
    assert b"another bongsu works on" in other.stderr


def test_locks_lie_in_a_folder_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert ports.runtime_folder() == tmp_path / "bongsu"
    assert (tmp_path / "bongsu").stat().st_mode & 0o777 == 0o700
    (tmp_path / "bongsu").rmdir()
    (tmp_path / "bongsu").symlink_to("/etc")
    with pytest.raises(PortError, match="belongs to another user"):
        ports.runtime_folder()
