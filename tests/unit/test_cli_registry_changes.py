"""The commands that change the registry, as people type them: what they print, exit codes, what they leave alone."""

import json
import stat
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bongsu.receiver.store import schema
from tests.registry_parts import NODE, Ran, bongsu, fill, new_store, on_this_engine

PHONES = [f"010-{2000 + i // 10_000}-{i % 10_000:04d}" for i in range(10_000)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one market."""
    folder = tmp_path / "data"
    assert bongsu("init", "--data", folder, *on_this_engine(folder)).code == 0
    with new_store(folder) as store:
        fill(store)
    return folder


def _json(ran: Ran) -> object:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def _audit(data: Path) -> list[tuple[str, str]]:
    with new_store(data) as store, store.read() as conn:
        return [(r.action, r.subject) for r in conn.execute(select(schema.audit).order_by(schema.audit.c.id))]


def test_a_day_at_the_desk(data: Path) -> None:
    for words, says in (
        (("site", "edit", "hannae", "--area", "강서구"), "area: - -> 강서구"),
        (("unit", "edit", "hannae/a-07", "--floor", "B1", "--hours", "월-토 9:00-21:00"), "floor: - -> B1"),
        (("unit", "edit", "hannae/a-07", "--floor", "B1"), "nothing to change"),
        (("contact", "edit", "owner-1", "--phone", "010-9999-8888"), "010-****-5678 -> 010-****-8888"),
        (("node", "edit", NODE, "--label", "oven"), "label: - -> oven"),
        (("node", "move", NODE, "hannae/a-08"), "is now in hannae/a-08"),
        (
            ("unit", "bulk", "--site", "hannae", "--match", "a-*", "--set", "floor=2", "--dry-run"),
            "Would change 2 of 2",
        ),
        (("unit", "bulk", "--site", "hannae", "--match", "a-07", "--set", "stall=가-1"), "Changed 1 of 1"),
        (("duty", "add", "night", "--contact", "owner-1", "--hours", "00:00-24:00"), "Added duty night"),
        (("duty", "now", "hannae"), "owner-1"),
        (("duty", "list", "--site", "hannae"), "mon-sun"),
        (("duty", "remove", "night"), "Removed duty night"),
        (("unit", "merge", "hannae/a-08", "hannae/a-07"), "1 nodes, 0 contacts"),
        (("node", "unassign", NODE), "in no unit"),
    ):
        ran = bongsu(*words, "--data", data)
        assert ran.code == 0 and says in ran.out, (words, ran)
    unit = _json(bongsu("unit", "show", "hannae/a-07", "--json", "--data", data))
    assert isinstance(unit, dict)
    assert (unit["floor"], unit["stall"], unit["hours"]) == ("B1", "가-1", "mon-sat 09:00-21:00; closed sun")
    assert {"site.edit", "unit.edit", "contact.edit", "node.edit", "duty.remove", "unit.merge"} <= {
        action for action, _ in _audit(data)
    }


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["site", "edit", "hannae"], 2, "nothing to change is named"),
        (["site", "edit", "nowhere", "--name", "x"], 1, "no site"),
        (["site", "remove", "hannae"], 1, "bongsu unit remove hannae/a-07"),
        (["unit", "remove", "hannae/a-07"], 1, "bongsu node move"),
        (["unit", "edit", "hannae/a-07", "--lat", "37"], 2, "belong together"),
        (["unit", "edit", "hannae/a-07", "--hours", "mon 9-5"], 2, "Write them as 09:00-21:00"),
        (["unit", "bulk", "--site", "hannae", "--set", "name=x"], 2, "fields: place, floor"),
        (["contact", "remove", "owner-1"], 1, "--force"),
        (["contact", "merge", "owner-1", "nobody"], 1, "no contact"),
        (["duty", "add", "x", "--contact", "nobody"], 1, "no contact"),
        (["duty", "add", "x", "--contact", "owner-1", "--days", "someday"], 2, "mon-fri"),
        (["responder", "edit", "x", "--name", "y"], 1, "no responder"),
        (["export", "--site", "hannae", "--out", "shops.ods"], 2, "neither .csv nor .xlsx"),
        (["node", "bulk", "missing.csv"], 1, "cannot read"),
    ],
)
def test_refusals_say_what_to_do(data: Path, words: list[str], code: int, says: str) -> None:
    before = _audit(data)
    ran = bongsu(*words, "--data", data)
    assert (ran.code, ran.out) == (code, "") and says in ran.err
    assert _audit(data) == before


def test_a_site_without_a_station_is_warned_of(data: Path) -> None:
    for words in (("site", "list"), ("site", "show", "hannae"), ("site", "edit", "hannae", "--area", "x")):
        assert "no fire station is told of fires in hannae" in bongsu(*words, "--data", data).err
    added = ("--kind", "station", "--name", "x", "--url", "https://x.example/", "--area", "X")
    assert bongsu("responder", "add", "119", *added, "--data", data).code == 0
    ran = bongsu("site", "list", "--data", data)
    assert ran.err == "" and "119" in ran.out
    assert _json(bongsu("responder", "show", "119", "--json", "--data", data))["covers"] == ["hannae"]  # type: ignore[index]
    assert bongsu("responder", "remove", "119", "--data", data).code == 1
    assert (data / "secrets" / "119.whsec").exists()
    assert bongsu("responder", "remove", "119", "--force", "--data", data).code == 0
    assert not (data / "secrets" / "119.whsec").exists()


def test_export_masks_unless_told_and_that_is_audited(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "shops.csv"
    words = ("unit", "add", "hannae/b-01", "--name", "=cmd", "--place", "x")
    assert bongsu(*words, "--data", data).code == 0
    assert bongsu("export", "--site", "hannae", "--out", out, "--data", data).code == 0
    text = out.read_text("utf-8-sig")
    assert "010-****-5678" in text and "1234-5678" not in text and "'=cmd" in text
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "phone.unmasked" not in dict(_audit(data))
    assert bongsu("export", "--site", "hannae", "--out", out, "--data", data).code == 1  # it overwrites nothing
    printed = bongsu("export", "--site", "hannae", "--out", "-", "--unmasked", "--data", data)
    assert "010-1234-5678" in printed.out and ("phone.unmasked", "site:hannae") in _audit(data)
    # Worked on and taken in again: only what differs changes, and a masked number is that of who is there.
    out.write_text(text.replace("A동 7호", "A동 8호"), "utf-8-sig")
    dry = bongsu("import", out, "--site", "hannae", "--dry-run", "--data", data)
    assert "A동 7호  A동 8호" in dry.out and "0 added, 1 changed, 2 unchanged, 0 removed" in dry.out
    assert bongsu("import", out, "--site", "hannae", "--data", data).code == 0
    again = _json(bongsu("import", out, "--site", "hannae", "--json", "--data", data))
    assert isinstance(again, dict) and (again["changed"], again["unchanged"], again["changes"]) == (0, 3, [])


def test_what_a_list_does_not_name_is_removed_only_if_asked(data: Path, tmp_path: Path) -> None:
    shops = tmp_path / "shops.csv"
    shops.write_text("unit,name,place,owner,owner_phone\na-08,Fish,A 8,Fisher,010-1234-0001\n")
    words = ("import", shops, "--site", "hannae", "--data", data)
    assert "0 removed" in bongsu(*words).out
    refused = bongsu(*words, "--remove-missing")
    assert refused.code == 1 and f"unit a-07 is not in the list, but has nodes ({NODE})" in refused.out
    assert bongsu("node", "unassign", NODE, "--data", data).code == 0
    dry = bongsu(*words, "--remove-missing", "--dry-run")
    assert "a-07  (removed)" in dry.out and bongsu("unit", "show", "hannae/a-07", "--data", data).code == 0
    assert "1 removed" in bongsu(*words, "--remove-missing").out
    assert bongsu("unit", "show", "hannae/a-07", "--data", data).code == 1


def test_a_large_market_takes_seconds(data: Path, tmp_path: Path) -> None:
    """10,000 shops with nodes. The bound is wide, for a busy machine; one statement a shop took minutes."""
    lines = [f"s-{i},Shop {i},Row {i},Owner {i},{PHONES[i]},,02{i:010x}" for i in range(10_000)]
    shops = tmp_path / "shops.csv"
    shops.write_text("unit,name,place,owner,owner_phone,floor,node\n" + "\n".join(lines) + "\n")
    began = time.process_time()
    assert "10000 added" in bongsu("import", shops, "--site", "hannae", "--data", data).out
    assert time.process_time() - began < 20
    with new_store(data) as store, store.read() as conn:
        assert conn.execute(select(func.count()).select_from(schema.node_live)).scalar_one() == 10_001
