"""A new key that the receiver sends under the old one (rotate-key): kept in NVS until its moment, then moved to the
place of the old one. Needed when it comes, when it is moved, and at a start; forgotten in between.

    next   as `ident` (version, key epoch, key of 16 bytes), then 8 bytes that say which `ident` it follows

The move is three commits: `ctr` of the new epoch, `ident`, away with `next`. The first decides: while `ctr` has the old
epoch, the node is the old one; from then on the new one, whatever else has been written. So no number of one key ever
goes on under the ceilings of another. A `next` that follows another `ident` than the one in force is of a life before a
provisioning, and is deleted.
"""

import struct
from hashlib import sha256

from bongsu_node import counters

_IDENT_LEN = 18
_LEN = 26


def blob(nvs, key: str, size: int) -> bytes:
    """A blob of at most `size` bytes; b"" if it is missing, or NVS is (None)."""
    buffer = bytearray(size)
    try:
        length = nvs.get_blob(key, buffer)
    except Exception:
        return b""
    return bytes(buffer[:length])


def _after(ident: bytes) -> bytes:
    return sha256(ident).digest()[:8]


def take(nvs, args: bytes) -> bool:
    """The command: the key waits in NVS. False if it is not one that can follow the key in force; raises OSError if NVS
    does not take it, and then it may wait there or not.
    """
    ident = blob(nvs, "ident", _IDENT_LEN)
    if _moves(nvs, ident):  # NVS refused its end so far: first that, for what waits is the key in force
        ident = blob(nvs, "next", _LEN)[:_IDENT_LEN]
        _end(nvs, ident)
    if len(args) != _IDENT_LEN or args[0] != counters.VERSION or args[1] <= ident[1]:
        return False
    nvs.set_blob("next", args + _after(ident))
    nvs.commit()
    return True


def at_start(nvs, ident: bytes):
    """(`ident` in force, whether another waits to follow it). Ends a move that was under way; what NVS refuses of it is
    left to the next start.
    """
    waits = blob(nvs, "next", _LEN)
    moves = _moves(nvs, ident)
    if not waits or (_follows(waits, ident) and not moves):
        return ident, bool(waits)
    if moves:
        ident = waits[:_IDENT_LEN]
    try:
        _end(nvs, ident)
    except OSError:
        pass
    return ident, False


def _follows(waits: bytes, ident: bytes) -> bool:
    return len(waits) == _LEN and waits[_IDENT_LEN:] == _after(ident)


def _moves(nvs, ident: bytes) -> bool:
    """A move has begun and is not at its end."""
    waits = blob(nvs, "next", _LEN)
    return _follows(waits, ident) and blob(nvs, "ctr", 10)[1:2] == waits[1:2]


def move(nvs) -> None:
    """Put the key that waits in the place of the one in force; the node must start anew at once. Raises OSError if NVS
    refuses the first step; after that it is done, if need be by the next start.
    """
    waits = blob(nvs, "next", _LEN)
    nvs.set_blob("ctr", struct.pack(counters.CEILINGS, counters.VERSION, waits[1], 1, 1))
    nvs.commit()
    try:
        _end(nvs, waits[:_IDENT_LEN])
    except OSError:
        pass


def _end(nvs, ident: bytes) -> None:
    nvs.set_blob("ident", ident)
    nvs.commit()
    nvs.erase_key("next")
    nvs.commit()
