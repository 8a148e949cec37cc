"""The bench: what the tools are told for a board, and what of their answers goes into the record."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bongsu.cli import device_flash, device_provision
from bongsu.errors import BongsuError
from bongsu.install import bench as benches
from bongsu.install import esptool, flash, provision_words
from bongsu.install.bench import Kit, Labels, SerialBench
from bongsu.install.boards import Board, BoardError
from bongsu.install.commission import CommissionError, Found, Place
from bongsu.install.esptool_output import ChipFound, FlashError
from bongsu.install.flash import FlashPlan
from bongsu.install.label import LabelText, size_of
from bongsu.install.provision import Network, Provisioned, Request
from tests.image_parts import whole

PORT = "rfc2217://rig:4000"
NODE = "a0b1c2d3e4f5"
FOUND = Found(NODE, "esp32-devkitc", "ESP32")
PLACE = Place(("hannae", "a-07"), "ceiling", ("sht4x",), "home")
WIFI = (Network("market", "pass4market"),)


class Registry:
    """As provisioning sees the store."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        self.checked: list[tuple[str, Request, str]] = []

    def unheard(self) -> str:
        return self.why

    def check(self, node_id: str, request: Request, board: Board) -> None:
        self.checked.append((node_id, request, board.name))


def kit(tmp_path: Path, registry: Registry | None = None, **more: Any) -> Kit:
    return Kit(
        data=tmp_path,
        registry=registry or Registry(),  # type: ignore[arg-type]
        request=Request(wifi=WIFI, profile="market_dry", reading_s=60),
        labels=more.pop("labels", Labels(None, size_of("62"))),
        **more,
    )


def quiet(said: str, done: int, total: int) -> None:
    pass


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))


def behind(monkeypatch: pytest.MonkeyPatch, chip: str = "esp32", flash_mb: int | None = 4) -> None:
    found = ChipFound(chip, NODE, flash_mb, f"{chip.upper()} (revision v3.1)")
    monkeypatch.setattr(esptool, "identify", lambda url: found)


# ---- who is there


def test_the_board_is_as_named_or_as_before_or_by_its_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind(monkeypatch)
    named = SerialBench(PORT, kit(tmp_path, board="ttgo-lora32-v2-1")).find(quiet)
    assert (named.node_id, named.board, named.title) == (NODE, "ttgo-lora32-v2-1", "ESP32 (revision v3.1)")
    before = SerialBench(PORT, kit(tmp_path, before=lambda node: "esp32-devkitc" if node == NODE else None))
    assert before.find(quiet).board == "esp32-devkitc"
    with pytest.raises(BoardError, match="several boards have the chip esp32"):
        SerialBench(PORT, kit(tmp_path)).find(quiet)
    behind(monkeypatch, "esp32c3")
    assert SerialBench(PORT, kit(tmp_path)).find(quiet).board == "esp32-c3-devkitm-1"


def test_another_chip_and_too_small_a_flash_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind(monkeypatch, "esp32s3", 8)
    with pytest.raises(BoardError, match="esp32-devkitc has the chip esp32"):
        SerialBench(PORT, kit(tmp_path, board="esp32-devkitc")).find(quiet)
    behind(monkeypatch, flash_mb=2)
    with pytest.raises(FlashError, match="2 MB of flash, not the 4 MB"):
        SerialBench(PORT, kit(tmp_path, board="esp32-devkitc")).find(quiet)


def test_what_would_hinder_provisioning_is_asked_before_anything_is_done(tmp_path: Path) -> None:
    registry = Registry()
    SerialBench(PORT, kit(tmp_path, registry)).check(FOUND, PLACE)
    ((node, request, board),) = registry.checked
    assert (node, board) == (NODE, "esp32-devkitc")
    assert (request.node_id, request.board, request.unit, request.label) == (NODE, board, PLACE.unit, "ceiling")
    assert (request.sensors, request.profile, request.reading_s) == (("sht4x",), "home", 60)
    assert request.wifi == WIFI and "pass4market" not in repr(request)
    with pytest.raises(CommissionError, match="nobody would hear the board: no receiver runs"):
        SerialBench(PORT, kit(tmp_path, Registry("no receiver runs"))).check(FOUND, PLACE)


# ---- MicroPython


