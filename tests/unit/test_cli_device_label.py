"""`bongsu device label`: from the registry to files and a printer."""

import datetime as dt
import json
from pathlib import Path

import pytest
from PIL import Image

from bongsu.install import label
from bongsu.receiver import commissioning
from tests.label_parts import QlPrinter, codes, pages
from tests.registry_parts import bongsu, new_store, on_this_engine

NODES = ("a0b1c2d3e4f5", "a0b1c2d3e4f6")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BONGSU_DATA", str(tmp_path / "m"))
    assert bongsu("init", *on_this_engine(tmp_path / "m")).code == 0
    assert bongsu("site", "add", "hannae", "--name", "Hannae").code == 0
    assert bongsu("site", "add", "empty", "--name", "Empty").code == 0
    assert bongsu("unit", "add", "hannae/a-07", "--name", "Rice").code == 0
    for node in NODES:
        assert bongsu("node", "add", node, "--unit", "hannae/a-07").code == 0
    return tmp_path / "m"


def test_one_file_of_each_kind(tmp_path: Path) -> None:
    out = tmp_path / "labels"
    ran = bongsu("device", "label", NODES[0], "--out", out / "l.png", "--json")
    assert ran.code == 0 and json.loads(ran.out)["files"] == [str(out / "l.png")]
    assert codes(Image.open(out / "l.png")) == [f"bongsu:1:{NODES[0]}:hannae/a-07"]
    assert bongsu("device", "label", "--site", "hannae", "--out", out / "l.pdf", "--first", 3).code == 0
    (page,) = pages((out / "l.pdf").read_bytes())
    assert len(codes(page)) == 2
    assert bongsu("device", "label", *NODES, "--size", "29x90", "--out", out / "l.ql").code == 0
    assert len(QlPrinter().take((out / "l.ql").read_bytes())) == 2
    assert bongsu("device", "label", "--site", "hannae", NODES[0], "--out", out).code == 0
    assert {path.name for path in out.glob("a*.png")} == {f"{node}.png" for node in NODES}


def test_a_printer_gets_the_job(tmp_path: Path) -> None:
    device = tmp_path / "lp0"
    device.touch()
    ran = bongsu("device", "label", NODES[0], "--printer", device, "--date", "2026-03-01")
    assert ran.code == 0 and "Sent 1" in ran.out
    assert len(QlPrinter().take(device.read_bytes())) == 1


def test_the_date_is_that_of_its_commissioning(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done_ms = 1_772_000_000_000
    with new_store(data) as store, store.write() as conn:
        number = commissioning.begin(
            conn, NODES[0], unit=("hannae", "a-07"), board="b", installer="kim", version="1", now_ms=done_ms
        )
        for step in commissioning.STEPS:
            commissioning.note(conn, number, step, commissioning.DONE, at_ms=done_ms, took_ms=1)
        commissioning.finish(conn, number, actor="kim", now_ms=done_ms)
    days: list[dt.date] = []
    draw = label.draw
    monkeypatch.setattr(label, "draw", lambda text, *more: days.append(text.day) or draw(text, *more))
    assert bongsu("device", "label", *NODES, "--out", tmp_path / "l.pdf").code == 0
    assert bongsu("device", "label", NODES[0], "--date", "2026-03-01", "--out", tmp_path / "l.png").code == 0
    assert days == [dt.datetime.fromtimestamp(done_ms / 1000).date(), dt.date.today(), dt.date(2026, 3, 1)]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        ([NODES[0]], 2),
        (["--out", "l.png"], 2),
        ([NODES[0], "--out", "l.gif"], 2),
        ([*NODES, "--out", "l.png"], 2),
        ([NODES[0], "--out", "l.png", "--size", "12"], 2),
        ([NODES[0], "--out", "l.png", "--date", "soon"], 2),
        (["nonsense", "--out", "l.png"], 2),
        (["a0b1c2d3e400", "--out", "l.png"], 1),
        (["--site", "nowhere", "--out", "l.png"], 1),
        (["--site", "empty", "--out", "l.png"], 1),
        ([NODES[0], "--printer", "nothing-here"], 1),
    ],
)
def test_wrong_words_and_things_that_are_not_there(
    words: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = bongsu("device", "label", *words)
    assert ran.code == code, ran.err
    assert not list(tmp_path.glob("l.*"))


def test_a_file_where_a_folder_should_be_is_told_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = bongsu("device", "label", NODES[0], "--out", tmp_path / "file" / "l.png")
    assert ran.code == 1 and f"{tmp_path / 'file'}: " in ran.err and "next: " in ran.err
