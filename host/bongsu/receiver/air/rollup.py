"""Sums of readings over hours and days. Pure: each is computed anew from what it is made of, so that doing it again, or
in another order, gives the same.
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from bongsu.receiver.air.pack import HOUR_S, Group, Sample, Stats, Table

DAY_S = 86_400
# So many days of a node lie in one row of the store.
DAYS_A_ROW = 32


def sum_up(samples: Iterable[Sample]) -> dict[int, Stats]:
    """By quantity."""
    found: dict[int, list[int]] = {}
    for sample in samples:
        weight = sample.interval_s
        for code, value in sample.values:
            s = found.get(code)
            if s is None:
                found[code] = [1, weight, value * weight, value, value]
                continue
            s[0] += 1
            s[1] += weight
            s[2] += value * weight
            if value < s[3]:
                s[3] = value
            if value > s[4]:
                s[4] = value
    return {code: Stats(*s) for code, s in found.items()}


def sum_groups(groups: Iterable[Group], from_s: int, to_s: int) -> dict[int, list[Stats]]:
    """By quantity, the sums of the groups' readings that end in (from_s, to_s]."""
    found: dict[int, list[Stats]] = {}
    for group in groups:
        part = slice(bisect_right(group.ends, from_s), bisect_right(group.ends, to_s))
        for code, column in zip(group.codes, group.columns, strict=True):
            if values := column[part]:
                weight, n = group.interval_s, len(values)
                sums = Stats(n, n * weight, sum(values) * weight, min(values), max(values))
                found.setdefault(code, []).append(sums)
    return found


def together(parts: Iterable[Stats]) -> Stats | None:
    """The sum of sums; None of nothing."""
    found = list(parts)
    if not found:
        return None
    return Stats(
        sum(p.n for p in found),
        sum(p.covered_s for p in found),
        sum(p.total for p in found),
        min(p.low for p in found),
        max(p.high for p in found),
    )


def day_of(hour: int, zone: ZoneInfo) -> int:
    """The day (counted from 1970, by the site's clock) in which an hour begins."""
    begins_s = hour * HOUR_S
    offset = dt.datetime.fromtimestamp(begins_s, zone).utcoffset() or dt.timedelta()
    return (begins_s + int(offset.total_seconds())) // DAY_S


def with_hour(table: Table, hour: int, stats: dict[int, Stats]) -> Table:
    """A day's table of hours, this hour's put in place of what stood there."""
    kept = {key: s for key, s in table.items() if key[0] != hour}
    return kept | {(hour, code): s for code, s in stats.items()}


def with_day(table: Table, day: int, hours: Table) -> Table:
    """A table of days, this day summed up from its hours in place of what stood there."""
    kept = {key: s for key, s in table.items() if key[0] != day}
    parts: dict[int, list[Stats]] = {}
    for (_, code), s in hours.items():
        parts.setdefault(code, []).append(s)
    for code, some in parts.items():
        whole = together(some)
        if whole is not None:
            kept[day, code] = whole
    return kept
