"""The quiet year: any part of it is as in the whole, it stays within a market hall's climate, and nothing in it rises
as a fire does.
"""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.quiet import DAY_S, SMOULDER_AT_S, YEAR_S, QuietYear

_ZERO_C_DK = 2731.5


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 3),
    st.sampled_from([250, 1000, 7000, 60_000]),
    st.integers(0, YEAR_S - 4000),
    st.integers(0, 3000),
    st.booleans(),
)
def test_a_part_is_as_in_the_whole(seed: int, period_ms: int, start_s: int, length_s: int, burning: bool) -> None:
    year = QuietYear(seed, period_ms)
    if burning:
        year = year.with_smoulder(at_s=YEAR_S / 2)
    wide = list(year.samples(start_s, start_s + 4000))
    cut = -(-(start_s + length_s) * 1000 // period_ms) - -(-start_s * 1000 // period_ms)
    assert list(year.samples(start_s, start_s + length_s)) == wide[:cut]
    assert list(year.samples(start_s + length_s, start_s + 4000)) == wide[cut:]


def test_a_year_has_all_its_samples() -> None:
    assert sum(1 for _ in QuietYear(0, 600_000).samples()) == 365 * 24 * 6
    assert sum(1 for _ in QuietYear(0, 250).samples(100, 160)) == 240


@pytest.mark.parametrize("seed", range(4))
def test_it_stays_within_a_market_hall(seed: int) -> None:
    temp, smoke, humidity = zip(*QuietYear(seed, 1_800_000).samples(), strict=True)
    assert -12 < (min(temp) - _ZERO_C_DK) / 10 < 0 and 30 < (max(temp) - _ZERO_C_DK) / 10 < 40
    assert min(smoke) >= 0 and min(humidity) >= 20 and max(humidity) <= 200
    winter, summer = temp[: 48 * 20], temp[48 * 205 : 48 * 225]
    assert sum(summer) / len(summer) > sum(winter) / len(winter) + 200


@pytest.mark.parametrize("day", [15, 105, 200, 290])
def test_nothing_in_it_is_a_fire(day: int) -> None:
    """In each season: far from 57 degC and 8.3 K/min, and less than 2 K in 120 s (a detector's small heat change)."""
    temp, smoke, _ = zip(*QuietYear(day, 30_000).samples(day * DAY_S, (day + 7) * DAY_S), strict=True)
    assert max(b - a for a, b in zip(temp, temp[4:], strict=False)) < 20
    assert max(smoke) < 600


def test_days_are_warmer_than_nights_and_dirt_grows() -> None:
    year = QuietYear(5, 60_000, dirt_od_per_year=0.03, cleaned_days=())
    noon = [year.slow_at(day * DAY_S + 15 * 3600) for day in range(365)]
    night = [year.slow_at(day * DAY_S + 3 * 3600) for day in range(365)]
    assert sum(n[0] - m[0] for n, m in zip(noon, night, strict=True)) / 365 > 3
    assert night[364][1] - night[0][1] == pytest.approx(0.03, abs=0.004)
    assert night[182][1] - night[0][1] == pytest.approx(0.015, abs=0.004)


def test_a_cleaned_head_steps_back() -> None:
    year = QuietYear(5, dirt_od_per_year=0.03, cleaned_days=(200,))
    before, after = (year.slow_at(200 * DAY_S + hour * 3600)[1] for hour in (9, 11))
    assert before - after == pytest.approx(0.85 * 0.03 * 200 / 365, abs=0.002)
    drawn = {QuietYear(seed)._dirt[-1] for seed in range(30)}
    assert max(drawn) <= 0.03 and len(drawn) > 25


def test_the_same_seed_is_the_same_year() -> None:
    part = [list(QuietYear(seed).samples(5e6, 5e6 + 60)) for seed in (1, 1, 2)]
    assert part[0] == part[1] != part[2]


def test_noise_is_noise() -> None:
    """4e-4/m and 0.05 K about their middle, and no two minutes alike."""
    minute = list(QuietYear(3).samples(1e6, 1e6 + 60))
    smoke = [s for _, s, _ in minute]
    middle = sum(smoke) / len(smoke)
    spread = (sum((s - middle) ** 2 for s in smoke) / len(smoke)) ** 0.5
    assert 2.5 < spread < 6
    assert minute != list(QuietYear(3).samples(1e6 + 60, 1e6 + 120))


def test_the_slow_fire_comes_in_the_last_week_on_top_of_the_air() -> None:
    quiet = QuietYear(2, 10_000)
    fire = quiet.with_smoulder()
    assert YEAR_S - 7 * DAY_S < SMOULDER_AT_S < YEAR_S - 3 * 3600
    before = slice(0, 30), slice(30, None)
    a = list(quiet.samples(SMOULDER_AT_S - 300, SMOULDER_AT_S + 12_000))
    b = list(fire.samples(SMOULDER_AT_S - 300, SMOULDER_AT_S + 12_000))
    assert a[before[0]] == b[before[0]]
    added = [y[1] - x[1] for x, y in zip(a[before[1]], b[before[1]], strict=True)]
    assert added[360] < 600 < 1500 < added[1077]  # at 1 h, at 3 h, in 1e-4/m
    assert all(y >= x - 2 for x, y in itertools.pairwise(added))
    assert added[-1] == added[1100]  # nothing puts it out
    assert all(y[0] >= x[0] - 1 for x, y in zip(a, b, strict=True))


def test_a_year_is_made_in_minutes() -> None:
    """126 million samples; the issue asks for 300,000 a second, here with room for a busy machine."""
    year = QuietYear(0)
    next(year.samples())
    begin = time.process_time()
    count = sum(1 for _ in year.samples(0, DAY_S))
    assert count / (time.process_time() - begin) > 300_000
