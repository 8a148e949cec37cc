"""Print the wire format's own test vectors: tests/vectors/wire.json was made by this, once.

Independent of firmware/bongsu_wire on purpose: every header, nonce and payload is laid out here by hand, byte by byte,
after the description of the format, and sealed by `cryptography`'s AESCCM directly. A change of the format is a new
version with new vectors; the old ones stay.

usage: python tools/make_wire_vectors.py > tests/vectors/wire.json
"""

import json
import sys
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

KEY = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
NODE = bytes.fromhex("a0b1c2d3e4f5")
DOWN = 0x20
VERSION_BITS = 1 << 6


@dataclass(frozen=True)
class Case:
    """One frame. `kind`: 5 bits; `sender`: 0 on the uplink; `payload`: what the frame carries, as (name, bytes)."""

    name: str
    kind: int
    epoch: int
    counter: int
    sender: int
    payload: list[tuple[str, bytes]]


def le(value: int, size: int) -> bytes:
    """`value` as `size` bytes, little-endian, two's complement for a negative one."""
    return value.to_bytes(size, "little", signed=value < 0)


def event(age_ms: int = 1500) -> list[tuple[str, bytes]]:
    """A heat alarm at 57.2 degC (330.2 K) with smoke 0.0700/m, held 5.000 s."""
    return [
        ("number", le(70000, 4)),
        ("version 1, kind alarm", bytes([0x11])),
        ("phenomena heat + smoke", bytes([0x03])),
        ("criterion heat_fixed", bytes([0x01])),
        ("age_ms", le(age_ms, 4)),
        ("sustained_ms", le(5000, 4)),
        ("temp_dk", le(3302, 2)),
        ("smoke_e4", le(700, 2)),
        ("gas unknown", b"\xff\xff"),
        ("humidity_half", le(90, 1)),
        ("battery_mv", le(3300, 2)),
        ("rssi_dbm", le(-67, 1)),
        ("detail", b"\x00"),
        ("count", b"\x01"),
    ]


HEARTBEAT = [
    ("version", b"\x01"),
    ("uptime_s", le(86400, 4)),
    ("flags siren + centre_knows", bytes([0x09])),
    ("active heat", b"\x01"),
    ("active_event", le(70000, 4)),
    ("temp_dk", le(2981, 2)),
    ("smoke_e4", le(12, 2)),
    ("humidity unknown", b"\xff"),
    ("battery unknown", b"\xff\xff"),
    ("rssi_dbm", le(-71, 1)),
    ("heap_free_kb", le(58, 2)),
    ("idf_free_kb", le(104, 2)),
    ("echo_server_ms", le(1_790_000_000_123, 8)),
    ("echo_age_ms", le(44_000, 4)),
    ("journal_depth", le(2, 1)),
    ("boot_count", le(513, 2)),
    ("reset_cause watchdog", b"\x03"),
    ("task_restarts", le(1, 1)),
    ("faults storage", le(1 << 7, 2)),
    ("fw 0.1", le(1, 2)),
]
RECEIPT = [
    ("version", b"\x01"),
    ("server_ms", le(1_790_000_000_456, 8)),
    ("answers", le(4096, 4)),
    ("count", b"\x02"),
    ("number", le(70000, 4)),
    ("number", le(70001, 4)),
]
TIME_ONLY = [("version", b"\x01"), ("server_ms", le(1_790_000_000_456, 8)), ("answers", le(4097, 4)), ("count", b"\0")]
COMMAND = [
    ("version", b"\x01"),
    ("code silence", b"\x03"),
    ("quotes", le(4098, 4)),
    ("size", b"\x02"),
    ("args", b"\x0a\0"),
]
ANSWER = [
    ("version", b"\x01"),
    ("counter", le(77, 4)),
    ("sender", le(513, 2)),
    ("code silence", b"\x03"),
    ("result done", b"\x00"),
]

CASES = [
    Case("alarm", 1, 1, 1, 0, event()),
    Case("alarm again, age unknown", 1, 1, 2, 0, event(0xFFFFFFFF)),
    Case("alarm, last epoch and counter", 1, 255, 0xFFFFFFFF, 0, event()),
    Case("heartbeat", 2, 1, 0x01020304, 0, HEARTBEAT),
    Case("answer", 3, 2, 4099, 0, ANSWER),
    Case("receipt of two events", DOWN | 16, 1, 5, 1, RECEIPT),
    Case("receipt without events", DOWN | 16, 1, 6, 0xFFFF, TIME_ONLY),
    Case("command", DOWN | 17, 1, 7, 0x0201, COMMAND),
]


def vector(case: Case) -> dict[str, object]:
    """The case with header, nonce and frame, as hex."""
    first = bytes([case.kind | VERSION_BITS])
    counter = case.counter.to_bytes(4, "big")
    sender = case.sender.to_bytes(2, "big")
    header = first + bytes([case.epoch]) + NODE + counter + (sender if case.kind & DOWN else b"")
    nonce = bytes([case.kind]) + NODE + counter + sender
    payload = b"".join(part for _, part in case.payload)
    sealed = AESCCM(KEY, tag_length=8).encrypt(nonce, payload, header)
    return {
        "name": case.name,
        "kind": case.kind & 0x1F,
        "down": bool(case.kind & DOWN),
        "epoch": case.epoch,
        "node": NODE.hex(),
        "counter": case.counter,
        "sender": case.sender,
        "fields": [[name, part.hex()] for name, part in case.payload],
        "payload": payload.hex(),
        "header": header.hex(),
        "nonce": nonce.hex(),
        "frame": (header + sealed).hex(),
    }


def main() -> None:
    """Write the vectors to standard output."""
    source = "tools/make_wire_vectors.py: laid out by hand, sealed by cryptography's AESCCM (L = 2, M = 8)"
    json.dump({"source": source, "key": KEY.hex(), "vectors": [vector(c) for c in CASES]}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
