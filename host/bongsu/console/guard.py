"""What stands before every request: headers that bind the browser, where it may come from, how much it may bring."""

import hmac
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_MAX = 16 * 1024
TOKEN_HEADER = "x-bongsu-token"
# Only our own files, no inline script or style, and text that comes in can never become a script (Trusted Types).
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
    " bongsu"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Refusal(Exception):
    """A request that is not carried out. `code`: for the page; `more`: what it shows."""

    def __init__(self, status: int, code: str, **more: Any) -> None:
        super().__init__(code)
        self.status, self.code, self.more = status, code, more

    def response(self) -> JSONResponse:
        """As the page gets it."""
        headers = {"retry-after": str(self.more["wait_s"])} if "wait_s" in self.more else None
        return JSONResponse({"error": self.code, **self.more}, self.status, headers)


class Guard:
    """ASGI middleware that puts HEADERS on every answer. Nothing is stored by browsers or proxies, unless the answer
    itself says so.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_guarded if scope["type"] == "http" else send)


def check_origin(request: Request) -> None:
    """Refuse what another site's page sends. Browsers say where a POST comes from; what says nothing is no browser, and
    is left to the token.
    """
    origin, where = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if where is not None and where not in ("same-origin", "none"):
        raise Refusal(403, "foreign_origin")
    if origin is not None:
        parts = urlsplit(origin)
        if (parts.scheme, parts.netloc) != (request.url.scheme, request.headers.get("host", "")):
            raise Refusal(403, "foreign_origin")


def check_token(request: Request, expected: str) -> None:
    """Refuse a request that does not bring the token of its own page."""
    if not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), expected.encode()):
        raise Refusal(403, "bad_token")


async def body(request: Request) -> Mapping[str, Any]:
    """The JSON object that a request brings."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refusal(415, "bad_content_type")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > BODY_MAX:
            raise Refusal(413, "too_large")
    try:
        found = msgspec.json.decode(bytes(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        raise Refusal(400, "bad_request") from None
    if not isinstance(found, dict):
        raise Refusal(400, "bad_request")
    return found


def text(found: Mapping[str, Any], name: str, most: int, default: str | None = None) -> str:
    """A text of the body."""
    value = found.get(name, default)
    if not isinstance(value, str) or len(value) > most:
        raise Refusal(400, "bad_request", field=name)
    return value


_SEEN = re.compile(r"(0|[1-9][0-9]{0,17})(?:\+([1-9][0-9]{0,8}))?")


def event_seen(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the operator has seen, as receiver/desk.py takes it: the incident's `seen` ("7", "7+1"), or the last event's
    number (None: there is none).
    """
    value = found.get("seen", "")
    if value is None:
        return {"seen_event_id": None}
    match = _SEEN.fullmatch(value if isinstance(value, str) else str(value)) if type(value) in (str, int) else None
    if match is None or (type(value) is int and not value):
        raise Refusal(400, "bad_request", field="seen")
    return {"seen_event_id": int(match[1]) or None, "seen_beats": int(match[2] or 0)}


def flag(found: Mapping[str, Any], name: str, *, needed: bool = False) -> bool:
    """A yes or no of the body; no if it is not there, unless it is `needed`."""
    value = found.get(name, None if needed else False)
    if not isinstance(value, bool):
        raise Refusal(400, "bad_request", field=name)
    return value
