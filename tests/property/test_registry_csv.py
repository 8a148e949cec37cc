"""Whatever is done to a file: the import names faults or imports every line, and never something in between."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from bongsu.receiver import csv_file, fields, phone, shop_import
from bongsu.receiver.store import Store, schema
from tests.registry_parts import NOW_MS, fill, new_store

DATA = Path(__file__).parents[1] / "data" / "shops"
SOURCES = [(DATA / name).read_bytes() for name in ("market_en.csv", "market_cp949.csv", "market_excel.csv")]
EDIT = st.tuples(
    st.integers(0, 600),
    st.integers(0, 4),
    st.binary(max_size=4) | st.sampled_from([b",", b'"', b"\n", b"\0", b"\xef\xbb\xbf"]),
)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder, new_store(Path(folder)) as made:
        fill(made)
        yield made


class _Undo(Exception):
    pass


def _mutated(source: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, cut, put in edits:
        at %= len(source) + 1
        source = source[:at] + put + source[at + cut :]
    return source


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SOURCES), st.lists(EDIT, max_size=6))
def test_all_or_nothing(store: Store, source: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    data = _mutated(source, edits)
    try:
        with store.write() as conn:
            units = set(conn.execute(select(schema.unit.c.id).where(schema.unit.c.site_id == "hannae")).scalars())
            plan = shop_import.make_plan(conn, "hannae", data)
            lines, _ = csv_file.parse(data)
            if not plan.faults:
                shop_import.execute(conn, plan, now_ms=NOW_MS)
                now = set(conn.execute(select(schema.unit.c.id).where(schema.unit.c.site_id == "hannae")).scalars())
                added = [c.unit for c in plan.changes if c.what == "added"]
                assert now - units == set(added) and len(plan.changes) == len(plan.shops) == len(lines) > 0
            assert all(f.message and f.code and f.line >= 0 for f in plan.faults)
            raise _Undo
    except _Undo:
        pass
    with store.read() as conn:
        assert len(conn.execute(select(schema.unit)).all()) == 2


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_parser_takes_any_bytes(data: bytes) -> None:
    lines, faults = csv_file.parse(data)
    assert lines or faults


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"(\+82|0|)[ -]?1[016789][ -]?[0-9]{3,4}[ -]?[0-9]{4}", fullmatch=True) | st.text(max_size=20))
def test_phone_normal_form_is_stable_and_masked(typed: str) -> None:
    try:
        stored = phone.normal(typed)
    except fields.FieldError:
        return
    assert phone.normal(stored) == stored
    assert stored.startswith("+") and stored[1:].isdigit() and len(stored) <= 16
    masked = phone.masked(stored)
    assert masked.endswith(stored[-4:]) and stored[-8:] not in masked.replace("-", "")


@given(st.text(max_size=30))
def test_masking_never_shows_a_whole_number(text: str) -> None:
    assert sum(c.isdigit() for c in phone.masked(text)) <= 8