def test_what_is_on_the_board_is_compared_and_only_written_if_it_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "own.bin"
    image.write_bytes(whole())
    asked: list[FlashPlan] = []
    written: list[FlashPlan] = []
    there = False

    def holds(todo: FlashPlan) -> bool:
        asked.append(todo)
        return there

    def run(todo: FlashPlan, progress: Any) -> flash.Flashed:
        written.append(todo)
        progress("write", 1, 2)
        return flash.Flashed(todo.image.name, todo.image.sha256, NODE, 9, "esp32", 4)

    monkeypatch.setattr(flash, "holds", holds)
    monkeypatch.setattr(flash, "run", run)
    told: list[str] = []
    bench = SerialBench(PORT, kit(tmp_path, image=image))
    done = bench.flash(FOUND, lambda said, *_: told.append(said))
    assert (done.image, done.known_by, done.already) == ("own.bin", "your own image", False)
    assert written[0].erase and not asked[0].erase and len(done.image_sha256) == 64
    assert told == ["compare the flash with the image", "write the image"]
    there = True
    assert bench.flash(FOUND, quiet).already and len(written) == 1


def test_without_a_network_nothing_is_erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the board knows would go with its flash; one that has its image keeps them."""
    image = tmp_path / "own.bin"
    image.write_bytes(whole())
    there = False
    monkeypatch.setattr(flash, "holds", lambda todo: there)
    monkeypatch.setattr(flash, "run", lambda todo, progress: pytest.fail("it was erased"))
    without = replace(kit(tmp_path, image=image), request=Request())
    with pytest.raises(CommissionError, match="no Wi-Fi network is named"):
        SerialBench(PORT, without).flash(FOUND, quiet)
    there = True
    assert SerialBench(PORT, without).flash(FOUND, quiet).already


def test_a_board_that_cannot_be_asked_is_not_erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.bin").write_bytes(whole())

    def holds(todo: FlashPlan) -> bool:
        raise FlashError("the line to the board is disturbed", "")

    monkeypatch.setattr(flash, "holds", holds)
    monkeypatch.setattr(flash, "run", lambda *_: pytest.fail("it was erased"))
    with pytest.raises(FlashError, match="disturbed"):
        SerialBench(PORT, kit(tmp_path, image=tmp_path / "own.bin")).flash(FOUND, quiet)


def test_left_as_it_is_micropython_is_not_looked_at(tmp_path: Path) -> None:
    done = SerialBench(PORT, kit(tmp_path, leave=True)).flash(FOUND, quiet)
    assert done.left and done.image == "MicroPython as it is"


# ---- what makes it a node


class Link:
    def __init__(self, url: str) -> None:
        assert url == PORT

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_provisioning_is_told_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def provision(link: Link, registry: Registry, request: Request, progress: Any) -> Provisioned:
        asked.append(request)
        progress("key", 0, 1)
        progress("heartbeat: it is cold", 0, 1)
        return Provisioned(
            NODE, "esp32-devkitc", 3, True, False, False, 80_123, 9, 12, "ab" * 32, "m", "1.25.0", 5, True, 1, -50
        )

    monkeypatch.setattr(benches, "BoardLink", Link)
    monkeypatch.setattr(benches, "provision", provision)
    told: list[str] = []
    settled = SerialBench(PORT, kit(tmp_path)).provision(FOUND, PLACE, lambda said, *_: told.append(said))
    assert (settled.epoch, settled.new_key, settled.bytes_copied, settled.already) == (3, True, 80_123, False)
    assert settled.taken_over
    assert (
        asked[0].unit == PLACE.unit
        and asked[0].wait_s > 0
        and told == ["write the key", "wait for the first heartbeat: it is cold"]
    )


# ---- labels


class Desk:
    def label_words(self, node_id: str, day: dt.date) -> LabelText:
        return LabelText(node_id, "hannae/a-07", "Rice", "A 7", "ceiling", day)


def test_labels_go_into_a_folder_a_file_or_all_together(tmp_path: Path) -> None:
    size, desk = size_of("62"), Desk()
    made = Labels(tmp_path / "all", size).make(desk, NODE)  # type: ignore[arg-type]
    assert made == str(tmp_path / "all" / f"{NODE}.png") and Path(made).read_bytes().startswith(b"\x89PNG")
    assert Labels(None, size).make(desk, NODE) is None  # type: ignore[arg-type]
    sheet = Labels(tmp_path / "all.pdf", size, together=True)
    assert sheet.make(desk, NODE) == f"goes onto {tmp_path / 'all.pdf'}"  # type: ignore[arg-type]
    assert not (tmp_path / "all.pdf").exists()
    sheet.save_all([])
    sheet.save_all([desk.label_words(NODE, dt.date(2026, 3, 1)), desk.label_words("a0b1c2d3e4f6", dt.date(2026, 3, 1))])
    assert (tmp_path / "all.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(BongsuError):
        Labels(tmp_path / "x.doc", size).make(desk, NODE)  # type: ignore[arg-type]


def test_every_step_has_its_words() -> None:
    assert not {*flash.STEPS, *provision_words.STEPS} - {*benches.WORDS}
    assert not {*flash.STEPS} - {*device_flash.TITLES} and not {*provision_words.STEPS} - {*device_provision.TITLES}
