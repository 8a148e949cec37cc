"""Levels of air quality: every limit of every table at its boundary, hysteresis, averages with too little behind them,
and nothing that flaps.
"""

import copy
import tomllib
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bongsu.receiver.air import levels
from bongsu.receiver.air.levels import AVERAGING_S, LEVELS, Average, Holder, Limit, judge, load_tables
from bongsu.receiver.air.quantities import BY_CODE, BY_NAME, QUANTITIES
from bongsu.receiver.store import schema
from bongsu_wire import kinds

TABLES = load_tables()
ALL = [
    (table.id, code, i) for table in TABLES.by_id.values() for code, limits in table.limits.items()
    for i in range(len(limits))
]  # fmt: skip


def _judged(limits: tuple[Limit, ...], mean: float, standing: int = 0, share: float = 1.0) -> int | None:
    """The level of a mean that is the same over every averaging time."""
    averages = dict.fromkeys(AVERAGING_S.values(), Average(mean, share))
    verdict = judge(limits, averages, standing=standing, tables=TABLES)
    return verdict.rank if verdict is not None else None


@pytest.mark.parametrize(("table", "code", "i"), ALL)
def test_every_limit_at_its_boundary(table: str, code: int, i: int) -> None:
    """Alone: at the limit, and by the least that floats tell beyond it."""
    limit = TABLES.by_id[table].limits[code][i]
    below, beyond = (limit.at - 1e-6, limit.at) if limit.included else (limit.at, limit.at + 1e-6)
    assert _judged((limit,), below) == 0
    assert _judged((limit,), beyond) == limit.rank


# What people know by heart, in people's units: the last value of one level and the first of the next.
KNOWN = [
    ("korea", "pm25", 15.0, "good", 15.1, "moderate"),
    ("korea", "pm25", 35.0, "moderate", 35.1, "bad"),
    ("korea", "pm25", 75.0, "bad", 75.1, "very_bad"),
    ("korea", "pm25", 149.9, "very_bad", 150.0, "hazardous"),
    ("korea", "pm10", 30.0, "good", 30.1, "moderate"),
    ("korea", "pm10", 80.0, "moderate", 80.1, "bad"),
    ("korea", "pm10", 150.0, "bad", 150.1, "very_bad"),
    ("korea", "co2", 1000, "good", 1001, "bad"),
    ("korea", "co", 9.0, "moderate", 9.1, "bad"),
    ("korea-parking", "co", 25.0, "moderate", 25.1, "bad"),
    ("who", "pm25", 5.0, "good", 5.1, "moderate"),
    ("who", "pm25", 37.5, "moderate", 37.6, "bad"),
    ("who", "pm10", 45.0, "moderate", 75.1, "bad"),
    ("who", "co", 3.4, "good", 3.5, "moderate"),  # 4 mg/m3 = 3.49 ppm
    ("who", "co", 8.7, "moderate", 8.8, "bad"),  # 10 mg/m3 = 8.73 ppm
    ("who", "co", 30.5, "bad", 30.6, "very_bad"),  # 35 mg/m3 = 30.57 ppm
    ("who", "co", 87.3, "very_bad", 87.4, "hazardous"),  # 100 mg/m3 = 87.34 ppm
]


@pytest.mark.parametrize(("table", "name", "last", "level", "first", "next_level"), KNOWN)
def test_known_boundaries(table: str, name: str, last: float, level: str, first: float, next_level: str) -> None:
    quantity = BY_NAME[name]
    limits = TABLES.by_id[table].limits[quantity.code]
    assert [_judged(limits, quantity.wire(value)) for value in (last, first)] == [
        LEVELS.index(level), LEVELS.index(next_level)]  # fmt: skip


@given(table=st.sampled_from(sorted(TABLES.by_id)), data=st.data())
def test_worse_air_is_never_a_better_level(table: str, data: st.DataObject) -> None:
    limits = data.draw(st.sampled_from(list(TABLES.by_id[table].limits.values())))
    standing = data.draw(st.integers(0, 4))
    means = sorted(data.draw(st.lists(st.floats(0, 65534), min_size=2, max_size=8)))
    ranks = [_judged(limits, mean, standing) for mean in means]
    assert all(a is not None and b is not None and a <= b for a, b in pairwise(ranks))


@pytest.mark.parametrize(("table", "code", "i"), ALL)
def test_a_level_is_left_lower_down_than_it_is_reached(table: str, code: int, i: int) -> None:
    limit = TABLES.by_id[table].limits[code][i]
    assert _judged((limit,), limit.at * 0.95, standing=limit.rank) == limit.rank
    assert _judged((limit,), limit.at * 0.95, standing=limit.rank - 1) == 0
    assert _judged((limit,), limit.at * 0.89, standing=limit.rank) == 0


