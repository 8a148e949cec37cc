"""Scenario files: read, or refused with the place."""

from pathlib import Path

import pytest

from bongsu.sim import scenario_csv

_HEAD = "t_s,temp_c,smoke_od_per_m\n"


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
