"""What each node's detector was told: its profile, and the numbers that differ from it; and telling it other ones.

The store has what a node has confirmed, and nothing that it only was asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from bongsu.install import profiles
from bongsu.receiver import orders, registry
from bongsu.receiver.store import changes, schema
from bongsu_node.sensing import limits


@dataclass(frozen=True, slots=True)
class Setting:
    """A profile's name, all numbers, and those of them that are not the profile's."""

    profile: str
    numbers: profiles.Numbers
    differing: profiles.Numbers

    @staticmethod
    def of(name: str, changed: Mapping[str, int]) -> "Setting":
        """A profile with changes. Raises profiles.ProfileError."""
        base = profiles.profile(name)
        numbers = base.with_changes(changed)
        return Setting(name, numbers, base.differences(numbers))

    def said(self, before: "Setting") -> str:
        """What becomes of an earlier one, for the audit: "profile: a -> b; smoke_alarm_e4: 600 -> 500"."""
        found = [f"profile: {before.profile} -> {self.profile}"] if self.profile != before.profile else []
        named = {**before.differing, **self.differing}  # a profile's own numbers are in its name
        found += [
            f"{name}: {before.numbers[name]} -> {self.numbers[name]}"
            for name in limits.NAMES
            if name in named and before.numbers[name] != self.numbers[name]
        ]
        return "; ".join(found) or "as before"


def standing(conn: Connection, node_id: str) -> Setting:
    """What the node was told, or what it is provisioned with if it never was. Raises RegistryError."""
    row = registry.get_node(conn, node_id)
    c = schema.site.c
    kind = conn.execute(select(c.kind).where(c.id == row["site_id"])).scalar_one_or_none()
    name = row["profile"] or profiles.by_site_kind(kind)
    known = profiles.load_profiles()
    if name not in known:  # of another version: its numbers are all there
        name = profiles.by_site_kind(kind)
    try:
        return Setting.of(name, row["detector"] or {})
    except profiles.ProfileError:  # the numbers of another version
        return Setting.of(name, {})


def wanted(before: Setting, profile: str | None, changed: Mapping[str, int]) -> Setting:
    """What a node is to be told: a named profile begins from its own numbers, without one from what it has. Raises
    profiles.ProfileError.
    """
    return Setting.of(profile, changed) if profile else Setting.of(before.profile, {**before.differing, **changed})


def keep(conn: Connection, node_id: str, setting: Setting) -> None:
    """The node has this now."""
    table = schema.node
    values: dict[str, Any] = {"profile": setting.profile, "detector": setting.differing}
    conn.execute(update(table).where(table.c.id == node_id).values(values))
    changes.note(conn, "node", node_id)


def place(conn: Connection, node_id: str, setting: Setting, *, actor: str, now_ms: int) -> int:
    """Ask for it; returns the command's number. What it was and will be goes into the audit. Raises RegistryError."""
    said = setting.said(standing(conn, node_id))
    args = limits.pack(setting.profile, profiles.in_order(setting.numbers))
    return orders.place(conn, node_id, "set_parameter", actor=actor, now_ms=now_ms, args=args, said=said)


def confirmed(conn: Connection, node_id: str, args: bytes) -> None:
    """The node answered that it does what a command with these arguments told it."""
    try:
        name, values = limits.unpack(args)
    except ValueError:  # asked for by another version of this program
        return
    numbers = dict(zip(limits.NAMES, values, strict=True))
    base = profiles.load_profiles().get(name)
    keep(conn, node_id, Setting(name, numbers, base.differences(numbers) if base is not None else numbers))
