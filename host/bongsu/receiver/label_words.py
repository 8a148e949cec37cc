"""What stands on a node's label, out of the registry: its unit by name and by where it is."""

import datetime as dt
import re
from typing import Any

from sqlalchemy import Connection, select

from bongsu.install.label import LabelText
from bongsu.receiver import registry
from bongsu.receiver.store import schema

_HANGUL = re.compile("[\N{HANGUL SYLLABLE GA}-\N{HANGUL SYLLABLE HIH}]")
# A floor as a bare number, below ground with a B: what a word must be put to.
_FLOOR = re.compile(r"[bB]?\d+")


def of_node(conn: Connection, node_id: str, day: dt.date) -> LabelText:
    """The label of a registered node, fitted on that day. Raises RegistryError."""
    node = registry.get_node(conn, node_id)
    if node["site_id"] is None:
        return LabelText(node_id, None, "", "", node["label"], day)
    u, s = schema.unit.c, schema.site.c
    query = select(s.name.label("site"), u.name, u.place, u.floor, u.stall).join(schema.unit, u.site_id == s.id)
    unit = conn.execute(query.where(u.site_id == node["site_id"], u.id == node["unit_id"])).one()
    return LabelText(node_id, f"{node['site_id']}/{node['unit_id']}", unit.name, _where(unit), node["label"], day)


def _where(unit: Any) -> str:
    """Site, building, floor and stall, as people there say it."""
    floor = unit.floor
    if _FLOOR.fullmatch(floor):
        korean = _HANGUL.search(unit.site + unit.name + unit.place)
        floor = f"{floor}\N{HANGUL SYLLABLE CEUNG}" if korean else f"floor {floor}"
    return " ".join(part for part in (unit.site, unit.place, floor, unit.stall) if part)
