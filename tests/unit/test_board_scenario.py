"""Scenario files: read, or refused with the place."""

from pathlib import Path

import pytest

from bongsu.sim import scenario_csv

_HEAD = "t_s,temp_c,smoke_od_per_m\n"
_WIDE = "t_s,temp_c,smoke_od_per_m,rh_pct,co_ppm\n"


def test_points_are_read(tmp_path: Path) -> None:
    path = tmp_path / "fire.csv"
    path.write_text(_HEAD + "0,20.5,0\n\n10,60,0.12\n10,60,0.2\n")
    assert scenario_csv.read(path) == [(0.0, 20.5, 0.0), (10.0, 60.0, 0.12), (10.0, 60.0, 0.2)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: the header"),
        (b"time,temp,smoke\n0,1,2\n", "line 1: the header"),
        (_HEAD.encode(), "holds no point"),
        (_HEAD.encode() + b"0,20\n", "line 2: 2 columns"),
        (_HEAD.encode() + b"0,20,0\n1,warm,0\n", "line 3, temp_c: 'warm' is no number"),
        (_HEAD.encode() + b"0,20,nan\n", "line 2, smoke_od_per_m: nan is not within 0..50"),
        (_HEAD.encode() + b"-1,20,0\n", "line 2, t_s: -1 is not within"),
        (_HEAD.encode() + b"5,20,0\n4,20,0\n", "line 3, t_s: 4 is earlier"),
        (b"\xff\xfe\x00", "is no CSV text"),
        (_WIDE.encode() + b"0,20,0,50\n", "line 2: 4 columns instead of 5"),
        (_WIDE.encode() + b"0,20,0,101,1\n", "line 2, rh_pct: 101 is not within 0..100"),
        (_WIDE.encode() + b"0,20,0,50,-1\n", "line 2, co_ppm: -1 is not within 0..6500"),
        (b"t_s,temp_c,smoke_od_per_m,gas_index\n0,20,0,0\n", "line 2, gas_index: 0 is not within 1..60000"),
        (b"t_s,temp_c,smoke_od_per_m,pm25_ug\n0,20,0,\n", "line 2, pm25_ug: '' is no number"),
        (b"t_s,temp_c,smoke_od_per_m,lux\n0,20,0,1\n", "line 1: the header has an unknown column 'lux'"),
        (b"t_s,temp_c,smoke_od_per_m,rh_pct,rh_pct\n0,20,0,1,1\n", "line 1: the header has rh_pct twice"),
        (b"t_s,temp_c,rh_pct\n0,20,1\n", "line 1: the header is not t_s,temp_c,smoke_od_per_m"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(scenario_csv.ScenarioError) as caught:
        scenario_csv.read(path)
    assert words in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(scenario_csv.ScenarioError, match=r"cannot read .*none\.csv"):
        scenario_csv.read(tmp_path / "none.csv")


def test_further_columns_are_read_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("t_s,temp_c,smoke_od_per_m,co_ppm,rh_pct\n0,20,0,1,50\n4,24,0.1,5,40\n")
    track = scenario_csv.read_track(path)
    assert track.value_at("rh_pct", 1) == 47.5 and track.value_at("co_ppm", 2) == 3
    assert track.value_at("gas_index", 1) is None
    assert scenario_csv.read(path) == [(0.0, 20.0, 0.0), (4.0, 24.0, 0.1)]


def test_what_is_written_reads_back() -> None:
    text = "t_s,temp_c,smoke_od_per_m,rh_pct,gas_index\n0,20.5,0,50,100\n0.25,-3.125,0.12345,49.5,101.25\n"
    track = scenario_csv.parse(text, "made")
    assert scenario_csv.write(track) == text
    with pytest.raises(ValueError, match="no smoke_od_per_m"):
        scenario_csv.write(scenario_csv.Track((0.0,), {"temp_c": (20.0,)}))
