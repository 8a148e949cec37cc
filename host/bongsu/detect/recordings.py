"""Recordings by file or by name: scenario CSV, NIST's fires as published (one recording a measuring station), and those
that come with Bongsu.
"""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from bongsu.errors import BongsuError
from bongsu.sim import scenario_csv, scenarios
from bongsu.sim.track import Track

# A smoke meter that never reads more than this while another of the same fire reads _SMOKE_SEEN was not working.
_METER_DEAD_OD, _SMOKE_SEEN_OD = 0.01, 0.06
# The laboratory's carbon monoxide analyser reads up to 0.01 vol-% in clean air; one that reads more is none.
_CO_ZERO_MOST_PCT = 0.02
_PPM_PER_PCT = 10_000.0
# Before there is any smoke its readings come and go by up to 211 ppm (SDC05-B); a node decides by 20 and more.
_CO_NOISE_PPM = 250.0
_FIRE_NAME = re.compile(r"SDC\d+")
_ACTIVATIONS = "Activation_Times.csv"


@dataclass(frozen=True)
class Recording:
    """name: "SDC02-A"; source: of it, in words; alarms_s: when commercial smoke alarms in the same place went off, by
    kind ("Pho1", "Ion3"), in s; notes: what was done to the data, or is missing in it.
    """

    name: str
    source: str
    track: Track
    alarms_s: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def first_photoelectric_s(self) -> float | None:
        """When the earliest photoelectric alarm in this place went off."""
        return min((s for kind, s in self.alarms_s.items() if kind.startswith("Pho")), default=None)


def load(word: str) -> list[Recording]:
    """The recordings of a file, or the one with this name (scenarios.recording_names); "SDC02" means all its stations.
    Raises BongsuError if there is neither, or the file cannot be used.
    """
    path = Path(word)
    if path.is_file():
        return _file(path)
    if word in model_names():
        return [_model(word)]
    name = word.removeprefix("nist/")
    fire = name.partition("-")[0]
    found = nist_fire(fire) if fire in scenarios.FIRES else ()
    return [one for one in found if name in (fire, one.name)] or _unknown(word)


def model_names() -> tuple[str, ...]:
    """Fires computed, and test fires drawn, of the package's data: "cfast/flaming", "en54/TF2"."""
    return tuple(f"{folder}/{name}" for folder, names in scenarios.MODEL_FIRES.items() for name in names)


@cache
def nist_fire(name: str) -> tuple[Recording, ...]:
    """A fire of the package's data (scenarios.FIRES) at every station. Raises BongsuError."""
    return tuple(_stations(name, _nist(f"NIST_Smoke_Alarms_{name}.csv"), name, _nist(_ACTIVATIONS)))


def _nist(name: str) -> str:
    return files("bongsu.sim").joinpath("data", "nist", name).read_text(encoding="utf-8-sig")


def _model(word: str) -> Recording:
    source = {"cfast": "computed with CFAST", "en54": "EN 54 test fire, idealised"}[word.partition("/")[0]]
    return Recording(word, source, scenarios.recording(word).track)


def _unknown(word: str) -> list[Recording]:
    known = [*scenarios.FIRES, f"{scenarios.FIRES[0]}-{scenarios.STATIONS[0]}", *model_names()]
    raise BongsuError(f"{word}: neither a file nor a recording's name", f"Name a file, or one of {', '.join(known)}.")


# ---- files


def _file(path: Path) -> list[Recording]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise BongsuError(f"{path} is no CSV text: {e}", "save it as CSV in UTF-8") from None
    header = text.partition("\n")[0]
    if not header.startswith("TIME,"):
        return [Recording(path.stem, "scenario file", scenario_csv.parse(text, str(path)))]
    found = _FIRE_NAME.search(path.stem)
    name = found.group() if found else path.stem
    beside = path.with_name(_ACTIVATIONS)
    activations = beside.read_text(encoding="utf-8-sig") if beside.is_file() else _nist(_ACTIVATIONS)
    return list(_stations(name, text, str(path), activations))


