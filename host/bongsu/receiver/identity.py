"""Which receiver this is: its sender number and its client id at the broker.

On SQLite the store belongs to one receiver. On PostgreSQL each receiver has its data folder, and in it `receiver.id`
with its client id; its row is the newest one with that id (a used-up sender number is followed by a fresh one).
"""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from bongsu.errors import BongsuError
from bongsu.receiver.store import Store, changes, schema

ID_NAME = "receiver.id"


class IdentityFault(BongsuError):
    """The receiver of this data folder is none, or none any more."""


def identity(store: Store, data_dir: Path, now_ms: int) -> tuple[int, str]:
    """(sender number, client id), made if there is none yet. Raises IdentityFault if it was retired."""
    with store.write() as conn:
        row = _alone(conn, now_ms) if store.is_sqlite else _one_of_several(conn, data_dir, now_ms)
    return int(row.sender), str(row.mqtt_client_id)


def _alone(conn: Connection, now_ms: int) -> Any:
    table = schema.receiver
    query = select(table).where(table.c.retired_ms.is_(None)).order_by(table.c.created_ms.desc())
    row = conn.execute(query).first()
    if row is None:
        add(conn, now_ms)
        row = conn.execute(query).one()
    return row


def _one_of_several(conn: Connection, data_dir: Path, now_ms: int) -> Any:
    try:
        client_id = (data_dir / ID_NAME).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        client_id = add(conn, now_ms)
        write_id(data_dir, client_id)
    table = schema.receiver
    mine = select(table).where(table.c.mqtt_client_id == client_id).order_by(table.c.created_ms.desc())
    rows = conn.execute(mine).all()
    row = next((r for r in rows if r.retired_ms is None), None)
    if row is None:
        what = "was retired" if rows else "is not known to this database"
        raise IdentityFault(
            f"the receiver of {data_dir} {what}",
            f"To begin as a new receiver, remove {data_dir / ID_NAME} and start it again.",
        )
    return row


def add(conn: Connection, now_ms: int) -> str:
    """A new receiver's row; returns its client id."""
    from bongsu.receiver.init_data import new_receiver  # it brings the making of certificates with it

    taken = set(conn.execute(select(schema.receiver.c.sender)).scalars())
    values = new_receiver(now_ms)
    while values["sender"] in taken:
        values = new_receiver(now_ms)
    conn.execute(insert(schema.receiver).values(values))
    changes.note(conn, "receiver", str(values["sender"]))
    return str(values["mqtt_client_id"])


def write_id(data_dir: Path, client_id: str) -> None:
    """Remember it, for this user only: who knows it can take over the receiver's session."""
    fd = os.open(data_dir / ID_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(client_id + "\n")
        file.flush()
        os.fsync(file.fileno())
