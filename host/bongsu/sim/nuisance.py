"""What makes a detector alarm without a fire, as seeded curves: steam, grill, spray, dust, a lighter, morning heating.

Every parameter, with its unit and reason, is in data/nuisance.toml. A source blows a turbulent plume for a time; each
sensor follows it with its own rise and decay, so smoke, heat, humidity and gas of one plume belong together. Amplitudes
and times have long tails, and the whole is held to at least the false-alarm rate of a real market: `plain_alarm_s`,
tools/check_nuisance.py.

A shop's day is its exposures, each in a window with quiet before and after; the rest of the day is the quiet year's.
The same arguments give the same curves.
"""

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from statistics import NormalDist
from typing import Any

from bongsu.sim.track import Track

HOUR_S = 3600.0
_MONTHS = 12
# ug/m3 of PM2.5 for 1/m of optical density: 4.4 m2/g, aerosol that is not soot; and what a PMS5003 can show.
_PM25_UG_PER_OD = math.log(10) / 4.4 * 1e6
_PM25_MOST_UG = 1000.0
# Relative humidity falls by 6 % of itself per K when only the temperature rises (Magnus, 10 to 30 degC).
_RH_PER_K = 0.06
_CLEAN_GAS = 100.0
_NOISE_LEN = 4096
_NORMAL = NormalDist()
_REDRAW_MOST = 1000


class NuisanceDataError(ValueError):
    """data/nuisance.toml is not what it should be; the message names the place."""


@dataclass(frozen=True)
class Spread:
    """A parameter's distribution: log-normal about `median` with `sigma` of the natural logarithm, or (median None)
    even between low and high, one value if they are equal. `why`: the reason or source.
    """

    unit: str
    why: str
    low: float = 0.0
    high: float = 0.0
    median: float | None = None
    sigma: float = 0.0

    def draw(self, chance: Random) -> float:
        """One value. Takes one number of `chance` whatever the form, so a changed parameter shifts no other."""
        share = chance.random()
        if self.median is None:
            return self.low + (self.high - self.low) * share
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(min(1 - 1e-12, max(1e-12, share))))


@dataclass(frozen=True)
class Kind:
    """A source: its parameters by name, the hours of the day and the months (1..12) in which it happens; everywhere: it
    fills the room or is at the head itself, so no `reach` thins it.
    """

    name: str
    parameters: Mapping[str, Spread]
    hours: tuple[float, float]
    months: tuple[int, ...]
    everywhere: bool


@dataclass(frozen=True)
class Data:
    """The whole table. rates: exposures per day by shop kind and source; market: shares of the shop kinds in one."""

    kinds: Mapping[str, Kind]
    rates: Mapping[str, Mapping[str, float]]
    market: Mapping[str, float]
    calibration: Mapping[str, float]
    cut: Mapping[str, float]
    window: Mapping[str, float]
    sensor: Mapping[str, Spread]
    air: Mapping[str, Spread]
    temp_c_by_month: tuple[float, ...]
    reach: Spread


@dataclass(frozen=True)
class Exposure:
    """A nuisance at a head. kind: of `kinds()`; start_s: of the source, in s of the day; lasts_s: how long it is on;
    track: at 4 Hz, the source starts `window.before_s` after its time 0; redrawn: how often the cut had it drawn anew.
    """

    kind: str
    start_s: float
    lasts_s: float
    track: Track
    redrawn: int


# -- the data


@cache
def data() -> Data:
    """data/nuisance.toml, checked. Raises NuisanceDataError."""
    raw = tomllib.loads(files("bongsu.sim").joinpath("data", "nuisance.toml").read_text(encoding="utf-8"))
    air = raw["air"]
    months = tuple(air.pop("temp_c_by_month"))
    if len(months) != _MONTHS:
        raise NuisanceDataError("air.temp_c_by_month needs 12 values")
    market = raw["calibration"].pop("market")
    found = Data(
        kinds={name: _kind(name, table) for name, table in raw["kind"].items()},
        rates=raw["shop"],
        market=market,
        calibration=raw["calibration"],
        cut=raw["cut"],
        window=raw["window"],
        sensor=_spreads("sensor", raw["sensor"]),
        air=_spreads("air", air),
        temp_c_by_month=months,
        reach=_spread("reach.factor", raw["reach"]["factor"]),
    )
    _check(found)
    return found


