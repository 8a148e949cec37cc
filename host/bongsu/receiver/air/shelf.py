"""Readings and rollups in the store: table air_pack, one row for an hour's readings of a node, for a day's hours, and
for 32 days' days.

What is put in is merged with what is there, and everything above it is summed up anew, in the caller's transaction: a
reading counts once, and late ones change their hour and day, whoever stops when.
"""

from collections.abc import Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select, tuple_

from bongsu.receiver import rows
from bongsu.receiver.air import pack, rollup
from bongsu.receiver.air.levels import YEAR_S, Average
from bongsu.receiver.air.pack import HOUR_S, Group, Sample, Stats, Table
from bongsu.receiver.store import schema

RAW, HOURS, DAYS = 0, 1, 2
_AT_ONCE = 200
# A node that has been silent for so long has no average of now.
STALE_S = 1800

Key = tuple[int, int, int]  # node as a number, level, slot


class Shelf:
    """The statements, compiled once."""

    def __init__(self, conn: Connection) -> None:
        self._put = rows.upsert_into(schema.air_pack, conn, ("node", "level", "slot"), lambda new: {"data": new.data})

    def put(self, conn: Connection, taken: Mapping[str, Sequence[Sample]], zones: Mapping[str, ZoneInfo]) -> int:
        """Merge these readings in, by node id. `zones`: of the nodes' sites. Returns how many were new."""
        by_hour: dict[Key, list[Sample]] = {}
        for node_id, samples in taken.items():
            for sample in samples:
                by_hour.setdefault((int(node_id, 16), RAW, pack.hour_of(sample.end_s)), []).append(sample)
        known = read(conn, list(by_hour))
        made: dict[Key, bytes] = {}
        sums: dict[Key, dict[int, dict[int, Stats]]] = {}
        new = 0
        for key, samples in by_hour.items():
            node, _, hour = key
            before = pack.decode_samples(hour, known[key]) if key in known else []
            merged = pack.merge(before, samples)
            if merged == before:
                continue
            new += len(merged) - len(before)
            made[key] = pack.encode_samples(hour, merged)
            day = rollup.day_of(hour, zones[f"{node:012x}"])
            sums.setdefault((node, HOURS, day), {})[hour] = rollup.sum_up(merged)
        self._roll_up(conn, sums, made)
        self._put.run(conn, [{"node": k[0], "level": k[1], "slot": k[2], "data": d} for k, d in made.items()])
        return new

    def _roll_up(self, conn: Connection, sums: dict[Key, dict[int, dict[int, Stats]]], made: dict[Key, bytes]) -> None:
        months = {key: (key[0], DAYS, key[2] // rollup.DAYS_A_ROW) for key in sums}
        known = read(conn, [*sums, *set(months.values())])
        whole: dict[Key, Table] = {}
        for key, hours in sums.items():
            table = pack.decode_table(known[key]) if key in known else {}
            for hour, stats in hours.items():
                table = rollup.with_hour(table, hour, stats)
            made[key] = pack.encode_table(table)
            month = months[key]
            if month not in whole:
                whole[month] = pack.decode_table(known[month]) if month in known else {}
            whole[month] = rollup.with_day(whole[month], key[2], table)
        for month, table in whole.items():
            made[month] = pack.encode_table(table)


def read(conn: Connection, keys: Sequence[Key]) -> dict[Key, bytes]:
    """The packs of these keys, as far as they are there."""
    c = schema.air_pack.c
    found: dict[Key, bytes] = {}
    for some in rows.batched(keys, _AT_ONCE):
        query = select(c.node, c.level, c.slot, c.data).where(tuple_(c.node, c.level, c.slot).in_(some))
        found.update({(r.node, r.level, r.slot): bytes(r.data) for r in conn.execute(query)})
    return found


def _slots(conn: Connection, node_id: str, level: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """(slot, pack) from `first` to `last`, in order, a few at a time."""
    c = schema.air_pack.c
    query = select(c.slot, c.data).where(c.node == int(node_id, 16), c.level == level, c.slot <= last)
    while True:
        some = conn.execute(query.where(c.slot >= first).order_by(c.slot).limit(50)).all()
        for row in some:
            yield row.slot, bytes(row.data)
        if len(some) < 50:
            return
        first = some[-1].slot + 1


def samples(conn: Connection, node_id: str, from_s: int, to_s: int) -> Iterator[Sample]:
    """A node's readings that end in (from_s, to_s], by time."""
    for hour, data in _slots(conn, node_id, RAW, pack.hour_of(from_s + 1), pack.hour_of(to_s)):
        for sample in pack.decode_samples(hour, data):
            if from_s < sample.end_s <= to_s:
                yield sample


def hours(conn: Connection, node_id: str, first: int, last: int) -> Iterator[tuple[int, int, Stats]]:
    """(hour since 1970, quantity, sums) of a node's hours from `first` to `last`."""
    margin = 1  # a site's day may begin up to 14 h away from UTC's
    slots = _slots(
        conn, node_id, HOURS, first * HOUR_S // rollup.DAY_S - margin, last * HOUR_S // rollup.DAY_S + margin
    )
    found: Table = {}
    for _, data in slots:  # a node that moved to another zone may have an hour in two of its days: the later one counts
        found |= pack.decode_table(data, first, last)
    for (hour, code), stats in sorted(found.items()):
        yield hour, code, stats


def days(conn: Connection, node_id: str, first: int, last: int) -> Iterator[tuple[int, int, Stats]]:
    """(day since 1970 by the site's clock, quantity, sums) of a node's days from `first` to `last`."""
    for _, data in _slots(conn, node_id, DAYS, first // rollup.DAYS_A_ROW, last // rollup.DAYS_A_ROW):
        for (day, code), stats in sorted(pack.decode_table(data).items()):
            if first <= day <= last:
                yield day, code, stats


# ---- averages

Averages = dict[int, dict[int, Average]]  # by quantity and averaging time in s


def averages(conn: Connection, nodes: Sequence[str], now_s: int, spans_s: frozenset[int]) -> dict[str, Averages]:
    """By node: means over the last `spans_s` until its newest reading (of the last half hour; who has none is left
    out). A node's readings may wait some minutes before they are written, so its newest one is the end of the span.
    """
    short = {span for span in spans_s if span < YEAR_S}
    windows = {node: _Window(int(node, 16), now_s, short) for node in nodes}
    recent = read(conn, [key for w in windows.values() for key in w.newest_keys()])
    wanted = [key for w in windows.values() for key in w.other_keys(recent)]
    by_node: dict[int, dict[Key, bytes]] = {}
    for key, data in {**recent, **read(conn, wanted)}.items():
        by_node.setdefault(key[0], {})[key] = data
    made = {node: w.averages(by_node[int(node, 16)]) for node, w in windows.items() if w.end_s is not None}
    if YEAR_S in spans_s:
        for node, some in made.items():
            for code, average in _year(conn, node, now_s).items():
                some.setdefault(code, {})[YEAR_S] = average
    return made


def _year(conn: Connection, node_id: str, now_s: int) -> dict[int, Average]:
    today = now_s // rollup.DAY_S
    parts: dict[int, list[Stats]] = {}
    for _, code, stats in days(conn, node_id, today - 364, today + 1):
        parts.setdefault(code, []).append(stats)
    whole = {code: rollup.together(some) for code, some in parts.items()}
    return {code: _average(s, YEAR_S) for code, s in whole.items() if s is not None}


def _average(stats: Stats, span_s: int) -> Average:
    return Average(stats.mean, min(1.0, stats.covered_s / span_s))


class _Window:
    """One node's averages: whole hours from their sums, the hours at both ends from the readings."""

    def __init__(self, node: int, now_s: int, spans_s: set[int]) -> None:
        self._node, self._now_s, self._spans_s = node, now_s, spans_s
        self._raw: dict[int, list[Group]] = {}
        self.end_s: int | None = None

    def newest_keys(self) -> list[Key]:
        """Where its newest readings are."""
        return [(self._node, RAW, hour) for hour in self._last_hours()]

    def _last_hours(self) -> list[int]:
        return [pack.hour_of(self._now_s) - 1, pack.hour_of(self._now_s)]

    def other_keys(self, recent: Mapping[Key, bytes]) -> list[Key]:
        """What else is needed, now that the newest are there."""
        for hour in self._last_hours():
            if (self._node, RAW, hour) in recent:
                self._raw[hour] = pack.decode_groups(hour, recent[self._node, RAW, hour])
        ends = [end for groups in self._raw.values() for g in groups for end in g.ends if end <= self._now_s]
        if not ends or self._now_s - max(ends) > STALE_S:
            return []
        self.end_s = max(ends)
        oldest = [self.end_s - span for span in self._spans_s]
        keys = {(self._node, RAW, pack.hour_of(from_s + 1)) for from_s in oldest}
        if self._spans_s:
            # Its site's days begin 14 h before UTC's at most, and 12 h after them.
            first, last = (min(oldest) - 12 * HOUR_S) // rollup.DAY_S, (self.end_s + 14 * HOUR_S) // rollup.DAY_S
            keys |= {(self._node, HOURS, day) for day in range(first, last + 1)}
        return sorted(key for key in keys if key not in recent)

    def averages(self, found: Mapping[Key, bytes]) -> Averages:
        """The means, from this node's packs."""
        assert self.end_s is not None
        first = self.end_s - max(self._spans_s, default=0)
        sums: Table = {}
        for (_, level, slot), data in found.items():
            if level == HOURS:
                sums.update(pack.decode_table(data, first // HOUR_S, self.end_s // HOUR_S))
            elif slot not in self._raw:
                self._raw[slot] = pack.decode_groups(slot, data)
        made: Averages = {}
        for span in self._spans_s:
            for code, stats in self._sum(sums, self.end_s - span, self.end_s).items():
                made.setdefault(code, {})[span] = _average(stats, span)
        return made

    def _sum(self, sums: Table, from_s: int, to_s: int) -> dict[int, Stats]:
        """Sums of (from_s, to_s]."""
        inner = range(-(-from_s // HOUR_S), to_s // HOUR_S)  # whole hours
        parts: dict[int, list[Stats]] = {}
        for (hour, code), stats in sums.items():
            if hour in inner:
                parts.setdefault(code, []).append(stats)
        for hour in {pack.hour_of(from_s + 1), pack.hour_of(to_s)} - set(inner):
            for code, some in rollup.sum_groups(self._raw.get(hour, ()), from_s, to_s).items():
                parts.setdefault(code, []).extend(some)
        whole = {code: rollup.together(p) for code, p in parts.items()}
        return {code: s for code, s in whole.items() if s is not None}


def newest(conn: Connection, node_id: str, now_s: int) -> Sample | None:
    """A node's newest reading of the last half hour."""
    last: Sample | None = None
    for sample in samples(conn, node_id, now_s - STALE_S, now_s):
        last = sample
    return last
