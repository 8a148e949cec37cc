"""The HTTP client of the channels: libcurl's multi interface driven by asyncio's event loop.

Measured for small POSTs over kept-alive connections, 32 at once, CPU per POST: libcurl 48 us, aiohttp 95 us, urllib3 in
threads 435 us, httpx 2,450 us. The relay shares two cores with the receiver, so this decides how many dispatches a
second it makes.

What a peer may do to us is bounded: no redirects, no proxies from the environment, no decompression, one time-out for
the whole request, at most BODY_MAX bytes of an answer. Certificates are checked; plain http is for loopback only.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pycurl

from bongsu.channels.address import url_problem
from bongsu.channels.base import one_line

# An answer is an id and a word or two.
BODY_MAX = 64 * 1024
REQUEST_TIMEOUT_S = 3.0  # DESIGN section 7
# Kept for the next message; more than the relay has workers.
_CONNECTIONS_KEPT = 128
_INFO_BATCH = 64
_WEIRD_SERVER_REPLY = 8  # CURLE_WEIRD_SERVER_REPLY; pycurl names it after an FTP error

_SAID = {
    pycurl.E_COULDNT_CONNECT: "connection refused",
    pycurl.E_COULDNT_RESOLVE_HOST: "host name not found",
    pycurl.E_OPERATION_TIMEDOUT: "no answer in time",
    pycurl.E_PEER_FAILED_VERIFICATION: "its certificate is not trusted",
    pycurl.E_SSL_CONNECT_ERROR: "TLS failed",
    pycurl.E_GOT_NOTHING: "it closed the connection without an answer",
    pycurl.E_PARTIAL_FILE: "its answer was cut short",
    pycurl.E_RECV_ERROR: "the connection broke",
    pycurl.E_SEND_ERROR: "the connection broke",
    pycurl.E_UNSUPPORTED_PROTOCOL: "its answer is not HTTP",
    _WEIRD_SERVER_REPLY: "its answer is not HTTP",
}


class HttpFailure(Exception):
    """No answer: what went wrong, for people."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `body`: at most BODY_MAX bytes; `retry_after_s`: what the other side asks for (0: nothing);
    `location`: where a redirect points.
    """

    status: int
    body: bytes
    retry_after_s: int = 0
    location: str = ""


class _Call:
    """One request under way: its handle, its answer so far, and who waits for it."""

    __slots__ = ("body", "done", "handle", "size")

    def __init__(self, handle: pycurl.Curl, done: "asyncio.Future[Response]") -> None:
        self.handle = handle
        self.done = done
        self.body: list[bytes] = []
        self.size = 0

    def take(self, data: bytes) -> int | None:
        """A piece of the answer. Returning -1 makes libcurl give up the connection: there is more than anyone may
        send."""
        self.body.append(data)
        self.size += len(data)
        return -1 if self.size > BODY_MAX else None

    def response(self) -> Response:
        info = self.handle.getinfo
        return Response(
            int(info(pycurl.RESPONSE_CODE)),
            b"".join(self.body)[:BODY_MAX],
            int(info(pycurl.RETRY_AFTER)),
            info(pycurl.REDIRECT_URL) or "",
        )


class HttpClient:
    """Sends requests from one event loop; made before or in it. `ca_file`: certificates to trust, instead of the
    system's.
    """

    def __init__(self, *, timeout_s: float = REQUEST_TIMEOUT_S, ca_file: str | None = None) -> None:
        self._timeout_ms = round(timeout_s * 1000)
        self._trust = {"CAINFO": ca_file} if ca_file is not None else system_trust()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, _CONNECTIONS_KEPT)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._idle: list[pycurl.Curl] = []
        self._calls: dict[pycurl.Curl, _Call] = {}

    async def request(
        self, method: str, url: str, headers: dict[str, str], body: bytes = b"", *, once: bool = False
    ) -> Response:
        """Send one request; GET has no body. `once`: over a connection of its own, for libcurl sends a request again,
        by itself, when a connection that it kept dies without an answer. Raises HttpFailure if no answer came within
        the time-out.
        """
        if problem := url_problem(url):
            raise HttpFailure(problem)
        self._loop = self._loop or asyncio.get_running_loop()
        handle = self._idle.pop() if self._idle else self._new_handle()
        call = _Call(handle, self._loop.create_future())
        handle.setopt(pycurl.URL, url)
        if method == "POST":
            handle.setopt(pycurl.POSTFIELDS, body)
        else:
            handle.setopt(pycurl.HTTPGET, 1)
        handle.setopt(pycurl.HTTPHEADER, [f"{k}: {v}".encode() for k, v in headers.items()])
        handle.setopt(pycurl.WRITEFUNCTION, call.take)
        handle.setopt(pycurl.FRESH_CONNECT, int(once))
        handle.setopt(pycurl.FORBID_REUSE, int(once))
        self._calls[handle] = call
        try:
            self._multi.add_handle(handle)
            return await call.done
        finally:
            self._finish(call)

    def _new_handle(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        options: dict[str, Any] = {
            "NOSIGNAL": 1,
            "TIMEOUT_MS": self._timeout_ms,
            "CONNECTTIMEOUT_MS": self._timeout_ms,
            "FOLLOWLOCATION": 0,
            "PROTOCOLS": pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            "HTTP_VERSION": pycurl.CURL_HTTP_VERSION_1_1,
            "PROXY": "",
            "TCP_NODELAY": 1,
            **self._trust,
        }
        for name, value in options.items():
            handle.setopt(getattr(pycurl, name), value)
        return handle

    def _finish(self, call: _Call) -> None:
        if self._calls.pop(call.handle, None) is None:
            return  # aclose was faster
        self._multi.remove_handle(call.handle)
        self._idle.append(call.handle)

    # -- libcurl's side: it says which sockets and which deadline to watch, and is told when one is due

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> None:
        loop = self._loop
        assert loop is not None
        if what & pycurl.POLL_IN and what != pycurl.POLL_REMOVE:
            loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        else:
            loop.remove_reader(fd)
        if what & pycurl.POLL_OUT and what != pycurl.POLL_REMOVE:
            loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)
        else:
            loop.remove_writer(fd)

    def _set_timer(self, ms: int) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if ms >= 0:
            self._timer = self._loop.call_later(ms / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, fd: int, events: int) -> None:
        self._multi.socket_action(fd, events)
        more = 1
        while more:
            more, good, bad = self._multi.info_read(_INFO_BATCH)
            for handle in good:
                self._settle(handle, _Call.response)
            for handle, code, text in bad:
                self._settle(handle, partial(_failed, code=code, text=text))

    def _settle(self, handle: pycurl.Curl, result: Callable[[_Call], Response]) -> None:
        call = self._calls.get(handle)
        if call is None or call.done.done():
            return
        try:
            call.done.set_result(result(call))
        except HttpFailure as err:
            call.done.set_exception(err)

    async def aclose(self) -> None:
        """Give up what is under way and close all connections."""
        calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            self._multi.remove_handle(call.handle)
            call.handle.close()
            if not call.done.done():
                call.done.set_exception(HttpFailure("the receiver is stopping"))
        for handle in self._idle:
            handle.close()
        self._idle.clear()
        self._multi.close()
        if self._timer is not None:
            self._timer.cancel()


def _failed(call: _Call, code: int, text: str) -> Response:
    """The answer in spite of an error: one that was too long is cut, its status stands. Else raises HttpFailure."""
    if code == pycurl.E_WRITE_ERROR and call.size > BODY_MAX:
        return call.response()
    raise HttpFailure(_SAID.get(code, "") or one_line(text) or f"libcurl error {code}")


def system_trust() -> dict[str, str]:
    """libcurl options for the certificates that this machine trusts (SSL_CERT_FILE and SSL_CERT_DIR count); without
    any, those of certifi.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return {"CAINFO": paths.cafile}
    if paths.capath and any(os.scandir(paths.capath)):
        return {"CAPATH": paths.capath}
    import certifi

    return {"CAINFO": certifi.where()}
