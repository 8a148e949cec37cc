"""What the store says: is it whole, is it backed up, is everybody registered so that an alarm reaches somebody?"""

from typing import Any

from sqlalchemy import Connection, func, select

from bongsu.receiver.doctor.finding import FAIL, OK, WARN, Finding, Findings, some
from bongsu.receiver.log import masked_text
from bongsu.receiver.store import Store, schema

_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
_BACKUP_DAYS = 2
_AHEAD_MS = 60_000
_LATE_MS = 20_000
_REFUSED_WITHIN_MS = 3_600_000


def whole(store: Store) -> Findings:
    """Does the database itself find anything wrong with it?"""
    with store.read() as conn:
        if conn.dialect.name != "sqlite":
            conn.execute(select(func.count()).select_from(schema.site)).scalar_one()
            yield Finding(OK, "store", "the database answers, and has this version's schema")
            return
        said = [row[0] for row in conn.exec_driver_sql("PRAGMA integrity_check(5)")]
        broken = [f"{row[0]} row {row[1]}" for row in conn.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(5)]
    if said == ["ok"] and not broken:
        yield Finding(OK, "store", "it is whole, and has this version's schema")
    else:
        detail = "; ".join(str(line) for line in (said if said != ["ok"] else broken))[:200]
        yield Finding(FAIL, "store", f"it is damaged: {detail}", "Stop the receiver and restore the newest backup.")


def backup(conn: Connection, now_ms: int) -> Findings:
    """When was it last backed up?"""
    text = conn.execute(select(schema.meta.c.value).where(schema.meta.c.key == "last_backup_ms")).scalar()
    if text is None or not text.isdigit():
        yield Finding(WARN, "backup", "there was none yet", "Make one every day: bongsu backup --help")
        return
    days = (now_ms - int(text)) / _DAY_MS
    if days > _BACKUP_DAYS:
        yield Finding(
            WARN, "backup", f"the last one is {days:.0f} days old", "Make one every day: bongsu backup --help"
        )
    else:
        yield Finding(OK, "backup", f"the last one is {max(0.0, days) * 24:.0f} hours old")


def clock(conn: Connection, now_ms: int) -> Findings:
    """Does the store hold times that are still to come?"""
    newest = conn.execute(select(func.max(schema.node_live.c.last_seen_ms))).scalar() or 0
    ahead_ms = int(newest) - now_ms
    if ahead_ms > _AHEAD_MS:
        yield Finding(
            WARN,
            "clock",
            f"a node was seen {ahead_ms / 1000:.0f} s in the future: the clock was set back",
            "Compare it with the true time: timedatectl",
        )


def nodes(conn: Connection) -> Findings:
    """Who is silent, and who belongs nowhere?"""
    node, live = schema.node.c, schema.node_live.c
    in_service = node.state != "retired"
    silent = list(
        conn.execute(
            select(node.id).join(schema.node_live, live.node_id == node.id).where(live.silent, in_service)
        ).scalars()
    )
    if silent:
        yield Finding(
            WARN, "nodes", f"{len(silent)} silent: {some(silent)}", "Look at their power and Wi-Fi: bongsu node list"
        )
    loose = list(conn.execute(select(node.id).where(node.site_id.is_(None), in_service)).scalars())
    if loose:
        yield Finding(
            WARN,
            "nodes",
            f"{len(loose)} belong to no unit: {some(loose)}",
            "Their alarms name no shop. Say where each hangs: bongsu device set MAC --unit SITE/UNIT",
        )
    heard = live.last_seen_ms.is_not(None)
    mute = select(node.id).join(schema.node_live, live.node_id == node.id).where(~heard, in_service).order_by(node.id)
    unheard = list(conn.execute(mute).scalars())
    if unheard:
        what = f"{len(unheard)} never heard: {some(unheard)}"
        yield Finding(WARN, "nodes", what, "Power them, or bring them into service: bongsu device commission --help")
    if not silent and not loose and not unheard:
        count = conn.execute(select(func.count()).select_from(schema.node).where(in_service)).scalar_one()
        yield Finding(OK, "nodes", f"{count} registered, none silent, each has its unit")


def keys(conn: Connection, now_ms: int) -> Findings:
    """Which nodes have had a next key for long, and speak under the one before it still?"""
    node, k = schema.node.c, schema.node_key.c
    in_force = select(k.node_id).where(k.state == "active")
    late = select(k.node_id).where(k.state == "pending", k.created_ms < now_ms - _DAY_MS, k.node_id.in_(in_force))
    waiting = list(conn.execute(select(node.id).where(node.id.in_(late)).order_by(node.id)).scalars())
    if waiting:
        yield Finding(
            WARN,
            "keys",
            f"{len(waiting)} have had a next key for more than a day, and do not speak under it: {some(waiting)}",
            "An alarm that stands, CO, smoke or heat that does not end, or what has no receipt keeps a node from it. "
            "Look there, then: bongsu device rotate-key MAC",
        )


