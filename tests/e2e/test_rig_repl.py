"""A virtual board behind a serial port: MicroPython's REPL as hosts use it on a real one."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from mpremote.transport import TransportExecError
from mpremote.transport_serial import SerialTransport

from tests.rig_parts import MAC, Rig, rig

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Rig]:
    """A flashed board with power."""
    with rig(tmp_path, flashed=True) as made:
        yield made


def _mpremote(board: Rig, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", board.url, *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _read_until(port: serial.SerialBase, wanted: bytes, seconds: float = 20.0) -> bytes:
    """What comes, up to and including `wanted`."""
    got = b""
    end = time.monotonic() + seconds
    while wanted not in got:
        assert time.monotonic() < end, f"no {wanted!r} in {got!r}"
        got += port.read(max(1, port.in_waiting))
    return got


@pytest.mark.parametrize("control", [True, False], ids=["rfc2217", "socket"])
def test_mpremotes_transport_works_as_on_a_chip(board: Rig, control: bool) -> None:
    transport = SerialTransport(board.url if control else board.bare_url)
    try:
        transport.enter_raw_repl(soft_reset=True)
        assert transport.eval("1 + 1") == 2
        data = bytes(range(256)) * 16
        transport.fs_writefile("/data", data)
        assert transport.fs_hashfile("/data", "sha256") == hashlib.sha256(data).digest()
        assert transport.fs_readfile("/data") == data
        with pytest.raises(TransportExecError, match="ZeroDivisionError"):
            transport.exec("1 / 0")
    finally:
        transport.close()


def test_it_says_what_an_esp32_says(board: Rig) -> None:
    transport = SerialTransport(board.url)
    try:
        transport.enter_raw_repl()
        assert transport.eval("__import__('sys').platform") == "esp32"
        assert transport.eval("__import__('os').uname().machine") == "Generic ESP32 module with ESP32"
        transport.exec("import sys, machine, os")
        assert transport.eval("(sys.implementation._machine, sys.implementation._build)") == (
            "Generic ESP32 module with ESP32",
            "ESP32_GENERIC",
        )
        assert transport.eval("machine.unique_id()") == bytes.fromhex(MAC)
        assert transport.eval("os.listdir()") == ["boot.py"]  # the first boot's
    finally:
        transport.close()


def test_mpremote_as_a_program(board: Rig, tmp_path: Path) -> None:
    assert _mpremote(board, "exec", "print(6 * 7)").strip() == "42"
    _mpremote(board, "fs", "cp", str(FIRMWARE / "boot.py"), ":boot.py")
    (tmp_path / "back").mkdir()
    _mpremote(board, "resume", "fs", "cp", ":boot.py", str(tmp_path / "back" / "boot.py"))
    assert (tmp_path / "back" / "boot.py").read_bytes() == (FIRMWARE / "boot.py").read_bytes()
    (tmp_path / "here.py").write_text("print('from the host')\n")
    assert "from the host" in _mpremote(board, "mount", str(tmp_path), "exec", "import here")


def test_a_plain_terminal_sees_boot_messages_and_talks_to_the_repl(board: Rig) -> None:
    with serial.serial_for_url(board.url, baudrate=115_200, timeout=1) as port:
        board.say(reset="run")
        _read_until(port, b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n")
        banner = _read_until(port, b">>> ")
        assert b"Generic ESP32 module with ESP32\r\n" in banner
        port.write(b"print('a\\nb')\r")
        assert _read_until(port, b"\r\n>>> ") == b"print('a\\nb')\r\na\r\nb\r\n>>> "


@pytest.mark.timeout(40)  # minutes, if anything on the way waited for each byte
def test_60_kb_by_raw_paste(board: Rig) -> None:
    transport = SerialTransport(board.url)
    try:
        transport.enter_raw_repl()
        transport.exec("x = '''" + "a" * 60_000 + "'''\nassert len(x) == 60000")
    finally:
        transport.close()
