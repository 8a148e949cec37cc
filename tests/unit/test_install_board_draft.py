"""A new board's file: what is written is what was meant, whole or not at all, and over nothing that is there."""

import errno
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bongsu.errors import BongsuError
from bongsu.install import board_draft, boards
from bongsu.install.boards import BoardError, board_names, load_board, read_chip
from bongsu.resources import resources

WORDS = st.text(st.characters(exclude_categories=("Cs",)))


def _good(name: str = "mine") -> dict[str, Any]:
    return board_draft.begin_like(name, resources().boards / "esp32-devkitc.toml")


@given(title=WORDS, key=WORDS, why=WORDS, header=st.lists(st.integers(0, 48)), flag=st.booleans())
def test_what_is_written_is_read_again(title: str, key: str, why: str, header: list[int], flag: bool) -> None:
    raw = {**_good(), "title": title, "reasons": {key: why}, "header": header, "on_silicon": flag}
    assert tomllib.loads(board_draft.text(raw)) == raw


@pytest.mark.parametrize("name", board_names())
def test_every_board_survives_being_written(name: str, tmp_path: Path) -> None:
    raw = board_draft.begin_like("copy", resources().boards / f"{name}.toml")
    assert tomllib.loads(board_draft.text(raw)) == raw
    path = board_draft.save(raw, tmp_path / "new" / "folder", force=False)
    copy, old = load_board(str(path)), load_board(name)
    assert (copy.pins, copy.radio, copy.flash, copy.sensors) == (old.pins, old.radio, old.flash, old.sensors)
    assert [file.name for file in path.parent.iterdir()] == ["copy.toml"]


@pytest.mark.parametrize(
    ("chip", "flash_mb", "psram", "image"),
    [
        ("esp32", 4, "none", "ESP32_GENERIC-20250415-v1.25.0.bin"),
        ("esp32", 4, "quad", "ESP32_GENERIC-SPIRAM-20250415-v1.25.0.bin"),
        ("esp32", 16, "none", "ESP32_GENERIC-20250415-v1.25.0.bin"),
        ("esp32s3", 4, "quad", "ESP32_GENERIC_S3-FLASH_4M-20250415-v1.25.0.bin"),
        ("esp32s3", 4, "none", "ESP32_GENERIC_S3-FLASH_4M-20250415-v1.25.0.bin"),
        ("esp32s3", 8, "none", "ESP32_GENERIC_S3-20250415-v1.25.0.bin"),
        ("esp32s3", 16, "octal", "ESP32_GENERIC_S3-SPIRAM_OCT-20250415-v1.25.0.bin"),
        ("esp32s3", 4, "octal", None),
        ("esp32c3", 4, "none", "ESP32_GENERIC_C3-20250415-v1.25.0.bin"),
        ("esp32c6", 8, "none", "ESP32_GENERIC_C6-20250415-v1.25.0.bin"),
        ("esp32c6", 2, "none", None),
    ],
)
def test_the_stock_image_for_flash_and_psram(chip: str, flash_mb: int, psram: str, image: str | None) -> None:
    raw: dict[str, Any] = {"flash_mb": flash_mb, "psram": psram}
    board_draft.fit_image(raw, read_chip(chip))
    url = raw.get("image", {}).get("url")
    assert url == (image and f"https://micropython.org/resources/firmware/{image}")
    assert ("sha256" in raw.get("image", {})) == (image == "ESP32_GENERIC-20250415-v1.25.0.bin")


def test_a_bad_draft_is_not_written(tmp_path: Path) -> None:
    raw = _good()
    raw["pins"] = {**raw["pins"], "siren": 34, "lamp": 12}
    with pytest.raises(BoardError) as e:
        board_draft.save(raw, tmp_path / "folder", force=True)
    assert {fault.key for fault in e.value.faults} >= {"pins.siren", "pins.lamp"}
    assert "mine.toml was not written" in e.value.message
    assert not (tmp_path / "folder").exists()


def test_a_file_that_is_there_stays_without_force(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("theirs")
    with pytest.raises(BongsuError, match="is there already"):
        board_draft.save(_good(), tmp_path, force=False)
    assert (tmp_path / "mine.toml").read_text() == "theirs"
    board_draft.save(_good(), tmp_path, force=True)
    assert load_board("mine", tmp_path).name == "mine"


def test_a_file_that_comes_while_ours_is_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(_fd: int) -> None:
        (tmp_path / "mine.toml").write_text("theirs")

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(BongsuError, match="is there already"):
        board_draft.save(_good(), tmp_path, force=False)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    if force:
        (tmp_path / "mine.toml").write_text("old")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BongsuError, match="No space left") as e:
        board_draft.save(_good(), tmp_path, force=force)
    assert "--folder" in e.value.next_step
    assert [file.read_text() for file in tmp_path.iterdir()] == (["old"] if force else [])


def test_a_board_like_a_broken_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[pins")
    with pytest.raises(BoardError, match=r"broken\.toml: is no TOML"):
        board_draft.begin_like("mine", tmp_path / "broken.toml")


def test_while_pins_are_chosen_each_is_judged_as_the_finished_board_would_be() -> None:
    chip = read_chip("esp32")
    raw = _good()
    for key in ("pins.siren", "pins.smoke_adc", "pins.button", "radio.cs"):
        table, _, line = key.partition(".")
        for pin in range(41):
            said = board_draft.objections(raw, chip, key, pin)
            if table == "radio":
                continue
            moved = {**raw, "pins": {**raw["pins"], line: pin}}
            faults = boards.judge(moved, Path("mine.toml"))[1]
            assert bool(said) == any(fault.pin == pin for fault in faults), f"{key} on GPIO{pin}: {said} {faults}"
    assert board_draft.objections(raw, chip, "radio.cs", 25) == [("is siren already", False)]
    assert board_draft.first_free(raw, chip, "radio.cs") == 4
