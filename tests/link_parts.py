"""Parts for the tests of the node link: the link in a real MicroPython process, a NATS server, a broker that misbehaves
as told, certificates."""

import contextlib
import datetime
import ipaddress
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import mpy

NODE = "a0b1c2d3e4f5"
PROGRAM = Path(__file__).parent / "data" / "link_program.py"
DEADLINE_S = 20.0

# Field values are seconds to a minute; tests need the same behaviour sooner. "ack" leaves a loaded machine's fsync
# room.
QUICK_MS = {
    "dial": 3_000,
    "connack": 1_500,
    "ack": 1_500,
    "pong": 1_500,
    "write": 1_500,
    "packet": 800,
    "ping_every": 300,
    "resubscribe": 200,
    "stable": 500,
    "backoff_first": 20,
    "backoff_cap": 100,
}


class Jitter:
    """How long this machine keeps a thread that could run from running: on a busy one a node's loop is late too, not by
    its own fault. Use as a context manager."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._end.wait(0.005):
            now = time.monotonic()
            self.worst_ms = max(self.worst_ms, (now - last) * 1000 - 5)
            last = now

    def __enter__(self) -> "Jitter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Lines:
    """Lines that a process prints, to be waited for. Each wait goes on behind the line that the last one found."""

    def __init__(self, stream: Any) -> None:
        self.all: list[str] = []
        self._cursor = 0
        self._changed = threading.Condition()
        self._ended = False
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._stream:
            with self._changed:
                self.all.append(raw.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _find(self, pattern: str) -> re.Match[str] | None:
        while self._cursor < len(self.all):
            self._cursor += 1
            found = re.search(pattern, self.all[self._cursor - 1])
            if found:
                return found
        return None

    def wait(self, pattern: str, deadline_s: float = DEADLINE_S) -> re.Match[str]:
        """The first new line that matches; fails with everything printed after the deadline."""
        end = time.monotonic() + deadline_s
        with self._changed:
            while True:
                found = self._find(pattern)
                if found:
                    return found
                left = end - time.monotonic()
                if left <= 0 or self._ended:
                    raise AssertionError(f"no line {pattern!r}; printed:\n" + "\n".join(self.all[-60:]))
                self._changed.wait(left)

    def wait_all(self, patterns: list[str]) -> None:
        """Until each pattern matches some line, in any order; `wait` then goes on behind everything looked at."""
        start = self._cursor
        for pattern in patterns:
            self._cursor = start
            self.wait(pattern)

    def close(self) -> None:
        """Wait for the end of the stream."""
        self._thread.join(DEADLINE_S)
        self._stream.close()


class LinkNode:
    """The link of a node under MicroPython (data/link_program.py), told what to do by lines on its input."""

    def __init__(
        self, port: int, *, times_ms: dict[str, int] | None = None, uplink: bool = False, **broker: Any
    ) -> None:
        config = {
            "broker": {
                "ip": "127.0.0.1",
                "port": port,
                "tls": False,
                "client_id": "node-under-test",
                "user": "",
                "password": "",
                **broker,
            },
            "times_ms": {**QUICK_MS, **(times_ms or {})},
            "node": NODE,
            "uplink": uplink,
        }
        self._process = subprocess.Popen(
            [mpy.executable(), str(PROGRAM)],
            env=mpy.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.pid = self._process.pid
        self.lines = Lines(self._process.stdout)
        self.wait = self.lines.wait
        self.wait_all = self.lines.wait_all
        self.tell(json.dumps(config))

    def tell(self, command: str) -> None:
        """Give the program one line; see data/link_program.py."""
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()

    def ask(self, command: str) -> int:
        """Tell, and return the number that it answers with."""
        self.tell(command)
        return int(self.wait(rf"^{command} = (-?\d+)$")[1])

    def alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self.lines.close()

    def __enter__(self) -> "LinkNode":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Nats:
    """A NATS server with MQTT in `folder`; `tls`: (certificate file, key file); `users`: text of an authorization
    block."""

    def __init__(self, folder: Path, *, tls: tuple[Path, Path] | None = None, users: str = "") -> None:
        self.port = free_port()
        self._folder = folder
        tls_text = f'tls {{ cert_file: "{tls[0]}", key_file: "{tls[1]}", timeout: 10 }}' if tls else ""
        self._conf = folder / "nats.conf"
        self._conf.write_text(
            f'server_name: test\nlisten: "127.0.0.1:-1"\n{users}\n'
            f'jetstream {{ store_dir: "{folder}/js", sync_interval: always }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}", ack_wait: "5s", max_ack_pending: 100, {tls_text} }}\n'
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: Lines | None = None

    def start(self) -> None:
        """Start and wait until it listens."""
        executable = Path(sys.executable).parent / "nats-server"
        self._process = subprocess.Popen(
            [str(executable), "-c", str(self._conf)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._lines = Lines(self._process.stdout)
        self._lines.wait("Server is ready")

    def kill(self) -> None:
        """kill -9."""
        if self._process is None or self._lines is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()
        self._lines.close()
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> "Nats":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Peer:
    """One accepted connection of the scripted broker, with what an MQTT broker would do as single steps."""

    def __init__(self, sock: socket.socket, number: int, record: Callable[["Publish"], None]) -> None:
        self.sock = sock
        self.number = number
        self._record = record

    def packet(self) -> tuple[int, bytes]:
        """The next packet of the client: first byte and body. Raises EOFError when it has closed."""
        first = self._bytes(1)[0]
        length = shift = 0
        while True:
            digit = self._bytes(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return first, self._bytes(length)

    def _bytes(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            piece = self.sock.recv(size - len(out))
            if not piece:
                raise EOFError
            out += piece
        return out

    def accept(self, session_present: bool = False) -> None:
        """Take the CONNECT and accept it."""
        first, _ = self.packet()
        assert first == 0x10, f"CONNECT expected, not {first:#x}"
        self.sock.sendall(bytes([0x20, 2, session_present, 0]))

    def subscribed(self, code: int = 0) -> None:
        """Take the SUBSCRIBE and answer it."""
        first, body = self.packet()
        assert first == 0x82, f"SUBSCRIBE expected, not {first:#x}"
        self.sock.sendall(b"\x90\x03" + body[:2] + bytes([code]))

    def published(self, *, ack: bool = True) -> "Publish":
        """Take packets up to the next PUBLISH, record and acknowledge it; answers pings on the way."""
        while True:
            first, body = self.packet()
            if first == 0xC0:
                self.sock.sendall(b"\xd0\x00")
            if first & 0xF0 == 0x30:
                break
        size = struct.unpack(">H", body[:2])[0]
        qos = first >> 1 & 3
        packet_id = struct.unpack(">H", body[2 + size : 4 + size])[0] if qos else 0
        message = Publish(
            self.number,
            body[2 : 2 + size].decode(),
            body[2 + size + (2 if qos else 0) :],
            qos,
            bool(first & 8),
            packet_id,
        )
        self._record(message)
        if qos and ack:
            self.sock.sendall(b"\x40\x02" + struct.pack(">H", packet_id))
        return message

    def serve(self) -> None:
        """Be a good broker until the client closes."""
        self.accept()
        self.subscribed()
        while True:
            self.published()

    def until_closed(self) -> None:
        """Read and answer nothing until the client gives up."""
        while self.sock.recv(4096):
            pass


class Publish:
    """A PUBLISH as the scripted broker saw it."""

    def __init__(self, connection: int, topic: str, payload: bytes, qos: int, dup: bool, packet_id: int) -> None:
        self.connection = connection
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.dup = dup
        self.packet_id = packet_id

    def __repr__(self) -> str:
        return f"{self.connection}:{self.payload!r}{' dup' if self.dup else ''}"


class ScriptedBroker:
    """Handles connection after connection with the given steps, each a function of a Peer; after the last one it is a
    good broker for ever."""

    def __init__(self, *steps: Callable[[Peer], None]) -> None:
        self._steps = list(steps)
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(8)
        self.port = int(self._listener.getsockname()[1])
        self.messages: list[Publish] = []
        self.errors: list[str] = []
        self._current: socket.socket | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        number = 0
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            step = self._steps[number] if number < len(self._steps) else Peer.serve
            with sock:
                self._current = sock
                try:
                    step(Peer(sock, number, self.messages.append))
                except (EOFError, OSError):
                    pass  # the client closed, as clients may
                except AssertionError as e:
                    self.errors.append(str(e))
            number += 1

    def close(self) -> None:
        """Stop listening and drop the connection."""
        self._closing = True
        for sock in (self._listener, self._current):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        self._thread.join(DEADLINE_S)

    def __enter__(self) -> "ScriptedBroker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        assert not self.errors, self.errors


class Ca:
    """A certificate authority on ECDSA P-256 that makes server certificates in `folder`."""

    def __init__(self, folder: Path, name: str = "test-ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = self._sign(
            self._name, self._key, now - datetime.timedelta(days=400), now + datetime.timedelta(days=400), [], ca=True
        )
        self.der = self._certificate.public_bytes(serialization.Encoding.DER)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begin: datetime.datetime,
        end: datetime.datetime,
        names: list[x509.GeneralName],
        *,
        ca: bool = False,
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            self._name, subject, key.public_key(), x509.random_serial_number(), begin, end
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def server(self, *, name: str = "bongsu-broker", from_days: int = -1, to_days: int = 30) -> tuple[Path, Path]:
        """(certificate file, key file) of a server called `name`, valid from .. to days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begin, end = (now + datetime.timedelta(days=d) for d in (from_days, to_days))
        names: list[x509.GeneralName] = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = self._sign(subject, key, begin, end, names)
        stem = f"{name}{from_days}"
        cert_file, key_file = self._folder / f"{stem}.crt", self._folder / f"{stem}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert_file, key_file
