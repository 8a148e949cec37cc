"""A loader behind a socket, esptool as the program that it is, and single commands to a loader."""

import socket
import struct
import subprocess
import sys
import threading
from functools import reduce
from operator import xor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from bongsu.sim.rig import slip
from bongsu.sim.rig.rom import Rom

# A write of a whole image on a busy machine takes a few seconds; this only ends what hangs.
TIMEOUT_S = 120.0


class LoaderSocket:
    """`rom` on a port of loopback, one host after another; no control lines: `rom.reset()` is the test's to call."""

    def __init__(self, rom: Rom) -> None:
        self.rom = rom
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._host: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                self._host, _ = self._listener.accept()
            except OSError:
                return
            self._host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._host:
                self._talk(self._host)

    def _talk(self, host: socket.socket) -> None:
        try:
            while not self.rom.unplugged and (data := host.recv(65536)):
                host.sendall(self.rom.feed(data))
        except OSError:
            return

    def close(self) -> None:
        """End it; a host that is connected is cut off."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._host is not None:
            self._host.close()
        self._thread.join(10)

    def __enter__(self) -> "LoaderSocket":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def esptool(url: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run esptool on a port without control lines; stdout holds what it said, errors too."""
    command = [sys.executable, "-m", "esptool", "--port", url, "--before", "no-reset", *map(str, words)]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S, check=False
    )


def block(data: bytes, number: int = 0) -> bytes:
    """The data of a command that carries a block."""
    return struct.pack("<4I", len(data), number, 0, 0) + data


class Answer(NamedTuple):
    """A response, as it stands in its frame."""

    command: int
    value: int
    data: bytes


def ask(rom: Rom, command: int, data: bytes = b"", checksum: int = 0) -> Answer:
    """One command, and the first response to it."""
    frame = slip.encode(struct.pack("<BBHI", 0, command, len(data), checksum) + data)
    first = slip.Decoder(1 << 20).feed(rom.feed(frame))[0]
    direction, answered, size, value = struct.unpack_from("<BBHI", first)
    assert (direction, size) == (1, len(first) - 8)
    return Answer(answered, value, first[8:])


def send_block(rom: Rom, command: int, data: bytes) -> bytes:
    """A block with its right checksum -> the status."""
    return ask(rom, command, block(data), reduce(xor, data, 0xEF)).data


def start_stub(rom: Rom) -> None:
    """Load a program into RAM and start it, as a host loads its flasher stub."""
    start = rom.chip.silicon.ram[-1][0]
    ask(rom, 0x05, struct.pack("<4I", 8, 1, 0x1800, start))
    send_block(rom, 0x07, bytes(8))
    ask(rom, 0x06, struct.pack("<II", 0, start))
    assert rom.stub
