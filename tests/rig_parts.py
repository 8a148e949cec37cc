"""A rig as a process of its own: a virtual board behind a serial port, which takes orders."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import serial

from bongsu.install.boards import load_board
from bongsu.install.link import BoardLink
from bongsu.resources import resources
from bongsu.sim import flash
from bongsu.sim.rig.chip import ChipFlash

ROOT = Path(__file__).resolve().parents[1]
MAC = "a0b1c2d3e4f5"
SSID = "bongsu-rig"  # open, and on the air unless other networks are given
_END_S = 20.0


class RigError(AssertionError):
    """The rig refused an order, or is gone."""


class Rig:
    """`url`: rfc2217://..., with control lines; `bare_url`: socket://..., the same port without; `folder`: where its
    chip's memory lies."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self.folder = folder
        ready = self._line()
        self.url = ready.split("url=")[1].split()[0]
        self.bare_url = ready.split("bare=")[1].split()[0]

    def say(self, **order: Any) -> dict[str, Any]:
        """One order; its answer. Raises RigError if it was refused."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        if "error" in answer:
            raise RigError(answer["error"])
        return answer

    def flashed(self) -> None:
        """Put a valid image on an erased flash, without esptool; the board boots it if it has power."""
        self.say(flashed=True)

    @property
    def mode(self) -> str:
        """off, reset, download (the loader waits), blank (nothing to boot) or running."""
        return str(self.say(state=True)["mode"])

    @property
    def boots(self) -> list[str]:
        """Cause of each start of MicroPython so far: power_on, hard (machine.reset()), watchdog, soft (Ctrl-D) ..."""
        return list(self.say(state=True)["boots"])

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RigError(f"the rig has ended with code {self._process.wait(_END_S)}")
        return line


@contextlib.contextmanager
def rig(folder: Path, *, flashed: bool = False, mac: str = MAC, **options: Any) -> Iterator[Rig]:
    """A rig whose state is in `folder`/rig, with power; `flashed`: a new one holds MicroPython, else it is blank.
    `options`: those of `bongsu sim rig` (board="esp32-s3-devkitc-1", speed=5, wifi=["market=secret12"], off=True)."""
    args = ["--state", str(folder / "rig"), "--mac", mac, *(["--flashed"] if flashed else [])]
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            args.append(option)
        elif value is not False:
            args += [part for one in (value if isinstance(value, list) else [value]) for part in (option, str(one))]
    process = subprocess.Popen(
        [sys.executable, "-m", "bongsu.cli", "sim", "rig", *args],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'host'}:{ROOT / 'firmware'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Rig(process, folder / "rig")
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def put_files(folder: Path, files: dict[str, bytes], board: str = "esp32-devkitc") -> None:
    """A chip for a rig in `folder` that holds MicroPython and these files: path -> content."""
    (folder / "rig").mkdir()
    chip = ChipFlash(folder / "rig", load_board(board))
    chip.put_stock_image()
    chip.file_system.format([])
    chip.file_system.write(files)


def put_firmware(folder: Path, node_json: dict[str, Any], ca_der: bytes, key: bytes, epoch: int = 1) -> None:
    """A chip for a rig in `folder` that holds MicroPython and a provisioned node."""
    (folder / "rig").mkdir()
    chip = ChipFlash(folder / "rig", load_board("esp32-devkitc"))
    chip.put_stock_image()
    chip.file_system.format(flash.firmware_files(ROOT / "firmware"))
    chip.file_system.write({"/node.json": json.dumps(node_json).encode(), "/ca.der": ca_der})
    flash.write_nvs(folder / "rig" / "nvs.bin", flash.identity_blobs(epoch, key))


class Terminal:
    """Somebody at the serial port, who neither resets the board nor waits for ever."""

    def __init__(self, url: str, baudrate: int = 115_200) -> None:
        self.port = serial.serial_for_url(url, baudrate=baudrate, timeout=0.05)
        self._got = b""

    def send(self, data: bytes) -> None:
        """Type this."""
        self.port.write(data)

    def until(self, wanted: bytes, tries: int = 600) -> bytes:
        """What comes, up to and including `wanted`. Raises AssertionError if it does not come in 30 s or so."""
        for _ in range(tries):
            if wanted in self._got:
                end = self._got.index(wanted) + len(wanted)
                got, self._got = self._got[:end], self._got[end:]
                return got
            self._got += self.port.read(max(1, self.port.in_waiting))
        raise AssertionError(f"no {wanted!r} in {self._got!r}")

    def rest(self) -> bytes:
        """What has come by now and in the next moment."""
        while part := self.port.read(max(1, self.port.in_waiting)):
            self._got += part
        got, self._got = self._got, b""
        return got

    def raw(self, code: str) -> bytes:
        """Run code in the raw REPL that the board is in; what it prints. Raises AssertionError if it fails."""
        self.send(code.encode() + b"\x04")
        got = self.until(b"\x04>").removeprefix(b"OK")
        output, _, error = got.removesuffix(b"\x04>").partition(b"\x04")
        assert not error, error.decode()
        return output

    def enter_raw(self) -> None:
        """Stop what runs, and go to the raw REPL."""
        self.send(b"\r\x03\r\x01")
        self.until(b"raw REPL; CTRL-B to exit\r\n>")

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.port.close()


# In the place of the firmware's main.py, behind its boot.py: a program that logs as a node does, but more.
TICKING = """
import time
while not globals().get('service_mode'):
    print(time.ticks_ms(), 'I', 'tick', 'n=1')
    time.sleep_ms(100)
"""


@contextlib.contextmanager
def ticking_rig(folder: Path) -> Iterator[Rig]:
    """A board on which TICKING runs; nobody is at its port."""
    with rig(folder, flashed=True) as made:
        with BoardLink(made.url) as link:
            link.service()
            for name, text in (("boot.py", (resources().firmware / "boot.py").read_text()), ("main.py", TICKING)):
                link.run(f"with open({name!r}, 'w') as f: f.write({text!r})")
            link.restart()
        yield made
