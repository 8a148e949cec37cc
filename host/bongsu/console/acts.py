"""What operators do: take an incident on, close it, look at a number. The rules are receiver/desk.py's."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bongsu.console import guard, views
from bongsu.console.board import Board
from bongsu.console.desk_pool import DeskPool
from bongsu.console.door import Door
from bongsu.console.guard import Refusal
from bongsu.errors import BongsuError
from bongsu.receiver import desk, fields, incidents, registry
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import schema
from bongsu.receiver.wake import notify

_NOTE_MAX = 1000


@dataclass
class Acts:
    """Requests about incidents."""

    door: Door
    pool: DeskPool
    board: Board
    data_dir: Path

    # ---- looking

    async def show(self, request: Request) -> Response:
        """GET /api/incidents/{id}."""
        await self.door.need(request)
        one = _id(request)
        try:
            return JSONResponse(await self.pool.read(lambda conn: views.view(conn, one)))
        except RegistryError:
            raise Refusal(404, "unknown_incident") from None

    async def history(self, request: Request) -> Response:
        """GET /api/history?before=<closed_ms>-<id>."""
        await self.door.need(request)
        before = _before(request.query_params.get("before"))
        rows = await self.pool.read(lambda conn: views.history(conn, _now_ms(), before))
        more = f"{rows[-1]['closed_ms']}-{rows[-1]['id']}" if len(rows) == views.HISTORY_PAGE else None
        return JSONResponse({"incidents": rows, "before": more})

    # ---- acting

    async def acknowledge(self, request: Request) -> Response:
        """POST /api/incidents/{id}/ack {seen}."""
        session = await self.door.need(request, "operator")
        seen = guard.event_seen(await guard.body(request))
        return await self._act(
            _id(request),
            lambda conn, one: desk.acknowledge(conn, one, **seen, by=session.name, now_ms=_now_ms()),
        )

    async def close(self, request: Request) -> Response:
        """POST /api/incidents/{id}/close {seen, disposition, note, still_standing}."""
        session = await self.door.need(request, "operator")
        found = await guard.body(request)
        disposition = guard.text(found, "disposition", 16)
        if disposition not in incidents.DISPOSITIONS:
            raise Refusal(400, "bad_request", field="disposition")
        try:
            note = fields.words("note", guard.text(found, "note", _NOTE_MAX, ""), _NOTE_MAX, required=False)
        except fields.FieldError as err:
            raise Refusal(400, "bad_note", what=err.message) from None
        seen, standing = guard.event_seen(found), guard.flag(found, "still_standing")

        def act(conn: Connection, one: int) -> Any:
            return desk.close(
                conn, one, disposition=disposition, note=note, by=session.name, now_ms=_now_ms(), **seen,
                still_standing=standing,
            )  # fmt: skip

        return await self._act(_id(request), act)

    async def verify(self, request: Request) -> Response:
        """POST /api/incidents/{id}/verify {seen}: the alarm is real."""
        session = await self.door.need(request, "operator")
        seen = guard.event_seen(await guard.body(request))
        return await self._act(
            _id(request),
            lambda conn, one: desk.verify(conn, one, **seen, by=session.name, now_ms=_now_ms()),
        )

    async def answer(self, request: Request) -> Response:
        """POST /api/incidents/{id}/answer {seen, exercise}: is it the exercise, or real?"""
        session = await self.door.need(request, "operator")
        found = await guard.body(request)
        seen, real = guard.event_seen(found), not guard.flag(found, "exercise", needed=True)
        return await self._act(
            _id(request),
            lambda conn, one: desk.answer_exercise(conn, one, real=real, **seen, by=session.name, now_ms=_now_ms()),
        )

    async def phone(self, request: Request) -> Response:
        """POST /api/incidents/{id}/phone {contact}: a whole number, of somebody of this incident; it is audited."""
        session = await self.door.need(request, "operator")
        one, contact = _id(request), guard.text(await guard.body(request), "contact", 64)

        def look(conn: Connection) -> str:
            c = schema.incident.c
            snapshot = conn.execute(select(c.snapshot).where(c.id == one)).scalar_one_or_none() or {}
            people = [*(snapshot.get("contacts") or ()), *(snapshot.get("duty") or ())]
            if contact not in [person.get("id") for person in people]:
                raise Refusal(404, "unknown_contact")
            return registry.contact_phone(conn, contact, actor=session.name, now_ms=_now_ms())

        try:
            return JSONResponse({"phone": await self.pool.write(look)})
        except RegistryError:
            raise Refusal(404, "unknown_contact") from None

    async def _act(self, one: int, act: Callable[[Connection, int], Any]) -> Response:
        """Carry it out; if the incident is not as the operator saw it, say how it is."""
        try:
            result = await self.pool.write(lambda conn: act(conn, one))
        except RegistryError:
            raise Refusal(404, "unknown_incident") from None
        except BongsuError as err:
            code = _CODES.get(type(err))
            if code is None:
                raise
            now = await self.pool.read(lambda conn: views.view(conn, one))
            raise Refusal(409, code, incident=now) from None
        notify(self.data_dir, "outbox")
        self.board.wake()
        return JSONResponse({"ok": True, "result": result})


_CODES: dict[type[BongsuError], str] = {
    incidents.StaleAcknowledgement: "stale",
    incidents.IllegalMove: "not_possible",
    desk.StillStanding: "still_standing",
}


def _id(request: Request) -> int:
    text = str(request.path_params["id"])
    one = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0
    if not 0 < one < 2**63:
        raise Refusal(404, "unknown_incident")
    return one


def _before(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    closed, _, one = text.partition("-")
    if not (closed.isascii() and closed.isdigit() and one.isascii() and one.isdigit() and len(text) < 40):
        raise Refusal(400, "bad_request", field="before")
    if max(int(closed), int(one)) >= 2**63:
        raise Refusal(400, "bad_request", field="before")
    return int(closed), int(one)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
