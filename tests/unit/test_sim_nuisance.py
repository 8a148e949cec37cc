"""Nuisances: one seed gives one day, nothing unphysical comes out, the tails are long, and a plain detector is fooled
at least as often as in a real market.
"""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim import nuisance
from bongsu.sim.track import COLUMNS, Track

_BOUNDS = {
    "temp_c": (-20.0, 250.0),
    "smoke_od_per_m": (0.0, 20.0),
    "rh_pct": (0.0, 100.0),
    "co_ppm": (0.0, 2000.0),
    "gas_index": (80.0, 20_000.0),
    "pm25_ug": (0.0, 1000.0),
}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(nuisance.kinds()), st.integers(0, 10**6), st.integers(1, 12), st.booleans())
def test_physical_and_whole(kind: str, seed: int, month: int, indoors: bool) -> None:
    found = nuisance.exposure(kind, seed, month=month, indoors=indoors)
    track = found.track
    assert set(track.columns) == set(COLUMNS)
    for name, (low, high) in _BOUNDS.items():
        assert low <= min(track.columns[name]) and max(track.columns[name]) <= high, name
    window = nuisance.data().window
    assert track.start_s == 0 and track.t_s[1] == 0.25
    # The quiet before, the source, and the time after; a source is on for a sample at least.
    lasts_s = max(0.25, found.lasts_s)
    assert track.end_s == pytest.approx(window["before_s"] + lasts_s + window["after_s"], abs=0.5)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(nuisance.kinds()), st.integers(0, 10**6))
def test_before_the_source_it_is_quiet(kind: str, seed: int) -> None:
    track = nuisance.exposure(kind, seed).track
    before = round(nuisance.data().window["before_s"] * 4)
    for name, most in (("temp_c", 0.5), ("smoke_od_per_m", 0.005), ("rh_pct", 1.5)):
        quiet = track.columns[name][:before]
        assert max(quiet) - min(quiet) < most, name


def test_the_same_seed_is_the_same_day() -> None:
    days = [nuisance.shop_day("market_kitchen", seed) for seed in (7, 7, 8)]
    assert days[0] == days[1] != days[2]
    assert list(nuisance.market_days(5, 3)) == list(nuisance.market_days(5, 3)) != list(nuisance.market_days(5, 4))


def test_a_day_is_in_order_and_in_the_kinds_hours() -> None:
    for seed in range(20):
        day = nuisance.shop_day("market_kitchen", seed)
        assert [e.start_s for e in day] == sorted(e.start_s for e in day)
        for found in day:
            low, high = nuisance.data().kinds[found.kind].hours
            assert low * 3600 <= found.start_s <= high * 3600


def test_out_of_season_there_is_none() -> None:
    july = [e.kind for seed in range(60) for e in nuisance.shop_day("market_dry", seed, month=7)]
    january = [e.kind for seed in range(60) for e in nuisance.shop_day("market_dry", seed, month=1)]
    assert "heating" in january and "heating" not in july
    assert "spray" not in january
    assert "fog" not in july + january


def test_each_kind_is_what_its_name_says() -> None:
    """Over many draws, in the middle: which of smoke, heat and humidity it brings."""
    rise = {kind: _middle_rise(kind) for kind in nuisance.kinds()}
    assert rise["steam"]["rh_pct"] > 10 > 6 > rise["grill"]["rh_pct"]
    assert rise["steam"]["smoke_od_per_m"] > 0.004 and rise["grill"]["smoke_od_per_m"] > 0.004
    for kind in ("spray", "fog", "dust"):
        assert rise[kind]["temp_c"] < 0.6 and rise[kind]["rh_pct"] < 3
    assert rise["fog"]["smoke_od_per_m"] > 0.3
    assert rise["lighter"]["temp_c"] > 40 and rise["lighter"]["smoke_od_per_m"] > 0.06
    assert rise["heating"]["temp_c"] > 4 and rise["heating"]["smoke_od_per_m"] < 0.005


def _middle_rise(kind: str) -> dict[str, float]:
    rises: dict[str, list[float]] = {"temp_c": [], "smoke_od_per_m": [], "rh_pct": []}
    for seed in range(21):
        columns = nuisance.exposure(kind, seed).track.columns
        for name, found in rises.items():
            quiet = sum(columns[name][:400]) / 400
            # Of the highest: the 8th, for noise and one gust are no exposure.
            found.append(sorted(columns[name])[-8] - quiet)
    return {name: sorted(found)[10] for name, found in rises.items()}


