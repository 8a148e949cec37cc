"""A year of quiet air at one node in an unheated market hall: seasons, weather, day and night, fog, and a smoke head
that gets dirty and is cleaned. Nothing here is a fire or a nuisance, so nothing here may alarm or be a fault.

Samples are a node's whole numbers. Each is a function of seed and time alone: any part of the year can be had without
the rest, and twice the same. The slow part is a table by the hour; noise comes out of tables, block by block, so that a
whole year at 4 Hz (126 million samples) takes about a minute.

Sources: seasons after Seoul's climate (monthly means -2 to 26 degC, 50 to 78 % humidity), a hall being warmer in winter
and a little damped; fog by visibility (Koschmieder: 3 / visibility is the extinction, so 100 m are 0.013/m); dirt to
0.03/m a year for a dirty head; the rest are estimates, each with its reason beside it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from bongsu.sim import scenarios
from bongsu.sim.track import NODE_MOST, Track

DAY_S = 86_400
YEAR_S = 365 * DAY_S
Sample = tuple[int, int, int]

_HOURS = 365 * 24
# So long the slow part stands still: a hall's 5 K in an hour are 0.02 K in it, a fifth of a step of 0.1 K.
_BLOCK_S = 16.0
_ZERO_C_DK = 2731.5

# Mean and half the year's swing; the warmest day is 1 August. With day, weather and noise: about -10 to 38 degC.
_YEAR_MEAN_C, _YEAR_SWING_K, _WARMEST_DAY = 14.0, 13.5, 212
# Half the day's swing under a clear sky, less under clouds; the warmest hour.
_DAY_SWING_K, _WARMEST_HOUR = 4.0, 15
# Weather: standard deviation and correlation time; beyond 2.5 sigma it does not go (records are rarer than a year).
_WEATHER_K, _WEATHER_H, _WEATHER_SIGMAS = 2.5, 60.0, 2.5
# Doors and draught: slow wandering of the hall's air about that by day, half of it at night.
_DRAUGHT_K, _DRAUGHT_BLOCKS = 0.25, 15
_RH_MEAN, _RH_YEAR, _RH_WEATHER, _RH_WEATHER_H = 60.0, 12.0, 9.0, 36.0
# Relative humidity falls with the day's warmth: 3 % of RH per K.
_RH_PER_K = 3.0
_RH_LEAST, _RH_MOST = 12.0, 98.0
# Smoke: what a head shows in clean air (its zero is never exact), market haze in shop hours, offset by temperature.
_ZERO_OD, _HAZE_OD, _OD_PER_K = 0.0015, 0.0010, 2e-5
_OPEN_H, _CLOSED_H = 6, 21
# Fog in the morning: days a year, optical density at its thickest (median, sigma of ln): 0.003/m is 430 m of sight.
_FOG_DAYS, _FOG_OD, _FOG_SIGMA = 15, 0.003, 0.6
# Dirt that a year brings (median, sigma of ln, most: "a dirty head"); a cleaning leaves so much of what was there.
_DIRT_OD, _DIRT_SIGMA, _DIRT_MOST_OD, _DIRT_LEFT = 0.012, 0.6, 0.03, 0.15
# Noise of a sample, standard deviation in units of 0.1 K, 1e-4/m, 0.5 %; cut at 3.5 sigma, where a 12 bit ADC's is.
_NOISE_DK, _NOISE_E4, _NOISE_HALF, _NOISE_SIGMAS = 0.5, 4.0, 0.3, 3.5
_TABLE = 4096
# The fire in the last week: at 1 h at night, five days before the year's end.
SMOULDER_AT_S = YEAR_S - 5 * DAY_S + 3600


@dataclass(frozen=True)
class QuietYear:
    """One node's year. seed: of everything; period_ms: between samples (250: the whole truth, more: thinned);
    dirt_od_per_year: 1/m (None: drawn, 0.004 to 0.03); cleaned_days: when the head is cleaned (None: drawn, none to
    two); smoulder: what with_smoulder adds.
    """

    seed: int = 0
    period_ms: int = 250
    dirt_od_per_year: float | None = None
    cleaned_days: tuple[int, ...] | None = None
    smoulder: tuple[float, Track] | None = None

    def with_smoulder(self, at_s: float = SMOULDER_AT_S, track: Track | None = None) -> "QuietYear":
        """The same year with a fire from `at_s` on, by default the slow smouldering one (cfast/slow_smoulder, 3 h). Its
        rise over its own first point is added to the air; its last values stay.
        """
        return replace(self, smoulder=(at_s, track or scenarios.recording("cfast/slow_smoulder").track))

    def samples(self, start_s: float = 0.0, end_s: float = YEAR_S) -> Iterator[Sample]:
        """(temp_dk, smoke_e4, humidity_half) of each sample at start_s <= t < end_s, t a multiple of the period."""
        period_s = self.period_ms / 1000
        first, end = math.ceil(start_s / period_s - 1e-9), math.ceil(end_s / period_s - 1e-9)
        length = max(1, round(_BLOCK_S / period_s))
        for block in range(first // length, (end - 1) // length + 1):
            at = block * length
            values = self._block(block, at * period_s, length)
            if self.smoulder and (at + length) * period_s > self.smoulder[0]:
                values = self._burning(values, at, self.smoulder)
            if at < first or at + length > end:
                values = values[max(0, first - at) : end - at]
            yield from values

    def slow_at(self, t_s: float) -> tuple[float, float, float]:
        """Without noise and fire: (degC, optical density 1/m, % humidity) at a time of the year."""
        hour, part = divmod(min(max(t_s, 0.0), YEAR_S - 1) / 3600, 1)
        i = int(hour)
        weather, dirt = self._weather, self._dirt
        temp, rh, haze = (
            column[i] + part * (column[i + 1] - column[i])
            for column in (weather.temp_c, weather.rh_pct, weather.haze_od)
        )
        return temp, _ZERO_OD + max(0.0, haze + _OD_PER_K * (temp - 20.0)) + dirt[i] + part * self._dirt_per_h, rh

    def _block(self, block: int, t_s: float, length: int) -> list[Sample]:
        temp_c, smoke_od, rh_pct = self.slow_at(t_s)
        draught = self._draught
        by_day = 1.0 if _OPEN_H <= t_s % DAY_S / 3600 < _CLOSED_H else 0.5
        temp_c += by_day * draught[int(t_s / _BLOCK_S) % len(draught)]
        temp, smoke, rh = temp_c * 10 + _ZERO_C_DK + 0.5, smoke_od * 10_000 + 0.5, rh_pct * 2 + 0.5
        # A place in the noise by block: a product with a prime, so that neighbours lie far apart.
        a = (block * 2_654_435_761 + self.seed * 40_503) % _TABLE
        b, c = (a * 5 + 1_013) % _TABLE, (a * 13 + 2_477) % _TABLE
        temp_noise, smoke_noise, rh_noise = self._noise
        return list(
            zip(
                [int(temp + n) for n in temp_noise[a : a + length]],
                [int(smoke + n) for n in smoke_noise[b : b + length]],
                [int(rh + n) for n in rh_noise[c : c + length]],
                strict=True,
            )
        )

    def _burning(self, values: list[Sample], at: int, smoulder: tuple[float, Track]) -> list[Sample]:
        start_s, fire = smoulder
        period_s = self.period_ms / 1000
        names = ("temp_c", "smoke_od_per_m", "rh_pct")
        zero = [fire.value_at(name, fire.start_s) for name in names]
        first = at * period_s - start_s + fire.start_s
        added = fire.samples(names, period_s, first, first + (len(values) - 0.5) * period_s)
        return [_add(value, now, zero) for value, now in zip(values, added, strict=True)]

    @cached_property
    def _weather(self) -> "_Weather":
        return _Weather.of(self.seed)

    @cached_property
    def _dirt_per_h(self) -> float:
        per_year = self.dirt_od_per_year
        if per_year is None:
            per_year = min(_DIRT_MOST_OD, _DIRT_OD * math.exp(Random(f"dirt/{self.seed}").gauss(0, _DIRT_SIGMA)))
        return per_year / _HOURS

    @cached_property
    def _dirt(self) -> list[float]:
        """On the head, 1/m, by the hour."""
        cleaned = self.cleaned_days
        if cleaned is None:
            chance = Random(f"cleaned/{self.seed}")
            cleaned = tuple(chance.randrange(30, 350) for _ in range(chance.choice((0, 0, 1, 2))))
        hours = {day * 24 + 10 for day in cleaned}
        out, dirt = [], 0.0
        for hour in range(_HOURS + 1):
            if hour in hours:
                dirt *= _DIRT_LEFT
            out.append(dirt)
            dirt += self._dirt_per_h
        return out

    @cached_property
    def _draught(self) -> list[float]:
        """A closed ring of wandering air, by block of _BLOCK_S; its length is prime to a day."""
        return _ring(Random(f"draught/{self.seed}"), 8191, _DRAUGHT_BLOCKS, _DRAUGHT_K)

    @cached_property
    def _noise(self) -> tuple[list[float], list[float], list[float]]:
        chance = Random(f"noise/{self.seed}")
        length = max(1, round(_BLOCK_S * 1000 / self.period_ms))

        def table(sigma: float) -> list[float]:
            ring = [sigma * min(_NOISE_SIGMAS, max(-_NOISE_SIGMAS, chance.gauss(0, 1))) for _ in range(_TABLE)]
            return ring + (ring * (length // _TABLE + 1))[:length]

        return table(_NOISE_DK), table(_NOISE_E4), table(_NOISE_HALF)


@dataclass(frozen=True)
class _Weather:
    """By the hour, one more than a year has: degC in the hall, % humidity, haze and fog in 1/m."""

    temp_c: list[float]
    rh_pct: list[float]
    haze_od: list[float]

    @classmethod
    def of(cls, seed: int) -> "_Weather":
        chance = Random(f"weather/{seed}")
        count = _HOURS + 2
        warm = _wandering(chance, count, _WEATHER_K, _WEATHER_H)
        damp = _wandering(chance, count, _RH_WEATHER, _RH_WEATHER_H)
        clear = [chance.uniform(0.3, 1.0) for _ in range(366)]
        temp_c, rh_pct = [], []
        for hour in range(count):
            year = math.cos(2 * math.pi * (hour / 24 - _WARMEST_DAY) / 365)
            day = _DAY_SWING_K * clear[hour // 24] * math.cos(2 * math.pi * (hour % 24 - _WARMEST_HOUR) / 24)
            temp_c.append(_YEAR_MEAN_C + _YEAR_SWING_K * year + day + warm[hour])
            rh = _RH_MEAN + _RH_YEAR * year - _RH_PER_K * day + damp[hour]
            rh_pct.append(min(_RH_MOST, max(_RH_LEAST, rh)))
        return cls(temp_c, rh_pct, _haze(chance, count))


def _haze(chance: Random, count: int) -> list[float]:
    share = _wandering(chance, count, 0.5, 4.0)
    out = [
        _HAZE_OD * max(0.0, 1 + share[hour]) if _OPEN_H <= hour % 24 < _CLOSED_H else _HAZE_OD / 5
        for hour in range(count)
    ]
    for _ in range(_FOG_DAYS):
        # Most fogs are in autumn and spring nights; thickest at 6 h, gone at 9 h.
        day, top = chance.choice((chance.randrange(60, 120), chance.randrange(260, 330))), chance.gauss(0, _FOG_SIGMA)
        for hour, strength in ((3, 0.3), (4, 0.6), (5, 0.9), (6, 1.0), (7, 0.7), (8, 0.3)):
            out[day * 24 + hour] += _FOG_OD * math.exp(top) * strength
    return out


def _wandering(chance: Random, count: int, sigma: float, hours: float) -> list[float]:
    """An Ornstein-Uhlenbeck process by the hour, held within _WEATHER_SIGMAS."""
    keep = math.exp(-1 / hours)
    kick = sigma * math.sqrt(1 - keep * keep)
    most = _WEATHER_SIGMAS * sigma
    x, out = chance.gauss(0, sigma), []
    for _ in range(count):
        x = min(most, max(-most, x))
        out.append(x)
        x = keep * x + chance.gauss(0, kick)
    return out


def _ring(chance: Random, length: int, width: int, sigma: float) -> list[float]:
    """White noise smoothed twice over `width` around a ring, so that it has no seam; scaled to `sigma`."""
    ring = [chance.gauss(0, 1) for _ in range(length)]
    for _ in range(2):
        total = sum(ring[:width])
        smooth = []
        for i in range(length):
            smooth.append(total)
            total += ring[(i + width) % length] - ring[i]
        ring = smooth
    mean = sum(ring) / length
    scale = sigma / math.sqrt(sum((x - mean) ** 2 for x in ring) / length)
    return [(x - mean) * scale for x in ring]


def _add(value: Sample, now: tuple[float | None, ...], zero: list[float | None]) -> Sample:
    """A sample with a fire's rise on top; humidity is scaled, for it is the fire's heat that dries the air."""
    temp, smoke, rh = value
    (fire_c, fire_od, fire_rh), (zero_c, zero_od, zero_rh) = now, zero
    if fire_c is not None and zero_c is not None:
        temp += round(10 * (fire_c - zero_c))
    if fire_od is not None and zero_od is not None:
        smoke += round(10_000 * (fire_od - zero_od))
    if fire_rh is not None and zero_rh:
        rh = min(200, round(rh * fire_rh / zero_rh))
    return min(NODE_MOST, temp), min(NODE_MOST, max(0, smoke)), rh
