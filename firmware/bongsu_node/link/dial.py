"""Opens the connection to the broker: TCP, then TLS where configured, up to the first packet being sent.

Own code instead of asyncio.open_connection, because that cannot be bounded without leaking: a socket whose connect is
cancelled stays open until the collector finds it, and after a failed handshake the TLS object forgets the socket below
it. Here every try ends with both closed or both in use.

The address is numeric (getaddrinfo of a name blocks an ESP32 for seconds); the server's certificate is checked against
`server_hostname`.
"""

import asyncio
import errno
import select
import socket
from time import ticks_add, ticks_diff, ticks_ms

_POLL_MS = 5


class DialError(Exception):
    """No connection. `why`: one word for the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NotNow(DialError):
    """The handshake, which blocks an ESP32, is not allowed at the moment; that is no failure of the link."""

    def __init__(self) -> None:
        super().__init__("not-now")


class Wire:
    """A connection, as the client uses it: read, write, close. dial() fills it in: `sock` TCP, `tls_sock` above it or
    None, `stream` once it is open."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.tls_sock = None
        self.stream = None

    def read(self, size: int):
        """Awaitable: 1..`size` bytes, b"" when the peer has closed. Raises OSError."""
        return self.stream.read(size)

    async def write(self, packet: bytes) -> None:
        """Hand over one packet in one write and wait until it is gone. One caller at a time. Raises OSError."""
        # The TLS layer must see the same bytes again after "try later", so nothing may be written between write() and
        # drain().
        self.stream.write(packet)
        await self.stream.drain()

    def close(self) -> None:
        """Give up both sockets; may be called twice. Never raises."""
        for sock in (self.tls_sock, self.sock):
            if sock is not None:
                try:
                    sock.close()
                except (
                    Exception
                ):  # a TLS object after a failed handshake, a socket the stack took away: nothing left to close
                    pass
        self.sock = self.tls_sock = None


def tls_context(ca_der: bytes):
    """A client context that accepts only certificates of our own CA. Raises ValueError or OSError if the CA cannot be
    read."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED  # CERT_OPTIONAL lets a wrong CA in
    context.load_verify_locations(cadata=ca_der)
    return context


def numeric(address: str) -> bool:
    """True for a dotted IPv4 address."""
    parts = address.split(".")
    return len(parts) == 4 and all([p.isdigit() and int(p) < 256 for p in parts])


async def dial(broker: dict, context, hello: bytes, timeout_ms: int, may_handshake) -> Wire:
    """Connect to broker["ip"]:broker["port"] and send `hello`; return the Wire once it is sent.

    `context`: of tls_context(), or None for plain TCP. `may_handshake`: called just before the handshake. Raises
    DialError within `timeout_ms` (plus one blocking step of the handshake).
    """
    if not numeric(broker["ip"]):
        raise DialError("broker-ip-not-numeric")
    end = ticks_add(ticks_ms(), timeout_ms)
    wire = Wire()
    try:
        await _connect(wire.sock, broker, end)
        if context is not None:
            if not may_handshake():
                raise NotNow
            wire.tls_sock = context.wrap_socket(
                wire.sock, server_hostname=broker["server_hostname"], do_handshake_on_connect=False
            )
            wire.tls_sock.setblocking(False)
        sock = wire.tls_sock or wire.sock
        await _send(sock, hello, end)
        wire.stream = asyncio.StreamReader(sock)
        return wire
    except (OSError, ValueError, MemoryError) as e:  # ValueError: the certificate is not accepted
        raise DialError(("tls:" if wire.tls_sock else "tcp:") + _word(e)) from None
    finally:
        if wire.stream is None:
            wire.close()


def _word(error) -> str:
    """An exception as one word for the log."""
    return "-".join(str(error).split())[:60] or type(error).__name__


async def _connect(sock, broker: dict, end: int) -> None:
    sock.setblocking(False)
    try:
        sock.connect(socket.getaddrinfo(broker["ip"], broker["port"])[0][-1])
    except OSError as e:
        if e.errno != errno.EINPROGRESS:
            raise
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    while not poller.poll(0):  # a failed connect is "ready" too, and raises at the first write
        await _pause(end)


async def _send(sock, hello: bytes, end: int) -> None:
    """Write `hello`; on a TLS socket the first calls of write() drive the handshake step by step."""
    done = 0
    while True:
        done += sock.write(hello[done:]) or 0
        if done == len(hello):
            return
        await _pause(end)


async def _pause(end: int) -> None:
    if ticks_diff(end, ticks_ms()) <= 0:
        raise OSError(errno.ETIMEDOUT)
    await asyncio.sleep_ms(_POLL_MS)
