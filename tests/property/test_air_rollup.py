"""Readings of the air in the store: in any order, however often, whoever is killed when, each counts once, and the
sums are those that a direct computation gives.
"""

import random
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from bongsu.receiver.air import pack, rollup, shelf
from bongsu.receiver.air.pack import HOUR_S, PackError, Sample, Stats
from bongsu.receiver.air.shelf import Shelf
from bongsu.receiver.store import Store, schema
from tests.registry_parts import new_store

NODE = "a0b1c2d3e4f5"
T0_S = 1_800_000_000  # 2027-01-15 08:00 UTC, on the full hour
SEOUL = ZoneInfo("Asia/Seoul")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with new_store(tmp_path_factory.mktemp("air")) as made:
        yield made


_VALUES = st.dictionaries(st.integers(1, 13), st.integers(0, 0xFFFE), min_size=1, max_size=4)
_OFFSETS = st.integers(-30 * HOUR_S, 30 * HOUR_S) | st.sampled_from((0, 1, HOUR_S, HOUR_S + 1, -HOUR_S, 15 * HOUR_S))


@st.composite
def _samples(draw: st.DrawFn) -> list[Sample]:
    """Readings with tags of their own, over two and a half days, also on the edges of hours and days."""
    made = draw(st.lists(st.tuples(_OFFSETS, st.integers(1, 3600), _VALUES), min_size=1, max_size=25))
    return [
        Sample(T0_S + offset, tag, interval, tuple(sorted(values.items())))
        for tag, (offset, interval, values) in enumerate(made)
    ]


def _direct(samples: list[Sample], *, by_day: bool) -> dict[tuple[int, int], Stats]:
    """The sums by hour, or by Seoul's day (UTC+9, no summer time), reading by reading."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for s in samples:
        hour = -(-s.end_s // HOUR_S) - 1  # in which the last second of its interval lies
        for code, value in s.values:
            found.setdefault(((hour + 9) // 24 if by_day else hour, code), []).append((value, s.interval_s))
    return {
        key: Stats(
            n=len(some),
            covered_s=sum(w for _, w in some),
            total=sum(v * w for v, w in some),
            low=min(v for v, _ in some),
            high=max(v for v, _ in some),
        )
        for key, some in found.items()
    }


@settings(max_examples=60, deadline=None)
@given(samples=_samples(), seed=st.integers(0, 2**32), size=st.integers(1, 9))
def test_sums_are_those_of_a_direct_computation(store: Store, samples: list[Sample], seed: int, size: int) -> None:
    """In any order, in batches of any size, some of them twice, some given up half-way."""
    chance = random.Random(seed)
    arrivals = samples + chance.sample(samples, chance.randrange(len(samples) + 1))
    chance.shuffle(arrivals)
    batches = [arrivals[i : i + size] for i in range(0, len(arrivals), size)]
    with store.write() as conn:
        conn.execute(delete(schema.air_pack))
        kept = Shelf(conn)
    new = 0
    for batch in batches:
        if chance.random() < 0.3:
            _killed(store, kept, batch)
        with store.write() as conn:
            new += kept.put(conn, {NODE: batch}, {NODE: SEOUL})
    assert new == len(samples)
    with store.read() as conn:
        everything = (T0_S - 100 * HOUR_S, T0_S + 100 * HOUR_S)
        assert list(shelf.samples(conn, NODE, *everything)) == sorted(samples)
        first, last = (s // HOUR_S for s in everything)
        hours = {(when, code): stats for when, code, stats in shelf.hours(conn, NODE, first, last)}
        days = {(when, code): stats for when, code, stats in shelf.days(conn, NODE, first // 24, last // 24 + 1)}
    assert hours == _direct(samples, by_day=False)
    assert days == _direct(samples, by_day=True)


class _Killed(Exception):
    pass


def _killed(store: Store, kept: Shelf, batch: list[Sample]) -> None:
    """The transaction does not come to its end: nothing of it stays."""
    with pytest.raises(_Killed), store.write() as conn:
        kept.put(conn, {NODE: batch}, {NODE: SEOUL})
        raise _Killed


@given(samples=_samples())
def test_a_pack_holds_what_was_put_in(samples: list[Sample]) -> None:
    by_hour: dict[int, list[Sample]] = {}
    for sample in samples:
        by_hour.setdefault(pack.hour_of(sample.end_s), []).append(sample)
    for hour, some in by_hour.items():
        assert pack.decode_samples(hour, pack.encode_samples(hour, some)) == sorted(some)
    table = _direct(samples, by_day=False)
    assert pack.decode_table(pack.encode_table(table)) == table


@settings(max_examples=300)
@given(data=st.binary(max_size=80) | st.binary(max_size=80).map(lambda b: b"\x01" + b), raw=st.binary(max_size=200))
def test_a_damaged_pack_raises_nothing_else(data: bytes, raw: bytes) -> None:
    for content in (data, b"\x01" + pack._deflate(raw)):
        for decode in (lambda d: pack.decode_samples(1, d), pack.decode_table):
            try:
                decode(content)
            except PackError:
                pass


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(PackError):
        pack.decode_table(b"\x01" + pack._deflate(bytes(64 << 20)))


@settings(max_examples=40, deadline=None)
@given(samples=_samples(), span=st.sampled_from((900, 3600, 7200, 8 * 3600, 24 * 3600)))
def test_averages_are_those_of_the_readings_in_the_span(store: Store, samples: list[Sample], span: int) -> None:
    with store.write() as conn:
        conn.execute(delete(schema.air_pack))
        Shelf(conn).put(conn, {NODE: samples}, {NODE: SEOUL})
    end_s = max(s.end_s for s in samples)
    with store.read() as conn:
        found = shelf.averages(conn, [NODE], end_s + 60, frozenset((span,)))[NODE]
        assert shelf.averages(conn, [NODE], end_s + shelf.STALE_S + 1, frozenset((span,))) == {}
    inside = [s for s in samples if end_s - span < s.end_s <= end_s]
    direct = rollup.sum_up(inside)
    assert found.keys() == direct.keys()
    for code, stats in direct.items():
        assert found[code][span].mean == stats.mean
        assert found[code][span].share == min(1.0, stats.covered_s / span)
