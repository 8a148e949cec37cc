"""The flash of a virtual board is NOR flash."""

from pathlib import Path

import pytest

from bongsu.sim.rig.rom_flash import SECTOR_BYTES, FlashChip

SIZE = 16 * SECTOR_BYTES


@pytest.fixture
def chip(tmp_path: Path) -> FlashChip:
    return FlashChip(tmp_path / "flash.bin", SIZE)


def test_a_new_chip_is_blank(chip: FlashChip) -> None:
    assert chip.read(0, SIZE) == b"\xff" * SIZE == chip.path.read_bytes()


def test_programming_only_clears_bits_and_erasing_sets_them(chip: FlashChip) -> None:
    chip.program(SECTOR_BYTES - 1, b"\xf0\xf0\xf0")
    chip.program(SECTOR_BYTES, b"\x3c")
    assert chip.read(SECTOR_BYTES - 2, 5) == b"\xff\xf0\x30\xf0\xff"
    chip.erase(SECTOR_BYTES, SECTOR_BYTES)
    assert chip.read(SECTOR_BYTES - 2, 5) == b"\xff\xf0\xff\xff\xff"


def test_what_is_on_the_chip_lasts(chip: FlashChip) -> None:
    chip.program(5, b"abc")
    assert FlashChip(chip.path, SIZE).read(4, 5) == b"\xffabc\xff"


def test_each_change_is_told(chip: FlashChip) -> None:
    changes: list[tuple[int, int]] = []
    chip.on_change = lambda offset, size: changes.append((offset, size))
    chip.erase(SECTOR_BYTES, 2 * SECTOR_BYTES)
    chip.program(7, b"abc")
    chip.program(7, b"")
    assert changes == [(SECTOR_BYTES, 2 * SECTOR_BYTES), (7, 3)]


@pytest.mark.parametrize(("offset", "size"), [(SIZE, 1), (0, SIZE + 1), (-1, 1), (0, -1), (1, 1 << 32)])
def test_nothing_is_done_outside_the_chip(chip: FlashChip, offset: int, size: int) -> None:
    assert not chip.holds(offset, size)
    for do in (chip.read, chip.md5, chip.erase):
        with pytest.raises(ValueError, match="not within"):
            do(offset, size)


def test_only_whole_sectors_are_erased(chip: FlashChip) -> None:
    with pytest.raises(ValueError, match="by sectors"):
        chip.erase(1, SECTOR_BYTES)
    with pytest.raises(ValueError, match="by sectors"):
        chip.erase(0, 1)


def test_a_file_of_another_size_is_refused(chip: FlashChip) -> None:
    with pytest.raises(ValueError, match="holds 65536 bytes"):
        FlashChip(chip.path, 2 * SIZE)
    with pytest.raises(ValueError, match="no size"):
        FlashChip(chip.path.with_name("other"), SIZE + 1)
