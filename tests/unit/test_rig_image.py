"""The image that a rig's chip can be given without esptool, judged by who has to read it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bongsu.install import image as install_image
from bongsu.install.boards import board_names, load_board
from bongsu.resources import resources
from bongsu.sim.rig import image
from bongsu.sim.rig.chip import ChipFlash

BOARDS = board_names(resources().boards)


def _whole(board: str) -> tuple[bytes, int]:
    """The image in one piece, and where it goes."""
    parts = image.stock_image(load_board(board))
    start = min(parts)
    whole = bytearray(b"\xff" * (max(offset + len(data) for offset, data in parts.items()) - start))
    for offset, data in parts.items():
        whole[offset - start : offset - start + len(data)] = data
    return bytes(whole), start


@pytest.mark.parametrize("board", BOARDS)
def test_it_is_an_image_for_the_board(board: str) -> None:
    data, start = _whole(board)
    known = load_board(board)
    found = install_image.check(data, known)
    assert (found.offset, found.chip_id) == (start, known.chip.image_id)
    assert (found.nvs.offset, found.nvs.size) == (known.flash.nvs_offset, known.flash.nvs_size)
    assert found.vfs is not None
    assert (found.vfs.offset, found.vfs.size) == (known.flash.vfs_offset, known.flash.vfs_size)


@pytest.mark.parametrize("board", ["esp32-devkitc", "esp32-c6-devkitc-1"])
def test_esptool_finds_its_checksum_and_digest_valid(board: str, tmp_path: Path) -> None:
    file = tmp_path / "image.bin"
    file.write_bytes(image.stock_image(load_board(board))[image.APP])
    said = subprocess.run(
        [sys.executable, "-m", "esptool", "image-info", str(file)], capture_output=True, text=True, check=True
    ).stdout
    assert f"Detected image type: {load_board(board).chip.name.upper().replace('ESP32C', 'ESP32-C')}" in said
    assert "micropython" in said
    assert said.count("(valid)") == 2, said


def test_a_chip_boots_what_is_whole_and_nothing_else(tmp_path: Path) -> None:
    flash = ChipFlash(tmp_path, load_board("esp32-devkitc"))
    assert not flash.bootable()
    flash.put_stock_image()
    assert flash.bootable()
    flash.chip.program(image.APP + 32, b"\0")  # one byte of the app is torn
    assert not flash.bootable()


def test_nvs_goes_with_its_partition_and_files_stay(tmp_path: Path) -> None:
    board = load_board("esp32-devkitc")
    flash = ChipFlash(tmp_path, board)
    flash.put_stock_image()
    flash.file_system.format([])
    flash.file_system.write({"/kept": b"x"})
    nvs = tmp_path / "nvs.bin"
    nvs.write_text("{}")
    flash.chip.erase(board.flash.vfs_offset - 4096, 4096)  # the end of the app's
    assert nvs.exists()
    flash.chip.erase(board.flash.nvs_offset, 4096)
    assert not nvs.exists()
    assert flash.file_system.read("/kept") == b"x"
