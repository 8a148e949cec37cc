"""The other end of a `socket://` port: says what the test wants, and keeps what it is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SerialPeer:
    """Serves one client at a time on loopback; `url` is the port."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self.told = bytearray()
        self.clients = 0
        self._changed = threading.Condition()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with self._changed:
                self._client, self.clients = client, self.clients + 1
                self._changed.notify_all()
            self._listen(client)

    def _listen(self, client: socket.socket) -> None:
        try:
            while data := client.recv(4096):
                with self._changed:
                    self.told += data
                    self._changed.notify_all()
        except OSError:
            pass
        with self._changed:
            client.close()
            self._client = None
            self._changed.notify_all()

    def say(self, data: bytes) -> None:
        """To the client, as soon as there is one."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._client is not None, 60)
            client = self._client
        assert client is not None
        client.sendall(data)

    def wait_told(self, data: bytes) -> None:
        """Until the client has sent this."""
        with self._changed:
            assert self._changed.wait_for(lambda: data in self.told, 60), bytes(self.told)

    def wait_gone(self, clients: int = 1) -> None:
        """Until so many clients have come and closed the port."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._client is None and self.clients == clients, 60)

    def pull(self) -> None:
        """The cable comes out."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._client is not None, 60)
            client = self._client
        assert client is not None
        client.shutdown(socket.SHUT_RDWR)  # who serves it closes it

    def close(self) -> None:
        """No more clients."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)


@contextmanager
def serial_peer() -> Iterator[SerialPeer]:
    """A peer for one test."""
    peer = SerialPeer()
    try:
        yield peer
    finally:
        peer.close()
