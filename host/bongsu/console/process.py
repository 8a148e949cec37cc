"""The web process: hears the receiver through the feed, serves the console, ends with the feed."""

import asyncio
import logging
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from bongsu.console import operators
from bongsu.console.acts import Acts
from bongsu.console.app import Console, make_app
from bongsu.console.board import Board
from bongsu.console.desk_pool import DeskPool
from bongsu.console.door import Door
from bongsu.console.patience import Patient
from bongsu.console.pulse import Pulse
from bongsu.errors import BongsuError
from bongsu.receiver.broker_files import write_private
from bongsu.receiver.config import Config, ConsoleConfig
from bongsu.receiver.feed import MESSAGE_MAX
from bongsu.receiver.log import Log
from bongsu.receiver.store import open_store

PORT_FILE = "run/console.port"
_HELLO_S = 10.0
_BEAT_S = 1.0
# How often sessions of open pages are looked at: so long may a page stay open after its session has ended.
_DISMISS_BEATS = 5
# A connection whose other side takes nothing is ended by the kernel after so long, and holds so much until then.
_USER_TIMEOUT_MS = 20_000
_SEND_BUFFER = 128 * 1024
_CONCURRENT = 1000


class ConsoleFault(BongsuError):
    """The console cannot be served."""


def run(fd: int) -> int:
    """Serve until the feed at this descriptor ends; returns the exit code."""
    feed = socket.socket(fileno=fd)
    feed.settimeout(_HELLO_S)
    hello = msgspec.json.decode(feed.recv(MESSAGE_MAX) or b"{}")
    if "config" not in hello:
        return 0  # the receiver ended meanwhile
    config = msgspec.convert(hello["config"], Config)
    log = Log(hello.get("log", "text"))
    try:
        asyncio.run(_Process(config, log, feed).run())
        return 0
    except BongsuError as err:
        log.error("console.not_started", what=err.message, next=err.next_step)
        return 1
    finally:
        log.close()


class _Process:
    def __init__(self, config: Config, log: Log, feed: socket.socket) -> None:
        self._config, self._log, self._feed = config, log, feed
        feed.setblocking(False)

    async def run(self) -> None:
        """Serve."""
        config, console_config = self._config, self._config.console
        tls = _tls_files(config) if console_config.uses_tls else None
        store = open_store(config.store_url, migrate=False)
        listener = listen(console_config, config.data_dir)
        try:
            port = int(listener.getsockname()[1])
            board, pool = Board(store, self._log), DeskPool(store)
            door = Door(console_config, pool, self._log, port)
            acts = Acts(door, pool, board, config.data_dir)
            pulse, token = Pulse(), _token(config)
            console = Console(board, pool, door, acts, pulse, self._log, token)
            await self._serve(console, listener, tls, port)
        finally:
            listener.close()
            store.close()

    async def _serve(self, console: Console, listener: socket.socket, tls: tuple[Path, Path] | None, port: int) -> None:
        _tell_uvicorn(self._log)
        options: dict[str, Any] = {}
        if tls is not None:
            options = {"ssl_certfile": str(tls[0]), "ssl_keyfile": str(tls[1])}
        settings = uvicorn.Config(
            make_app(console),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http=Patient,
            loop="asyncio",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONCURRENT,
            timeout_graceful_shutdown=1,
            **options,
        )
        settings.load()
        if settings.ssl is not None:
            settings.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        server = uvicorn.Server(settings)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._feed, self._hear, console, server)
        tasks = [loop.create_task(work) for work in (console.board.run(), self._beat(console))]
        warm = loop.run_in_executor(None, operators.prepare)
        url = f"{'https' if tls else 'http'}://{_shown_host(self._config.console.host)}:{port}/"
        write_private(self._config.data_dir / PORT_FILE, f"{port}\n")
        self._log.info("console.ready", url=url)
        try:
            await server.serve(sockets=[listener])
        finally:
            loop.remove_reader(self._feed)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, warm, return_exceptions=True)
            console.board.close()
            console.pool.close()

    def _hear(self, console: Console, server: uvicorn.Server) -> None:
        """Messages of the receiver; the end of the feed is its end."""
        while True:
            try:
                data = self._feed.recv(MESSAGE_MAX)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(self._feed)
                server.should_exit = True
                console.board.let_all_go()
                return
            message = msgspec.json.decode(data)
            if "state" in message:
                console.pulse.heard(message["state"], time.monotonic())
            if "changed" in message or "missed" in message:
                console.board.wake()

    async def _beat(self, console: Console) -> None:
        """Each second: how things are, to all pages."""
        beats = 0
        while True:
            console.board.keep_alive(console.state())
            beats += 1
            if beats % _DISMISS_BEATS == 0:
                try:
                    await console.dismiss()
                except BongsuError:
                    pass  # the store cannot be read: the pages say so
            await asyncio.sleep(_BEAT_S)


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _tls_files(config: Config) -> tuple[Path, Path]:
    """Certificate and key: those named, or the receiver's own. Raises ConsoleFault if they cannot be used."""
    console = config.console
    cert = config.path(console.cert_file) if console.cert_file else config.data_dir / "ca" / "server.crt"
    key = config.path(console.key_file) if console.key_file else config.data_dir / "ca" / "server.key"
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as err:
        raise ConsoleFault(
            f"the console's certificate {cert} and its key cannot be used: {err}",
            "Correct [console] cert_file and key_file, or restore the folder ca/ from the backup.",
        ) from None
    return cert, key


def _token(config: Config) -> str | None:
    name = config.console.token_file
    if name is None:
        return None
    try:
        token = config.path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if len(token) < 16:
        raise ConsoleFault(
            f"[console] token_file {config.path(name)} cannot be read, or holds fewer than 16 characters",
            "Write a random text into it: openssl rand -hex 32",
        )
    return token


def listen(console: ConsoleConfig, data_dir: Path) -> socket.socket:
    """The listening socket; with port 0 at the port of the last time, if it is free. Raises ConsoleFault."""
    ports = [console.port]
    if not console.port:
        try:
            ports.insert(0, int((data_dir / PORT_FILE).read_text()))
        except (OSError, ValueError):
            pass
    family = socket.AF_INET6 if ":" in console.host else socket.AF_INET
    why = ""
    for port in ports:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        try:
            made.bind((console.host, port))
            made.listen(256)
            return made
        except OSError as err:
            made.close()
            why = err.strerror or str(err)
    raise ConsoleFault(
        f"the console cannot listen on {console.host}:{console.port}: {why}",
        "End the program that has the port, or set another [console] host or port.",
    )


class _Handler(logging.Handler):
    """What the server says, into our log: by kind, without what a request held."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._log.warning("console.server", what=record.getMessage().partition("\n")[0][:200], error=error)


def _tell_uvicorn(log: Log) -> None:
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], False
    for name in ("uvicorn", "asyncio"):
        logging.getLogger(name).addHandler(_Handler(log))
    logging.getLogger("uvicorn.error").propagate = True


def main(arguments: list[str]) -> int:
    """Entry point: the descriptor of the feed is the one argument."""
    os.umask(0o077)
    return run(int(arguments[0]))
