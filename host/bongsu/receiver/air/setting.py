"""Which table of levels a site goes by, and from which level on there are advisories."""

from sqlalchemy import Connection, select, update

from bongsu.receiver import fields, registry
from bongsu.receiver.air.levels import LEVELS, load_tables
from bongsu.receiver.store import changes, schema


def set_site_air(
    conn: Connection, site_id: str, *, table_id: str | None, advise_at: str | None, actor: str, now_ms: int
) -> tuple[str, str]:
    """Set it; None leaves it as it is. Returns what holds now. Raises RegistryError, FieldError."""
    registry.require_site(conn, site_id)
    table = schema.site
    row = conn.execute(select(table.c.air_table, table.c.air_advise_at).where(table.c.id == site_id)).one()
    chosen = row.air_table if table_id is None else fields.one_of("table", table_id, tuple(load_tables().by_id))
    level = row.air_advise_at if advise_at is None else fields.one_of("level", advise_at, LEVELS[1:])
    if (chosen, level) != tuple(row):
        conn.execute(update(table).where(table.c.id == site_id).values(air_table=chosen, air_advise_at=level))
        changes.note(conn, "site", site_id)
        detail = f"table {chosen}, advisories from {level}"
        registry.audit(conn, actor=actor, action="site.air", subject=f"site:{site_id}", detail=detail, now_ms=now_ms)
    return chosen, level
