"""Tracks: walking through one is looking up each time; a column that was not measured is None, never 0."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.track import COLUMNS, NODE_MOST, NODE_NONE, NODE_UNITS, Track
from bongsu_wire import kinds

_GAPS = st.lists(st.sampled_from([0.0, 0.1, 0.25, 1.0, 2.5, 30.0]), min_size=0, max_size=12)


@st.composite
def _tracks(draw: st.DrawFn) -> Track:
    times = [draw(st.sampled_from([0.0, -3.0, 7.125]))]
    for gap in draw(_GAPS):
        times.append(times[-1] + gap)
    value = st.floats(-20, 100)
    values = draw(st.lists(value, min_size=len(times), max_size=len(times)))
    return Track(tuple(times), {"temp_c": tuple(values), "smoke_od_per_m": tuple(v * v / 1e4 for v in values)})


@settings(max_examples=300, deadline=None)
@given(_tracks(), st.sampled_from([0.25, 0.1, 0.7, 3.0]), st.floats(-5, 5), st.floats(-5, 40))
def test_walking_is_looking_up(track: Track, step_s: float, start_s: float, length_s: float) -> None:
    names = ("smoke_od_per_m", "co_ppm", "temp_c")
    times = list(track.times(step_s, start_s, start_s + length_s))
    walked = list(track.samples(names, step_s, start_s, start_s + length_s))
    if abs(length_s) > 1e-6:
        assert len(times) == len(walked) == max(0, math.floor(length_s / step_s + 1e-9) + 1)
    for t, (smoke, co, temp) in zip(times, walked, strict=True):
        assert co is None
        # At a step the two may fall on its two sides by a rounding of the time.
        around = [track.value_at("temp_c", t + e) for e in (-1e-6, 0, 1e-6)]
        assert any(temp == pytest.approx(v, abs=1e-3) for v in around)
        assert smoke is not None and smoke >= -1e-9


@given(_tracks())
def test_a_whole_walk_begins_and_ends_at_the_points(track: Track) -> None:
    step_s = (track.end_s - track.start_s) / 8 or 1.0
    walked = [temp for (temp,) in track.samples(("temp_c",), step_s)]
    assert walked[-1] == pytest.approx(track.columns["temp_c"][-1], abs=1e-6)
    assert walked[0] == pytest.approx(track.value_at("temp_c", track.start_s), abs=1e-6)


def test_a_step_has_its_later_value() -> None:
    track = Track((0.0, 1.0, 1.0, 2.0), {"temp_c": (20.0, 20.0, 90.0, 90.0)})
    assert list(track.samples(("temp_c",), 0.5)) == [(20.0,), (20.0,), (90.0,), (90.0,), (90.0,)]


def test_node_numbers_are_those_of_the_wire() -> None:
    assert {name for name, _, _ in NODE_UNITS.values()} <= set(kinds.QUANTITY_NAMES.values())
    assert tuple(NODE_UNITS) == COLUMNS
    track = Track(
        (0.0,),
        {"temp_c": (56.96,), "smoke_od_per_m": (0.06,), "rh_pct": (50.3,), "co_ppm": (30.04,), "pm25_ug": (9e9,)},
    )
    assert list(track.node_samples(COLUMNS, 1.0)) == [(3301, 600, 101, 300, NODE_NONE, NODE_MOST)]


def test_node_numbers_never_wrap() -> None:
    track = Track((0.0, 1.0), {"temp_c": (-400.0, 9000.0), "smoke_od_per_m": (-1.0, 50.0)})
    assert list(track.node_samples(COLUMNS[:2], 1.0)) == [(0, 0), (NODE_MOST, NODE_MOST)]


def test_points_are_a_track_and_back() -> None:
    points = [(0.0, 20.0, 0.0), (2.0, 22.0, 0.1), (2.0, 80.0, 0.5)]
    assert Track.of_points(points).points() == points
    with pytest.raises(ValueError, match="no smoke_od_per_m"):
        Track((0.0,), {"temp_c": (20.0,)}).points()


@pytest.mark.parametrize(
    ("times", "columns", "words"),
    [
        ((), {"temp_c": ()}, "needs a point"),
        ((0.0,), {}, "needs a point"),
        ((1.0, 0.0), {"temp_c": (1.0, 1.0)}, "backwards"),
        ((0.0,), {"temp_c": (1.0, 2.0)}, "2 values for 1"),
        ((0.0,), {"temp": (1.0,)}, "no column 'temp'"),
    ],
)
def test_what_is_no_table_is_refused(
    times: tuple[float, ...], columns: dict[str, tuple[float, ...]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Track(times, columns)


def test_a_step_of_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="step"):
        Track((0.0,), {"temp_c": (1.0,)}).samples(("temp_c",), 0.0)


def test_millions_of_samples_are_walked_in_seconds() -> None:
    """Looking each of them up in a list of points would take hours."""
    points = 3000
    track = Track(tuple(map(float, range(points))), {"temp_c": tuple(20 + i / 100 for i in range(points))})
    begin = time.process_time()
    assert sum(1 for _ in track.samples(("temp_c",), 0.005)) == 200 * (points - 1) + 1
    assert time.process_time() - begin < 5
