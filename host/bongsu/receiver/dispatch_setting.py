"""A site's dispatch policy in the registry: checked against who is told there."""

from sqlalchemy import Connection, or_, select, update

from bongsu.receiver import fields, policy, registry
from bongsu.receiver.store import changes, schema


def set_dispatch_policy(
    conn: Connection, site_id: str, *, wanted: str | None, unverified_after_s: int | None, actor: str, now_ms: int
) -> bool:
    """Set when the site's alarms are dispatched: policy.ON_ALARM, or policy.ON_VERIFIED with the seconds after which an
    alarm goes out unverified; None leaves it as it is. Holds for incidents opened from now on. Returns whether anything
    changed. Raises RegistryError, FieldError.
    """
    registry.require_site(conn, site_id)
    table = schema.site
    row = conn.execute(select(table).where(table.c.id == site_id)).one()
    chosen = row.dispatch_policy if wanted is None else fields.one_of("policy", wanted, schema.DISPATCH_POLICIES)
    after_s = row.unverified_after_s if unverified_after_s is None else unverified_after_s
    longest_s = policy.longest_s(_responder_kinds(conn, site_id, row.area))
    if not 1 <= after_s <= longest_s:
        why = ", for a fire station is told there" if longest_s == policy.STATION_WITHIN_S else ""
        raise fields.FieldError(
            "bad_wait",
            f"an alarm may wait 1 to {longest_s} s for its verification{why}, not {after_s}",
            f"Use --unverified-after {policy.STATION_WITHIN_S}.",
        )
    if (chosen, after_s) == (row.dispatch_policy, row.unverified_after_s):
        return False
    values = {"dispatch_policy": chosen, "unverified_after_s": after_s}
    conn.execute(update(table).where(table.c.id == site_id).values(values))
    changes.note(conn, "site", site_id)
    detail = f"{chosen}, unverified after {after_s} s"
    registry.audit(conn, actor=actor, action="site.policy", subject=f"site:{site_id}", detail=detail, now_ms=now_ms)
    return True


def _responder_kinds(conn: Connection, site_id: str, area: str) -> set[str]:
    """Kinds of the responders that cover the site."""
    responder, by_site, by_area = schema.responder.c, schema.responder_site.c, schema.responder_area.c
    named = select(by_site.responder_id).where(by_site.site_id == site_id)
    near = select(by_area.responder_id).where(by_area.area == area, by_area.area != "")
    covers = or_(responder.all_sites, responder.id.in_(named), responder.id.in_(near))
    return set(conn.execute(select(responder.kind).where(covers)).scalars())
