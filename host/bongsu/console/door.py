"""The console's door: logging in and out, and who a request comes from."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bongsu.console import guard, operators, sessions
from bongsu.console.desk_pool import Busy, DeskPool
from bongsu.console.guard import Refusal
from bongsu.console.limits import Limits
from bongsu.console.sessions import Session
from bongsu.receiver.config import ConsoleConfig
from bongsu.receiver.log import Log
from bongsu.receiver.registry import audit

_NAME_MAX, _TYPED_MAX = 100, 1000
# A login form that was opened and left: so long it may be sent.
_FORM_S = 3600


@dataclass
class Door:
    """Sessions of the console. `port` is part of the cookies' names: browsers share cookies among a host's ports."""

    config: ConsoleConfig
    pool: DeskPool
    log: Log
    port: int
    limits: Limits = field(default_factory=Limits)

    # ---- cookies

    @property
    def _prefix(self) -> str:
        # Browsers take a __Host- cookie only over https, from the host itself, for all of it.
        return "__Host-bongsu" if self.config.uses_tls else "bongsu"

    @property
    def cookie(self) -> str:
        """The session cookie's name."""
        return f"{self._prefix}-{self.port}"

    @property
    def _form_cookie(self) -> str:
        return f"{self._prefix}-form-{self.port}"

    def _set(self, response: Response, name: str, value: str, length_s: int) -> None:
        response.set_cookie(
            name, value, max_age=length_s, path="/", secure=self.config.uses_tls, httponly=True, samesite="strict"
        )

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=self.config.uses_tls, httponly=True, samesite="strict")

    # ---- who is it?

    async def who(self, request: Request) -> Session | None:
        """Who a request comes from; None: nobody that is logged in."""
        token = request.cookies.get(self.cookie)
        if not token:
            return None
        return (await self.good({sessions.key_of(token)})).get(sessions.key_of(token))

    async def good(self, keys: set[str]) -> dict[str, Session]:
        """Those of the sessions that are good; that they are in use is remembered, now and then."""
        now_ms, idle_s = _now_ms(), self.config.session_idle_s
        found = await self.pool.read(lambda conn: sessions.find(conn, keys, now_ms=now_ms, idle_s=idle_s))
        used = {key for key, one in found.items() if now_ms - one.last_ms > sessions.TOUCH_MS}
        if used:
            await self.pool.write(lambda conn: sessions.touch(conn, used, now_ms))
        return found

    async def need(self, request: Request, role: str = "viewer") -> Session:
        """Who a request comes from, if they may do what `role` may. Raises Refusal."""
        session = await self.who(request)
        if session is None:
            raise Refusal(401, "not_logged_in")
        if not session.may(role):
            raise Refusal(403, "not_allowed")
        if request.method == "POST":
            guard.check_origin(request)
            guard.check_token(request, sessions.form_token(request.cookies[self.cookie]))
        return session

    # ---- requests

    async def form(self, _request: Request) -> Response:
        """GET /api/login: what the login page needs; whether there is anybody who could log in."""
        anybody = await self.pool.read(operators.is_anybody)
        secret = secrets.token_urlsafe(32)
        response = JSONResponse({"operators": anybody, "token": sessions.form_token(secret)})
        self._set(response, self._form_cookie, secret, _FORM_S)
        return response

    async def login(self, request: Request) -> Response:
        """POST /api/login {name, password}."""
        guard.check_origin(request)
        secret = request.cookies.get(self._form_cookie)
        if not secret:
            raise Refusal(403, "bad_token")
        guard.check_token(request, sessions.form_token(secret))
        found = await guard.body(request)
        name = guard.text(found, "name", _NAME_MAX).strip().lower()
        password = guard.text(found, "password", _TYPED_MAX)
        token = await self._enter(name, password, request.client.host if request.client else "")
        response = JSONResponse({"ok": True})
        # A new token with every login: one that somebody slipped to this browser before is worth nothing.
        self._set(response, self.cookie, token, self.config.session_s)
        self._drop(response, self._form_cookie)
        return response

    async def _enter(self, name: str, password: str, address: str) -> str:
        wait_s = self.limits.attempt(name, address, time.monotonic())
        if wait_s > 0:
            self.log.warning("console.login_limited", address=address, wait_s=round(wait_s))
            raise Refusal(429, "too_many_tries", wait_s=round(wait_s) + 1)
        person = await self.pool.read(lambda conn: operators.find(conn, name))
        stored = person["password_hash"] if person is not None and person["disabled_ms"] is None else None
        try:
            right = await self.pool.check_password(lambda: operators.is_right(stored, password))
        except Busy:
            raise Refusal(503, "busy", wait_s=5) from None
        if not right or person is None:
            # What was typed may be a password in the wrong field: it is kept only if it is the name of somebody.
            known = str(person["name"]) if person is not None else "?"
            await self.pool.write(lambda conn: _audit(conn, known, "console.login_failed", address))
            self.log.warning("console.login_failed", name=known, address=address)
            raise Refusal(403, "wrong_login")
        self.limits.succeeded(name, address, time.monotonic())
        token = await self.pool.write(lambda conn: self._begin(conn, name, stored, address))
        self.log.info("console.login", name=name, address=address)
        return token

    def _begin(self, conn: Connection, name: str, stored: str | None, address: str) -> str:
        """A new session, if the password is still the one that was checked."""
        person = operators.find(conn, name)
        if person is None or person["password_hash"] != stored or person["disabled_ms"] is not None:
            raise Refusal(403, "wrong_login")
        _audit(conn, name, "console.login", address)
        length_s, idle_s = self.config.session_s, self.config.session_idle_s
        # Sessions begun before `changed_ms` are void; this one began after, whatever the clock did.
        now_ms = max(_now_ms(), int(person["changed_ms"]))
        return sessions.begin(conn, name, now_ms=now_ms, length_s=length_s, idle_s=idle_s)

    async def logout(self, request: Request) -> Response:
        """POST /api/logout."""
        session = await self.need(request)
        address = request.client.host if request.client else ""

        def end(conn: Connection) -> None:
            sessions.end(conn, session.key)
            _audit(conn, session.name, "console.logout", address)

        await self.pool.write(end)
        response = JSONResponse({"ok": True})
        self._drop(response, self.cookie)
        return response

    async def me(self, request: Request) -> Response:
        """GET /api/me: who is logged in, and the token of this session's pages."""
        session = await self.need(request)
        return JSONResponse(_me(session, sessions.form_token(request.cookies[self.cookie])))

    async def lang(self, request: Request) -> Response:
        """POST /api/lang {lang}: remembered for the person."""
        session = await self.need(request)
        lang = guard.text(await guard.body(request), "lang", 2)
        if lang not in ("ko", "en"):
            raise Refusal(400, "bad_request", field="lang")
        await self.pool.write(lambda conn: operators.set_lang(conn, name=session.name, lang=lang))
        return JSONResponse({"ok": True})


def _me(session: Session, token: str) -> dict[str, Any]:
    return {
        "name": session.name,
        "full_name": session.full_name,
        "role": session.role,
        "lang": session.lang,
        "may_act": session.may("operator"),
        "ends_ms": session.ends_ms,
        "now_ms": _now_ms(),
        "token": token,
    }


def _audit(conn: Connection, name: str, action: str, address: str) -> None:
    audit(conn, actor=name, action=action, subject=f"operator:{name}", detail=address, now_ms=_now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
