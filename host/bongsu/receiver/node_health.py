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
    firmware, battery = beat.get("fw"), beat.get("battery_mv")
    return {
        "firmware": f"{firmware >> 8}.{firmware & 0xFF}" if firmware else None,
        "rssi_dbm": rssi_dbm(beat),
        "battery_mv": None if battery == payload.U16_UNKNOWN else battery,
    }


def rssi_dbm(beat: dict[str, Any]) -> int | None:
    """Of the Wi-Fi signal at the node, by a heartbeat's fields; None: it does not say."""
    found: int | None = beat.get("rssi_dbm")
    return None if found == payload.RSSI_UNKNOWN else found
