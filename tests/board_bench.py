"""A board's file system and NVS under the real MicroPython, without a serial line: what is done on a board over its
REPL can be cut at any write, and looked at afterwards.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from bongsu.install import on_board
from bongsu.install.link import _failure
from bongsu.install.on_board import BoardFacts, read_facts
from bongsu.sim import micropython

PROGRAM = Path(__file__).parent / "data" / "board_bench.py"
MAC = "a0b1c2d3e4f5"
BLOCK_BYTES = 4096


class PowerCut(Exception):
    """The power failed in a write."""


class Bench:
    """As on_board.Runs, and as much of a link.BoardLink as provisioning needs. `cut_after`: power fails in that write;
    plain: a MicroPython without SHA-256. said: all that the board printed; ran: all that it was told.
    """

    def __init__(self, folder: Path, *, cut_after: int = 0, plain: bool = False) -> None:
        self.url = "bench"
        self.folder = folder
        self.said: list[str] = []
        self.ran: list[str] = []
        self.before_run: Callable[[], None] = lambda: None
        self.on_restart: Callable[[], None] = lambda: None
        self.restarts = 0
        self.log: list[str] = []  # of the running node
        self._tools: set[str] = set()
        self._process = subprocess.Popen(
            micropython.command(str(PROGRAM), str(folder), str(cut_after), "plain" if plain else "whole"),
            env=micropython.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, code: str, *, secret: bool = False, timeout_s: float = 10.0) -> str:
        """Run it."""
        self.before_run()
        self.ran.append(code)
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{len(code)}\n{code}".encode())
        self._process.stdin.flush()
        out, error = (self._until_mark() for _ in range(2))
        self.said += [out, error]
        if error:
            raise _failure(self.url, error, secret)
        return out

    def _until_mark(self) -> str:
        assert self._process.stdout
        found = bytearray()
        while (byte := self._process.stdout.read(1)) != b"\x04":
            if byte == b"\x05":
                raise PowerCut
            assert byte, f"the interpreter ended: {found.decode()}"
            found += byte
        return found.decode().replace("\r\n", "\n")

    def value(self, code: str, *, secret: bool = False, timeout_s: float = 10.0) -> Any:
        """The JSON of its last line."""
        return json.loads(self.run(code, secret=secret).strip().rpartition("\n")[2])

    def tools(self, code: str) -> None:
        """Once."""
        if code not in self._tools:
            self.run(code)
            self._tools.add(code)

    def writes(self) -> int:
        """How often it has written; only without `cut_after`."""
        return int(self.run("print(writes())"))

    def service(self) -> None:
        """It is in service."""

    def guard(self, seconds: int) -> None:
        """It has no watchdog."""

    def facts(self) -> BoardFacts:
        """What it says of itself."""
        return read_facts(self)

    def restart(self) -> None:
        """What the node does then is up to the test."""
        self.restarts += 1
        self.on_restart()

    def lines(self, timeout_s: float) -> Iterator[str]:
        """Its log."""
        yield from self.log

    @property
    def nvs(self) -> dict[str, bytes]:
        """Its blobs."""
        path = self.folder / "nvs.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        return {name: bytes.fromhex(value) for name, value in found.items()}

    def write_nvs(self, **blobs: bytes) -> None:
        """As the node does while it runs."""
        kept = {**self.nvs, **blobs}
        (self.folder / "nvs.json").write_text(json.dumps({name: value.hex() for name, value in kept.items()}))

    def close(self) -> None:
        """Switch it off."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def blank(folder: Path, blocks: int = 512) -> Path:
    """A board that was never used: no file system, no NVS."""
    folder.mkdir(exist_ok=True)
    (folder / "flash.img").write_bytes(b"\xff" * (blocks * BLOCK_BYTES))
    (folder / "nvs.json").unlink(missing_ok=True)
    return folder


def formatted(folder: Path, blocks: int = 512) -> Path:
    """A board with an empty file system."""
    with Bench(blank(folder, blocks)) as bench:
        assert on_board.make_file_system(bench)
    return folder