def _check(found: Data) -> None:
    for shop, rates in found.rates.items():
        if set(rates) != set(found.kinds) or min(rates.values()) < 0:
            raise NuisanceDataError(f"shop.{shop} needs a rate >= 0 for each kind: {', '.join(found.kinds)}")
    if not set(found.market) <= set(found.rates) or abs(sum(found.market.values()) - 1) > 1e-9:
        raise NuisanceDataError("calibration.market: shares of known shops that add up to 1")


def _kind(name: str, table: dict[str, Any]) -> Kind:
    low, high = table.pop("hours")
    months = tuple(table.pop("months", range(1, _MONTHS + 1)))
    everywhere = table.pop("everywhere", False)
    return Kind(name, _spreads(f"kind.{name}", table), (low, high), months, everywhere)


def _spreads(place: str, table: Mapping[str, Any]) -> dict[str, Spread]:
    return {name: _spread(f"{place}.{name}", entry) for name, entry in table.items()}


def _spread(place: str, entry: Mapping[str, Any]) -> Spread:
    form = set(entry) - {"unit", "why"}
    if not entry.get("unit") or not entry.get("why"):
        raise NuisanceDataError(f"{place} needs its unit and why")
    if form == {"value"}:
        return Spread(entry["unit"], entry["why"], entry["value"], entry["value"])
    if form == {"low", "high"} and entry["low"] <= entry["high"]:
        return Spread(entry["unit"], entry["why"], entry["low"], entry["high"])
    if form == {"median", "sigma"} and entry["median"] > 0 and entry["sigma"] >= 0:
        return Spread(entry["unit"], entry["why"], median=entry["median"], sigma=entry["sigma"])
    raise NuisanceDataError(f"{place} is no value, no low and high, and no median and sigma")


def kinds() -> tuple[str, ...]:
    """The names of all sources."""
    return tuple(data().kinds)


def shops() -> tuple[str, ...]:
    """The names of all kinds of shop: the detector's profiles."""
    return tuple(data().rates)


# -- days


def shop_day(shop: str, seed: int, *, month: int | None = None) -> list[Exposure]:
    """The exposures of one day in a shop of kind `shop` (of `shops()`), in time order, often none. `month`: 1..12, else
    any. Raises ValueError for another shop.
    """
    if shop not in data().rates:
        raise ValueError(f"no shop kind {shop!r}; there are: {', '.join(shops())}")
    chance = Random(f"day/{shop}/{seed}")
    drawn = chance.randrange(_MONTHS) + 1
    month = month or drawn
    found = []
    for name, rate in data().rates[shop].items():
        kind = data().kinds[name]
        count = _poisson(rate, chance) if month in kind.months else 0
        for number in range(count):
            start_s = HOUR_S * (kind.hours[0] + (kind.hours[1] - kind.hours[0]) * chance.random())
            found.append(
                exposure(name, f"{shop}/{seed}/{number}", start_s=start_s, month=month, indoors=shop == "home")
            )
    return sorted(found, key=lambda e: e.start_s)


def market_days(count: int, seed: int = 0) -> Iterator[tuple[str, list[Exposure]]]:
    """`count` shop-days of a market street, shop kinds by their shares in it: (shop kind, its day's exposures)."""
    names, shares = zip(*data().market.items(), strict=True)
    chance = Random(f"market/{seed}")
    for day in range(count):
        shop = chance.choices(names, shares)[0]
        yield shop, shop_day(shop, seed * 1_000_003 + day)


def _poisson(mean: float, chance: Random) -> int:
    """How many of what happens `mean` times (Knuth; for small means)."""
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


# -- one exposure


