"""Peers for tests: the simulated station and phone as processes of their own, and a server that answers any bytes."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Peer:
    """A running `bongsu sim station|phone`."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.port = port

    def url(self, path: str) -> str:
        """An address at the peer."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def received(self) -> dict[str, Any]:
        """What it says that it got."""
        return self._call("received", None)

    def faults(self, **values: Any) -> None:
        """Switch its misbehaviour."""
        self._call("faults", values)

    def phones(self, **values: Any) -> None:
        """How the phones behave."""
        self._call("phones", values)

    def _call(self, path: str, values: dict[str, Any] | None) -> dict[str, Any]:
        data = None if values is None else json.dumps(values).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.url(path), data=data), timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@contextmanager
def running(*args: str) -> Iterator[Peer]:
    """`bongsu sim ARGS`, ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bongsu.cli", "sim", *args], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline().strip()
        assert first.startswith("ready port="), first
        yield Peer(process, int(first.removeprefix("ready port=")))
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def answering(answer: bytes, *, close: bool = True) -> Iterator[int]:
    """A server on loopback that reads a request and answers these bytes; yields its port. `close` False: it then
    keeps the connection open and silent.
    """
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()
    kept: list[socket.socket] = []

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            try:
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(answer)
            except OSError:
                pass
            kept.append(connection)
            if close:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)
        for connection in kept:
            connection.close()