def _stations(name: str, text: str, where: str, activations: str) -> Iterator[Recording]:
    """A fire as NIST published it, a recording for each station that measured temperature or smoke."""
    rows = list(csv.DictReader(text.splitlines()))
    columns = {key: [row.get(key) for row in rows] for key in (rows[0] if rows else {}) if key}
    times = [_number(cell) for cell in columns.get("TIME", [])]
    if not times or any(t is None for t in times) or any(a > b for a, b in zip(times, times[1:], strict=False)):  # type: ignore[operator]
        raise BongsuError(f"{where}: TIME must hold times in s, in order", "Use the file as NIST published it.")
    smoke = {s: _column(columns, f"SM{s}_1") for s in scenarios.STATIONS}
    seen = any(max(values) >= _SMOKE_SEEN_OD for values in smoke.values() if values)
    for station in scenarios.STATIONS:
        made, notes = _station(station, columns, smoke[station], seen)
        if made:
            track = Track(tuple(t for t in times if t is not None), made)
            alarms_s = _activations(activations, name, station)
            yield Recording(f"{name}-{station}", f"NIST home fire {name}, station {station}", track, alarms_s, notes)


def _station(
    station: str, columns: Mapping[str, Sequence[str | None]], smoke: list[float] | None, smoke_seen: bool
) -> tuple[dict[str, tuple[float, ...]], tuple[str, ...]]:
    """(columns of the track, notes) of one station."""
    made: dict[str, tuple[float, ...]] = {}
    notes = []
    heat = _column(columns, f"TC{station}_1")
    if heat:
        made["temp_c"] = tuple(heat)
    else:
        notes.append("no thermometer here")
    if smoke and smoke_seen and max(smoke) < _METER_DEAD_OD:
        notes.append(f"no working smoke meter here: SM{station}_1 stays below {_METER_DEAD_OD:g}/m")
    elif smoke:
        made["smoke_od_per_m"] = tuple(max(0.0, value - smoke[0]) for value in smoke)
        notes.append(
            f"smoke zero: the meter's first reading, {smoke[0]:.4f}/m, is taken off (a head is set in clean air)"
        )
    else:
        notes.append("no smoke meter here")
    co_pct = _column(columns, f"GAS{station}_1")
    if co_pct and co_pct[0] > _CO_ZERO_MOST_PCT:
        notes.append(f"GAS{station}_1 reads {co_pct[0]:.3f} vol-% before the fire: not used as carbon monoxide")
    elif co_pct:
        co_ppm = tuple(_quiet_co((value - co_pct[0]) * _PPM_PER_PCT) for value in co_pct)
        if any(co_ppm):
            made["co_ppm"] = co_ppm
            taken = f"its first reading, {co_pct[0] * _PPM_PER_PCT:.0f} ppm, is taken off"
            notes.append(
                f"CO: GAS{station}_1 in vol-%; {taken}, and what is below {_CO_NOISE_PPM:g} ppm then is noise: 0"
            )
        else:
            notes.append(f"CO: GAS{station}_1 never leaves its noise ({_CO_NOISE_PPM:g} ppm): not used")
    return made, tuple(notes)


def _quiet_co(ppm: float) -> float:
    return ppm if ppm >= _CO_NOISE_PPM else 0.0


def _column(columns: Mapping[str, Sequence[str | None]], name: str) -> list[float] | None:
    """A column's numbers; a cell without one takes the one before. None without the column, or if most are missing."""
    cells = [_number(cell) for cell in columns.get(name, ())]
    known = [value for value in cells if value is not None]
    if 2 * len(known) <= len(cells):
        return None
    last = known[0]
    filled = []
    for value in cells:
        last = last if value is None else value
        filled.append(last)
    return filled


def _number(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _activations(text: str, fire: str, station: str) -> dict[str, float]:
    """Columns <fire>-<kind><number><station>, times in s. Of other fires' files: none."""
    rows = list(csv.DictReader(text.splitlines()))
    found = {}
    for column, cell in rows[0].items() if rows else ():
        name, _, alarm = (column or "").partition("-")
        seconds = _number(cell)
        if name == fire and alarm.endswith(station) and seconds is not None:
            found[alarm[: -len(station)]] = seconds
    return found
