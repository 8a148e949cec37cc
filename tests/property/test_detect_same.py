"""Decisions are bit for bit the same under CPython and MicroPython, on recorded fires and on random air; and what the
screen leaves out (bongsu.detect.screen) loses no alarm.
"""

import random
from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bongsu.detect import on_node
from bongsu.detect.profile import limits_of
from bongsu.detect.recordings import nist_fire
from bongsu.detect.replay import pack, replay, request
from bongsu.detect.screen import bulk, live_span, run_year
from bongsu.install.profiles import load_profiles
from bongsu.sim.quiet import QuietYear
from bongsu.sim.scenarios import FIRES
from bongsu_node.sensing import at
from bongsu_node.sensing.baseline import Baseline
from bongsu_node.sensing.filters import Median3
from bongsu_wire import kinds
from tests import mpy

PROFILES = list(load_profiles())
PROGRAM = """
from array import array
from on_node import Run

def handle(request):
    run = Run(request[0])
    return [run.go(array("H", request[1])), run.digest]
"""


@pytest.fixture(scope="module")
def micropython() -> Iterator[mpy.Server]:
    from pathlib import Path

    with mpy.Server(PROGRAM, paths=[Path(on_node.__file__).parent], heap_bytes=64 << 20, deadline_s=100) as server:
        yield server


def on_cpython(head: dict[str, Any], rows: "array[int]") -> list[Any]:
    run = on_node.Run(head)
    return [run.go(rows), run.digest]


# ---- the recorded fires


@pytest.mark.parametrize("fire", FIRES)
def test_recorded_fires_are_decided_alike(micropython: mpy.Server, fire: str) -> None:
    for place in nist_fire(fire):
        for profile in ("market_dry", "market_kitchen"):
            head, rows = request(place.track, limits_of(profile), place.name, start=on_node.TICKS_MASK - 60_000)
            head["digest"] = 1
            here = on_cpython(head, rows)
            assert here == micropython.call([head, list(rows)]), place.name
            assert here[0] or profile == "market_kitchen", place.name  # something was decided


def test_the_command_replays_alike() -> None:
    place = nist_fire("SDC38")[1]
    assert replay(place, limits_of(), "micropython") == replay(place, limits_of())


# ---- random air

# Type as in node.json, quantity, values that mean something to it: clean, small, full, wild.
SENSORS = (
    ("ntc", kinds.Q_TEMP_DK, (2731, 2940, 2965, 3000, 3250, 3310, 3600)),
    ("smoke_head", kinds.Q_SMOKE_E4, (0, 20, 120, 160, 350, 700, 5000)),
    ("sht4x", kinds.Q_HUMIDITY_HALF, (60, 110, 150, 185, 200)),
    ("mq7", kinds.Q_CO_DPPM, (0, 10, 210, 460, 950, 2800, 9000)),
    ("mq2", kinds.Q_GAS_INDEX, (90, 100, 250, 450, 4000)),
    ("head", kinds.Q_HEAD, (0, 1)),
)


@st.composite
def nodes(draw: st.DrawFn) -> dict[str, Any]:
    """A node: some sensors (a kind may be there twice), some profile, ticks anywhere and often close to their wrap."""
    chosen = draw(st.lists(st.sampled_from(range(len(SENSORS))), min_size=1, max_size=6))
    return {
        "sensors": [[SENSORS[i][0], [SENSORS[i][1]], draw(st.sampled_from((250, 250, 1000)))] for i in chosen],
        "limits": list(limits_of(draw(st.sampled_from(PROFILES)))),
        "start": draw(st.sampled_from((0, on_node.TICKS_MASK))) - draw(st.integers(0, 300_000)) & on_node.TICKS_MASK,
        "start_e4": draw(st.integers(0, 300)),
        "digest": 1,
    }


@st.composite
def airs(draw: st.DrawFn) -> tuple[dict[str, Any], list[int]]:
    """(head, rows): steps, ramps, noise, gaps in time, sensors that fall silent or die and come back."""
    head = draw(nodes())
    levels = [next(s[2] for s in SENSORS if s[1] == quantities[0]) for _, quantities, _ in head["sensors"]]
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    value = [float(level[0]) for level in levels]
    rows: list[int] = []
    for _ in range(draw(st.integers(1, 14))):
        length = draw(st.sampled_from((1, 2, 3, 8, 19, 20, 21, 22, 45, 130, 500)))
        modes = [draw(st.sampled_from(("hold", "step", "step", "ramp", "noise", "dead", "silent"))) for _ in levels]
        goal = [float(chance.choice(level)) for level in levels]
        gap_ms = draw(st.sampled_from((250, 250, 250, 251, 500, 501, 2_000, 31_000, 65_535)))
        for k in range(length):
            rows.append((gap_ms if k == 0 else 250) if rows else 0)
            for i, mode in enumerate(modes):
                rows.append(_cell(mode, value, goal, i, length - k, chance))
    return head, rows