def test_an_average_needs_three_quarters_of_its_time() -> None:
    limits = TABLES.by_id["korea"].limits[kinds.Q_PM25_DUG]
    assert _judged(limits, 800, share=0.75) == 3
    assert _judged(limits, 800, share=0.7499) is None
    # Two hours are known, the day is not: the worst that is known counts, ...
    known = {7200: Average(1600, 1.0), 86_400: Average(1600, 0.1)}
    verdict = judge(limits, known, standing=0, tables=TABLES)
    assert verdict is not None and verdict.level == "hazardous"
    # ... but that the air is good is not known yet, ...
    fine = {7200: Average(1000, 1.0), 86_400: Average(1000, 0.1)}
    assert judge(limits, fine, standing=0, tables=TABLES) is None
    # ... and that what stands by the day's average is over, nobody can say.
    assert judge(limits, {7200: Average(10, 1.0)}, standing=2, tables=TABLES) is None


def test_a_yearly_mean_makes_no_advisory() -> None:
    limits = TABLES.by_id["who"].limits[kinds.Q_PM25_DUG]
    averages = {86_400: Average(100, 1.0), AVERAGING_S["1y"]: Average(100, 1.0)}
    shown = judge(limits, averages, standing=0, tables=TABLES)
    told = judge(limits, averages, standing=0, tables=TABLES, advice=True)
    assert shown is not None and told is not None and (shown.level, told.level) == ("moderate", "good")


KEY = ("unit:m/u", 6)


@given(st.lists(st.tuples(st.integers(1, 599_999), st.booleans()), max_size=60))
def test_what_flaps_faster_than_the_hold_changes_nothing(looks: list[tuple[int, bool]]) -> None:
    """As long as the old level is seen within each hold, it stays."""
    holder, now_ms, old_seen_ms = Holder(600_000), 0, 0
    assert holder.step(KEY, 0, 0, now_ms) == 0
    for wait_ms, is_bad in looks:
        now_ms += wait_ms
        if is_bad and now_ms - old_seen_ms >= 600_000:
            is_bad = False
        old_seen_ms = old_seen_ms if is_bad else now_ms
        assert holder.step(KEY, 0, 2 if is_bad else 0, now_ms) == 0


@given(st.integers(1, 4), st.lists(st.integers(1, 300_000), min_size=1, max_size=40))
def test_a_change_that_lasts_is_told_at_the_first_look_after_the_hold(seen: int, waits: list[int]) -> None:
    holder, now_ms, begun_ms = Holder(600_000), 1_000, 1_000
    assert holder.step(KEY, 0, seen, now_ms) == 0
    for wait_ms in waits:
        now_ms += wait_ms
        found = holder.step(KEY, 0, seen, now_ms)
        assert found == (seen if now_ms - begun_ms >= 600_000 else 0)
        if found:
            return


def test_one_look_at_the_old_level_begins_the_hold_anew() -> None:
    holder = Holder(600_000)
    looks = [(0, 2), (300_000, 2), (599_999, 0), (600_000, 2), (900_000, 3), (1_199_999, 2), (1_200_000, 2)]
    assert [holder.step(KEY, 0, seen, at) for at, seen in looks] == [0, 0, 0, 0, 0, 0, 2]


def _file() -> dict[str, object]:
    text = files("bongsu.receiver").joinpath("data/air_levels.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"level": "awful"}, "unknown"),
        ({"quantity": "radon"}, "unknown"),
        ({"averaging": "3h"}, "unknown"),
        ({"source": "hearsay"}, "not in"),
        ({"unit": "ppm"}, "the unit is ug/m3"),
        ({"above": 40}, "rising order"),
        ({"from": 15}, "exactly one"),
    ],
)
def test_the_file_is_checked_whole(change: dict[str, object], why: str) -> None:
    content = copy.deepcopy(_file())
    content["tables"]["korea"]["limits"][0].update(change)  # type: ignore[index]
    with pytest.raises(ValueError, match=why):
        levels.checked(content)


def test_every_quantity_of_the_wire_has_a_name_and_fits_a_pack() -> None:
    assert set(BY_CODE) == set(kinds.QUANTITY_NAMES) and len(BY_NAME) == len(QUANTITIES)
    assert max(BY_CODE) <= 16
    assert tuple(LEVELS) == schema.AIR_LEVELS
