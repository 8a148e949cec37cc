"""What is fitted to a node: the sensors of its node.json, and how often it sends readings of the air.

It is kept with the node, so that provisioning anew fits it as before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, update

from bongsu.install import sensors
from bongsu.install.boards import Board, Entry
from bongsu.receiver.registry_base import Row
from bongsu.receiver.store import schema


@dataclass(frozen=True, slots=True)
class Wish:
    """What provisioning was told. `more`: sensors beyond the board's own; only: those and no others; reading_s: None:
    as before.
    """

    more: Sequence[Entry] = ()
    only: bool = False
    reading_s: int | None = None


@dataclass(frozen=True, slots=True)
class Fitting:
    """Whole entries of node.json, whether somebody named them, and the interval of the readings in s, 0: none."""

    fitted: list[Entry]
    told: bool
    reading_s: int

    @property
    def types(self) -> str:
        """For the audit: "lm75+smoke_head"."""
        return "+".join(entry["type"] for entry in self.fitted)


def wanted(row: Row, board: Board, wish: Wish) -> Fitting:
    """What the node is to be fitted with: as told now, else as it was told before, else as the board comes. `row`: of
    the node. Raises sensors.SensorError.
    """
    before = row["sensors"] or {"fitted": [], "told": False}
    told = bool(wish.more) or wish.only
    if told:
        entries = [*([] if wish.only else board.sensors), *wish.more]
    else:
        entries = before["fitted"] if before["told"] else list(board.sensors)
    fitted = sensors.fit(board, entries)
    reading_s = row["reading_s"] if wish.reading_s is None else wish.reading_s
    return Fitting(fitted, told or before["told"], reading_s)


def keep(conn: Connection, node_id: str, fitting: Fitting) -> None:
    """The node is provisioned with this."""
    kept = {"fitted": fitting.fitted, "told": fitting.told}
    table = schema.node
    conn.execute(update(table).where(table.c.id == node_id).values(sensors=kept, reading_s=fitting.reading_s))


def shown(row: Row) -> Row:
    """Of a node's row what people are shown: each sensor as an option names it, None: never provisioned."""
    kept = row["sensors"]
    return {
        "sensors": [sensors.said(entry) for entry in kept["fitted"]] if kept else None,
        "reading_s": row["reading_s"],
    }
