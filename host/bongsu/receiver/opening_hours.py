"""When a shop is open, as a line of text: "mon-fri 09:00-21:00; sat 10:00-12:00,13:00-18:00; closed sun". Pure.

A day that is named by nothing is closed. Times may go over midnight (18:00-02:00). An empty text means: not known.
"""

from functools import lru_cache

from bongsu.receiver import week
from bongsu.receiver.fields import FieldError, first_bad_character, shown

HOURS_MAX = 200
_CLOSED = ("closed", "휴무")
_NEXT = "Write it as: mon-fri 09:00-21:00; sat 10:00-18:00; closed sun"

Spans = tuple[tuple[int, int], ...]


def normal(text: str) -> str:
    """The stored form: small letters, days in order, each group of equal days once. Raises FieldError."""
    if bad := first_bad_character(text):
        raise FieldError("control_character", f"opening hours hold the character {bad}", _NEXT)
    by_day = _parsed(text)
    if not by_day:
        return ""
    groups: dict[Spans, list[int]] = {}
    for day in range(7):
        groups.setdefault(by_day.get(day, ()), []).append(day)
    said = [
        f"{week.days_text(d)} {','.join(week.span_text(*s) for s in spans)}" for spans, d in groups.items() if spans
    ]
    if () in groups:
        said.append(f"closed {week.days_text(groups[()])}")
    out = "; ".join(said)
    if len(out) > HOURS_MAX:
        raise FieldError("too_long", f"opening hours take {len(out)} characters, at most {HOURS_MAX} are kept", _NEXT)
    return out


@lru_cache(maxsize=4096)
def _parsed(text: str) -> dict[int, Spans]:
    by_day: dict[int, Spans] = {}
    for part in filter(None, (p.strip() for p in text.replace("\uff1b", ";").lower().split(";"))):
        for day, spans in _part(part).items():
            if day in by_day:
                raise FieldError("double_day", f"opening hours name {week.DAYS[day]} twice", _NEXT)
            by_day[day] = spans
    return by_day


def _part(part: str) -> dict[int, Spans]:
    for word in _CLOSED:
        if part.startswith(word) or part.endswith(f" {word}"):
            return dict.fromkeys(week.days(part.removeprefix(word).removesuffix(word).strip() or "daily"), ())
    at = next((i for i, c in enumerate(part) if c.isdigit()), len(part))
    if at == len(part):
        raise FieldError("bad_hours", f"opening hours {shown(part)} hold no times", _NEXT)
    spans = tuple(sorted(week.span(s) for s in part[at:].split(",")))
    for (begin, end), (after, _) in zip(spans, spans[1:], strict=False):
        if end <= begin or after < end:
            raise FieldError("overlap", f"times in {shown(part)} overlap", _NEXT)
    return dict.fromkeys(week.days(part[:at].strip() or "daily"), spans)


def is_open(hours: str, tz: str, at_ms: int) -> bool | None:
    """Whether a shop with these stored hours is open at a UTC time in ms, by the clock of its zone (IANA name); None if
    the hours are not known.
    """
    if not hours:
        return None
    try:
        by_day = _parsed(hours)
    except FieldError:  # not written by this program; an alarm's report must not fail over it
        return None
    clock = week.wall_clock(tz, at_ms)
    return any(week.covers((day,), *span, clock) for day, spans in by_day.items() for span in spans)
