"""Rows of the hot tables: built from the data path's own objects, written by statements that are compiled once."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Insert, Table, Update, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError

from bongsu.receiver.incidents import Incident
from bongsu.receiver.store import schema
from bongsu_wire import payload

Fields = dict[str, Any]
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
READINGS = ("temp_dk", "smoke_e4", "gas", "humidity_half", "battery_mv", "rssi_dbm")
_INCIDENT_FIELDS = tuple(name for name in Incident.__dataclass_fields__ if name != "snapshot")


def as_json(value: Any) -> str:
    """A JSON column's value, prepared."""
    return _encode(value).decode()


def prepared(value: Any) -> msgspec.Raw:
    """A JSON object encoded once, to be stored and sent as it is."""
    return msgspec.Raw(_encode(value))


class Compiled:
    """A statement compiled once, so that a row costs the driver's time only. Rows are given by column name, JSON as
    text (as_json).
    """

    def __init__(self, statement: Insert | Update, conn: Connection) -> None:
        compiled = statement.compile(dialect=conn.dialect)
        self._sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())

    def run(self, conn: Connection, rows: list[Fields]) -> int:
        """Execute it for all rows; returns how many rows of the table were touched. Raises DBAPIError."""
        if not rows:
            return 0
        if not self._names:  # an engine with named parameters
            return conn.exec_driver_sql(self._sql, rows).rowcount
        # Straight to the driver's cursor, in the connection's transaction: for one row, a fifth of the time.
        cursor = conn.connection.cursor()
        try:
            cursor.executemany(self._sql, [tuple([row[n] for n in self._names]) for row in rows])
            return int(cursor.rowcount)
        except conn.dialect.loaded_dbapi.Error as err:
            base = conn.dialect.loaded_dbapi.Error
            raise DBAPIError.instance(self._sql, None, err, base, hide_parameters=True) from None
        finally:
            cursor.close()


class Together:
    """An UPDATE of many rows by one statement, their values in one JSON array (SQLite). Row by row the driver gives the
    interpreter lock away at each and must win it back from the thread that reads the broker: under load that made 128
    rows take 100 ms and more, in which an alarm waited.
    """

    def __init__(self, table: Table, keys: dict[str, str], values: Sequence[str], newer: str | None = None) -> None:
        """`keys`: by column, what a row calls it; `newer`: the column that must not go back."""
        self._names = (*keys.values(), *values)
        given = {name: f"json_extract(given.value, '$[{i}]')" for i, name in enumerate(self._names)}
        here = [f"{table.name}.{column} = {given[name]}" for column, name in keys.items()]
        if newer is not None:
            here.append(f"{table.name}.{newer} <= {given[newer]}")
        self._sql = (
            f"UPDATE {table.name} SET {', '.join(f'{name} = {given[name]}' for name in values)} "
            f"FROM json_each(:given) AS given WHERE {' AND '.join(here)}"
        )

    def run(self, conn: Connection, rows: list[Fields]) -> None:
        """Execute it for all rows, which are given by column name. Raises DBAPIError."""
        if rows:
            given = as_json([[row[name] for name in self._names] for row in rows])
            conn.exec_driver_sql(self._sql, {"given": given})


def insert_into(table: Table, conn: Connection, without: tuple[str, ...] = ()) -> Compiled:
    """An INSERT of the table's columns, each row as given."""
    return Compiled(
        insert(table).values({c.name: bindparam(c.name) for c in table.columns if c.name not in without}), conn
    )


def upsert_into(
    table: Table,
    conn: Connection,
    key: tuple[str, ...],
    values: Callable[[Any], dict[str, Any]],
    only_if: Callable[[Any], Any] | None = None,
) -> Compiled:
    """An INSERT that changes a row which is there already: to `values` of the new row, and only if so."""
    make = sqlite_insert if conn.dialect.name == "sqlite" else postgresql_insert
    made = make(table).values({c.name: bindparam(c.name) for c in table.columns})
    where = only_if(made.excluded) if only_if is not None else None
    return Compiled(made.on_conflict_do_update(index_elements=key, set_=values(made.excluded), where=where), conn)


def update_incident(conn: Connection) -> Compiled:
    """An UPDATE of everything that moves in an incident; the row's id is `key_id`."""
    table = schema.incident
    fixed = ("id", "subject", "class_", "opened_ms")
    moving: Fields = {c.name: bindparam(c.name) for c in table.columns if c.name not in fixed}
    return Compiled(update(table).where(table.c.id == bindparam("key_id")).values(moving), conn)


def batched(things: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Slices of at most so many: what one statement takes."""
    for start in range(0, len(things), most):
        yield things[start : start + most]


def keep_ids(conn: Connection, highest: dict[str, int]) -> None:
    """Tell PostgreSQL which ids were given (by table), so that none is given twice, whoever deletes what. SQLite does
    that by itself.
    """
    if conn.dialect.name != "sqlite" and highest:
        names = {name: f"n{i}" for i, name in enumerate(highest)}
        calls = ", ".join(f"setval('{name}_id_seq', :{n})" for name, n in names.items())
        conn.execute(text(f"SELECT {calls}"), {names[name]: value for name, value in highest.items()})


def highest_id(conn: Connection, table: Table) -> int:
    """The highest id that the table ever gave: the engines remember it where numbers are never given again."""
    found = conn.execute(select(func.max(table.c.id))).scalar_one() or 0
    if conn.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        if conn.dialect.has_table(conn, "sqlite_sequence"):
            found = max(found, conn.execute(query, {"name": table.name}).scalar_one_or_none() or 0)
    else:
        given = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table.name}_id_seq")
        found = max(found, conn.execute(given).scalar_one())
    return int(found)


def incident_row(incident: Incident) -> Fields:
    """Values of an incident's row, "key_id" included."""
    row = {name: getattr(incident, name) for name in _INCIDENT_FIELDS}
    row["state"] = incident.state
    row["snapshot"] = as_json(incident.snapshot)
    row["key_id"] = incident.id
    return row


def incident_from(row: Any) -> Incident:
    """The incident of a row."""
    return Incident(**{name: getattr(row, name) for name in (*_INCIDENT_FIELDS, "snapshot")})


def event_time(e: payload.Event, received_ms: int) -> int | None:
    """When the event happened, ms since 1970; None if the node did not know (it restarted since)."""
    return None if e.age_ms == payload.AGE_UNKNOWN else received_ms - e.age_ms


def readings_of(e: payload.Event) -> Fields:
    """The readings of the decision, as payload.Event names them."""
    return {name: getattr(e, name) for name in READINGS}