def test_tails_are_long() -> None:
    """No draw is held below a detector's limits: of cooking's peaks some are many times the middle one."""
    peaks = sorted(max(nuisance.exposure("steam", seed).track.columns["smoke_od_per_m"]) for seed in range(200))
    assert peaks[100] < 0.03 < 0.06 < peaks[-1]


def test_a_plain_detector_is_fooled_as_often_as_in_a_real_market() -> None:
    """Kitchens alone, as in that market (steam, grilled meat), make up its whole rate; a short run of what
    tools/check_nuisance.py prints.
    """
    days = 200
    alarms = sum(
        nuisance.plain_alarm_s(e.track) is not None
        for seed in range(days)
        for e in nuisance.shop_day("market_kitchen", seed)
    )
    table = nuisance.data()
    assert table.market["market_kitchen"] * alarms / days >= table.calibration["plain_alarms_per_shop_day"]


def _flat(pairs: list[tuple[float, float]], name: str = "smoke_od_per_m") -> Track:
    values = [value for value, seconds in pairs for _ in range(round(4 * seconds))]
    columns = {"temp_c": [20.0] * len(values), "smoke_od_per_m": [0.0] * len(values), name: values}
    return Track(tuple(i / 4 for i in range(len(values))), {k: tuple(v) for k, v in columns.items()})


def test_the_plain_detector_holds_five_seconds() -> None:
    assert nuisance.plain_alarm_s(_flat([(0.0, 10), (0.06, 5.0), (0.0, 5)])) is None  # 20 samples span 4.75 s
    assert nuisance.plain_alarm_s(_flat([(0.0, 10), (0.06, 5.25), (0.0, 5)])) == 15.0
    assert nuisance.plain_alarm_s(_flat([(0.059, 60)])) is None
    assert nuisance.plain_alarm_s(_flat([(20.0, 10), (57.0, 6)], "temp_c")) == 15.0
    assert nuisance.plain_alarm_s(_flat([(0.07, 4), (0.0, 0.25), (0.07, 4)])) is None


def test_what_is_a_fire_is_drawn_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = nuisance.data().cut
    monkeypatch.setitem(cut, "smoke_od_per_m", 0.001)  # type: ignore[arg-type]
    monkeypatch.setitem(cut, "heat_k", 1.0)  # type: ignore[arg-type]
    found = [nuisance.exposure("grill", seed) for seed in range(10)]
    assert sum(e.redrawn for e in found) > 0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no nuisance 'rain'.*steam"):
        nuisance.exposure("rain", 0)
    with pytest.raises(ValueError, match="no shop kind 'zoo'.*market_dry"):
        nuisance.shop_day("zoo", 0)


def test_every_parameter_says_its_unit_and_why() -> None:
    table = nuisance.data()
    spreads = [s for kind in table.kinds.values() for s in kind.parameters.values()]
    assert len(spreads) > 80
    assert all(s.unit and s.why for s in [*spreads, *table.sensor.values(), *table.air.values(), table.reach])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"value": 1.0, "why": "x"}, "unit and why"),
        ({"value": 1.0, "unit": "K"}, "unit and why"),
        ({"unit": "K", "why": "x"}, "no value"),
        ({"unit": "K", "why": "x", "low": 2.0, "high": 1.0}, "no value"),
        ({"unit": "K", "why": "x", "median": 0.0, "sigma": 1.0}, "no value"),
        ({"unit": "K", "why": "x", "value": 1.0, "sigma": 1.0}, "no value"),
    ],
)
def test_a_bad_parameter_is_named(entry: dict[str, object], words: str) -> None:
    with pytest.raises(nuisance.NuisanceDataError, match=f"kind.steam.x .*{words}"):
        nuisance._spread("kind.steam.x", entry)


def test_a_spread_is_what_it_says() -> None:
    chance = Random(1)
    spread = nuisance.Spread("1/m", "test", median=0.02, sigma=0.8)
    logs = sorted(math.log(spread.draw(chance)) for _ in range(4001))
    assert logs[2000] == pytest.approx(math.log(0.02), abs=0.06)
    assert logs[3367] - logs[2000] == pytest.approx(0.8, abs=0.08)  # 84 %
