"""What sensors see: recorded fires (NIST full-scale house fires, see data/nist/README.md), model fires (data/cfast,
data/en54), quiet air, and a lighter.

A scenario is a list of points (t_s, temperature degC, optical density 1/m), straight lines between them, two points at
one time are a step; a recording's Track has its further columns too. Everything is seeded: the same arguments give the
same points.
"""

import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from bongsu.sim import scenario_csv
from bongsu.sim.track import Point, Track

FIRES = ("SDC02", "SDC05", "SDC33", "SDC38")
STATIONS = "ABCDEF"
# These meters stood still while the fire's smoke passed (5 and 2 different values in the whole fire, at most 0.009/m):
# nothing was measured there, and nothing is not clean air.
NO_SMOKE_METER = frozenset({("SDC33", "A"), ("SDC38", "A")})
# Fires computed or idealised; data/<folder>/README.md says how.
MODEL_FIRES = {
    "cfast": (
        *("flaming", "flaming_aisle", "fryer", "fryer_aisle", "smouldering", "smouldering_aisle"),
        *("slow_smoulder", "slow_smoulder_aisle"),
    ),
    "en54": ("TF1", "TF2", "TF3", "TF4", "TF5", "TF6", "TF7", "TF8"),
}
QUIET_TEMP_C, QUIET_SMOKE_OD = 21.0, 0.002
# Noise of a thermometer and a smoke head in quiet air, standard deviation.
_NOISE_TEMP_C, _NOISE_SMOKE_OD = 0.05, 0.0004
_NOISE_STEP_S = 2.0
# A flame under the head: far above both alarm thresholds (57 degC, 0.06/m).
LIGHTER_TEMP_C, LIGHTER_SMOKE_OD = 90.0, 0.15
LIGHTER_S = 3.0
_START_SAMPLES = 5


@dataclass(frozen=True)
class Fire:
    """A recorded fire at one measuring station; time 0 is ignition. `alarms_s`: when commercial smoke alarms there went
    off, by kind ("Pho1", "Ion3", ...), in s.
    """

    name: str
    station: str
    points: tuple[Point, ...]
    alarms_s: dict[str, float]

    @property
    def first_photoelectric_s(self) -> float | None:
        """When the earliest photoelectric alarm at this station went off."""
        return first_photoelectric_s(self.alarms_s)


@dataclass(frozen=True)
class Recording:
    """A built-in fire by name ("nist/SDC02-A", "cfast/flaming", "en54/TF2"). The track's time 0 is ignition; a column
    that nobody measured is not in it. alarms_s: as of Fire, empty for model fires.
    """

    name: str
    track: Track
    alarms_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def first_photoelectric_s(self) -> float | None:
        """When the earliest photoelectric alarm at this place went off, in s after ignition."""
        return first_photoelectric_s(self.alarms_s)


def first_photoelectric_s(alarms_s: Mapping[str, float]) -> float | None:
    """The earliest photoelectric one of alarms by kind ("Pho1", "Ion3", ...); None if there was none."""
    return min((s for kind, s in alarms_s.items() if kind.startswith("Pho")), default=None)


def recording_names() -> tuple[str, ...]:
    """All built-in fires, recorded ones first."""
    nist = [f"nist/{fire}-{station}" for fire in FIRES for station in STATIONS]
    return (*nist, *(f"{folder}/{name}" for folder, names in MODEL_FIRES.items() for name in names))


def recordings() -> Iterator[Recording]:
    """Every built-in fire."""
    return (recording(name) for name in recording_names())


@cache
def recording(name: str) -> Recording:
    """A built-in fire. Raises ValueError for another name, and names them."""
    if name not in recording_names():
        raise ValueError(f"no recording {name!r}; there are: {', '.join(recording_names())}")
    folder, _, rest = name.partition("/")
    if folder == "nist":
        fire = load_fire(*rest.split("-"))
        track = Track.of_points(fire.points)
        if (fire.name, fire.station) in NO_SMOKE_METER:
            track = Track(track.t_s, {"temp_c": track.columns["temp_c"]})
        return Recording(name, track, MappingProxyType(fire.alarms_s))
    text = files("bongsu.sim").joinpath("data", folder, f"{rest}.csv").read_text(encoding="utf-8")
    return Recording(name, scenario_csv.parse(text, f"{name}.csv"))