def exposure(
    kind: str, seed: int | str, *, start_s: float = 12 * HOUR_S, month: int = 4, indoors: bool = False
) -> Exposure:
    """One exposure to `kind`, drawn anew while it is what the data's cut calls a fire. ValueError for another kind."""
    if kind not in data().kinds:
        raise ValueError(f"no nuisance {kind!r}; there are: {', '.join(kinds())}")
    source = data().kinds[kind]
    for redrawn in range(_REDRAW_MOST):
        chance = Random(f"{kind}/{seed}/{redrawn}")
        lasts_s = source.parameters["lasts_s"].draw(chance)
        plume = _plume(source, lasts_s, chance)
        if not _is_fire(plume):
            return Exposure(kind, start_s, lasts_s, _sensed(plume, month, indoors, chance), redrawn)
    raise NuisanceDataError(f"kind.{kind} is always what the cut calls a fire")


@dataclass(frozen=True)
class _Plume:
    """What a source adds to the air at the head, sample by sample from its start: 1/m, K, %, ppm, index."""

    smoke_od: list[float]
    heat_k: list[float]
    humidity_pct: list[float]
    co_ppm: list[float]
    gas: list[float]


def _plume(source: Kind, lasts_s: float, chance: Random) -> _Plume:
    drawn = {name: spread.draw(chance) for name, spread in source.parameters.items() if name != "lasts_s"}
    reach = data().reach.draw(chance)
    if source.everywhere:
        reach = 1.0
    smoke = reach * drawn["smoke_od_per_m"]
    if source.name in ("steam", "grill"):
        smoke *= data().calibration["cooking_smoke"]
    step_s = data().window["sample_s"]
    drive = _drive(lasts_s, drawn["flutter"], drawn["flutter_s"], chance)
    heat = _follow(drive, drawn["heat_k"] * reach, drawn["heat_rise_s"], drawn["heat_decay_s"])
    if "gusts_per_min" in drawn:
        heat = _with_gusts(heat, lasts_s, source, drawn["gusts_per_min"] * step_s / 60, chance)
    slow = drawn["humidity_rise_s"], drawn["humidity_decay_s"]
    # CO and gas come with the smoke, through cells and beads that answer in half a minute.
    cell = max(drawn["smoke_rise_s"], 15.0), max(drawn["smoke_decay_s"], 30.0)
    return _Plume(
        _follow(drive, smoke, drawn["smoke_rise_s"], drawn["smoke_decay_s"]),
        heat,
        _follow(drive, drawn["humidity_pct"] * reach, *slow),
        _follow(drive, drawn["co_ppm"] * reach, *cell),
        _follow(drive, drawn["gas_rise"] * reach, *cell),
    )


def _drive(lasts_s: float, flutter: float, flutter_s: float, chance: Random) -> list[float]:
    """The plume's strength at the head, mean 1 while the source is on: exp of an Ornstein-Uhlenbeck process."""
    step_s = data().window["sample_s"]
    keep = math.exp(-step_s / flutter_s)
    kick = flutter * math.sqrt(1 - keep * keep)
    x = flutter * chance.gauss(0, 1)
    mean = flutter * flutter / 2
    out = []
    for _ in range(max(1, round(lasts_s / step_s))):
        out.append(math.exp(x - mean))
        x = keep * x + kick * chance.gauss(0, 1)
    out += [0.0] * int(data().window["after_s"] / step_s)
    return out


def _follow(drive: list[float], peak: float, rise_s: float, decay_s: float) -> list[float]:
    """`peak` x drive through a first-order lag, with one time constant up and another one down."""
    if peak == 0:
        return [0.0] * len(drive)
    step_s = data().window["sample_s"]
    up, down = 1 - math.exp(-step_s / rise_s), 1 - math.exp(-step_s / decay_s)
    y = 0.0
    out = []
    for d in drive:
        more = peak * d - y
        y += more * (up if more > 0 else down)
        out.append(y)
    return out


def _with_gusts(heat: list[float], lasts_s: float, source: Kind, share: float, chance: Random) -> list[float]:
    """Warm gusts on top while the source is on; `share`: probability that one begins at a sample."""
    step_s = data().window["sample_s"]
    out = list(heat)
    for at in range(round(lasts_s / step_s)):
        if chance.random() >= share:
            continue
        peak, length_s = source.parameters["gust_k"].draw(chance), source.parameters["gust_s"].draw(chance)
        length = max(2, round(length_s / step_s))
        for i in range(min(length, len(out) - at)):
            out[at + i] += peak * math.sin(math.pi * i / length)
    return out


