"""Brokers of one's own for the tests, with the files that `bongsu broker config` writes: a NATS cluster on loopback
whose members can be killed, frozen and cut off, and Mosquitto.
"""

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from bongsu.receiver.broker import find_executable
from tests.receiver_parts import DEADLINE_S, Child, Market

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
NO_MOSQUITTO = None if Path(MOSQUITTO).is_file() else "mosquitto is not installed: apt-get install mosquitto"

# Time, and the leader where it is another one.
_LEADS = re.compile(
    r"^\[\d+\] (\S+ \S+) .*(?:cluster new metadata leader: (\S+?)/|Self is new JetStream cluster metadata leader)"
)


def held_ports(stack: ExitStack, count: int) -> list[int]:
    """TCP ports of 127.0.0.1 on which nothing listens, and which the system gives to nobody else while `stack` lasts: a
    socket that does not listen holds each. A server can listen there all the same, as long as it reuses addresses.
    """
    held = [stack.enter_context(socket.socket()) for _ in range(count)]
    for holder in held:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
    return [int(holder.getsockname()[1]) for holder in held]


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 on which nothing listens now."""
    with ExitStack() as stack:
        return held_ports(stack, count)


def await_true(look: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Until `look()` is true; fails with `what`."""
    end = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def write_config(data: Path, *args: object) -> str:
    """Run `bongsu broker config`; what it prints."""
    child = Child("--data", data, "broker", "config", *args)
    child.process.wait(DEADLINE_S)
    code = child.stop()
    text = "\n".join(child.lines)
    assert code == 0, text
    return text


def use_broker(data: Path, urls: list[str], more: str = "") -> None:
    """Put an external broker into receiver.toml."""
    path = data / "receiver.toml"
    text = re.sub(r"\[broker\]\n(?:[^\[\n].*\n)*", "", path.read_text())
    listed = ", ".join(f'"{url}"' for url in urls)
    path.write_text(text + f'[broker]\nmode = "external"\nurl = [{listed}]\n{more}')


class Process:
    """A broker's process, in its folder."""

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            self._command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await_true(self._listens, f"the broker in {self.folder} does not listen")

    def _listens(self) -> bool:
        assert self._process is not None and self._process.poll() is None, f"the broker in {self.folder} ended"
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Wire:
    """A port that leads to another one, and can be cut: bytes then go nowhere, and the connections stay open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut = threading.Event()
        self._closing = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._socks: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Nothing comes through any more."""
        self._cut.set()

    def mend(self) -> None:
        """Everything comes through again; what was open is closed, as a router does that has lost its state."""
        self._cut.clear()
        self._close_all()

    def close(self) -> None:
        """End it."""
        self._closing = True
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._close_all()
        for thread in self._threads:
            thread.join(5)

    def _close_all(self) -> None:
        socks, self._socks = self._socks, []
        for sock in socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 2)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._socks += [near, far]
            for one, other in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=(one, other), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if not self._cut.is_set():
                    other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


