"""Images: whole, for this chip, of a size that fits, or refused with what is wrong."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.install.boards import load_board
from bongsu.install.image import ImageError, check
from tests import image_parts
from tests.image_parts import PARTITIONS, REAL_SHA256, program, real_image, table, whole

BOARD = load_board("esp32-devkitc")
MB = 1 << 20


def test_a_real_image() -> None:
    data = real_image().read_bytes()
    assert hashlib.sha256(data).hexdigest() == REAL_SHA256 == BOARD.image.sha256
    image = check(data, BOARD)
    assert (image.offset, image.size, image.chip_id) == (0x1000, 1_702_240, 0)
    assert [p.name for p in image.partitions] == ["nvs", "phy_init", "factory", "vfs"]
    layout = BOARD.flash
    assert (image.nvs.offset, image.nvs.size) == (layout.nvs_offset, layout.nvs_size)
    assert image.vfs is not None
    assert (image.vfs.offset, image.vfs.size) == (layout.vfs_offset, layout.vfs_size)
    assert image.app.offset == 0x10000


@pytest.mark.parametrize(
    "board", ["esp32-c3-devkitm-1", "esp32-c6-devkitc-1", "esp32-s3-devkitc-1"]
)  # fmt: skip
def test_a_real_image_for_another_chip(board: str) -> None:
    with pytest.raises(ImageError, match="the image is for ESP32, and this board has ESP32-") as e:
        check(real_image().read_bytes(), load_board(board))
    assert "--board" in e.value.next_step


def test_a_real_image_for_an_esp8266() -> None:
    with pytest.raises(ImageError, match="is for another chip"):
        check(real_image("ESP8266_GENERIC-20250415-v1.25.0.bin").read_bytes(), BOARD)


@pytest.mark.parametrize("chip", ["esp32", "esp32s3", "esp32c3", "esp32c6"])
def test_each_chip_has_its_place_and_id(chip: str) -> None:
    boards = {"esp32": "esp32-devkitc", "esp32s3": "esp32-s3-devkitc-1", "esp32c3": "esp32-c3-devkitm-1"}
    board = load_board(boards.get(chip, "esp32-c6-devkitc-1"))
    image = check(whole(chip), board)
    assert image.offset == board.flash.offset == image_parts.CHIPS[chip][1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no image for an ESP32"),
        (b"#!/usr/bin/env python3\n" * 1000, "no image for an ESP32"),
        (whole()[:8], "damaged: its boot loader: it ends too early"),
        (whole()[:300], "damaged: its boot loader: it ends too early"),
        (whole()[: 0xF000 + 100], "damaged: its program: it ends too early"),
        (whole()[:-1], "damaged: its program: it ends too early"),
        (whole()[:-33], "damaged: its program: it ends too early"),
        (whole()[: 0xF000 - 1], "its program missing"),
        (whole()[:0x7000] + b"\xff" * 0xC00 + whole()[0x7C00:], "no partition table"),
        (program(0, b"MicroPython" * 10_000), "no partition table"),
        (whole().replace(b"MicroPython", b"MacroPython", 1), "damaged: its program: its checksum is wrong"),
        (whole().replace(b"boot loader", b"boat loader", 1), "damaged: its boot loader: its checksum is wrong"),
        (whole()[:-1] + bytes([whole()[-1] ^ 1]), "damaged: its program: its digest is wrong"),
        (whole(hashed=False), "cannot be checked: its program carries no digest"),
        (whole().replace(b"\xeb\xeb", b"\xeb\xea"), "its partition table: no entry begins with 0xeaeb"),
        (whole().replace(b"factory", b"fActory"), "damaged: its partition table: its digest is wrong"),
        (whole(partitions=PARTITIONS[1:]), "no place for keys"),
        (whole(partitions=PARTITIONS[:2]), "no place for keys"),
        (whole(partitions=(*PARTITIONS[:3], ("vfs", 1, 0x81, 0x200000, 0x600000))), "larger flash than 4 MB: vfs"),
        (whole(partitions=(*PARTITIONS[:2], ("factory", 0, 0, 0x10000, 0x1000))), "larger than its partition"),
        (whole() + bytes(4 * MB), "the flash holds 4 MB"),
        (b"\xe9\x00" + whole()[2:], "cannot have 0 segments"),
        (b"\xe9\xff" + whole()[2:], "cannot have 255 segments"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as e:
        check(data, BOARD)
    assert e.value.next_step


def test_a_table_that_is_full_needs_no_end() -> None:
    rows = tuple((f"p{i}", 1, 0x40, 0x3F0000, 0x1000) for i in range(0xC00 // 32 - len(PARTITIONS)))
    full = table((*PARTITIONS, *rows))[:0xC00]
    data = whole()
    assert len(check(data[:0x7000] + full + data[0x7000 + 0xC00 :], BOARD).partitions) == 0xC00 // 32


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_no_byte_of_a_program_can_be_changed_unnoticed(data: st.DataObject) -> None:
    """In the boot loader, the table and the program; between them nothing counts."""
    sound = whole(body=b"MicroPython " * 20)
    boot_end = 24 + 8 + 440 + 8 + 32
    spans = [(0, boot_end), (0x7000, 0x7000 + 5 * 32), (0xF000, len(sound))]
    start, end = data.draw(st.sampled_from(spans))
    at = data.draw(st.integers(start, end - 1))
    torn = bytearray(sound)
    torn[at] ^= data.draw(st.integers(1, 255))
    if at in range(0x7000 + 4 * 32 + 2, 0x7000 + 4 * 32 + 16):
        return  # the filling before the table's MD5
    with pytest.raises(ImageError):
        check(bytes(torn), BOARD)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_nothing_that_begins_like_an_image_raises_anything_else(rest: bytes) -> None:
    with pytest.raises(ImageError):
        check(b"\xe9" + rest, BOARD)
