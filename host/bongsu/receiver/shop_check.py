"""One line of a shop list after the other, checked against the lines before it and against the registry."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from sqlalchemy import Connection, select

from bongsu.receiver import fields, opening_hours, phone, registry, shop_list, shop_number
from bongsu.receiver.registry_base import Row, in_slices, rows_of
from bongsu.receiver.registry_nodes import ALARMS
from bongsu.receiver.registry_people import people
from bongsu.receiver.registry_units import FLOOR_MAX, unit_ids
from bongsu.receiver.shop_list import DEPUTIES_MAX, NODES_MAX, Fault, Line, slot
from bongsu.receiver.store import schema

_LANGS = {"ko": "ko", "en": "en", "한국어": "ko", "영어": "en", "korean": "ko", "english": "en"}


@dataclass(frozen=True)
class Person:
    """A contact of the list; `contact_id` is None for one who is not registered yet."""

    name: str
    phone: str = field(repr=False)
    lang: str
    contact_id: str | None
    role: str = "owner"


@dataclass(frozen=True)
class NodePlace:
    """A node of the list: to be registered (`is_new`), to be put into the unit (`moves`), to get another label."""

    id: str
    label: str | None
    is_new: bool
    moves: bool
    relabels: bool


@dataclass(frozen=True)
class Shop:
    """One line, checked. `fields`: those of UNIT_FIELDS that the list has. `deputy_columns`: for how many it has
    columns; who comes after them is not its business.
    """

    line: int
    unit: str
    fields: Row
    owner: Person | None
    deputies: tuple[Person, ...]
    deputy_columns: int
    nodes: tuple[NodePlace, ...]


@dataclass(frozen=True)
class Known:
    """What the registry holds, as far as a list can meet it."""

    units: dict[str, Row] = field(default_factory=dict)  # of this site
    people: dict[str, list[Person]] = field(default_factory=dict)  # by unit, in calling order
    contacts: dict[str, Person] = field(default_factory=dict)  # by number
    nodes: dict[str, tuple[str, str | None, str]] = field(default_factory=dict)  # id -> (state, unit's address, label)
    nodes_in: dict[str, list[str]] = field(default_factory=dict)
    alarming: frozenset[str] = frozenset()  # nodes without a unit whose alarm is open

    @staticmethod
    def of(conn: Connection, site_id: str) -> "Known":
        """Read it."""
        n, i, u = schema.node.c, schema.incident.c, schema.unit.c
        called: dict[str, list[Person]] = {}
        for p in people(conn, site_id):
            one = Person(p["name"], p["phone"], p["lang"], p["id"], p["role"])
            called.setdefault(p["unit_id"], []).append(one)
        nodes = conn.execute(select(n.id, n.state, n.site_id, n.unit_id, n.label).order_by(n.id)).all()
        nodes_in: dict[str, list[str]] = {}
        for r in nodes:
            if r.site_id == site_id:
                nodes_in.setdefault(r.unit_id, []).append(r.id)
        open_ones = select(i.subject).where(i.state == "open", i.class_.in_(ALARMS), i.subject.like("node:%"))
        return Known(
            {r["id"]: r for r in rows_of(conn.execute(select(schema.unit).where(u.site_id == site_id).order_by(u.id)))},
            called,
            {r.phone: Person(r.name, r.phone, r.lang, r.id) for r in conn.execute(select(schema.contact))},
            {r.id: (r.state, f"{r.site_id}/{r.unit_id}" if r.site_id else None, r.label) for r in nodes},
            nodes_in,
            frozenset(s.removeprefix("node:") for s in conn.execute(open_ones).scalars()),
        )

    def open_units(self, conn: Connection, site_id: str, units: list[str]) -> set[str]:
        """Those of the units that have an open incident."""
        c = schema.incident.c
        found: set[str] = set()
        for some in in_slices(f"unit:{site_id}/{u}" for u in units):
            found.update(conn.execute(select(c.subject).where(c.state == "open", c.subject.in_(some))).scalars())
        return {subject.partition("/")[2] for subject in found}


class Checker:
    """Checks lines one after the other, remembering what earlier lines took; every fault goes into `faults`."""

    def __init__(self, site_id: str, known: Known, faults: list[Fault], warnings: list[Fault]) -> None:
        self._site_id = site_id
        self._known = known
        self._faults = faults
        self._warnings = warnings
        self._units: dict[str, int] = {}
        self._nodes: dict[str, tuple[int, str]] = {}
        self._numbers: dict[str, tuple[int, Person]] = {}
        self._contacts: dict[str, tuple[int, Person]] = {}

    @property
    def units(self) -> set[str]:
        """The units that the list names."""
        return set(self._units)

    def shop(self, line: Line) -> Shop | None:
        """The line as a shop, or None if anything of it is wrong."""
        before = len(self._faults)
        values = line.values
        unit = self._field(line, "unit", lambda: shop_number.unit_id(values["unit"]))
        if unit:
            self._take_unit(line, unit)
        found = self._unit_fields(line, unit)
        had = self._known.people.get(unit, [])
        owner, deputies = self._owner(line, unit, had), self._deputies(line, had)
        if owner is not None and any(p.phone == owner.phone for p in deputies):
            self._fault(line, "deputy_phone", "same_person", "owner and deputy have the same phone number")
        elif len({p.phone for p in deputies}) < len(deputies):
            self._fault(line, "deputy_phone", "same_person", "two deputies have the same phone number")
        nodes = self._node_places(line, unit)
        if len(self._faults) > before:
            return None
        columns = sum(slot("deputy", n) in line.has for n in range(1, DEPUTIES_MAX + 1))
        return Shop(line.number, unit, found, owner, tuple(deputies), columns, nodes)

    def _fault(self, line: Line, column: str, code: str, message: str) -> None:
        if not shop_list.is_text(line.values.get(column, "")):
            code, message = "no_text", "the field holds bytes that are no text. Type it again, and save as CSV UTF-8."
        self._faults.append(Fault(line.number, column, code, message))

    def _field(self, line: Line, column: str, check: Callable[[], str]) -> str:
        """The checked value, or "" with the fault noted."""
        try:
            return check()
        except fields.FieldError as err:
            self._fault(line, column, err.code, f"{err.message}. {err.next_step}")
            return ""

    # ---- the unit

    def _take_unit(self, line: Line, unit: str) -> None:
        first = self._units.setdefault(unit, line.number)
        if first != line.number:
            self._fault(line, "unit", "duplicate_unit", f"unit {unit} is in line {first} already")
        if (number := line.values["unit"].strip()).lower() != unit:
            note = f"shop number {fields.shown(number)} becomes unit {unit}; its place begins with the number"
            self._warnings.append(Fault(line.number, "unit", "unit_named", note))

    def _unit_fields(self, line: Line, unit: str) -> Row:
        """Fields of the unit, of those that the list has."""
        values, row = line.values, self._known.units.get(unit, {})
        found: Row = {
            "name": self._field(line, "name", lambda: fields.words("name", values["name"], registry.NAME_MAX))
        }
        placed = any(values[c].strip() for c in ("floor", "stall")) or row.get("place") == ""
        checks: dict[str, Callable[[], str]] = {
            "place": lambda: fields.words("place", _place(line, unit), registry.PLACE_MAX, required=not placed),
            "floor": lambda: fields.words("floor", values["floor"], FLOOR_MAX, required=False),
            "stall": lambda: fields.words("stall", values["stall"], FLOOR_MAX, required=False),
            "hours": lambda: opening_hours.normal(values["hours"]),
            "next_to": lambda: unit_ids(values["next_to"]),
        }
        found |= {c: self._field(line, c, check) for c, check in checks.items() if c in line.has}
        if "lat" in line.has or "lon" in line.has:
            try:
                found["lat"], found["lon"] = fields.position(values["lat"], values["lon"])
            except fields.FieldError as err:
                column = "lon" if err.message.startswith("longitude") else "lat"
                self._fault(line, column, err.code, f"{err.message}. {err.next_step}")
        return found

    def beside(self, shops: list[Shop]) -> None:
        """All lines are read: a unit may only be next to another one, of the list or registered."""
        known = self._units.keys() | self._known.units.keys()
        for shop in shops:
            for other in str(shop.fields.get("next_to", "")).split():
                if other == shop.unit:
                    said = f"unit {shop.unit} cannot be next to itself"
                elif other in known:
                    continue
                else:
                    said = f"unit {shop.unit} is next to {other}, which is neither in the list nor registered"
                self._faults.append(Fault(shop.line, "next_to", "bad_neighbour", said))

    # ---- people

    def _owner(self, line: Line, unit: str, had: list[Person]) -> Person | None:
        """The owner; None also for one that the unit never had."""
        now = next((p for p in had if p.role == "owner"), None)
        blank = not line.values["owner"].strip() and not line.values["owner_phone"].strip()
        if blank and now is None and unit in self._known.units:
            return None
        return self._person(line, "owner", "lang", now, had)

    def _deputies(self, line: Line, had: list[Person]) -> list[Person]:
        now = [p for p in had if p.role == "deputy"]
        found = []
        for number in range(1, DEPUTIES_MAX + 1):
            column, phone_column = slot("deputy", number), slot("deputy", number, "_phone")
            name, typed = line.values.get(column, "").strip(), line.values.get(phone_column, "").strip()
            if name and typed:
                held = now[number - 1] if number <= len(now) else None
                person = self._person(line, column, slot("deputy", number, "_lang"), held, had)
                found += [replace(person, role="deputy")] if person is not None else []
            elif typed:
                self._fault(line, column, "name_missing", f"there is a {phone_column}, but no deputy's name")
            elif name:
                self._fault(line, phone_column, "phone_missing", f"there is a deputy's name, but no {phone_column}")
        return found

    def _lang(self, line: Line, column: str) -> str:
        """The language in a column, or "" """
        typed = line.values.get(column, "").strip().lower()
        if not typed or typed in _LANGS:
            return _LANGS.get(typed, "")
        said = f"language {fields.shown(typed)} is not known. Use ko or en, or leave it empty."
        self._fault(line, column, "bad_lang", said)
        return ""

    def _person(
        self, line: Line, column: str, lang_column: str, now: Person | None, had: list[Person]
    ) -> Person | None:
        """Who is named in a column. `now`: who holds that place; `had`: all of the unit."""
        number_column = f"{column}_phone"
        name = self._field(line, column, lambda: fields.words(column, line.values[column], registry.NAME_MAX))
        lang = self._lang(line, lang_column)
        number = self._field(line, number_column, lambda: _number(line.values[number_column], name, now, had))
        if not name or not number:
            return None
        return self._take_person(line, number_column, lang_column, Person(name, number, lang, None), now)

    def _take_person(
        self, line: Line, number_column: str, lang_column: str, typed: Person, now: Person | None
    ) -> Person | None:
        """The person as it shall be registered: who has this number, who gets a new one, or somebody new."""
        registered = self._known.contacts.get(typed.phone)
        if registered is not None:
            mine = now is not None and now.contact_id == registered.contact_id
            if registered.name != typed.name and not mine:
                self._taken(line, number_column, typed, f"contact {registered.contact_id}")
                return None
            person = replace(typed, contact_id=registered.contact_id, lang=typed.lang or registered.lang)
        elif now is not None and now.name == typed.name:
            person = replace(typed, contact_id=now.contact_id, lang=typed.lang or now.lang)  # has a new number
        else:
            said = line.values["lang"].strip().lower()  # of the whole line, if a deputy's is not given
            person = replace(typed, lang=typed.lang or _LANGS.get(said, "ko"))
        return self._same_everywhere(line, number_column, lang_column, person)

    def _same_everywhere(self, line: Line, number_column: str, lang_column: str, person: Person) -> Person:
        """One number is one person, in all lines of the list; one contact has one name, number and language."""
        first_line, first = self._numbers.setdefault(person.phone, (line.number, person))
        if first.name != person.name:
            self._taken(line, number_column, person, f"another name in line {first_line}")
        elif first.lang != person.lang:
            said = f"{number_column.removesuffix('_phone')} has another language in line {first_line}"
            self._fault(line, lang_column if lang_column in line.has else "lang", "lang_differs", said)
        if first_line == line.number and first is person and not phone.takes_texts(person.phone):
            note = f"{phone.masked(person.phone)} is no mobile number: text messages may not reach it"
            self._warnings.append(Fault(line.number, number_column, "no_texts", note))
        if person.contact_id is not None:
            at, other = self._contacts.setdefault(person.contact_id, (line.number, person))
            if (other.name, other.phone) != (person.name, person.phone):
                said = f"contact {person.contact_id} has another name or number in line {at}"
                self._fault(line, number_column, "contact_differs", said)
        return person

    def _taken(self, line: Line, column: str, person: Person, by: str) -> None:
        said = f"{phone.masked(person.phone)} belongs to {by}; one number is one person"
        self._fault(line, column, "phone_taken", said)

    # ---- nodes

    def _node_places(self, line: Line, unit: str) -> tuple[NodePlace, ...]:
        found = []
        for column, label_column in _node_columns(line.has):
            if not line.values[column].strip():
                continue
            node = self._node(line, column, unit)
            label = self._label(line, label_column)
            if node:
                found.append(self._placed(node, label, unit))
        return tuple(found)

    def _label(self, line: Line, column: str) -> str | None:
        if column not in line.has:
            return None
        typed = line.values[column]
        return self._field(line, column, lambda: fields.words("label", typed, registry.NAME_MAX, required=False))

    def _placed(self, node: str, label: str | None, unit: str) -> NodePlace:
        known = self._known.nodes.get(node)
        if known is None:
            return NodePlace(node, label, True, False, False)
        new = label if label is not None else known[2]
        return NodePlace(node, new, False, known[1] != f"{self._site_id}/{unit}", new != known[2])

    def _node(self, line: Line, column: str, unit: str) -> str:
        node = self._field(line, column, lambda: fields.listed_node_id(line.values[column]))
        if not node:
            return ""
        first = self._nodes.setdefault(node, (line.number, column))
        if first != (line.number, column):
            self._fault(line, column, "duplicate_node", f"node {node} is in line {first[0]} already")
        state, at, _ = self._known.nodes.get(node, ("registered", None, ""))
        if at is not None and at != f"{self._site_id}/{unit}":
            said = f"node {node} is assigned to {at} already; move it: bongsu node move {node} {self._site_id}/{unit}"
            self._fault(line, column, "node_assigned", said)
        elif state == "retired":
            self._fault(line, column, "node_retired", f"node {node} is retired")
        elif at is None and node in self._known.alarming:
            self._fault(line, column, "node_alarm", f"node {node} has an open alarm; close its incident first")
        return node


@lru_cache(maxsize=8)
def _node_columns(has: frozenset[str]) -> list[tuple[str, str]]:
    """The node columns of a list, each with that of its label."""
    every = ((slot("node", n), slot("node", n, "_label")) for n in range(1, NODES_MAX + 1))
    return [(column, label) for column, label in every if column in has]


def _number(typed: str, name: str, now: Person | None, had: list[Person]) -> str:
    """The number in its stored form. One that is masked, as exports have it, is that of the person who is there."""
    if "*" not in typed:
        return phone.normal(typed)
    for person in [p for p in (now, *had) if p is not None]:
        if phone.masked(person.phone) == typed.strip() and (person is now or person.name == name):
            return person.phone
    raise fields.FieldError(
        "masked_phone", "phone number is masked, and not that of who is registered here", "Write the whole number."
    )


def _place(line: Line, unit: str) -> str:
    """The place; a shop number that is no id comes first, because people look for the number on the door."""
    number, place = line.values["unit"].strip(), line.values["place"].strip()
    if not unit or not place or number.lower() == unit or number in place:
        return place
    return f"{number}, {place}"
