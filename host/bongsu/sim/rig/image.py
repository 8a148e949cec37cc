"""A small image that a chip boots, for boards that need not be flashed by esptool: the bootloader, the partition table
and the app of the real ones, without their programs.

Formats: Espressif, esptool documentation, "Firmware Image Format"; ESP-IDF Programming Guide, "Partition Tables" and
"App Image Format".
"""

import hashlib
import struct

from bongsu.install.boards import Board

PARTITION_TABLE = 0x8000
APP = 0x10000
_APP_BYTES = 0x1F0000
_PHY = (1, 1, 0xF000, 0x1000, b"phy_init")
_MAGIC = 0xE9
_CHECKSUM_SEED = 0xEF
# Where boot loaders are loaded to, and where the constants of apps appear, whose first segment begins with their
# description.
_LOAD = {"esp32": 0x3FFF0030, "esp32s3": 0x3FCE2810, "esp32c3": 0x3FCD5810, "esp32c6": 0x4086C410}
_CONSTANTS = {"esp32": 0x3F400020, "esp32s3": 0x3C000020, "esp32c3": 0x3C000020, "esp32c6": 0x42000020}
_ENTRY = {"esp32": 0x400805B4, "esp32s3": 0x403C8918, "esp32c3": 0x403CC710, "esp32c6": 0x4086C410}
_SIZE_CODES = {2: 1, 4: 2, 8: 3, 16: 4}


def stock_image(board: Board) -> dict[int, bytes]:
    """What is written to an erased flash: offset -> bytes."""
    return {
        board.chip.image_offset: _image(board, _LOAD, b"second stage boot loader of a virtual board"),
        PARTITION_TABLE: _partition_table(board),
        APP: _image(board, _CONSTANTS, _app_description()),
    }


def _image(board: Board, loaded_to: dict[str, int], content: bytes) -> bytes:
    """One segment of `content`, with checksum and digest."""
    content += bytes(-len(content) % 4)
    head = struct.pack(
        "<BBBBIB3sHBHHIB",
        _MAGIC,
        1,
        2,  # DIO
        _SIZE_CODES[board.flash_mb] << 4,
        _ENTRY[board.chip.name],
        0xEE,  # no write protect pin
        bytes(3),
        board.chip.image_id,
        0,
        0,
        399,  # up to any revision
        0,
        1,  # a digest follows
    )
    body = head + struct.pack("<II", loaded_to[board.chip.name], len(content)) + content
    body += bytes(15 - len(body) % 16)
    checksum = _CHECKSUM_SEED
    for byte in content:
        checksum ^= byte
    body += bytes([checksum])
    return body + hashlib.sha256(body).digest()


def _app_description() -> bytes:
    """esp_app_desc_t, which every app begins with."""
    texts = struct.pack("<32s32s16s16s32s", b"v1.29.0", b"micropython", b"00:00:00", b"Jul  5 2026", b"v5.5")
    return struct.pack("<III8s", 0xABCD5432, 0, 0, b"") + texts + bytes(32 + 80)


def _partition_table(board: Board) -> bytes:
    flash = board.flash
    rows = [
        (1, 2, flash.nvs_offset, flash.nvs_size, b"nvs"),
        _PHY,
        (0, 0, APP, _APP_BYTES, b"factory"),
        (1, 0x81, flash.vfs_offset, flash.vfs_size, b"vfs"),
    ]
    table = b"".join(struct.pack("<2sBBII16sI", b"\xaa\x50", *row, 0) for row in rows)
    table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table, usedforsecurity=False).digest()
    return table
