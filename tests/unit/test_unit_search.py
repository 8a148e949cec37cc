"""A unit is found by its address, its number as painted, its stall or its name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bongsu.errors import UsageFault
from bongsu.receiver import registry
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import Store
from bongsu.receiver.unit_search import find_unit
from tests.registry_parts import NOW_MS, fill, new_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        with made.write() as conn:
            registry.add_site(conn, site_id="nam", name="남", kind="market", address="", tz="Asia/Seoul", now_ms=NOW_MS)
            for unit, name, stall in (("a-07", "떡집", ""), ("1-ga", "생선", "12"), ("b-01", "떡집 둘", "")):
                registry.add_unit(conn, site_id="nam", unit_id=unit, name=name, place="1층", stall=stall, now_ms=NOW_MS)
        yield made


@pytest.mark.parametrize(
    ("text", "site", "found"),
    [
        ("hannae/a-07", None, "hannae/a-07"),
        (" nam/A-07 ", None, "nam/a-07"),
        ("A-07", "nam", "nam/a-07"),
        ("1-가", None, "nam/1-ga"),
        ("12", None, "nam/1-ga"),
        ("fish", None, "hannae/a-08"),
        ("봉수", None, "hannae/a-07"),
        ("떡집", "nam", "nam/a-07"),  # the whole name goes before a part of one
        ("둘", None, "nam/b-01"),
        ("1층", "hannae", None),
    ],
)
def test_it_is_found(store: Store, text: str, site: str | None, found: str | None) -> None:
    with store.read() as conn:
        if found is None:
            with pytest.raises(RegistryError, match="no unit of site hannae is called"):
                find_unit(conn, text, site)
        else:
            assert "/".join(find_unit(conn, text, site)) == found


def test_several_are_listed(store: Store) -> None:
    with store.read() as conn:
        with pytest.raises(RegistryError, match=r"2 units fit .*hannae/a-07 봉수 떡집; nam/a-07 떡집") as caught:
            find_unit(conn, "a-07")
        assert caught.value.next_step == "Name one by its address: --unit hannae/a-07"
        with pytest.raises(RegistryError, match="no unit hannae/z-1"):
            find_unit(conn, "hannae/z-1")
        with pytest.raises(UsageFault):
            find_unit(conn, "  ")
        with pytest.raises(RegistryError, match="no site"):
            find_unit(conn, "x", "elsewhere")
