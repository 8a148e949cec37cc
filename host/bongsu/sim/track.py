"""What is in the air at one place over time: columns by name, straight lines between their points, two points at one
time are a step.

Every recording, model fire and nuisance has this form; replay and benchmarks walk through it a sample at a time.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType

Point = tuple[float, float, float]

# Columns after the time, with their units in their names: degC, optical density 1/m (base 10; 1/m = 10 dB/m of m-value
# in EN 54-7), % relative humidity, ppm, 100 = clean air (100 x resistance in clean air / now), ug/m3.
COLUMNS = ("temp_c", "smoke_od_per_m", "rh_pct", "co_ppm", "gas_index", "pm25_ug")

# A column in a node's whole numbers: name (bongsu_wire.kinds.QUANTITY_NAMES), units per unit of the column, offset.
NODE_UNITS: Mapping[str, tuple[str, float, float]] = MappingProxyType(
    {
        "temp_c": ("temp_dk", 10.0, 2731.5),
        "smoke_od_per_m": ("smoke_e4", 10_000.0, 0.0),
        "rh_pct": ("humidity_half", 2.0, 0.0),
        "co_ppm": ("co_dppm", 10.0, 0.0),
        "gas_index": ("gas_index", 1.0, 0.0),
        "pm25_ug": ("pm25_dug", 10.0, 0.0),
    }
)
# 0xFFFF means "none" on the wire.
NODE_MOST = 0xFFFE
NODE_NONE = 0xFFFF


@dataclass(frozen=True)
class Track:
    """Times in s, in order (equal ones are a step), and columns of COLUMNS, each as long as the times. A column that is
    not there was not measured: its values are None, never 0. Raises ValueError for a table that is none.
    """

    t_s: tuple[float, ...]
    columns: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        if not self.t_s or not self.columns:
            raise ValueError("a track needs a point and a column")
        if any(a > b for a, b in zip(self.t_s, self.t_s[1:], strict=False)):
            raise ValueError("a track's times go backwards")
        for name, values in self.columns.items():
            if name not in COLUMNS:
                raise ValueError(f"no column {name!r}; columns: {', '.join(COLUMNS)}")
            if len(values) != len(self.t_s):
                raise ValueError(f"column {name} has {len(values)} values for {len(self.t_s)} times")
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))

    @classmethod
    def of_points(cls, points: Sequence[Point]) -> "Track":
        """Of points (t_s, temperature degC, optical density 1/m)."""
        t_s, temp_c, smoke = (tuple(column) for column in zip(*points, strict=True)) if points else ((), (), ())
        return cls(t_s, {"temp_c": temp_c, "smoke_od_per_m": smoke})

    def points(self) -> list[Point]:
        """As points (t_s, temperature degC, optical density 1/m), what a virtual board takes. Raises ValueError if one
        of the two was not measured.
        """
        missing = [name for name in COLUMNS[:2] if name not in self.columns]
        if missing:
            raise ValueError(f"the track has no {missing[0]}")
        return list(zip(self.t_s, self.columns["temp_c"], self.columns["smoke_od_per_m"], strict=True))

    @property
    def start_s(self) -> float:
        """The first point's time."""
        return self.t_s[0]

    @property
    def end_s(self) -> float:
        """The last point's time."""
        return self.t_s[-1]

    def value_at(self, name: str, t_s: float) -> float | None:
        """A column's value at a time; before the first point and after the last their values, at a step the later one.
        None: not measured.
        """
        values = self.columns.get(name)
        if values is None:
            return None
        after = bisect_right(self.t_s, t_s)
        if after == 0:
            return values[0]
        if after == len(self.t_s):
            return values[-1]
        t0, t1 = self.t_s[after - 1], self.t_s[after]
        v0, v1 = values[after - 1], values[after]
        return v0 + (t_s - t0) / (t1 - t0) * (v1 - v0)

    def times(self, step_s: float, start_s: float | None = None, end_s: float | None = None) -> Iterator[float]:
        """The times that `samples` takes for the same arguments, in s."""
        first, count = self._grid(step_s, start_s, end_s)
        return (first + k * step_s for k in range(count))

    def samples(
        self, names: Sequence[str], step_s: float, start_s: float | None = None, end_s: float | None = None
    ) -> Iterator[tuple[float | None, ...]]:
        """Values of the columns `names` each `step_s` from `start_s` (the first point) to `end_s` (the last point,
        itself included), walking forward: millions of samples without a search for each.
        """
        first, count = self._grid(step_s, start_s, end_s)
        return zip(*(self._walk(name, step_s, first, count) for name in names), strict=True)

    def node_samples(
        self, names: Sequence[str], step_s: float, start_s: float | None = None, end_s: float | None = None
    ) -> Iterator[tuple[int, ...]]:
        """As `samples`, in a node's whole numbers (NODE_UNITS), rounded and held within 0..NODE_MOST; NODE_NONE: not
        measured.
        """
        first, count = self._grid(step_s, start_s, end_s)
        return zip(*(self._node_walk(name, step_s, first, count) for name in names), strict=True)

    def _grid(self, step_s: float, start_s: float | None, end_s: float | None) -> tuple[float, int]:
        if step_s <= 0:
            raise ValueError("a step is longer than 0 s")
        first = self.start_s if start_s is None else start_s
        last = self.end_s if end_s is None else end_s
        return first, max(0, int((last - first) / step_s + 1e-9) + 1) if last >= first else 0

    def _node_walk(self, name: str, step_s: float, first: float, count: int) -> Iterator[int]:
        if name not in self.columns:
            for _ in range(count):
                yield NODE_NONE
            return
        _, scale, offset = NODE_UNITS[name]
        offset += 0.5
        for value in self._walk(name, step_s, first, count):
            assert value is not None  # the column is there
            whole = int(value * scale + offset)
            yield 0 if whole < 0 else whole if whole < NODE_MOST else NODE_MOST

    def _walk(self, name: str, step_s: float, first: float, count: int) -> Iterator[float | None]:
        """One column from `first`, `count` values; the sample times are first + k x step_s, so no error adds up."""
        times, values = self.t_s, self.columns.get(name)
        if values is None:
            for _ in range(count):
                yield None
            return
        k = 0
        after = bisect_right(times, first)
        while k < count and after < len(times):
            if after == 0:  # before the first point
                end = min(count, ceil((times[0] - first) / step_s - 1e-9))
                for _ in range(k, end):
                    yield values[0]
            else:
                t0, t1, v0, v1 = times[after - 1], times[after], values[after - 1], values[after]
                # Samples of this line: those before t1; one at t1 is the next line's, where a step has its later value.
                end = min(count, ceil((t1 - first) / step_s - 1e-9))
                if end > k:
                    slope = (v1 - v0) / (t1 - t0)
                    base = v0 + (first - t0) * slope
                    rise = slope * step_s
                    for i in range(k, end):
                        yield base + i * rise
            k = max(k, end)
            after += 1
        for _ in range(k, count):
            yield values[-1]
