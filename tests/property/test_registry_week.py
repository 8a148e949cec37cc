"""Opening hours and duty rosters by a wall clock: any hours, any zone, also on the days when clocks change."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.receiver import fields, opening_hours, roster, week

ZONES = st.sampled_from(["Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
# Around the changes of 2026 in those zones as often as anywhere.
CHANGES = [1774746000000, 1792890000000, 1772953200000, 1793512800000, 1775314800000, 1790434800000]
TIMES = st.integers(1_735_689_600_000, 1_830_297_600_000) | st.builds(
    lambda at, off: at + off, st.sampled_from(CHANGES), st.integers(-90_000_000, 90_000_000)
)
MINUTE = st.integers(0, 1439)
DAYS = st.sets(st.integers(0, 6), min_size=1)
SPAN = st.tuples(MINUTE, st.integers(0, 1440))


def _shift(days: set[int], begin: int, end: int) -> dict[str, object]:
    always = {"valid_from_ms": None, "valid_until_ms": None}
    return {"days": week.days_text(days), "from_min": begin, "to_min": end, **always}


def _local(tz: str, at_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(tz))


@given(DAYS)
def test_days_are_read_back(days: set[int]) -> None:
    assert week.days(week.days_text(days)) == tuple(sorted(days))


@settings(max_examples=300)
@given(DAYS, MINUTE, MINUTE, ZONES, TIMES)
def test_a_shift_and_its_relief_leave_no_gap_and_no_overlap(
    days: set[int], begin: int, end: int, tz: str, at_ms: int
) -> None:
    """Day and night shift of every day: always one of them is on duty, and only one, also on the day of 23 or 25 h."""
    one, other = _shift(set(range(7)), begin, end), _shift(set(range(7)), end, begin)
    if begin == end:
        assert roster.is_on(one, tz, at_ms)
    else:
        assert roster.is_on(one, tz, at_ms) != roster.is_on(other, tz, at_ms)
    of_some_days, of_the_others = _shift(days, begin, end), set(range(7)) - days
    rest = bool(of_the_others) and roster.is_on(_shift(of_the_others, begin, end), tz, at_ms)
    assert roster.is_on(one, tz, at_ms) == (roster.is_on(of_some_days, tz, at_ms) or rest)


@settings(max_examples=300)
@given(DAYS, SPAN, ZONES, TIMES)
def test_a_shift_is_what_the_clock_on_the_wall_says(days: set[int], span: tuple[int, int], tz: str, at_ms: int) -> None:
    """Another way to say it: minute by minute of the wall's week, a shift begins on its day and lasts so long."""
    begin, end = span
    lasts = (end - begin) % 1440 or 1440
    local = _local(tz, at_ms)
    minute = local.weekday() * 1440 + local.hour * 60 + local.minute
    expected = any((minute - (day * 1440 + begin)) % (7 * 1440) < lasts for day in days)
    assert roster.is_on(_shift(days, begin, end), tz, at_ms) is expected


@given(DAYS, SPAN, ZONES, TIMES, st.integers(-10_000, 10_000))
def test_validity_bounds_it(days: set[int], span: tuple[int, int], tz: str, at_ms: int, off: int) -> None:
    shift = _shift(set(range(7)), 0, 1440)
    assert roster.is_on(shift | {"valid_from_ms": at_ms + off}, tz, at_ms) is (off <= 0)
    assert roster.is_on(shift | {"valid_until_ms": at_ms + off}, tz, at_ms) is (off > 0)


def _pairs(minutes: list[int]) -> list[tuple[int, int]]:
    in_order = sorted(minutes)
    return list(zip(in_order[::2], in_order[1::2], strict=False))


HOURS = st.dictionaries(st.integers(0, 6), st.lists(MINUTE, max_size=6, unique=True).map(_pairs), min_size=1)