def _cell(mode: str, value: list[float], goal: list[float], i: int, left: int, chance: random.Random) -> int:
    if mode == "dead":
        return on_node.DEAD
    if mode == "silent":
        return on_node.SILENT
    if mode == "step":
        value[i] = goal[i]
    elif mode == "ramp":
        value[i] += (goal[i] - value[i]) / left
    elif mode == "noise":
        return max(0, round(value[i] + chance.gauss(0, 20)))
    return round(value[i])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(air=airs())
def test_random_air_is_decided_alike(micropython: mpy.Server, air: tuple[dict[str, Any], list[int]]) -> None:
    head, rows = air
    assert on_cpython(head, array("H", rows)) == micropython.call([head, rows])


# ---- what the screen leaves out

TRACK = ("temp_c", "smoke_od_per_m", "rh_pct", "co_ppm", "gas_index")
SENSOR_OF = {"temp_c": 0, "smoke_od_per_m": 1, "rh_pct": 2, "co_ppm": 3, "gas_index": 4}


@st.composite
def windows(draw: st.DrawFn) -> tuple[str, int, list[tuple[int, ...]]]:
    """(profile, baseline, samples): quiet, mostly small things, quiet."""
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    clean = [2940, draw(st.sampled_from((0, 20, 100, 200))), 110, 10, 100]
    samples: list[tuple[int, ...]] = []
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.sampled_from((3, 22, 60, 240, 700)))
        lift = [draw(st.sampled_from((0, 0, 0, share))) for share in (19, 110, 60, 150, 200)]
        factor = draw(st.sampled_from((0.5, 0.9, 1.0, 1.2, 2.0, 5.0, 12.0)))
        for _ in range(length):
            row = [max(0, round(c + factor * up + chance.gauss(0, 2))) for c, up in zip(clean, lift, strict=True)]
            samples.append(tuple(row))
    return draw(st.sampled_from(PROFILES)), min(clean[1], 250), samples


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(window=windows())
@example(window=("market_dry", 0, [(2940, 0, 110, 10, 100)] * 500 + [(2940, 160, 110, 10, 100)] * 40))
def test_what_is_not_run_would_not_have_alarmed(window: tuple[str, int, list[tuple[int, ...]]]) -> None:
    profile, start_e4, samples = window
    limits = limits_of(profile)
    head = {"sensors": [[SENSORS[SENSOR_OF[c]][0], [SENSORS[SENSOR_OF[c]][1]], 250] for c in TRACK], "start": 0}
    head |= {"limits": list(limits), "start_e4": start_e4}
    told = (kinds.ALARM, kinds.PREALARM)
    whole = [d for d in on_node.Run(head).go(pack(samples)) if d[1] in told]
    needed = live_span(TRACK, samples, limits, start_e4)
    part = [d for d in on_node.Run(head).go(pack(samples[:needed])) if d[1] in told] if needed else []
    assert part == whole


def fields(baseline: Baseline) -> dict[str, Any]:
    return {name: value for name, value in vars(baseline).items() if name not in ("_diff", "_values")}


@settings(max_examples=60, deadline=None)
@given(smoke=st.lists(st.integers(0, 400), min_size=3, max_size=1500), cuts=st.lists(st.integers(0, 1500), max_size=6))
def test_the_baseline_sees_the_same_minutes_in_bulk(smoke: list[int], cuts: list[int]) -> None:
    values = list(limits_of())
    one, many = (Baseline(values, on_node.ticks_diff) for _ in range(2))
    median = Median3()
    for i, value in enumerate(smoke):
        filtered = median.update(value)
        if median.full:
            one.step((i + 1) * 250, filtered)
    samples = [(0, value, 0) for value in smoke]
    places = sorted({0, len(samples), *(cut for cut in cuts if cut < len(samples))})
    for start, end in pairwise(places):
        bulk(many, samples[max(0, start - 2) : start], samples[start:end])
    assert fields(many) == fields(one)


def test_a_year_by_minutes_is_the_year_by_samples() -> None:
    """Eight hours with a fire in them: the same decisions, to the sample, and the same baseline."""
    from bongsu.detect.replay import decision

    limits = limits_of("storage")
    year = QuietYear(seed=5, dirt_od_per_year=0.03).with_smoulder(at_s=3 * 3600)
    minutes = range(0, 8 * 60)
    short = run_year(year, limits, minutes=minutes)
    head = {"sensors": [list(s[:1]) + [[s[1]], 250] for s in SENSORS[:3]], "limits": list(limits), "start": 250}
    run = on_node.Run(head)
    whole = [decision(d, 0.0) for d in run.go(pack(year.samples(0, minutes.stop * 60)))]
    assert short.decisions == whole and whole
    assert short.run_s < minutes.stop * 60 * 0.9
    assert fields(short.baseline) == fields(run.outfit.smoke.baseline)
    assert limits[at.SMOKE_DRIFT] >= short.most_e4
