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
    """An open connection, as the client uses it: read, write, close."""

    def __init__(self, sock, tls_sock) -> None:
        self._sockets = (tls_sock, sock)
        self._reader = asyncio.StreamReader(tls_sock or sock)
        self._writer = asyncio.StreamWriter(tls_sock or sock, {})

    def read(self, size: int):
        """Awaitable: 1..`size` bytes, b"" when the peer has closed. Raises OSError."""
        return self._reader.read(size)

    async def write(self, packet: bytes) -> None:
        """Hand over one packet in one write and wait until it is gone. One caller at a time. Raises OSError."""
        # The TLS layer must see the same bytes again after "try later": nothing may be written in between.
        self._writer.write(packet)
        await self._writer.drain()

    def close(self) -> None:
        """Give up both sockets; may be called twice. Never raises."""
        _close(self._sockets)


def _close(sockets) -> None:
    for sock in sockets:
        try:
            if sock is not None:
                sock.close()
        except Exception:  # a TLS object after a failed handshake, a socket that the stack took away: nothing to close
            pass


def tls_context(ca_der: bytes):
    """A client context that accepts only certificates of our own CA. Raises ValueError or OSError for a bad CA."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # CERT_OPTIONAL lets a wrong CA in.
    context.verify_mode = ssl.CERT_REQUIRED  # type: ignore[attr-defined]
    context.load_verify_locations(cadata=ca_der)
    return context


def numeric(address: str) -> bool:
    """True for a dotted IPv4 address."""
    parts = address.split(".")
    return len(parts) == 4 and all([p.isdigit() and int(p) < 256 for p in parts])


async def dial(broker: dict, context, hello: bytes, timeout_ms: int, may_handshake) -> Wire:
    """Connect to broker["ip"]:broker["port"] and send `hello`; return the Wire once it is sent.

    `context`: of tls_context(), or None for plain TCP. `may_handshake`: called just before the handshake. Raises
    DialError once it has waited for the peer for `timeout_ms`.
    """
    if not numeric(broker["ip"]):
        raise DialError("broker-ip-not-numeric")
    end = ticks_add(ticks_ms(), timeout_ms)
    sock = socket.socket()
    tls_sock = wire = None
    try:
        await _connect(sock, broker, end)
        if context is not None:
            if not may_handshake():
                raise NotNow
            name = broker["server_hostname"]
            tls_sock = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
            tls_sock.setblocking(False)
        await _send(tls_sock or sock, hello, end)
        wire = Wire(sock, tls_sock)
        return wire
    except (OSError, ValueError, MemoryError) as e:  # ValueError: the certificate is not accepted
        raise DialError(("tls:" if tls_sock else "tcp:") + _word(e)) from None
    finally:
        if wire is None:
            _close((tls_sock, sock))


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


async def _send(sock, hello: bytes, end) -> None:
    """Write `hello`; on a TLS socket the first calls of write() drive the handshake step by step. Its arithmetic
    blocks, seconds on a chip and many on a slow one, and is no waiting for the peer: `end` moves on by it.
    """
    done = 0
    while True:
        before = ticks_ms()
        done += sock.write(hello[done:]) or 0
        if done == len(hello):
            return
        end = ticks_add(end, ticks_diff(ticks_ms(), before))
        await _pause(end)


async def _pause(end: int) -> None:
    if ticks_diff(end, ticks_ms()) <= 0:
        raise OSError(errno.ETIMEDOUT)
    await asyncio.sleep_ms(_POLL_MS)
