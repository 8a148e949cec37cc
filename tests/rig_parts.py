"""A rig as a process of its own: a virtual board behind a serial port, which takes orders."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
