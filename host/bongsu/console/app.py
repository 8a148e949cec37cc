"""The console as a Starlette application: which address does what."""

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bongsu.console import stream
from bongsu.console.acts import Acts
from bongsu.console.air import Air
from bongsu.console.board import Board
from bongsu.console.desk_pool import DeskPool
from bongsu.console.door import Door
from bongsu.console.guard import HEADERS, Guard, Refusal
from bongsu.console.health import healthz
from bongsu.console.metrics import metrics
from bongsu.console.pulse import Pulse
from bongsu.console.words import load_words
from bongsu.errors import BongsuError
from bongsu.receiver.log import Log, Seldom

# Pages at once, in all and of one session (tabs).
PAGES_MAX, PAGES_OF_ONE = 400, 20
_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_LOOPBACK = ("127.0.0.1", "::1")

Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Console:
    """The parts that requests meet. `token`: lets other machines read health and metrics; None: loopback only."""

    board: Board
    pool: DeskPool
    door: Door
    acts: Acts
    pulse: Pulse
    log: Log
    token: str | None = None
    _static: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    _words: bytes = b""

    def __post_init__(self) -> None:
        for file in files("bongsu.console").joinpath("static").iterdir():
            kind = file.name.rpartition(".")[2]
            if kind in _TYPES or kind == "html":
                self._static[file.name] = (file.read_bytes(), _TYPES.get(kind, "text/html; charset=utf-8"))
        self._words = bytes(JSONResponse(load_words()).body)

    def latest_state(self) -> dict[str, Any] | None:
        """The receiver's newest state; None: it has not been heard of for SILENT_S."""
        return self.pulse.state if self.pulse.is_fresh(time.monotonic()) else None

    def state(self) -> dict[str, Any]:
        """What pages are told of the receiver."""
        return self.pulse.shown(time.monotonic(), self.board.fault)

    # ---- pages and files

    async def home(self, request: Request) -> Response:
        """The console, for who is logged in."""
        if await self.door.who(request) is None:
            return RedirectResponse("/login", 303)
        return self._file("index.html")

    async def login_page(self, _request: Request) -> Response:
        """The login page."""
        return self._file("login.html")

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        name = request.path_params["name"]
        if name not in self._static or name.endswith(".html"):
            raise Refusal(404, "not_found")
        return self._file(name)

    def _file(self, name: str) -> Response:
        data, kind = self._static[name]
        return Response(data, headers={"content-type": kind})

    async def words(self, _request: Request) -> Response:
        """All words of the page."""
        return Response(self._words, media_type="application/json")

    # ---- the stream

    async def open_stream(self, request: Request) -> Response:
        """GET /api/stream: server-sent events "snapshot", "change", "state"."""
        session = await self.door.need(request)
        if len(self.board.pages) >= PAGES_MAX or self._pages_of(session.key) >= PAGES_OF_ONE:
            raise Refusal(503, "too_many_pages")
        return _Stream(self, session.key)

    def _pages_of(self, key: str) -> int:
        return sum(page.session_key == key for page in self.board.pages)

    async def dismiss(self) -> None:
        """Let those pages go whose session has ended; the others' sessions are in use."""
        keys = {page.session_key for page in self.board.pages}
        good = await self.door.good(keys) if keys else {}
        for page in list(self.board.pages):
            if page.session_key not in good:
                page.gone()

    # ---- for other machines

    def watchers(self, handler: Handler) -> Handler:
        """A handler for this machine, and for who brings the token."""

        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            local = request.client is not None and request.client.host in _LOOPBACK
            if not local and not (self.token and hmac.compare_digest(given.encode(), self.token.encode())):
                raise Refusal(401, "token_needed")
            return await handler(request)

        return guarded


class _Stream(Response):
    """An answer that does not end."""

    def __init__(self, console: Console, key: str) -> None:
        super().__init__()
        self._console, self._key = console, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        console = self._console
        await stream.stream(console.board, console.state(), self._key, scope, receive, send)


def make_app(console: Console) -> Starlette:
    """The application."""
    door, acts = console.door, console.acts
    routes = [
        Route("/", console.home),
        Route("/login", console.login_page),
        Route("/static/{name}", console.static),
        Route("/words.json", console.words),
        Route("/api/login", door.form),
        Route("/api/login", door.login, methods=["POST"]),
        Route("/api/logout", door.logout, methods=["POST"]),
        Route("/healthz", console.watchers(healthz(console.latest_state))),
        Route("/metrics", console.watchers(metrics(console.latest_state))),
        Route("/api/me", door.me),
        Route("/api/lang", door.lang, methods=["POST"]),
        Route("/api/stream", console.open_stream),
        Route("/api/history", acts.history),
        Route("/api/air", Air(door, acts.pool).show),
        Route("/api/incidents/{id}", acts.show),
        Route("/api/incidents/{id}/ack", acts.acknowledge, methods=["POST"]),
        Route("/api/incidents/{id}/close", acts.close, methods=["POST"]),
        Route("/api/incidents/{id}/verify", acts.verify, methods=["POST"]),
        Route("/api/incidents/{id}/answer", acts.answer, methods=["POST"]),
        Route("/api/incidents/{id}/phone", acts.phone, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {
        Refusal: _refused,
        BongsuError: _failed,
        HTTPException: _http,
        Exception: _Unexpected(console.log),
    }
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(Guard)])


async def _refused(_request: Request, err: Exception) -> Response:
    assert isinstance(err, Refusal)
    return err.response()


async def _failed(_request: Request, err: Exception) -> Response:
    """The store cannot do it now, or the rules do not allow it: in words, as commands say it."""
    assert isinstance(err, BongsuError)
    return JSONResponse({"error": "failed", "what": err.message, "next": err.next_step}, 503)


async def _http(_request: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException)
    return PlainTextResponse(str(err.status_code), err.status_code)


class _Unexpected:
    """A fault of this program: its kind into the log, nothing of the request."""

    def __init__(self, log: Log) -> None:
        self._log, self._seldom = log, Seldom()

    async def __call__(self, request: Request, err: Exception) -> Response:
        trace = err.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""
        if not self._seldom.due(where, round(time.monotonic() * 1000)):
            return JSONResponse({"error": "fault"}, 500, HEADERS)
        self._log.error("console.fault", path=request.url.path[:80], error=type(err).__name__, where=where)
        # It is made outside of Guard.
        return JSONResponse({"error": "fault"}, 500, HEADERS)
