"""Ctrl-C, soft resets and the watchdog on a board with a REPL, as on a chip."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig_parts import ROOT, Rig, Terminal, put_files, rig

BOOT_PY = (ROOT / "firmware" / "boot.py").read_bytes()
SPEED = 10.0  # the watchdog's 30 s pass in 3
APP = b"""
import asyncio, machine
wdt = machine.WDT(timeout=30000)
async def main():
    print("app up")
    while True:
        wdt.feed()
        await asyncio.sleep_ms(200)
asyncio.run(main())
"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Rig]:
    """A board that holds MicroPython and no program."""
    with rig(tmp_path, flashed=True) as made:
        yield made


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Rig]:
    """A board with our boot.py, and an app with a watchdog."""
    put_files(tmp_path, {"/boot.py": BOOT_PY, "/main.py": APP})
    with rig(tmp_path, speed=SPEED, off=True) as made:
        yield made


def test_in_boot_py_it_leaves_a_repl_without_watchdog(tmp_path: Path) -> None:
    put_files(tmp_path, {"/boot.py": BOOT_PY, "/main.py": b"if not service_mode:\n    print('main ran')\n"})
    with rig(tmp_path, off=True) as board, Terminal(board.url) as terminal:
        board.say(power="on")
        terminal.until(b"3 s for service")
        terminal.send(b"\x03")
        assert b"main ran" not in terminal.until(b">>> ")
        terminal.send(b"print(service_mode)\r")
        assert b"True\r\n" in terminal.until(b"\r\n>>> ")
        assert board.boots == ["power_on"]


def test_in_asyncio_it_leaves_the_repl_and_then_the_watchdog_bites(app: Rig) -> None:
    with Terminal(app.url) as terminal:
        app.say(power="on")
        terminal.until(b"app up")
        terminal.send(b"\x03")
        assert b"KeyboardInterrupt" in terminal.until(b">>> ")
        terminal.until(b"rst:")  # nothing feeds it any more
        terminal.until(b"app up")
        assert app.boots == ["power_on", "watchdog"]


def test_a_soft_reset_does_not_stop_the_watchdog(app: Rig) -> None:
    with Terminal(app.url) as terminal:
        app.say(power="on")
        terminal.until(b"app up")
        terminal.enter_raw()
        terminal.send(b"\x04")
        terminal.until(b"raw REPL; CTRL-B to exit\r\n>")
        terminal.until(b"app up")
        assert app.boots == ["power_on", "soft", "watchdog"]


@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(1000)", "sys.stdin.read(1)"])
def test_whatever_runs_is_stopped(board: Rig, code: str) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        terminal.send(f"import sys\nprint('on')\n{code}\x04".encode())
        terminal.until(b"OKon\r\n")
        terminal.send(b"\x03\x03\x03")
        assert b"KeyboardInterrupt" in terminal.until(b"\x04>")
        assert terminal.raw("print(6 * 7)") == b"42\r\n"


def test_in_flash_writes_it_breaks_nothing(board: Rig) -> None:
    writer = """
import os
n = 0
print("on")
while True:
    n += 1
    with open("/new", "w") as file:
        file.write("%d" % n * 5000)
    os.rename("/new", "/kept")
"""
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        terminal.raw("open('/kept', 'w').write('0' * 5000)")
        for _ in range(40):
            terminal.send(writer.encode() + b"\x04")
            terminal.until(b"OKon\r\n")
            terminal.send(b"\x03")
            stopped = terminal.until(b"\x04>")
            assert b"KeyboardInterrupt" in stopped and b"blocks" not in stopped, "it jumped out of the file system"
            assert terminal.raw("d = open('/kept').read()\nprint(d == d[: len(d) // 5000] * 5000)") == b"True\r\n"
        assert board.say(state=True)["crash"] is None


def test_where_the_program_forbids_it_it_is_a_byte(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        code = "import sys, micropython\nmicropython.kbd_intr(-1)\nprint('on')\nx = sys.stdin.buffer.read(3)\nprint(x)"
        terminal.send(code.encode() + b"\x04")
        terminal.until(b"on\r\n")
        terminal.send(b"\x01\x03\x04")
        assert b"b'\\x01\\x03\\x04'" in terminal.until(b"\x04>")


def test_what_a_program_does_not_read_is_kept_up_to_259_bytes(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        code = """
import select, sys, time
poll = select.poll()
poll.register(sys.stdin, select.POLLIN)
print("on")
poll.poll()
time.sleep_ms(500)
n = 0
while poll.poll(0):
    n += len(sys.stdin.buffer.read(1))
print(n)
"""
        terminal.send(code.encode() + b"\x04")
        terminal.until(b"on\r\n")
        terminal.send(bytes(100) * 4)
        assert b"259\r\n" in terminal.until(b"\x04>")


def test_a_program_that_reads_as_fast_as_the_line_brings_loses_nothing(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        code = "import sys\nprint('on')\nfor _ in range(3000):\n    sys.stdin.buffer.read(1)\nprint('got')"
        terminal.send(code.encode() + b"\x04")
        terminal.until(b"on\r\n")
        terminal.send(bytes(3000))
        terminal.until(b"got\r\n")


def test_sys_stdout_buffer_sends_bytes_as_they_are(board: Rig) -> None:
    data = bytes(range(256)) * 5 + struct.pack("<i", 10)
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        code = f"import sys\nx = sys.stdout.buffer.write(bytes(range(256)) * 5 + {data[-4:]!r})\nprint('a')"
        terminal.send(code.encode() + b"\x04")
        assert terminal.until(b"a\r\n\x04\x04>") == b"OK" + data + b"a\r\n\x04\x04>"


def test_soft_resets_run_what_a_chip_runs(tmp_path: Path) -> None:
    put_files(tmp_path, {"/boot.py": b"print('boot')\n", "/main.py": b"print('main')\n"})
    with rig(tmp_path, off=True) as board, Terminal(board.url) as terminal:
        board.say(power="on")
        assert b"boot\r\nmain\r\nMicroPython" in terminal.until(b">>> ")
        terminal.send(b"\x04")
        assert b"MPY: soft reboot\r\nboot\r\nmain\r\nMicroPython" in terminal.until(b">>> ")
        terminal.send(b"import machine\rmachine.soft_reset()\r")
        assert b"MPY: soft reboot\r\nboot\r\nmain\r\n" in terminal.until(b"main\r\n")
        terminal.until(b">>> ")
        terminal.enter_raw()
        terminal.send(b"\x04")
        end = b"MPY: soft reboot\r\nboot\r\nraw REPL; CTRL-B to exit\r\n>"
        assert terminal.until(end).endswith(end)
        assert terminal.raw("import machine; print(machine.reset_cause() == machine.SOFT_RESET)") == b"True\r\n"
        terminal.send(b"\x02")
        terminal.until(b">>> ")
        terminal.send(b"import machine\rmachine.reset()\r")
        hard = terminal.until(b"main\r\n")
        assert b"rst:0xc (SW_CPU_RESET)" in hard and b"soft reboot" not in hard
        assert board.boots == ["power_on", "soft", "soft", "soft", "hard"]


def test_sys_exit_in_main_py_is_a_soft_reset(tmp_path: Path) -> None:
    main = b"""
import os, sys
if "again" not in os.listdir("/"):
    open("/again", "w").close()
    sys.exit()
"""
    put_files(tmp_path, {"/main.py": main})
    with rig(tmp_path, off=True) as board, Terminal(board.url) as terminal:
        board.say(power="on")
        assert terminal.until(b">>> ").count(b"MPY: soft reboot\r\n") == 1
        assert board.boots == ["power_on", "soft"]
