"""Import of a market's shop list: a plan that names every bad line and column, and its execution, in one transaction or
not at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from bongsu.receiver import csv_file, fields, phone, registry, shop_number
from bongsu.receiver.csv_file import Fault, Line
from bongsu.receiver.store import schema

_LANGS = {"": "ko", "ko": "ko", "en": "en", "한국어": "ko", "영어": "en", "korean": "ko", "english": "en"}


@dataclass(frozen=True)
class Person:
    """A contact of the file; `contact_id` is None for one who is not registered yet."""

    name: str
    phone: str = field(repr=False)
    lang: str
    contact_id: str | None


@dataclass(frozen=True)
class Shop:
    """One line, checked."""

    line: int
    unit: str
    name: str
    place: str
    owner: Person
    deputy: Person | None
    node: str | None
    node_is_new: bool


@dataclass
class Plan:
    """What an import would do; it may be executed only if `faults` is empty. `warnings` hinder nothing."""

    site_id: str
    shops: list[Shop] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many units, new contacts and nodes it covers."""
        people = {p.phone for s in self.shops for p in (s.owner, s.deputy) if p is not None and p.contact_id is None}
        return {
            "units": len(self.shops),
            "new_contacts": len(people),
            "nodes": sum(s.node is not None for s in self.shops),
        }


def make_plan(conn: Connection, site_id: str, data: bytes) -> Plan:
    """Check a file against itself and against the registry. Raises RegistryError if there is no such site; all else is
    in the plan's faults.
    """
    registry.require_site(conn, site_id)
    plan = Plan(site_id)
    lines, plan.faults = csv_file.parse(data)
    check = _Check(plan, _Known.of(conn, site_id))
    for line in lines:
        shop = check.shop(line)
        if shop is not None:
            plan.shops.append(shop)
    plan.faults.sort(key=lambda f: (f.line, f.column))
    return plan


def execute(conn: Connection, plan: Plan, *, now_ms: int) -> None:
    """Write a plan made in the same transaction. Raises ValueError for one with faults."""
    if plan.faults:
        raise ValueError("a plan with faults is not executed")
    made: dict[str, str] = {}
    number = 0
    taken = set(conn.execute(select(schema.contact.c.id)).scalars())
    for shop in plan.shops:
        registry.add_unit(
            conn, site_id=plan.site_id, unit_id=shop.unit, name=shop.name, place=shop.place, now_ms=now_ms
        )
        for role, person in (("owner", shop.owner), ("deputy", shop.deputy)):
            if person is None:
                continue
            contact_id = person.contact_id or made.get(person.phone)
            if contact_id is None:
                number += 1
                while f"c-{number}" in taken:
                    number += 1
                contact_id = made[person.phone] = f"c-{number}"
                registry.add_contact(
                    conn, contact_id=contact_id, name=person.name, number=person.phone, lang=person.lang, now_ms=now_ms
                )
            registry.assign_contact(conn, contact_id=contact_id, site_id=plan.site_id, unit_id=shop.unit, role=role)
        _place_node(conn, plan.site_id, shop, now_ms)


def _place_node(conn: Connection, site_id: str, shop: Shop, now_ms: int) -> None:
    if shop.node is None:
        return
    if shop.node_is_new:
        registry.add_node(conn, node_id=shop.node, unit=(site_id, shop.unit), label="", now_ms=now_ms)
    else:
        registry.assign_node(conn, node_id=shop.node, unit=(site_id, shop.unit))


def _place(line: Line, unit: str) -> str:
    """The place; a shop number that is no id comes first, because people look for the number on the door."""
    number, place = line.values["unit"].strip(), line.values["place"].strip()
    if not unit or not place or number.lower() == unit or number in place:
        return place
    return f"{number}, {place}"


@dataclass(frozen=True)
class _Known:
    """What the registry holds, as far as an import can collide with it."""

    units: frozenset[str]
    contacts: dict[str, Person]
    nodes: dict[str, tuple[str, str | None]]  # id -> (state, unit's address or None)

    @staticmethod
    def of(conn: Connection, site_id: str) -> "_Known":
        c, n = schema.contact.c, schema.node.c
        return _Known(
            frozenset(conn.execute(select(schema.unit.c.id).where(schema.unit.c.site_id == site_id)).scalars()),
            {
                r.phone: Person(r.name, r.phone, r.lang, r.id)
                for r in conn.execute(select(c.id, c.name, c.phone, c.lang))
            },
            {
                r.id: (r.state, f"{r.site_id}/{r.unit_id}" if r.site_id else None)
                for r in conn.execute(select(n.id, n.state, n.site_id, n.unit_id))
            },
        )


