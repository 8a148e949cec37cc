"""Days of the week and times of the day as people write them, and whether a wall clock stands within them. Pure.

A shift belongs to the day on which it begins and may go over midnight. Everything is by the wall clock of a place: on
the night when clocks go back, the hour that comes twice counts both times; one that is left out is nobody's.
"""

import datetime as dt
import re
from collections.abc import Iterable
from functools import lru_cache
from zoneinfo import ZoneInfo

from bongsu.receiver.fields import FieldError, shown

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
_LONG = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMES = {name: i for names in (DAYS, _LONG, tuple("월화수목금토일")) for i, name in enumerate(names)}
_EVERY = ("daily", "매일", "every day")
_TIME = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
_NEXT = "Write days as mon-fri, or sat,sun, or daily."


def days(text: str) -> tuple[int, ...]:
    """The days of "mon-fri,sun", "월-금" or "daily": 0 is Monday; sorted. A range may go over the week's end (sat-mon).

    Raises FieldError, code "bad_days".
    """
    typed = text.strip().lower()
    if typed in _EVERY:
        return tuple(range(7))
    found: set[int] = set()
    for part in typed.split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        found.update((begin + i) % 7 for i in range((end - begin) % 7 + 1))
    return tuple(sorted(found))


def _day(text: str) -> int:
    name = text.strip().removesuffix("요일")
    found = _NAMES.get(name)
    if found is None:
        raise FieldError("bad_days", f"day {shown(text.strip())} is not known", _NEXT)
    return found


def days_text(which: Iterable[int]) -> str:
    """The stored form of days: runs of three and more as a range ("mon-fri,sun")."""
    left, out = sorted(set(which)), []
    while left:
        run = 1
        while run < len(left) and left[run] == left[0] + run:
            run += 1
        out += [f"{DAYS[left[0]]}-{DAYS[left[run - 1]]}"] if run > 2 else [DAYS[d] for d in left[:run]]
        left = left[run:]
    return ",".join(out)


def span(text: str) -> tuple[int, int]:
    """(from, to) of "09:00-21:00" in minutes since midnight; to at or before from means: on the next day.

    Raises FieldError, code "bad_time".
    """
    first, dash, last = text.replace("~", "-").partition("-")
    begin, end = _minutes(first), _minutes(last)
    if not dash or begin is None or end is None or begin == DAY_MIN:
        raise FieldError(
            "bad_time",
            f"{shown(text.strip())} are no times",
            "Write them as 09:00-21:00; over midnight as 18:00-02:00.",
        )
    return begin, end


def _minutes(text: str) -> int | None:
    match = _TIME.fullmatch(text.strip())
    found = int(match[1]) * 60 + int(match[2]) if match else DAY_MIN + 1
    return found if found <= DAY_MIN else None


def span_text(begin: int, end: int) -> str:
    """The stored form of a span: "09:00-21:00"."""
    return f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"


@lru_cache(maxsize=256)
def _zone(tz: str) -> ZoneInfo:
    return ZoneInfo(tz)


def wall_clock(tz: str, at_ms: int) -> tuple[int, int]:
    """(day of the week, minute of the day) that a clock in the zone shows at a UTC time in ms."""
    local = dt.datetime.fromtimestamp(at_ms // 1000, _zone(tz))
    return local.weekday(), local.hour * 60 + local.minute


def covers(begins_on: Iterable[int], begin: int, end: int, clock: tuple[int, int]) -> bool:
    """True if a span that begins on these days covers what the wall clock shows."""
    day, minute = clock
    which = tuple(begins_on)
    if end > begin:
        return day in which and begin <= minute < end
    return (day in which and minute >= begin) or ((day - 1) % 7 in which and minute < end)
