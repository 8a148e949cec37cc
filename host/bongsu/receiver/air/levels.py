"""Which level an average is: tables as data (data/air_levels.toml), hysteresis, how long a change must last. Pure."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from bongsu.receiver.air.quantities import BY_NAME, Quantity

LEVELS = ("good", "moderate", "bad", "very_bad", "hazardous")
DEFAULT_TABLE, DEFAULT_ADVISE_AT = "korea", "bad"
# Averaging times by name, in s.
AVERAGING_S = {"15m": 900, "1h": 3600, "2h": 7200, "8h": 28_800, "24h": 86_400, "1y": 365 * 86_400}
YEAR_S = AVERAGING_S["1y"]
_LANGS = ("ko", "en")


class _Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quantity: str
    level: str
    unit: str
    averaging: str
    source: str
    above: float | None = None
    from_: float | None = msgspec.field(default=None, name="from")
    advise: bool = True


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: dict[str, str]
    limits: list[_Limit]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    share: float
    hysteresis: float
    hold_s: int
    no_data_s: int
    co_mg_m3: float
    sources: dict[str, str]
    tables: dict[str, _Table]


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a level begins. `at`: the limit on the wire's scale; `included`: the limit itself is of the level; `rank`:
    of the level in LEVELS; `said`: as the source has it ("> 15 ug/m3").
    """

    quantity: Quantity
    rank: int
    at: float
    included: bool
    averaging_s: int
    averaging: str
    said: str
    source: str
    advise: bool

    def passed(self, mean: float, standing: int, hysteresis: float) -> bool:
        """Is this mean (wire value) of the level? A level that stands is left lower down."""
        if self.rank > standing:
            return mean >= self.at if self.included else mean > self.at
        zero = self.quantity.zero
        return mean > zero + (self.at - zero) * (1 - hysteresis)


@dataclass(frozen=True, slots=True)
class LevelTable:
    """A table by quantity; within one the limits are in rising order of level."""

    id: str
    name: Mapping[str, str]
    limits: Mapping[int, tuple[Limit, ...]]


@dataclass(frozen=True, slots=True)
class Tables:
    """The file."""

    share: float
    hysteresis: float
    hold_ms: int
    no_data_ms: int
    by_id: Mapping[str, LevelTable]


@dataclass(frozen=True, slots=True)
class Average:
    """A mean over an averaging time (wire value), and the share of that time which readings covered (0 to 1)."""

    mean: float
    share: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A quantity's level, and what decided it: the limit passed (of good: the first one), and the average."""

    rank: int
    average: Average
    limit: Limit

    @property
    def level(self) -> str:
        """Its name."""
        return LEVELS[self.rank]


@cache
def load_tables() -> Tables:
    """data/air_levels.toml, checked whole. Raises ValueError naming what is wrong in it."""
    text = files("bongsu.receiver").joinpath("data/air_levels.toml").read_text(encoding="utf-8")
    return checked(tomllib.loads(text))


def checked(content: object) -> Tables:
    """The tables of a decoded file. Raises ValueError."""
    file = msgspec.convert(content, _File)
    if not 0 < file.share <= 1 or not 0 <= file.hysteresis < 1:
        raise ValueError("air levels: share must be in 0..1 and hysteresis below 1")
    if DEFAULT_TABLE not in file.tables:
        raise ValueError(f"air levels: there is no table {DEFAULT_TABLE}")
    tables = {table_id: _table(table_id, table, file) for table_id, table in file.tables.items()}
    return Tables(file.share, file.hysteresis, file.hold_s * 1000, file.no_data_s * 1000, tables)


