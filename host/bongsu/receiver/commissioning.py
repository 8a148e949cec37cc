"""Records of how boards came into service: which unit, image and application, what was measured, the walk test, who did
it and how long each step took. A record is open until everything is done; of a node at most one is.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from bongsu.receiver import fields, registry, walk_tests
from bongsu.receiver.registry import RegistryError, Row
from bongsu.receiver.store import schema

# The steps in their order. Each is in a record once somebody came so far: {"state", "at_ms", "took_ms", "said"}.
STEPS = ("find", "flash", "register", "provision", "measure", "walk_test", "label", "record")
DONE, ALREADY, FAILED, LEFT, BEGUN = "done", "already", "failed", "left", "begun"
# What a step that is in one of these states leaves to be done: nothing. LEFT: somebody chose to leave it out.
SETTLED = (DONE, ALREADY, LEFT)
# What `note` may set beside a step.
FACTS = ("board", "image", "image_sha256", "app_sha256", "key_epoch", "rssi_dbm", "round_trip_ms", "walk_test_id")
_SAID_MAX, _INSTALLER_MAX = 200, 100


def begin(
    conn: Connection,
    node_id: str,
    *,
    unit: tuple[str, str] | None,
    board: str,
    installer: str,
    version: str,
    now_ms: int,
) -> int:
    """The open record of a board, made if there is none; returns its number. The board need not be registered yet.
    One that is carried on keeps its steps, and takes the unit and board that are named now.
    """
    table = schema.commissioning
    site_id, unit_id = unit if unit is not None else ("", "")
    values: Row = {"site_id": site_id, "unit_id": unit_id, "board": board}
    mine = update(table).where(table.c.node_id == node_id, table.c.done_ms.is_(None))
    found = conn.execute(mine.values(values).returning(table.c.id)).scalar_one_or_none()
    if found is not None:
        return int(found)
    who = fields.words("installer", installer, _INSTALLER_MAX)
    values |= {"node_id": node_id, "installer": who, "version": version[:32], "steps": {}, "begun_ms": now_ms}
    made = conn.execute(insert(table).values(values)).inserted_primary_key or (0,)
    registry.audit(conn, actor=who, action="commission.begin", subject=f"node:{node_id}",
                   detail=f"record {made[0]}, {site_id}/{unit_id}", now_ms=now_ms)  # fmt: skip
    return int(made[0])


def note(
    conn: Connection, number: int, step: str, state: str, *, at_ms: int, took_ms: int, said: str = "", **facts: Any
) -> None:
    """What became of a step of an open record; `facts`: of FACTS. Who finds a step done already leaves in place what
    the record says of its doing. Raises ValueError for a step or fact that is none.
    """
    if step not in STEPS or not set(facts) <= set(FACTS):
        raise ValueError(f"no step or fact of a record: {step}, {sorted(facts)}")
    table = schema.commissioning
    mine = table.c.id == number
    steps = dict(conn.execute(select(table.c.steps).where(mine)).scalar_one())
    if state != ALREADY or steps.get(step, {}).get("state") != DONE:
        steps[step] = {"state": state, "at_ms": at_ms, "took_ms": took_ms, "said": said[:_SAID_MAX]}
    conn.execute(update(table).where(mine, table.c.done_ms.is_(None)).values(steps=steps, **facts))


def finish(conn: Connection, number: int, *, actor: str, now_ms: int) -> None:
    """Everything is done. Raises RegistryError if a step is not."""
    row = get(conn, number)
    if left := [step for step in STEPS[:-1] if row["steps"].get(step, {}).get("state") not in SETTLED]:
        raise RegistryError(
            f"record {number} of node {row['node']} cannot be closed: {left[0]} is not done",
            f"Carry it on: bongsu device commission --unit {row['unit'] or 'SITE/UNIT'}",
        )
    note(conn, number, "record", DONE, at_ms=now_ms, took_ms=0)
    table = schema.commissioning
    conn.execute(update(table).where(table.c.id == number).values(done_ms=now_ms))
    registry.audit(conn, actor=actor, action="commission.done", subject=f"node:{row['node']}",
                   detail=f"record {number}, {row['unit'] or 'no unit'}", now_ms=now_ms)  # fmt: skip


def get(conn: Connection, number: int) -> Row:
    """One record, as `records` has them. Raises RegistryError."""
    found = _rows(conn, schema.commissioning.c.id == number)
    if not found:
        raise RegistryError(f"there is no record {number}", "See them: bongsu device record --site SITE")
    return found[0]


def records(
    conn: Connection, *, node_id: str | None = None, site_id: str | None = None, only_open: bool = False
) -> list[Row]:
    """Records, newest first: id, node, unit, installer, version, board, image, image_sha256, app_sha256, key_epoch,
    rssi_dbm, round_trip_ms, walk_test (as walk_tests.show; None: not begun), steps, begun_ms, done_ms, took_ms (of all
    steps), and `left`: names of the steps that are not done.
    """
    c = schema.commissioning.c
    wanted: list[ColumnElement[bool]] = []
    if node_id is not None:
        wanted.append(c.node_id == node_id)
    if site_id is not None:
        wanted.append(c.site_id == site_id)
    if only_open:
        wanted.append(c.done_ms.is_(None))
    return _rows(conn, *wanted)


def _rows(conn: Connection, *wanted: ColumnElement[bool]) -> list[Row]:
    table = schema.commissioning
    return [_shown(conn, row) for row in conn.execute(select(table).where(*wanted).order_by(table.c.id.desc())).all()]


def _shown(conn: Connection, row: Any) -> Row:
    steps = {step: row.steps[step] for step in STEPS if step in row.steps}
    named = ("installer", "version", "board", "image", "image_sha256", "app_sha256", "key_epoch", "rssi_dbm")
    return {
        "id": row.id,
        "node": row.node_id,
        "unit": f"{row.site_id}/{row.unit_id}" if row.site_id else None,
        **{name: getattr(row, name) for name in (*named, "round_trip_ms")},
        "walk_test": _walk_test(conn, row.walk_test_id),
        "steps": steps,
        "left": [step for step in STEPS if steps.get(step, {}).get("state") not in SETTLED],
        "took_ms": sum(step["took_ms"] for step in steps.values()),
        "begun_ms": row.begun_ms,
        "done_ms": row.done_ms,
    }


def _walk_test(conn: Connection, number: int | None) -> Row | None:
    if number is None:
        return None
    try:
        return walk_tests.show(conn, number)
    except RegistryError:  # retention removed it
        return None


def done_nodes(conn: Connection) -> dict[str, list[str]]:
    """By unit ("site/unit"): the nodes that hang there and whose newest record is done, in the order of their ids."""
    c, n = schema.commissioning.c, schema.node.c
    newest = select(func.max(c.id)).group_by(c.node_id)
    query = select(n.id, n.site_id, n.unit_id).join(schema.commissioning, c.node_id == n.id)
    found: dict[str, list[str]] = {}
    for row in conn.execute(query.where(c.id.in_(newest), c.done_ms.is_not(None)).order_by(n.id)):
        if row.site_id is not None:
            found.setdefault(f"{row.site_id}/{row.unit_id}", []).append(row.id)
    return found


def units_left(conn: Connection, site_id: str) -> list[str]:
    """Units of a site in which no node's commissioning is done."""
    done, u = done_nodes(conn), schema.unit.c
    units = conn.execute(select(u.id).where(u.site_id == site_id).order_by(u.id)).scalars()
    return [address for unit in units if (address := f"{site_id}/{unit}") not in done]
