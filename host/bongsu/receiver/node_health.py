"""How nodes are, on one line each: what their last heartbeat says, in words and units for people."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, select

from bongsu.receiver import registry
from bongsu.receiver.registry import Row
from bongsu.receiver.store import schema
from bongsu_wire import kinds, payload


def summaries(conn: Connection, *, site_id: str | None = None) -> list[Row]:
    """Nodes as `registry.list_nodes` has them, with firmware ("0.1"), rssi_dbm and battery_mv; None: not known."""
    live = schema.node_live.c
    beats = {row.node_id: row.heartbeat for row in conn.execute(select(live.node_id, live.heartbeat))}
    return [{**row, **of_beat(beats.get(row["node"]) or {})} for row in registry.list_nodes(conn, site_id=site_id)]


def of_beat(beat: dict[str, Any]) -> Row:
    """Of a heartbeat's fields, as the store has them, what a list shows."""
    firmware, battery = beat.get("fw"), beat.get("battery_mv")
    return {
        "firmware": _firmware(firmware) if firmware else None,
        "rssi_dbm": rssi_dbm(beat),
        "battery_mv": None if battery == payload.U16_UNKNOWN else battery,
    }


def shown(row: Row) -> Row:
    """A node as `registry.show_node` has it, its heartbeat for people."""
    return {**row, "heartbeat": for_people(row["heartbeat"] or {}) or None}


def for_people(beat: dict[str, Any]) -> Row:
    """A heartbeat's fields, as the store has them, in the names and units of people; what is not known is left out, and
    so is what only the protocol needs.
    """
    shown = {}
    for name, value in beat.items():
        if value is None or value == _UNKNOWN.get(name) or name in _INWARD:
            continue
        title, words = _WORDS.get(name, (name, _as_it_is))
        shown[title] = words(value)
    return shown


def _as_it_is(value: Any) -> Any:
    return value


def _flags(bits: int) -> str:
    return _joined([name for bit, name in _FLAGS.items() if bits & bit])


def _faults(bits: int) -> str:
    return _joined([name for code, name in kinds.FAULT_NAMES.items() if bits >> (code - 1) & 1])


def _reset(cause: int) -> str:
    return kinds.RESET_NAMES.get(cause, str(cause))


def _firmware(version: int) -> str:
    return f"{version >> 8}.{version & 0xFF}"


def _joined(names: list[str]) -> str:
    return "+".join(names) or "none"


_UNKNOWN = {
    "temp_dk": payload.U16_UNKNOWN,
    "smoke_e4": payload.U16_UNKNOWN,
    "humidity_half": payload.U8_UNKNOWN,
    "battery_mv": payload.U16_UNKNOWN,
    "rssi_dbm": payload.RSSI_UNKNOWN,
    "idf_free_kb": payload.U16_UNKNOWN,
}
_INWARD = ("echo_server_ms", "echo_age_ms", "active_event")
_FLAGS = {
    kinds.FLAG_SIREN: "siren",
    kinds.FLAG_SILENCED: "silenced",
    kinds.FLAG_SAFE_MODE: "safe_mode",
    kinds.FLAG_CENTRE_KNOWS: "centre_knows",
    kinds.FLAG_ON_BATTERY: "on_battery",
}
# 0.1 K, 1e-4/m and half per cents are the wire's.
_WORDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "temp_dk": ("temp_c", lambda dk: round(dk / 10 - 273.15, 1)),
    "smoke_e4": ("smoke_per_m", lambda e4: e4 / 10_000),
    "humidity_half": ("humidity_percent", lambda half: half / 2),
    "flags": ("flags", _flags),
    "active": ("alarms", kinds.phenomena_text),
    "faults": ("faults", _faults),
    "reset_cause": ("last_reset", _reset),
    "fw": ("firmware", _firmware),
}


def rssi_dbm(beat: dict[str, Any]) -> int | None:
    """Of the Wi-Fi signal at the node, by a heartbeat's fields; None: it does not say."""
    found: int | None = beat.get("rssi_dbm")
    return None if found == payload.RSSI_UNKNOWN else found
