"""Readings and rollups as bytes for the store: columns of differences, compressed. Pure.

A city's homes send 86,221 readings a minute: a row for each would take 40 bytes and a page write of its own. An hour of
a node's readings in one row takes a few bytes a reading (tools/bench_air.py says how many).
"""

import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

HOUR_S = 3600
_FORMAT = b"\x01"
_LEVEL = 6
_GROUP = struct.Struct("<HHH")  # interval s, quantities as bits (1 << (code - 1)), number of readings
_CODES_MAX = 16
# What a damaged row could blow up to is bounded: one reading a second of all quantities, 24 h of all quantities a day.
_RAW_MAX = 4 << 20


class PackError(ValueError):
    """The bytes are no pack."""


class Sample(NamedTuple):
    """One reading. end_s: UTC s since 1970, its interval's end; tag: which frame it came in (16 bits), the same for a
    repeat; values: (kinds.Q_*, wire value), by code.
    """

    end_s: int
    tag: int
    interval_s: int
    values: tuple[tuple[int, int], ...]


class Group(NamedTuple):
    """Readings of one interval and the same quantities, as columns, by time."""

    interval_s: int
    codes: list[int]
    ends: list[int]
    tags: list[int]
    columns: list[list[int]]


class Stats(NamedTuple):
    """What is kept of many readings of one quantity: whole numbers, so that it is the same in whatever order they came.

    n: how many; covered_s: sum of their intervals; total: sum of value x interval; low, high: the lowest and highest
    mean of an interval (wire values).
    """

    n: int
    covered_s: int
    total: int
    low: int
    high: int

    @property
    def mean(self) -> float:
        """The mean over the time that was covered (wire value)."""
        return self.total / self.covered_s


# (when, kinds.Q_*) -> Stats. `when`: the hour or the day, counted from 1970.
Table = dict[tuple[int, int], Stats]


def hour_of(end_s: int) -> int:
    """The hour of a reading: one that ends on the full hour belongs to the hour before."""
    return (end_s - 1) // HOUR_S


def encode_samples(hour: int, samples: Sequence[Sample]) -> bytes:
    """An hour's readings. Raises struct.error for what is not of this hour or out of range."""
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in sorted(samples):
        groups.setdefault((sample.interval_s, _mask(sample)), []).append(sample)
    out = bytearray()
    base = hour * HOUR_S
    for (interval_s, mask), some in groups.items():
        out += _GROUP.pack(interval_s, mask, len(some))
        out += _column([s.end_s - base for s in some])
        out += _column([s.tag for s in some])
        for at in range(len(some[0].values)):
            out += _column([s.values[at][1] for s in some])
    return _FORMAT + _deflate(bytes(out))


def decode_groups(hour: int, data: bytes) -> list[Group]:
    """What encode_samples was given, as columns. Raises PackError."""
    raw, at = _inflate(data), 0
    base, found = hour * HOUR_S, []
    try:
        while at < len(raw):
            interval_s, mask, count = _GROUP.unpack_from(raw, at)
            codes = [code for code in range(1, _CODES_MAX + 1) if mask >> (code - 1) & 1]
            at, width = at + _GROUP.size, 2 * count
            columns = [_values(raw[a : a + width], count) for a in range(at, at + width * (2 + len(codes)), width)]
            at += width * (2 + len(codes))
            ends, tags, *measured = columns
            found.append(Group(interval_s, codes, [base + end for end in ends], tags, measured))
    except struct.error as err:
        raise PackError(str(err)) from None
    return found


def decode_samples(hour: int, data: bytes) -> list[Sample]:
    """What encode_samples was given, by time. Raises PackError."""
    found = []
    for interval_s, codes, ends, tags, columns in decode_groups(hour, data):
        rows = zip(*columns, strict=True) if columns else ((),) * len(ends)
        for end_s, tag, row in zip(ends, tags, rows, strict=True):
            found.append(Sample(end_s, tag, interval_s, tuple(zip(codes, row, strict=True))))
    return sorted(found)


def merge(known: Iterable[Sample], more: Iterable[Sample]) -> list[Sample]:
    """Both, each reading once, by time. Of two with one tag the earlier counts, whichever came first."""
    by_tag: dict[int, Sample] = {}
    for sample in (*known, *more):
        before = by_tag.get(sample.tag)
        if before is None or sample < before:
            by_tag[sample.tag] = sample
    return sorted(by_tag.values())


def encode_table(table: Table) -> bytes:
    """Rollups."""
    keys = sorted(table)
    rows = [table[key] for key in keys]
    whens = [when for when, _ in keys]
    columns = (
        ("I", [b - a for a, b in zip([0, *whens], whens, strict=False)]),
        ("B", [code for _, code in keys]),
        ("I", [row.n for row in rows]),
        ("I", [row.covered_s for row in rows]),
        ("Q", [row.total for row in rows]),
        ("H", [row.low for row in rows]),
        ("H", [row.high for row in rows]),
    )
    return _FORMAT + _deflate(b"".join(_planes(struct.pack(f"<{len(c)}{kind}", *c), kind) for kind, c in columns))


def decode_table(data: bytes, first: int = 0, last: int = 1 << 40) -> Table:
    """What encode_table was given, from `first` to `last`. Raises PackError."""
    raw = _inflate(data)
    sizes = [(kind, struct.calcsize(f"<{kind}")) for kind in "IBIIQHH"]
    count, rest = divmod(len(raw), sum(size for _, size in sizes))
    if rest:
        raise PackError("a rollup is cut off")
    columns, at = [], 0
    for kind, size in sizes:
        columns.append(struct.unpack(f"<{count}{kind}", _whole(raw[at : at + size * count], size)))
        at += size * count
    steps, *fields = columns
    whens = list(accumulate(steps))
    wanted = slice(bisect_left(whens, first), bisect_right(whens, last))
    rows = zip(whens[wanted], *(column[wanted] for column in fields), strict=True)
    return {(when, code): Stats(*row) for when, code, *row in rows}


def _mask(sample: Sample) -> int:
    return sum(1 << (code - 1) for code, _ in sample.values)


def _column(values: list[int]) -> bytes:
    """16-bit values as differences, the low bytes first, for neighbours are much alike."""
    steps = [(b - a) & 0xFFFF for a, b in zip([0, *values], values, strict=False)]
    return _planes(struct.pack(f"<{len(steps)}H", *steps), "H")


def _values(data: bytes, count: int) -> list[int]:
    return [v & 0xFFFF for v in accumulate(struct.unpack(f"<{count}H", _whole(data, 2)))]


def _planes(data: bytes, kind: str) -> bytes:
    size = struct.calcsize(f"<{kind}")
    return b"".join(data[i::size] for i in range(size))


def _whole(data: bytes, size: int) -> bytes:
    out, count = bytearray(len(data)), len(data) // size
    if count * size != len(data):
        raise PackError("a column is cut off")
    for i in range(size):
        out[i::size] = data[i * count : (i + 1) * count]
    return bytes(out)


def _deflate(data: bytes) -> bytes:
    made = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return made.compress(data) + made.flush()


def _inflate(data: bytes) -> bytes:
    if data[:1] != _FORMAT:
        raise PackError("a pack has an unknown format")
    try:
        opened = zlib.decompressobj(-15)
        raw = opened.decompress(data[1:], _RAW_MAX)
    except zlib.error as err:
        raise PackError(str(err)) from None
    if not opened.eof:
        raise PackError("a pack is cut off, or too large")
    return raw
