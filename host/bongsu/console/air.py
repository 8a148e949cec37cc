"""The air on the screen: which advisories stand, and what one unit measures now. Asked for, not streamed: some minutes
old is young enough, and no alarm may wait for it.
"""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, tuple_
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bongsu.console.desk_pool import DeskPool
from bongsu.console.door import Door
from bongsu.console.guard import Refusal
from bongsu.receiver import fields, registry
from bongsu.receiver.air import present
from bongsu.receiver.air.advisories import list_advisories
from bongsu.receiver.store import schema

SHOWN_MAX = 200

Row = dict[str, Any]


@dataclass
class Air:
    """Requests about the air."""

    door: Door
    pool: DeskPool

    async def show(self, request: Request) -> Response:
        """GET /api/air: the advisories that stand; ?unit=<site>/<unit>: what this unit measures now."""
        await self.door.need(request)
        wanted = request.query_params.get("unit")
        if wanted is None:
            return JSONResponse({"advisories": await self.pool.read(standing)})
        try:
            site_id, unit_id = fields.unit_address(wanted[:100])
            return JSONResponse({"air": await self.pool.read(lambda conn: of_unit(conn, site_id, unit_id))})
        except (fields.FieldError, registry.RegistryError):
            raise Refusal(404, "unknown_unit") from None


def standing(conn: Connection) -> list[Row]:
    """The advisories that stand, the newest first, with the names of site and unit."""
    rows = list_advisories(conn, standing_only=True, limit=SHOWN_MAX)
    found = _names(conn, [_address(row["subject"]) for row in rows])
    return [{**row, **found.get(_address(row["subject"]), {"site": None, "name": None, "place": None})} for row in rows]


def _address(subject: str) -> tuple[str, str]:
    site_id, _, unit_id = subject.removeprefix("unit:").partition("/")
    return (site_id, unit_id) if subject.startswith("unit:") else ("", "")


def _names(conn: Connection, units: list[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    u, s = schema.unit.c, schema.site.c
    query = select(u.site_id, u.id, u.name, u.place, s.name.label("site")).join(schema.site, s.id == u.site_id)
    rows = conn.execute(query.where(tuple_(u.site_id, u.id).in_(set(units))))
    return {(r.site_id, r.id): {"site": r.site, "name": r.name, "place": r.place} for r in rows}


def of_unit(conn: Connection, site_id: str, unit_id: str) -> list[Row]:
    """What a unit measures now, with levels. Raises RegistryError."""
    registry.show_unit(conn, site_id, unit_id)
    now_ms = time.time_ns() // 1_000_000
    return present.air_of_units(conn, site_id, present.units_of(conn, site_id, unit_id), now_ms)
