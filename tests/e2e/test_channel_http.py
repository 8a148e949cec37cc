"""The HTTP client of the channels: TLS is checked, and no answer, however odd, crashes or holds it."""

import asyncio
import datetime as dt
import socket
import ssl
import tempfile
import threading
from contextlib import contextmanager, suppress

import pytest

from bongsu.channels.http import BODY_MAX, HttpClient, HttpFailure
from bongsu.receiver import certificates
from tests.channel_peers import answering

TIMEOUT_S = 0.4


def asked(url, *, ca_file=None, timeout_s=TIMEOUT_S, method="GET"):
    """The answer of one request; raises HttpFailure."""

    async def go():
        client = HttpClient(timeout_s=timeout_s, ca_file=ca_file)
        try:
            return await client.request(method, url, {"X": "1"}, b"{}")
        finally:
            await client.aclose()

    return asyncio.run(go())


@contextmanager
def tls_server(ca):
    """An HTTPS server with a certificate of this CA (names: bongsu-broker, localhost, 127.0.0.1), which also answers as
    127.0.0.2; yields its port.
    """
    ready = threading.Event()
    state = {}

    async def answer(reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=state["context"])
        state["port"], state["stop"] = server.sockets[0].getsockname()[1], asyncio.Event()
        other = await asyncio.start_server(answer, "127.0.0.2", state["port"], ssl=state["context"])
        state["loop"] = asyncio.get_running_loop()
        ready.set()
        await state["stop"].wait()
        server.close()
        other.close()

    made = certificates.make_server(ca, ())
    with tempfile.NamedTemporaryFile() as file:
        file.write(made.key_pem() + made.cert_pem())
        file.flush()
        state["context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        state["context"].load_cert_chain(file.name)
    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield state["port"]
    finally:
        state["loop"].call_soon_threadsafe(state["stop"].set)
        thread.join(10)


def test_a_certificate_is_trusted_only_from_a_known_ca_and_for_its_name(tmp_path):
    ca, other = (certificates.make_ca(dt.datetime.now(dt.UTC)) for _ in range(2))
    known, unknown = tmp_path / "ca.pem", tmp_path / "other.pem"
    known.write_bytes(ca.cert_pem())
    unknown.write_bytes(other.cert_pem())
    with tls_server(ca) as port:
        assert asked(f"https://127.0.0.1:{port}/", ca_file=str(known), timeout_s=5).status == 200
        for ca_file, host in ((None, "127.0.0.1"), (str(unknown), "127.0.0.1"), (str(known), "127.0.0.2")):
            with pytest.raises(HttpFailure, match="certificate is not trusted"):
                asked(f"https://{host}:{port}/", ca_file=ca_file, timeout_s=5)


def test_plain_http_answer_to_https_is_no_answer():
    with answering(b"HTTP/1.1 200 OK\r\n\r\n") as port, pytest.raises(HttpFailure):
        asked(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 OK 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    ],
)
def test_broken_answers_are_failures(answer):
    with answering(answer) as port, pytest.raises(HttpFailure) as failure:
        asked(f"http://127.0.0.1:{port}/", method="POST")
    assert str(failure.value)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
def test_a_silent_peer_is_given_up(answer):
    with answering(answer, close=False) as port, pytest.raises(HttpFailure, match="no answer in time"):
        asked(f"http://127.0.0.1:{port}/")


def test_a_huge_answer_is_cut_and_its_status_stands():
    with answering(b"HTTP/1.1 503 X\r\nContent-Length: 9999999\r\n\r\n" + b"x" * (BODY_MAX + 5)) as port:
        answer = asked(f"http://127.0.0.1:{port}/")
    assert answer.status == 503 and len(answer.body) == BODY_MAX


def test_huge_headers_are_a_failure():
    with answering(b"HTTP/1.1 200 OK\r\n" + b"".join(b"A%d: %s\r\n" % (i, b"x" * 900) for i in range(2000))) as port:
        with pytest.raises(HttpFailure):
            asked(f"http://127.0.0.1:{port}/", timeout_s=5)


def test_a_redirect_is_not_followed():
    with answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") as port:
        answer = asked(f"http://127.0.0.1:{port}/")
    assert (answer.status, answer.location) == (302, "http://127.0.0.1:1/")


def test_retry_after_in_seconds_and_as_a_date():
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=40)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for value, low, high in ((b"7", 7, 7), (soon.encode(), 30, 41), (b"-3", 0, 0), (b"soon", 0, 0)):
        head = b"HTTP/1.1 429 X\r\nRetry-After: " + value + b"\r\nContent-Length: 0\r\n\r\n"
        with answering(head) as port:
            assert low <= asked(f"http://127.0.0.1:{port}/").retry_after_s <= high


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as port:
        assert asked(f"http://127.0.0.1:{port}/").status == 204


def test_a_cancelled_request_leaves_the_client_in_order():
    async def go(silent, good):
        client = HttpClient(timeout_s=5)
        task = asyncio.create_task(client.request("POST", f"http://127.0.0.1:{silent}/", {}, b"x"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        statuses = [(await client.request("POST", f"http://127.0.0.1:{good}/", {}, b"x")).status for _ in range(3)]
        await client.aclose()
        return statuses

    with answering(b"", close=False) as silent, answering(b"HTTP/1.1 204 No Content\r\n\r\n") as good:
        assert asyncio.run(go(silent, good)) == [204, 204, 204]


@contextmanager
def dropping():
    """A server that answers a connection's first request and takes the second without an answer; yields (port, the
    number of requests that it read)."""
    taken = []
    ended = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)

    def serve():
        while not ended.is_set():
            with suppress(TimeoutError):
                connection, _ = server.accept()
                threads.append(threading.Thread(target=talk, args=(connection,)))
                threads[-1].start()

    def talk(connection):
        with connection:
            connection.settimeout(10)
            for number in range(2):
                got = b""
                while not got.endswith(b"\r\n\r\nx"):
                    piece = connection.recv(4096)
                    if not piece:
                        return
                    got += piece
                taken.append(got)
                if number == 0:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    threads = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        yield server.getsockname()[1], taken
    finally:
        ended.set()
        for thread in threads:
            thread.join(10)
        server.close()


@pytest.mark.parametrize(("once", "requests"), [(True, 2), (False, 3)])
def test_what_has_no_key_is_never_sent_again_by_itself(once, requests):
    """Without `once` the second one goes out twice: that is libcurl's way, and why it is there."""

    async def go(url):
        client = HttpClient(timeout_s=5)
        try:
            for _ in range(2):
                assert (await client.request("POST", url, {}, b"x", once=once)).status == 200
        finally:
            await client.aclose()

    with dropping() as (port, taken):
        asyncio.run(go(f"http://127.0.0.1:{port}/"))
        assert len(taken) == requests


def test_closing_ends_what_is_under_way():
    async def go(port):
        client = HttpClient(timeout_s=30)
        task = asyncio.create_task(client.request("POST", f"http://127.0.0.1:{port}/", {}, b"x"))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(HttpFailure, match="stopping"):
            await task

    with answering(b"", close=False) as port:
        asyncio.run(go(port))