class _Check:
    """Checks lines one after the other, remembering what earlier lines took."""

    def __init__(self, plan: Plan, known: _Known) -> None:
        self._plan = plan
        self._known = known
        self._units: dict[str, int] = {}
        self._nodes: dict[str, int] = {}
        self._people: dict[str, tuple[int, Person]] = {}

    def shop(self, line: Line) -> Shop | None:
        """The line as a shop, or None; every fault of it goes into the plan."""
        before = len(self._plan.faults)
        values = line.values
        unit = self._field(line, "unit", lambda: shop_number.unit_id(values["unit"]))
        name = self._field(line, "name", lambda: fields.words("name", values["name"], registry.NAME_MAX))
        place = self._field(line, "place", lambda: fields.words("place", _place(line, unit), registry.PLACE_MAX))
        lang = self._lang(line)
        owner = self._person(line, "owner", lang)
        deputy = self._deputy(line, lang)
        node = self._node(line)
        if unit:
            self._take_unit(line, unit)
        if owner and deputy and owner.phone == deputy.phone:
            self._fault(line, "deputy_phone", "same_person", "owner and deputy have the same phone number")
        if len(self._plan.faults) > before or not unit or not name or not place or not owner:
            return None
        return Shop(
            line.number, unit, name, place, owner, deputy, node, node is not None and node not in self._known.nodes
        )

    def _fault(self, line: Line, column: str, code: str, message: str) -> None:
        if not csv_file.is_text(line.values[column]):
            code, message = "no_text", "the field holds bytes that are no text. Type it again, and save as CSV UTF-8."
        self._plan.faults.append(Fault(line.number, column, code, message))

    def _field(self, line: Line, column: str, check: Callable[[], str]) -> str:
        """The checked value, or "" with the fault noted."""
        try:
            return check()
        except fields.FieldError as err:
            self._fault(line, column, err.code, f"{err.message}. {err.next_step}")
            return ""

    def _take_unit(self, line: Line, unit: str) -> None:
        first = self._units.setdefault(unit, line.number)
        if first != line.number:
            self._fault(line, "unit", "duplicate_unit", f"unit {unit} is in line {first} already")
        if (number := line.values["unit"].strip()).lower() != unit:
            note = f"shop number {fields.shown(number)} becomes unit {unit}; its place begins with the number"
            self._plan.warnings.append(Fault(line.number, "unit", "unit_named", note))
        if unit in self._known.units:
            self._fault(line, "unit", "existing_unit", f"unit {unit} is registered already; an import only adds")

    def _lang(self, line: Line) -> str:
        typed = line.values["lang"].strip().lower()
        if typed in _LANGS:
            return _LANGS[typed]
        self._fault(
            line, "lang", "bad_lang", f"language {fields.shown(typed)} is not known. Use ko or en, or leave it empty."
        )
        return "ko"

    def _deputy(self, line: Line, lang: str) -> Person | None:
        name, number = line.values["deputy"].strip(), line.values["deputy_phone"].strip()
        if not name and not number:
            return None
        if not name:
            self._fault(line, "deputy", "name_missing", "there is a deputy_phone, but no deputy's name")
            return None
        if not number:
            self._fault(line, "deputy_phone", "phone_missing", "there is a deputy's name, but no deputy_phone")
            return None
        return self._person(line, "deputy", lang)

    def _person(self, line: Line, column: str, lang: str) -> Person | None:
        number_column = f"{column}_phone"
        name = self._field(line, column, lambda: fields.words(column, line.values[column], registry.NAME_MAX))
        number = self._field(line, number_column, lambda: phone.normal(line.values[number_column]))
        if not name or not number:
            return None
        person = Person(name, number, lang, None)
        registered = self._known.contacts.get(number)
        first_line, first = self._people.setdefault(number, (line.number, registered or person))
        if first.name != name:
            where = f"contact {registered.contact_id}" if registered else f"another name in line {first_line}"
            self._fault(
                line,
                number_column,
                "phone_taken",
                f"{phone.masked(number)} belongs to {where}; one number is one person",
            )
        elif registered is None and first.lang != lang:
            self._fault(line, "lang", "lang_differs", f"{column} has another language in line {first_line}")
        if first_line == line.number and not phone.takes_texts(number):
            note = f"{phone.masked(number)} is no mobile number: text messages may not reach it"
            self._plan.warnings.append(Fault(line.number, number_column, "no_texts", note))
        return first

    def _node(self, line: Line) -> str | None:
        typed = line.values["node"].strip()
        if not typed:
            return None
        node = self._field(line, "node", lambda: fields.node_id(typed))
        if not node:
            return None
        first = self._nodes.setdefault(node, line.number)
        if first != line.number:
            self._fault(line, "node", "duplicate_node", f"node {node} is in line {first} already")
        state, unit = self._known.nodes.get(node, ("registered", None))
        if unit is not None:
            self._fault(line, "node", "node_assigned", f"node {node} is assigned to {unit} already")
        elif state == "retired":
            self._fault(line, "node", "node_retired", f"node {node} is retired")
        return node