def _is_fire(plume: _Plume) -> bool:
    cut = data().cut
    over = sum(
        smoke > cut["smoke_od_per_m"] and heat > cut["heat_k"]
        for smoke, heat in zip(plume.smoke_od, plume.heat_k, strict=True)
    )
    return over * data().window["sample_s"] >= cut["for_s"]


# -- through the sensors


def _sensed(plume: _Plume, month: int, indoors: bool, chance: Random) -> Track:
    """The window as the sensors give it: the room's air, the plume, offset, dirt, drift and noise."""
    table = data()
    step_s = table.window["sample_s"]
    before = round(table.window["before_s"] / step_s)
    count = before + len(plume.smoke_od)
    sensor = {name: spread.draw(chance) for name, spread in table.sensor.items()}
    air = {name: spread.draw(chance) for name, spread in table.air.items()}
    temp = air["home_temp_c"] if indoors else table.temp_c_by_month[month - 1] + air["temp_spread_k"]
    drift = sensor["smoke_drift_od_per_h"] * step_s / HOUR_S
    pad = [0.0] * before
    heat = pad + plume.heat_k
    smoke = pad + plume.smoke_od
    noise = {name: _noise(sensor[name], count, chance) for name in sensor if "noise" in name}
    columns = {
        "temp_c": [temp + sensor["temp_offset_k"] + h + n for h, n in zip(heat, noise["temp_noise_k"], strict=True)],
        "smoke_od_per_m": [
            max(0.0, sensor["smoke_dirt_od"] + drift * i + s + n)
            for i, (s, n) in enumerate(zip(smoke, noise["smoke_noise_od"], strict=True))
        ],
        "rh_pct": [
            min(100.0, max(0.0, air["rh_pct"] * math.exp(-_RH_PER_K * h) + w + n))
            for h, w, n in zip(heat, pad + plume.humidity_pct, noise["rh_noise_pct"], strict=True)
        ],
        "co_ppm": [
            max(0.0, air["co_ppm"] + c + n) for c, n in zip(pad + plume.co_ppm, noise["co_noise_ppm"], strict=True)
        ],
        "gas_index": [_CLEAN_GAS + g + n for g, n in zip(pad + plume.gas, noise["gas_noise"], strict=True)],
        "pm25_ug": [min(_PM25_MOST_UG, s * _PM25_UG_PER_OD + 20.0) for s in smoke],
    }
    return Track(tuple(i * step_s for i in range(count)), {name: tuple(v) for name, v in columns.items()})


@cache
def _noise_table() -> tuple[float, ...]:
    chance = Random("noise")
    return tuple(chance.gauss(0, 1) for _ in range(_NOISE_LEN))


def _noise(sigma: float, count: int, chance: Random) -> list[float]:
    """Normal noise out of a table, from a place drawn anew for each 1,024 samples."""
    table = _noise_table()
    out: list[float] = []
    while len(out) < count:
        at = chance.randrange(_NOISE_LEN - 1024)
        out += [sigma * n for n in table[at : at + 1024]]
    return out[:count]


# -- how hard it is


def plain_alarm_s(track: Track) -> float | None:
    """When a plain detector (calibration.plain_*: smoke OR heat held 5 s, no filter, no fusion) would alarm, in s of
    the track; None: never.
    """
    rule = data().calibration
    step_s = data().window["sample_s"]
    for name, limit in (("smoke_od_per_m", rule["plain_smoke_od_per_m"]), ("temp_c", rule["plain_temp_c"])):
        at = _held(track.columns[name], limit, round(rule["plain_hold_s"] / step_s))
        if at is not None:
            return track.t_s[at]
    return None


def _held(values: tuple[float, ...], limit: float, samples: int) -> int | None:
    """The first sample that ends a run of values >= limit which spans `samples` sample periods."""
    run = -1
    for i, value in enumerate(values):
        run = run + 1 if value >= limit else -1
        if run >= samples:
            return i
    return None