@settings(max_examples=300)
@given(HOURS, ZONES, TIMES)
def test_opening_hours(hours: dict[int, list[tuple[int, int]]], tz: str, at_ms: int) -> None:
    said = []
    for day, spans in hours.items():
        times = ",".join(week.span_text(*s) for s in spans)
        said.append(f"{week.DAYS[day]} {times}" if spans else f"closed {week.DAYS[day]}")
    try:
        stored = opening_hours.normal("; ".join(said))
    except fields.FieldError as err:
        assert err.code == "too_long"
        return
    assert opening_hours.normal(stored) == stored
    local = _local(tz, at_ms)
    minute = local.hour * 60 + local.minute
    assert opening_hours.is_open(stored, tz, at_ms) is any(
        begin <= minute < end for begin, end in hours.get(local.weekday(), [])
    )


@given(st.text(max_size=60) | st.from_regex(r"[a-z,-]{0,9} ?[0-9:,-]{0,24}(; closed sun)?", fullmatch=True))
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    try:
        stored = opening_hours.normal(text)
    except fields.FieldError as err:
        assert err.message and err.next_step
        return
    assert opening_hours.normal(stored) == stored and len(stored) <= opening_hours.HOURS_MAX


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("", ""),
        ("mon-fri 09:00-21:00; sat 10:00-18:00; closed sun", "mon-fri 09:00-21:00; sat 10:00-18:00; closed sun"),
        ("월-금 9:00~21:00; 토 10:00-18:00; 일 휴무", "mon-fri 09:00-21:00; sat 10:00-18:00; closed sun"),
        ("Daily 18:00-02:00", "mon-sun 18:00-02:00"),
        ("00:00-24:00", "mon-sun 00:00-24:00"),
        ("fri-mon 13:00-18:00,08:00-12:00", "mon,fri-sun 08:00-12:00,13:00-18:00; closed tue-thu"),
        ("closed", "closed mon-sun"),
    ],
)
def test_forms(typed: str, stored: str) -> None:
    assert opening_hours.normal(typed) == stored


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("mon 9-5", "bad_time"),
        ("mon", "bad_hours"),
        ("mox 09:00-10:00", "bad_days"),
        ("mon 09:00-25:00", "bad_time"),
        ("mon 24:00-09:00", "bad_time"),
        ("mon 09:00-12:00; mon-fri 13:00-18:00", "double_day"),
        ("mon 09:00-12:00,11:00-13:00", "overlap"),
        ("mon\u202e 09:00-12:00", "control_character"),
    ],
)
def test_what_is_refused(typed: str, code: str) -> None:
    with pytest.raises(fields.FieldError) as caught:
        opening_hours.normal(typed)
    assert caught.value.code == code


def test_over_midnight_the_night_belongs_to_the_day_on_which_it_begins() -> None:
    hours = opening_hours.normal("fri,sat 18:00-02:00")
    saturday_1_am = round(dt.datetime(2026, 3, 7, 1, 0, tzinfo=ZoneInfo("Asia/Seoul")).timestamp() * 1000)
    assert opening_hours.is_open(hours, "Asia/Seoul", saturday_1_am)
    assert not opening_hours.is_open(hours, "Asia/Seoul", saturday_1_am + 2 * 3_600_000)
    assert opening_hours.is_open(hours, "Asia/Seoul", saturday_1_am + 24 * 3_600_000)
    assert not opening_hours.is_open(hours, "Asia/Seoul", saturday_1_am + 48 * 3_600_000)
    assert opening_hours.is_open("", "Asia/Seoul", saturday_1_am) is None


@given(st.text(max_size=12), st.text(max_size=12))
def test_positions(lat: str, lon: str) -> None:
    try:
        found = fields.position(lat, lon)
    except fields.FieldError as err:
        assert err.code in ("bad_coordinate", "half_position")
        return
    assert found == (None, None) or (-90 <= (found[0] or 0) <= 90 and -180 <= (found[1] or 0) <= 180)
