"""What a node keeps of its identity in NVS, as bongsu_node reads it (counters.py, provisioned.py)."""

import struct

_VERSION = 1
# Counters start here, and event numbers too: 0 is never used on the wire.
_FIRST_NUMBER = 1


def ident(epoch: int, key: bytes) -> bytes:
    """The key (16 bytes) with its epoch; the command that gives a node another key carries it too."""
    return struct.pack("<BB16s", _VERSION, epoch, key)


def ctr(epoch: int) -> bytes:
    """The ceilings of a key under which nothing was sent yet."""
    return struct.pack("<BBII", _VERSION, epoch, _FIRST_NUMBER, _FIRST_NUMBER)