def people(conn: Connection, texted: bool) -> Findings:
    """Has each unit with a node somebody who is told?"""
    node, unit, link = schema.node.c, schema.unit.c, schema.unit_contact.c
    told = select(link.contact_id).where(link.site_id == unit.site_id, link.unit_id == unit.id).exists()
    equipped = select(node.id).where(node.site_id == unit.site_id, node.unit_id == unit.id).exists()
    found = conn.execute(select(unit.site_id, unit.id).where(equipped, ~told).order_by(unit.site_id, unit.id))
    alone = [f"{row.site_id}/{row.id}" for row in found]
    if alone:
        yield Finding(
            WARN, "people", f"{len(alone)} units have no contact: {some(alone)}", "Add one: bongsu contact add --help"
        )
    if not texted:
        yield Finding(
            WARN, "people", "there is no gateway for texts: owners are not told", "Set [sms] url in receiver.toml."
        )
    if not alone and texted:
        yield Finding(OK, "people", "each unit with a node has a contact")


def responders(conn: Connection) -> list[Any]:
    """All of them."""
    return list(conn.execute(select(schema.responder).order_by(schema.responder.c.id)))


def coverage(conn: Connection) -> Findings:
    """Has each site a responder?"""
    rows = responders(conn)
    everywhere = any(row.all_sites for row in rows)
    by_site = set(conn.execute(select(schema.responder_site.c.site_id)).scalars())
    by_area = set(conn.execute(select(schema.responder_area.c.area)).scalars())
    sites = conn.execute(select(schema.site.c.id, schema.site.c.area).order_by(schema.site.c.id))
    bare = [s.id for s in sites if not everywhere and s.id not in by_site and s.area not in by_area]
    if bare:
        yield Finding(
            FAIL,
            "responders",
            f"{len(bare)} sites have no responder: {some(bare)}",
            "Nobody is dispatched to them. Add one: bongsu responder add --help",
        )
    elif not rows:
        yield Finding(WARN, "responders", "there is none yet", "Add one: bongsu responder add --help")


def accepted(conn: Connection, now_ms: int) -> Findings:
    """When did each responder last accept a report? An open port proves little about who listens there."""
    d = schema.delivery.c
    last = select(d.recipient, func.max(d.accepted_ms)).where(d.recipient.like("responder:%")).group_by(d.recipient)
    at_ms = {recipient.partition(":")[2]: ms for recipient, ms in conn.execute(last)}
    for row in responders(conn):
        if at_ms.get(row.id) is None:
            yield Finding(
                WARN,
                f"responder {row.id}",
                "it has not accepted any report yet",
                "Before you rely on it, let an alarm go to it (a drill, announced to them) and see it accepted: "
                "bongsu incident show NUMBER",
            )
        else:
            hours = max(0, now_ms - int(at_ms[row.id])) / _HOUR_MS
            yield Finding(OK, f"responder {row.id}", f"it accepted a report {hours:.0f} hours ago")


def deliveries(conn: Connection, now_ms: int) -> Findings:
    """Does an alarm wait for somebody to accept it?"""
    d, i = schema.delivery.c, schema.incident.c
    late = conn.execute(
        select(d.incident_id, d.last_error)
        .join(schema.incident, i.id == d.incident_id)
        .where(d.state == "pending", d.purpose.in_(("alarm", "escalation")), i.state == "open")
        .where(d.created_ms < now_ms - _LATE_MS)
        .order_by(d.id)
    ).all()
    if late:
        incidents = some(dict.fromkeys(str(row.incident_id) for row in late))
        why = next((f" ({masked_text(row.last_error)})" for row in late if row.last_error), "")
        yield Finding(
            FAIL,
            "deliveries",
            f"{len(late)} alarm messages have not been accepted, of incidents {incidents}{why}",
            "Tell the responder by telephone, then look: bongsu incident show NUMBER",
        )
    else:
        yield Finding(OK, "deliveries", "no alarm waits")


def refused(conn: Connection, now_ms: int) -> Findings:
    """Were frames refused lately?"""
    table = schema.refused_frame
    rows = conn.execute(
        select(table).where(table.c.last_ms > now_ms - _REFUSED_WITHIN_MS).order_by(table.c.count.desc())
    ).all()
    if rows:
        listed = some(f"{row.node or 'unknown nodes'}: {row.reason} ({row.count})" for row in rows)
        yield Finding(
            WARN, "frames", f"refused within the last hour: {listed}", "A node with an old key? bongsu node list"
        )
    else:
        yield Finding(OK, "frames", "none was refused within the last hour")


def zones(conn: Connection) -> list[str]:
    """The sites' time zones."""
    return sorted(set(conn.execute(select(schema.site.c.tz)).scalars()))