def _table(table_id: str, table: _Table, file: _File) -> LevelTable:
    if set(table.name) != set(_LANGS) or not all(table.name.values()):
        raise ValueError(f"air levels: the name of {table_id} must have ko and en")
    limits: dict[int, list[Limit]] = {}
    for one in table.limits:
        made = _limit(f"{table_id}, {one.quantity} {one.level}", one, file)
        limits.setdefault(made.quantity.code, []).append(made)
    for some in limits.values():
        for lower, upper in zip(some, some[1:], strict=False):
            if lower.averaging == upper.averaging and (lower.rank > upper.rank or lower.at >= upper.at):
                raise ValueError(f"air levels: {table_id}: {lower.said} and {upper.said} are not in rising order")
    return LevelTable(table_id, table.name, {code: tuple(some) for code, some in limits.items()})


def _limit(where: str, one: _Limit, file: _File) -> Limit:
    quantity = BY_NAME.get(one.quantity)
    if quantity is None or one.level not in LEVELS[1:] or one.averaging not in AVERAGING_S:
        raise ValueError(f"air levels: {where}: the quantity, level or averaging time is unknown")
    if one.source not in file.sources:
        raise ValueError(f"air levels: {where}: source {one.source} is not in [sources]")
    if (one.above is None) == (one.from_ is None):
        raise ValueError(f"air levels: {where}: exactly one of above and from must be there")
    value = one.above if one.above is not None else one.from_
    assert value is not None
    said = f"{'>' if one.from_ is None else '>='} {value:g} {one.unit}"
    if one.unit == "mg/m3" and quantity.name == "co":
        value /= file.co_mg_m3
    elif one.unit != quantity.unit and (one.unit, quantity.unit) != ("index", "1"):
        raise ValueError(f"air levels: {where}: the unit is {quantity.unit}, not {one.unit}")
    return Limit(
        quantity, LEVELS.index(one.level), quantity.wire(value), one.from_ is not None, AVERAGING_S[one.averaging],
        one.averaging, said, file.sources[one.source], one.advise,
    )  # fmt: skip


def table_of(table_id: str) -> LevelTable:
    """A table; the default one if there is none of this name (any more)."""
    tables = load_tables().by_id
    return tables.get(table_id) or tables[DEFAULT_TABLE]


def judge(
    limits: tuple[Limit, ...], averages: Mapping[int, Average], *, standing: int, tables: Tables, advice: bool = False
) -> Verdict | None:
    """The level of one quantity: the worst limit passed. `averages` by averaging time in s; `standing`: the rank that
    stands now (0: none); `advice`: only by limits of which advisories come. None: not enough is known.

    A limit whose average is not known says nothing, but what stands by it stays; and air is good only if the first of
    its limits is known (a yearly mean apart, which takes nine months).
    """
    first = min((limit.rank for limit in limits if limit.advise), default=0)
    worst: Verdict | None = None
    kept: Verdict | None = None
    unknown = False
    for limit in limits:
        average = averages.get(limit.averaging_s)
        if advice and not limit.advise:
            continue
        if average is None or average.share < tables.share:
            if limit.rank <= standing:
                return None  # whether what stands is over cannot be told
            unknown = unknown or (limit.advise and limit.rank == first)
            continue
        if limit.passed(average.mean, standing, tables.hysteresis):
            if worst is None or limit.rank >= worst.rank:
                worst = Verdict(limit.rank, average, limit)
        elif kept is None:
            kept = Verdict(0, average, limit)
    return worst or (None if unknown else kept)


class Holder:
    """What must last before it is told: a change of level, of many things by name."""

    def __init__(self, hold_ms: int) -> None:
        self._hold_ms = hold_ms
        self._since: dict[tuple[str, int], tuple[bool, int]] = {}

    def step(self, key: tuple[str, int], standing: int, seen: int, now_ms: int) -> int:
        """The rank that stands now. A change counts once every look in one direction lasted for the whole time."""
        if seen == standing:
            self._since.pop(key, None)
            return standing
        worse = seen > standing
        before = self._since.get(key)
        if before is None or before[0] != worse or before[1] > now_ms:
            before = self._since[key] = (worse, now_ms)
        if now_ms - before[1] < self._hold_ms:
            return standing
        del self._since[key]
        return seen

    def forget(self, key: tuple[str, int]) -> None:
        """Nothing is known of it any more."""
        self._since.pop(key, None)
