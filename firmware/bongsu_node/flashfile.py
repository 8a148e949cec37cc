"""Small files that are whole or absent: content + CRC-32, written to a temporary name and renamed.

littlefs makes both the close and the rename atomic, so a power cut at any byte leaves the old content or the new.
"""

import os
import struct
from binascii import crc32

TEMPORARY = ".tmp"


def write(path: str, data: bytes) -> None:
    """Replace the content of `path`. Raises OSError, and then the old content stands."""
    temporary = path + TEMPORARY
    with open(temporary, "wb") as file:
        file.write(data + struct.pack("<I", crc32(data) & 0xFFFFFFFF))
    os.rename(temporary, path)


def read(path: str):
    """The content of `path`; None if it is absent, unreadable or damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except Exception:  # a file system in a bad way raises more than OSError
        return None
    if len(data) < 4 or struct.unpack("<I", data[-4:])[0] != crc32(data[:-4]) & 0xFFFFFFFF:
        return None
    return data[:-4]


def make_folder(path: str) -> None:
    """Make a folder if it is missing. Raises OSError if that fails."""
    try:
        os.mkdir(path)
    except OSError:
        os.stat(path)  # there already, or cannot be made: then this raises