class Cluster:
    """Three NATS servers. Their routes go through wires, so that a member can be cut off from the others."""

    NAMES = ("n1", "n2", "n3")

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.folder, self.tls = folder, tls
        self._stack = ExitStack()
        ports = held_ports(self._stack, 6)
        self.ports, self._routes = dict(zip(self.NAMES, ports, strict=False)), ports[3:]
        self.members: dict[str, Process] = {}
        self._wires: dict[tuple[str, str], Wire] = {}

    def start(self, market: Market) -> list[int]:
        """For `hall(external=...)`: write the files, start the members, name them in receiver.toml and the bundles."""
        members = [
            f"--cluster={name}=127.0.0.1:{self.ports[name]}:{route}"
            for name, route in zip(self.NAMES, self._routes, strict=True)
        ]
        write_config(market.data, "nats", "--out", self.folder, *members, *([] if self.tls else ["--plain"]))
        for i, name in enumerate(self.NAMES):
            self._rewire(i, name)
            process = Process([find_executable(), "-c", "nats.conf"], self.folder / name, self.ports[name])
            self._stack.callback(process.kill)
            self.members[name] = process
        await_true(self.meta_leader, "the cluster has no leader")
        scheme, more = ("mqtts", 'ca_file = "ca/ca.crt"\n') if self.tls else ("mqtt", "")
        use_broker(market.data, [f"{scheme}://127.0.0.1:{self.ports[n]}" for n in self.NAMES], more)
        for bundle in market.bundles:
            bundle.node_json["broker"]["more"] = [{"ip": "127.0.0.1", "port": p} for p in self.ports.values()]
        return list(self.ports.values())

    def _rewire(self, i: int, name: str) -> None:
        conf = self.folder / name / "nats.conf"
        text = conf.read_text()
        for j, other in enumerate(self.NAMES):
            if i != j:
                wire = Wire(self._routes[j])
                self._stack.callback(wire.close)
                self._wires[name, other] = wire
                text = text.replace(f"127.0.0.1:{self._routes[j]}", f"127.0.0.1:{wire.port}")
        conf.write_text(text)

    def meta_leader(self) -> str | None:
        """The member that leads the cluster, as far as the logs tell; None while there is none."""
        newest = ("", "")
        for name in self.NAMES:
            log = self.folder / name / "nats.log"
            for line in log.read_text(errors="replace").splitlines() if log.is_file() else ():
                found = _LEADS.search(line)
                if found and found[1] > newest[0]:
                    newest = (found[1], found[2] or name)
        return newest[1] or None

    def cut(self, name: str) -> None:
        """Cut a member off from the others; clients still reach it."""
        for pair, wire in self._wires.items():
            if name in pair:
                wire.cut()

    def mend(self, name: str) -> None:
        """Connect it again."""
        for pair, wire in self._wires.items():
            if name in pair:
                wire.mend()

    def close(self) -> None:
        """End everything."""
        for member in self.members.values():
            with suppress(AssertionError, OSError):
                member.thaw()
        self._stack.close()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Single:
    """One broker, on the files that were written for it. `kind`: as `bongsu broker config` names it."""

    kind: str

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.folder, self.tls = folder, tls
        self._held = ExitStack()
        self.port = held_ports(self._held, 1)[0]
        self.process: Process | None = None
        self._data: Path | None = None

    @property
    def pid_file(self) -> Path:
        """Where its process id stands."""
        return self.folder / "pid"

    def write(self, *more: object) -> str:
        """Write its files for the registry as it is now."""
        plain = [] if self.tls else ["--plain"]
        assert self._data is not None
        where = f"127.0.0.1:{self.port}"
        return write_config(self._data, self.kind, "--out", self.folder, "--listen", where, *plain, *more)

    def command(self) -> list[str]:
        """What starts it, in its folder."""
        raise NotImplementedError

    def start(self, market: Market) -> list[int]:
        """For `hall(external=...)`: write its files, start it, name it in receiver.toml."""
        self._data = market.data
        self.write()
        self.process = Process(self.command(), self.folder, self.port)
        self.pid_file.write_text(f"{self.process.pid}\n")
        scheme, more = ("mqtts", 'ca_file = "ca/ca.crt"\n') if self.tls else ("mqtt", "")
        use_broker(market.data, [f"{scheme}://127.0.0.1:{self.port}"], more)
        return [self.port]

    def __enter__(self) -> "Single":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        if self.process is not None:
            self.process.kill()


class Mosquitto(Single):
    """Mosquitto."""

    kind = "mosquitto"

    def command(self) -> list[str]:
        """Started by root it becomes another user, who may not read the files: here it stays who it is."""
        conf = self.folder / "as-it-is"
        conf.write_text(f"user {getpass.getuser()}\ninclude_dir {self.folder}\n")
        return [MOSQUITTO, "-c", str(conf)]


class Nats(Single):
    """NATS server."""

    kind = "nats"

    def command(self) -> list[str]:
        """As the README has it."""
        return [find_executable(), "-c", "nats.conf"]
