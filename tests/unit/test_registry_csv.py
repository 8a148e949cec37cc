"""A market's shop list: what is understood; every fault is named by line and column, and then nothing is imported."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from bongsu.receiver import csv_file, fields, registry, shop_import, shop_number
from bongsu.receiver.store import Store, schema
from tests.registry_parts import NODE, NOW_MS, fill, new_store

DATA = Path(__file__).parents[1] / "data" / "shops"
HEADER = "unit,name,place,owner,owner_phone,deputy,deputy_phone,lang,node\n"
GOOD = "b-01,Noodles,Row 1,Owner,010-1234-0001,,,,\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        yield made


def _plan(store: Store, data: bytes | str) -> shop_import.Plan:
    with store.read() as conn:
        return shop_import.make_plan(conn, "hannae", data.encode() if isinstance(data, str) else data)


def _import(store: Store, data: bytes | str) -> shop_import.Plan:
    with store.write() as conn:
        plan = shop_import.make_plan(conn, "hannae", data.encode() if isinstance(data, str) else data)
        assert plan.faults == []
        shop_import.execute(conn, plan, now_ms=NOW_MS)
    return plan


def _everything(store: Store) -> list[list[tuple[object, ...]]]:
    tables = (schema.unit, schema.contact, schema.unit_contact, schema.node, schema.audit, schema.change)
    with store.read() as conn:
        return [sorted(map(tuple, conn.execute(select(t)).all()), key=repr) for t in tables]


def _codes(plan: shop_import.Plan) -> set[tuple[int, str, str]]:
    return {(f.line, f.column, f.code) for f in plan.faults}


def test_good_list(store: Store) -> None:
    plan = _import(store, (DATA / "market_en.csv").read_bytes())
    assert plan.counts == {
        "units": 4, "added": 4, "changed": 0, "unchanged": 0, "removed": 0, "new_contacts": 4, "nodes": 2
    }  # fmt: skip
    assert [(w.line, w.code) for w in plan.warnings] == [(6, "no_texts")]  # a landline
    with store.read() as conn:
        units = {u["unit"]: u for u in registry.list_units(conn, "hannae")}
        assert units["hannae/a-03"]["name"] == "Oil, Sesame" and units["hannae/a-03"]["nodes"] == ["a0b1c2d3e403"]
        first = registry.show_unit(conn, "hannae", "a-01")
        assert [(c["name"], c["role"], c["rank"]) for c in first["contacts"]] == [
            ("Owner One", "owner", 0),
            ("Deputy One", "deputy", 1),
        ]
        third = registry.show_unit(conn, "hannae", "a-03")
        assert third["contacts"][0]["id"] == first["contacts"][0]["id"]  # one person, two shops
        assert {p["phone"] for p in registry.unit_people(conn, "hannae", "a-02")} == {"+821012340002"}


@pytest.mark.parametrize("name", ["market_ko.csv", "market_cp949.csv", "market_excel.csv"])
def test_as_spreadsheets_write_it(store: Store, name: str) -> None:
    _import(store, (DATA / name).read_bytes())
    with store.read() as conn:
        shop = registry.show_unit(conn, "hannae", "a-02")
    assert (shop["name"], shop["place"]) == ("한내 수산", "가동 2호")
    assert [c["lang"] for c in shop["contacts"]] == ["en", "en"]


def test_every_fault_is_named(store: Store) -> None:
    plan = _plan(store, (DATA / "faulty.csv").read_bytes())
    assert _codes(plan) == {
        (3, "unit", "duplicate_unit"),
        (4, "unit", "bad_slug"),
        (5, "name", "empty"),
        (6, "owner_phone", "bad_phone"),
        (7, "deputy", "name_missing"),
        (8, "deputy_phone", "phone_missing"),
        (9, "lang", "bad_lang"),
        (10, "node", "bad_node"),
        (11, "node", "duplicate_node"),
        (12, "owner_phone", "phone_taken"),
        (13, "deputy_phone", "same_person"),
        (13, "deputy_phone", "phone_taken"),
        (14, "", "field_count"),
        (15, "name", "too_long"),
        (16, "place", "empty"),
        (17, "owner", "empty"),
        (18, "name", "control_character"),
        (19, "owner_phone", "empty"),
    }
    assert plan.faults == sorted(plan.faults, key=lambda f: (f.line, f.column))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", (0, "", "empty_file")),
        (b"\xef\xbb\xbf  \r\n", (0, "", "empty_file")),
        (HEADER.encode(), (0, "", "no_rows")),
        (HEADER.replace("place,", "").encode(), (1, "place", "missing_column")),
        (HEADER.replace("place", "plaice").encode(), (1, "plaice", "unknown_column")),
        (HEADER.replace("node", "unit").encode(), (1, "unit", "double_column")),
        ((HEADER + GOOD).encode("utf-16"), (0, "", "bad_encoding")),
        (HEADER.encode() + b"b-01,\xff\xff\xff,x,y,010-1234-0001,,,,\n", (2, "name", "no_text")),
        ((HEADER + GOOD + GOOD.replace("Noodles", "Noo\0dles")).encode(), (3, "name", "no_text")),
        ((HEADER + GOOD.replace("b-01", "b\0-01")).encode(), (2, "unit", "no_text")),
        (b"PK\x03\x04\0\0 a spreadsheet\n", (0, "", "bad_xlsx")),
        (b"\xd0\xcf\x11\xe0 an old spreadsheet\n", (0, "", "old_excel")),
        (b'unit,"name,place\n', (1, "", "bad_csv")),
        ((HEADER + 'b-01,"Open,x,y,z,,,,\n').encode(), (2, "name", "bad_csv")),
        ((HEADER + 'b-01,"a"b,x,y,z,,,,\n').encode(), (2, "name", "bad_csv")),
        ((HEADER + 'b-01,"two\nlines",x,Owner,010-1234-0001,,,,\n').encode(), (2, "name", "control_character")),
        ((HEADER + "b-01,Be\u0007ll,x,Owner,010-1234-0001,,,,\n").encode(), (2, "name", "control_character")),
        (b"x" * (csv_file.MAX_BYTES + 1), (0, "", "too_large")),
        ((HEADER + f"b-01,a,b,Owner,010-1234-0001,,,,{NODE}\n").encode(), (2, "node", "node_assigned")),
        ((HEADER + "b-01,a,b,Other,010-1234-5678,,,,\n").encode(), (2, "owner_phone", "phone_taken")),
        (
            (HEADER + GOOD + GOOD.replace("b-01", "b-02").replace(",,,,", ",,,en,")).encode(),
            (3, "lang", "lang_differs"),
        ),
    ],
)
def test_single_faults(store: Store, data: bytes, fault: tuple[int, str, str]) -> None:
    plan = _plan(store, data)
    assert fault in _codes(plan)
    assert all(f.message for f in plan.faults)


def test_one_bad_character_hides_no_other_fault(store: Store) -> None:
    """Every line is read, whatever the one before it holds: nobody mends a list of 400 shops one fault a run."""
    lines = [
        'b-02,"Open,Row 1,Owner,010-1234-0002,,,,',  # never closed
        "b-03,Nu\0l,Row 1,Owner,010-1234-0003,,,,",
        'b-04,"a"b,Row 1,Owner,12345,,,,',
        "b-05,Be\u0007ll,Row 1,Owner,010-1234-0005,,,xx,",
        '"b-06,Last,Row 1,Owner,010-1234-0006',
        "b-07,,Row 1,Owner,010-1234-0007,,,,",
    ]
    text = (HEADER + GOOD + "\r\n".join(lines) + "\n").encode() + b"b-08,\xff\xfe,,Owner,010-1234-0008,,,,\n"
    assert _codes(_plan(store, text)) == {
        (3, "name", "bad_csv"),
        (4, "name", "no_text"),
        (5, "name", "bad_csv"),
        (5, "owner_phone", "bad_phone"),
        (6, "name", "control_character"),
        (6, "lang", "bad_lang"),
        (7, "", "bad_csv"),
        (8, "name", "empty"),
        (9, "name", "no_text"),
        (9, "place", "empty"),
    }


def test_bytes_of_no_encoding_in_a_korean_list(store: Store) -> None:
    text = (HEADER + GOOD.replace("Noodles", "떡집") + "b-02,,Row 2,Owner,010-1234-0002,,,,\n").encode("cp949")
    assert _codes(_plan(store, text.replace(b"Row 1", b"Row \xff"))) == {(2, "place", "no_text"), (3, "name", "empty")}


@pytest.mark.parametrize(
    ("number", "unit"),
    [
        ("A-07", "a-07"),
        ("1-가", "1-ga"),
        ("가동 12호", "gadong-12ho"),
        ("ㄱ-3", "g-3"),
        ("ㅇ-3", "ng-3"),
        ("왕십리 (2층)", "wangsipri-2cheung"),
        ("Ａ－１０１", "a-101"),
        ("12/3", "12-3"),
        ("a--7-", "a--7-"),  # an id, as `bongsu unit add` takes it
        ("\u1100\u1161-1", "ga-1"),  # decomposed, as macOS writes it
    ],
)
def test_shop_numbers(number: str, unit: str) -> None:
    assert shop_number.unit_id(number) == unit
    assert shop_number.unit_id(unit) == unit


@pytest.mark.parametrize("number", ["", " ", ".", "%", "é", "漢", "a\u200b1", "가" * 17])
def test_numbers_of_which_no_id_can_be_made(number: str) -> None:
    with pytest.raises(fields.FieldError):
        shop_number.unit_id(number)


def test_korean_shop_numbers_are_kept_before_the_place(store: Store) -> None:
    text = HEADER + GOOD.replace("b-01", "1-가") + "나동 2호,Two,나동 2호,Owner,010-1234-0001,,,,\n"
    plan = _import(store, text)
    assert [(w.line, w.code) for w in plan.warnings] == [(2, "unit_named"), (3, "unit_named")]
    with store.read() as conn:
        assert registry.show_unit(conn, "hannae", "1-ga")["place"] == "1-가, Row 1"
        assert registry.show_unit(conn, "hannae", "nadong-2ho")["place"] == "나동 2호"


def test_two_numbers_with_one_id(store: Store) -> None:
    plan = _plan(store, HEADER + GOOD.replace("b-01", "1-가") + GOOD.replace("b-01", "1-ga"))
    assert _codes(plan) == {(3, "unit", "duplicate_unit")}


def test_retired_node(store: Store) -> None:
    with store.write() as conn:
        registry.retire_node(conn, node_id=NODE)
    plan = _plan(store, HEADER + GOOD.replace(",,,,", f",,,,{NODE}"))
    assert _codes(plan) == {(2, "node", "node_retired")}


def test_registered_node_without_a_unit_is_placed(store: Store) -> None:
    with store.write() as conn:
        registry.add_node(conn, node_id="0200000000aa", unit=None, label="", now_ms=NOW_MS)
    _import(store, HEADER + GOOD.replace(",,,,", ",,,,0200000000aa"))
    with store.read() as conn:
        assert registry.show_unit(conn, "hannae", "b-01")["nodes"] == ["0200000000aa"]


def test_known_person_is_the_same_contact(store: Store) -> None:
    plan = _import(store, HEADER + "b-01,Noodles,Row 1,Owner,01012345678,,,en,\n")
    assert plan.counts["new_contacts"] == 0
    with store.read() as conn:
        assert registry.show_unit(conn, "hannae", "b-01")["contacts"][0]["id"] == "owner-1"


def test_faults_mask_phone_numbers(store: Store) -> None:
    text = HEADER + "b-01,a,b,Other,010-1234-5678,,,,\nb-02,a,b,Third,010-9999-99999,,,,\n"
    said = " ".join(f.message for f in _plan(store, text).faults)
    said = said.replace("010-1234-5678, or with the country as +82 10 1234 5678", "")  # the form to write it in
    assert "1234-5678" not in said and "12345678" not in said and "9999" not in said


def test_unknown_site(store: Store) -> None:
    with pytest.raises(registry.RegistryError, match="no site"), store.read() as conn:
        shop_import.make_plan(conn, "elsewhere", (HEADER + GOOD).encode())


def test_a_plan_with_faults_is_not_executed(store: Store) -> None:
    plan = _plan(store, "nonsense")
    with pytest.raises(ValueError, match="faults"), store.write() as conn:
        shop_import.execute(conn, plan, now_ms=NOW_MS)


def test_importing_twice_changes_nothing(store: Store) -> None:
    text = (DATA / "market_en.csv").read_bytes()
    _import(store, text)
    before = _everything(store)
    plan = _import(store, text)
    assert (plan.counts["unchanged"], plan.counts["added"], plan.counts["changed"]) == (4, 0, 0)
    assert _everything(store) == before


def test_a_giant_header_and_faults_without_end_are_cut_short() -> None:
    lines, faults = csv_file.parse(b",".join(b"x%d" % i for i in range(100_000)))
    assert not lines and [f.code for f in faults] == ["too_many_columns"]
    _, faults = csv_file.parse(b"unit,name,place,owner,owner_phone\n" + b"a\n" * 1_000)
    assert len(faults) == csv_file.FAULTS_MAX + 1 and faults[-1].code == "too_many_faults"