def _rows(name: str) -> list[dict[str, str]]:
    text = files("bongsu.sim").joinpath("data", "nist", name).read_text(encoding="utf-8-sig")
    return list(csv.DictReader(text.splitlines()))


@cache
def load_fire(name: str, station: str) -> Fire:
    """The fire `name` (of FIRES) at a station A..F: ceiling temperature (TCx_1) and optical density (SMx_1). Raises
    ValueError for another name or station.
    """
    if name not in FIRES or station not in STATIONS or len(station) != 1:
        raise ValueError(f"no fire {name!r} at station {station!r}; fires: {', '.join(FIRES)}, stations A to F")
    points = []
    for row in _rows(f"NIST_Smoke_Alarms_{name}.csv"):
        temp_c, smoke_od = float(row[f"TC{station}_1"]), float(row[f"SM{station}_1"])
        points.append((float(row["TIME"]), temp_c, max(0.0, smoke_od)))
    return Fire(name, station, tuple(points), _activations(name, station))


def _activations(name: str, station: str) -> dict[str, float]:
    row = _rows("Activation_Times.csv")[0]
    found = {}
    for column, value in row.items():
        fire, _, alarm = column.partition("-")
        if fire == name and alarm.endswith(station) and value:
            found[alarm[:-1]] = float(value)
    return found


def value_at(points: Sequence[Point], t_s: float) -> tuple[float, float]:
    """(temperature, optical density) at a time; before the first point and after the last their values. At a step the
    later one.
    """
    before = [p for p in points if p[0] <= t_s]
    after = next((p for p in points if p[0] > t_s), None)
    if not before:
        return points[0][1:]
    last = before[-1]
    if after is None:
        return last[1:]
    share = (t_s - last[0]) / (after[0] - last[0])
    return last[1] + share * (after[1] - last[1]), last[2] + share * (after[2] - last[2])


def quiet_air(
    seconds: float, *, seed: int = 0, temp_c: float = QUIET_TEMP_C, smoke_od: float = QUIET_SMOKE_OD
) -> list[Point]:
    """Clean air with the sensors' noise, from 0 to `seconds`."""
    chance = random.Random(seed)
    count = max(1, round(seconds / _NOISE_STEP_S))
    return [
        (
            seconds * i / count,
            chance.gauss(temp_c, _NOISE_TEMP_C),
            max(0.0, chance.gauss(smoke_od, _NOISE_SMOKE_OD)),
        )
        for i in range(count + 1)
    ]


def fire_then_clear(fire: Fire, *, out_s: float, clear_s: float, quiet_s: float, seed: int = 0) -> list[Point]:
    """The recorded fire from its ignition until it is put out at `out_s`, then the air of before within `clear_s`, and
    quiet for `quiet_s`.
    """
    burning = [p for p in fire.points if p[0] < out_s]
    burning.append((out_s, *value_at(fire.points, out_s)))
    start_temp_c = sum(p[1] for p in fire.points[:_START_SAMPLES]) / _START_SAMPLES
    after = quiet_air(quiet_s, seed=seed, temp_c=start_temp_c)
    return [*burning, *((t + out_s + clear_s, temp_c, smoke_od) for t, temp_c, smoke_od in after)]


def with_lighter(points: Sequence[Point], *, at_s: float, held_s: float = LIGHTER_S) -> list[Point]:
    """The same air with a flame held under the head from `at_s` for `held_s`: heat and smoke jump up and back."""
    end_s = at_s + held_s
    return [
        *(p for p in points if p[0] < at_s),
        (at_s, *value_at(points, at_s)),
        (at_s, LIGHTER_TEMP_C, LIGHTER_SMOKE_OD),
        (end_s, LIGHTER_TEMP_C, LIGHTER_SMOKE_OD),
        (end_s, *value_at(points, end_s)),
        *(p for p in points if p[0] > end_s),
    ]
