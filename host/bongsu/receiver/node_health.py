"""How nodes are, on one line each: what their last heartbeat says, in words and units for people."""

from typing import Any

from sqlalchemy import Connection, select

from bongsu.receiver import registry
from bongsu.receiver.registry import Row
from bongsu.receiver.store import schema
from bongsu_wire import payload


def summaries(conn: Connection, *, site_id: str | None = None) -> list[Row]:
    """Nodes as `registry.list_nodes` has them, with firmware ("0.1"), rssi_dbm and battery_mv; None: not known."""
    live = schema.node_live.c
    beats = {row.node_id: row.heartbeat for row in conn.execute(select(live.node_id, live.heartbeat))}
    return [{**row, **of_beat(beats.get(row["node"]) or {})} for row in registry.list_nodes(conn, site_id=site_id)]


def of_beat(beat: dict[str, Any]) -> Row:
    """Of a heartbeat's fields, as the store has them, what a list shows."""
    firmware, rssi, battery = beat.get("fw"), beat.get("rssi_dbm"), beat.get("battery_mv")
    return {
        "firmware": f"{firmware >> 8}.{firmware & 0xFF}" if firmware else None,
        "rssi_dbm": None if rssi == payload.RSSI_UNKNOWN else rssi,
        "battery_mv": None if battery == payload.U16_UNKNOWN else battery,
    }
