"""What is exported can be imported again: elsewhere it makes the same market, at home it changes nothing."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from bongsu.receiver import fields, phone, registry, shop_export, shop_import, shop_list
from bongsu.receiver.store import Store
from tests.registry_parts import NOW_MS, new_store

# Names that spreadsheets, CSV and people misread.
WORDS = st.one_of(
    st.sampled_from(["=1+1", "+82", "-5", "@x", "'=x", "'quoted'", "''=", "7", "007", "1-7", "TRUE", "a,b", "떡집"]),
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12),
).filter(lambda t: fields.words("x", t, 20, required=False) == t and t != "")  # fmt: skip
NUMBERS = ["+821012340001", "+8221234567", "+8215881234", "+16502530000", "+442070313000", "+821098765432"]
PEOPLE = st.lists(st.tuples(WORDS, st.sampled_from(["ko", "en"])), min_size=len(NUMBERS), max_size=len(NUMBERS))
HOURS = st.sampled_from(["", "mon-fri 09:00-21:00; closed sat,sun", "mon-sun 18:00-02:00"])
PLACE = st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180))
UNIT = st.fixed_dictionaries(
    {
        "name": WORDS,
        "place": WORDS,
        "floor": WORDS | st.just(""),
        "stall": WORDS | st.just(""),
        "hours": HOURS,
        "at": PLACE,
        "people": st.lists(st.integers(0, len(NUMBERS) - 1), min_size=1, max_size=4, unique=True),
        "labels": st.lists(WORDS | st.just(""), max_size=3),
    }
)
MARKET = st.tuples(st.lists(UNIT, min_size=1, max_size=4), PEOPLE)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder, new_store(Path(folder)) as made:
        with made.write() as conn:
            for site in ("one", "two"):
                registry.add_site(
                    conn, site_id=site, name=site, kind="market", address="", tz="Asia/Seoul", now_ms=NOW_MS
                )
        yield made


class _Undo(Exception):
    pass


def _make(conn: Connection, units: list[dict[str, Any]], people: list[tuple[str, str]]) -> None:
    for i, (name, lang) in enumerate(people):
        registry.add_contact(conn, contact_id=f"p-{i}", name=name, number=NUMBERS[i], lang=lang, now_ms=NOW_MS)
    made = 0
    for at, unit in enumerate(units):
        more = {f: unit[f] for f in ("floor", "stall", "hours")}
        if unit["at"] is not None:
            more |= {"lat": f"{unit['at'][0]:.6f}", "lon": f"{unit['at'][1]:.6f}"}
        registry.add_unit(
            conn, site_id="one", unit_id=f"u-{at}", name=unit["name"], place=unit["place"], now_ms=NOW_MS, **more
        )
        for rank, who in enumerate(unit["people"]):
            role = "deputy" if rank else "owner"
            registry.assign_contact(conn, contact_id=f"p-{who}", site_id="one", unit_id=f"u-{at}", role=role)
        for label in unit["labels"]:
            made += 1
            node = f"02{made:010x}"
            registry.add_node(conn, node_id=node, unit=("one", f"u-{at}"), label=label, now_ms=NOW_MS)


def _file(conn: Connection, site: str, book: bool, unmasked: bool) -> bytes:
    rows = shop_export.rows_of_site(conn, site, unmasked=unmasked)
    return shop_export.as_workbook(rows, site) if book else shop_export.as_csv(rows)


def _empty(conn: Connection) -> None:
    """The first site's shops are gone, with their people and nodes."""
    for node in registry.list_nodes(conn, site_id="one"):
        registry.remove_node(conn, node["node"], actor="op", now_ms=1)
    for contact in registry.list_contacts(conn):
        registry.remove_contact(conn, contact["id"], force=True, actor="op", now_ms=1)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MARKET, st.booleans())
def test_round_trip(store: Store, market: tuple[list[dict[str, Any]], list[tuple[str, str]]], book: bool) -> None:
    try:
        with store.write() as conn:
            _make(conn, *market)
            for unmasked in (True, False):
                plan = shop_import.make_plan(conn, "one", _file(conn, "one", book, unmasked), remove_missing=True)
                assert plan.faults == [] and {c.what for c in plan.changes} == {"unchanged"}, plan
            wanted, data = shop_export.rows_of_site(conn, "one", unmasked=True), _file(conn, "one", book, True)
            _empty(conn)
            plan = shop_import.make_plan(conn, "two", data)
            assert plan.faults == []
            shop_import.execute(conn, plan, now_ms=NOW_MS)
            assert shop_export.rows_of_site(conn, "two", unmasked=True) == wanted
            raise _Undo
    except _Undo:
        pass


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MARKET, MARKET)
def test_a_list_makes_of_any_market_the_one_that_it_names(
    store: Store,
    before: tuple[list[dict[str, Any]], list[tuple[str, str]]],
    after: tuple[list[dict[str, Any]], list[tuple[str, str]]],
) -> None:
    """What a plan says will happen is what happens: after it, a second import of the same list changes nothing."""
    units = [{**u, "labels": []} for u in after[0]]
    try:
        with store.write() as conn:
            _make(conn, units, after[1])
            data = _file(conn, "one", False, True)
            for unit in registry.list_units(conn, "one"):
                registry.remove_unit(conn, *fields.unit_address(unit["unit"]), actor="op", now_ms=1)
            _empty(conn)
            _make(conn, [{**u, "labels": []} for u in before[0]], before[1])
            plan = shop_import.make_plan(conn, "one", data, remove_missing=True)
            if plan.faults:  # one number is one person: who is registered under another name is not overwritten
                assert {f.code for f in plan.faults} <= {
                    "phone_taken",
                    "lang_differs",
                    "contact_differs",
                    "same_person",
                }
                raise _Undo
            shop_import.execute(conn, plan, now_ms=NOW_MS)
            again = shop_import.make_plan(conn, "one", data, remove_missing=True)
            assert again.faults == [] and {c.what for c in again.changes} == {"unchanged"}, again.changes
            assert len(registry.list_units(conn, "one")) == len(units)
            raise _Undo
    except _Undo:
        pass


def test_an_empty_deputys_place_means_that_there_are_no_more(store: Store) -> None:
    unit: dict[str, Any] = {"name": "a", "place": "b", "floor": "", "stall": "", "hours": "", "at": None, "labels": []}
    try:
        with store.write() as conn:
            _make(conn, [{**unit, "people": [0, 1, 2]}], [(f"n{i}", "ko") for i in range(len(NUMBERS))])
            data = f"unit,name,place,owner,owner_phone,deputy,deputy_phone\nu-0,a,b,n0,{NUMBERS[0]},,\n".encode()
            shop_import.execute(conn, shop_import.make_plan(conn, "one", data), now_ms=NOW_MS)
            called = shop_export.rows_of_site(conn, "one", unmasked=True)[0]
            assert not called.get("deputy") and called["owner"] == "n0"
            assert [c.what for c in shop_import.make_plan(conn, "one", data).changes] == ["unchanged"]
            raise _Undo
    except _Undo:
        pass


@settings(max_examples=400)
@given(WORDS | st.text(max_size=8))
def test_no_field_is_a_formula_and_each_reads_back(text: str) -> None:
    written = shop_list.escaped(text)
    assert shop_list.unescaped(written) == text
    number = written.removeprefix("-").replace(".", "", 1).isdigit()
    assert written[:1] not in ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20") or number


@pytest.mark.parametrize("e164", NUMBERS)
def test_numbers_are_written_so_that_they_can_be_read(e164: str) -> None:
    assert phone.normal(phone.typed(e164)) == e164
