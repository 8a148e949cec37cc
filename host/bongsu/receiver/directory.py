"""The registry as the data path needs it: read in one go, kept in memory, read anew when somebody changes it.

Nothing on the way of an alarm asks the database who a node is. `Directory.load` costs a few queries whatever the number
of nodes; afterwards the writer takes in by id what others committed (`take_in`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, tuple_

from bongsu.install.identity_blobs import ident
from bongsu.receiver import roster
from bongsu.receiver.air.levels import DEFAULT_ADVISE_AT, DEFAULT_TABLE
from bongsu.receiver.keys import KeyFault, MasterKey, usable_keys
from bongsu.receiver.responders import covers, secret_purpose
from bongsu.receiver.rows import batched
from bongsu.receiver.store import schema
from bongsu.receiver.store.changes import News
from bongsu_wire.ccm import CcmKey

Fields = dict[str, Any]

# What an incident keeps of its site and unit.
_SITE_KEPT = ("id", "name", "kind", "address", "tz", "area", "dispatch_policy", "unverified_after_s")
_UNIT_KEPT = ("id", "name", "place", "floor", "stall", "hours", "lat", "lon")

# Topics of changes of which everything is read again at once.
_FEW = frozenset(("site", "responder", "duty", "contact"))
_AT_ONCE = 300

KEY_DAMAGED, SECRET_DAMAGED = "key_damaged", "secret_damaged"


@dataclass(frozen=True, slots=True)
class Damage:
    """A stored secret that does not open: `name` (KEY_DAMAGED, SECRET_DAMAGED) of a node, or of a responder."""

    name: str
    whose: str


class KeyEntry:
    """One key of one node, ready for use."""

    __slots__ = ("_raw", "_ready", "epoch", "state", "valid_until_ms")

    def __init__(self, epoch: int, state: str, valid_until_ms: int | None, raw: bytes) -> None:
        self.epoch = epoch
        self.state = state
        self.valid_until_ms = valid_until_ms
        self._raw = raw
        self._ready: CcmKey | None = None

    def ccm(self) -> CcmKey:
        """The cipher, made at first use: most nodes of a large fleet say nothing for a while."""
        if self._ready is None:
            self._ready = CcmKey(self._raw)
        return self._ready

    def for_node(self) -> bytes:
        """The key as a node keeps it (bongsu_node.rotation), for the command that gives it: to be sealed."""
        return ident(self.epoch, self._raw)

    def usable_at(self, now_ms: int) -> bool:
        """True while frames under this key may be accepted."""
        return self.valid_until_ms is None or now_ms < self.valid_until_ms


@dataclass(slots=True)
class NodeEntry:
    """A registered node and its keys by epoch."""

    id: str
    site_id: str | None
    unit_id: str | None
    label: str
    state: str
    keys: dict[int, KeyEntry] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """Whose incident an alarm of this node is."""
        return f"unit:{self.site_id}/{self.unit_id}" if self.site_id else f"node:{self.id}"

    def activated(self, key: KeyEntry, old_until_ms: int) -> None:
        """The node has proven a pending key: as keys.activate has it in the store, so here."""
        for other in list(self.keys.values()):
            if other.state == "active":
                other.state, other.valid_until_ms = "old", old_until_ms
            elif other.state == "pending" and other.epoch < key.epoch:
                del self.keys[other.epoch]
        key.state = "active"


class Directory:
    """A snapshot of the registry."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeEntry] = {}
        self._sites: dict[str, Fields] = {}
        self._air: dict[str, tuple[str, str]] = {}
        self._units: dict[tuple[str, str], Fields] = {}
        self._next_to: dict[tuple[str, str], tuple[str, ...]] = {}
        self._next_to_by: dict[tuple[str, str], set[str]] = {}
        self._people: dict[tuple[str, str], list[Fields]] = {}
        self._responders: list[Fields] = []
        self._covered: dict[str, set[str]] = {}
        self._areas: dict[str, set[str]] = {}
        self._shifts: dict[str | None, list[Fields]] = {}
        self._secrets: dict[str, str] = {}
        self.damaged: set[Damage] = set()

    @staticmethod
    def load(conn: Connection, master: MasterKey, now_ms: int) -> "Directory":
        """Read the registry. A secret that does not open with this master key is left out, and named in `damaged`: one
        spoiled row must not stop everybody's alarms.
        """
        d = Directory()
        spoiled: list[tuple[str, int]] = []
        for r in conn.execute(select(schema.node)):
            d.nodes[r.id] = NodeEntry(r.id, r.site_id, r.unit_id, r.label, r.state)
        for key in usable_keys(conn, master, now_ms, damaged=spoiled):
            entry = KeyEntry(key.epoch, key.state, key.valid_until_ms, key.key)
            d.nodes[key.node_id].keys[key.epoch] = entry
        d.damaged.update(Damage(KEY_DAMAGED, node_id) for node_id, _ in spoiled)
        for r in conn.execute(select(schema.unit)):
            d._units[r.site_id, r.id] = {name: getattr(r, name) for name in _UNIT_KEPT}
            d._put_next_to(r.site_id, r.id, r.next_to)
        d._load_people(conn)
        d._load_few(conn, master)
        return d

    def _load_few(self, conn: Connection, master: MasterKey) -> None:
        """What is read whole at every change, for there are few of it."""
        sites = conn.execute(select(schema.site)).all()
        self._sites = {r.id: {name: getattr(r, name) for name in _SITE_KEPT} for r in sites}
        self._air = {r.id: (r.air_table, r.air_advise_at) for r in sites}
        self._load_responders(conn, master)
        self._load_duty(conn)

    def take_in(self, conn: Connection, master: MasterKey, now_ms: int, news: News) -> None:
        """Read again what somebody changed. What changed as a whole ("all of it") is not for this: load anew."""
        if news.topics.keys() & _FEW:
            self._load_few(conn, master)
        units = {(site, unit) for site, _, unit in (name.partition("/") for name in news.ids("unit"))}
        if people := news.ids("contact"):
            units |= {unit for unit, told in self._people.items() for one in told if one["id"] in people}
            units |= self._units_of(conn, people)
        for some in batched(sorted(units), _AT_ONCE):
            self._read_units(conn, some)
        for some_nodes in batched(sorted(news.ids("node")), _AT_ONCE):
            self._read_nodes(conn, master, now_ms, some_nodes)

    def _units_of(self, conn: Connection, people: Collection[str]) -> set[tuple[str, str]]:
        link = schema.unit_contact.c
        found: set[tuple[str, str]] = set()
        for some in batched(sorted(people), _AT_ONCE):
            rows = conn.execute(select(link.site_id, link.unit_id).where(link.contact_id.in_(some)))
            found.update((r.site_id, r.unit_id) for r in rows)
        return found

    def _read_units(self, conn: Connection, units: Sequence[tuple[str, str]]) -> None:
        for key in units:
            self._units.pop(key, None)
            self._people.pop(key, None)
            self._put_next_to(*key, "")
        c = schema.unit.c
        for r in conn.execute(select(schema.unit).where(tuple_(c.site_id, c.id).in_(units))):
            self._units[r.site_id, r.id] = {name: getattr(r, name) for name in _UNIT_KEPT}
            self._put_next_to(r.site_id, r.id, r.next_to)
        link = schema.unit_contact.c
        self._load_people(conn, tuple_(link.site_id, link.unit_id).in_(units))

    def _read_nodes(self, conn: Connection, master: MasterKey, now_ms: int, nodes: Sequence[str]) -> None:
        spoiled: list[tuple[str, int]] = []
        fresh: dict[str, NodeEntry] = {}
        for r in conn.execute(select(schema.node).where(schema.node.c.id.in_(nodes))):
            fresh[r.id] = NodeEntry(r.id, r.site_id, r.unit_id, r.label, r.state)
        for key in usable_keys(conn, master, now_ms, nodes, spoiled):
            fresh[key.node_id].keys[key.epoch] = KeyEntry(key.epoch, key.state, key.valid_until_ms, key.key)
        for node_id in nodes:
            self.nodes.pop(node_id, None)
            self.damaged.discard(Damage(KEY_DAMAGED, node_id))
        self.nodes.update(fresh)
        self.damaged.update(Damage(KEY_DAMAGED, node_id) for node_id, _ in spoiled)

    def _load_people(self, conn: Connection, *which: ColumnElement[bool]) -> None:
        link, person = schema.unit_contact.c, schema.contact.c
        query = select(
            link.site_id, link.unit_id, link.role, link.rank, person.id, person.name, person.phone, person.lang
        ).join(schema.contact, person.id == link.contact_id)
        for r in conn.execute(query.where(*which).order_by(link.rank)):
            one = {"id": r.id, "name": r.name, "phone": r.phone, "lang": r.lang, "role": r.role, "rank": r.rank}
            self._people.setdefault((r.site_id, r.unit_id), []).append(one)

    def _put_next_to(self, site_id: str, unit_id: str, listed: str) -> None:
        for other in self._next_to.pop((site_id, unit_id), ()):
            self._next_to_by[site_id, other].discard(unit_id)
        if others := tuple(listed.split()):
            self._next_to[site_id, unit_id] = others
            for other in others:
                self._next_to_by.setdefault((site_id, other), set()).add(unit_id)

    def beside(self, node: NodeEntry) -> tuple[str, ...]:
        """Subjects of the units next to a node's, whichever of the two lists says so."""
        if node.site_id is None or node.unit_id is None:
            return ()
        key = node.site_id, node.unit_id
        units = {*self._next_to.get(key, ()), *self._next_to_by.get(key, ())} - {node.unit_id}
        return tuple(f"unit:{node.site_id}/{unit}" for unit in sorted(units))

    def _load_duty(self, conn: Connection) -> None:
        """The duty rosters (they carry their people's names and numbers), by site; None: of all sites."""
        self._shifts = {}
        for shift in roster.load(conn):
            self._shifts.setdefault(shift["site_id"], []).append(shift)

    def _load_responders(self, conn: Connection, master: MasterKey) -> None:
        self._covered, self._areas, self._responders, self._secrets = {}, {}, [], {}
        self.damaged = {damage for damage in self.damaged if damage.name != SECRET_DAMAGED}
        for r in conn.execute(select(schema.responder_site)):
            self._covered.setdefault(r.responder_id, set()).add(r.site_id)
        for r in conn.execute(select(schema.responder_area)):
            self._areas.setdefault(r.responder_id, set()).add(r.area)
        table = schema.responder
        for r in conn.execute(select(table).order_by(table.c.rank, table.c.id)):
            one = {"id": r.id, "kind": r.kind, "name": r.name, "url": r.url, "rank": r.rank, "all_sites": r.all_sites}
            self._responders.append(one)
            try:
                self._secrets[r.id] = master.unwrap(r.secret_wrapped, secret_purpose(r.id)).decode()
            except KeyFault:
                self.damaged.add(Damage(SECRET_DAMAGED, r.id))

    def require_some(self) -> None:
        """Raises KeyFault if there are secrets and none of them opens: then it is the master key that is wrong."""
        if self.damaged and not self._secrets and not any(node.keys for node in self.nodes.values()):
            raise KeyFault(
                "no stored secret opens with this master key", "Put back the master.key that belongs to this database."
            )

    def responder_secret(self, responder_id: str) -> str | None:
        """The secret that signs messages to a responder; None if it is not registered any more, or damaged."""
        return self._secrets.get(responder_id)

    def responders(self, site_id: str | None) -> list[Fields]:
        """Who is told of a site's incidents, by rank. An unassigned node's (None) go to all responders there are: that
        somebody not in charge is woken is the smaller evil.
        """
        area = self._sites.get(site_id or "", {}).get("area", "")
        return [
            {name: r[name] for name in ("id", "kind", "name", "url", "rank")}
            for r in self._responders
            if site_id is None
            or r["all_sites"]
            or covers(self._covered.get(r["id"], ()), self._areas.get(r["id"], ()), site_id, area)
        ]

    def site_air(self, site_id: str | None) -> tuple[str, str]:
        """A site's table of air levels, and from which level on there are advisories. None: an unassigned node's."""
        return self._air.get(site_id or "", (DEFAULT_TABLE, DEFAULT_ADVISE_AT))

    def zone_of(self, node_id: str) -> str:
        """The name of the time zone by whose days a node's readings are summed up."""
        node = self.nodes.get(node_id)
        return str(self._sites.get(node.site_id or "", {}).get("tz", "UTC")) if node is not None else "UTC"

    def on_duty(self, site_id: str | None, now_ms: int) -> list[Fields]:
        """Who is on duty for a site at a UTC time in ms, by rank, each once: told at once, beside the unit's first
        contact. None: an unassigned node's.
        """
        shifts = self._shifts.get(None, []) + (self._shifts.get(site_id, []) if site_id is not None else [])
        return roster.on_duty(shifts, self._sites.get(site_id or "", {}).get("tz", "UTC"), now_ms)

    def snapshot(self, node: NodeEntry, now_ms: int | None = None) -> Fields:
        """Site, unit, contacts, responders, node, and who is on duty at `now_ms` (None: nobody): what an incident
        keeps.
        """
        unit = (node.site_id or "", node.unit_id or "")
        return {
            "site": self._sites.get(node.site_id or ""),
            "unit": self._units.get(unit),
            "contacts": self._people.get(unit, []),
            "responders": self.responders(node.site_id),
            "duty": self.on_duty(node.site_id, now_ms) if now_ms is not None else [],
            "node": {"id": node.id, "label": node.label},
            "unassigned": node.site_id is None,
        }
