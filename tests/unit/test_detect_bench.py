"""tools/bench_detection.py: what it counts, and that a missed target is exit code 1."""

from typing import Any

import pytest

from bongsu.detect.profile import limits_of
from bongsu.sim.track import Track
from tools import bench_detection as bench

PLAIN = limits_of(
    changes=[
        *("heat_rise_dk_min=83", "heat_rise_total_dk=50", "heat_small_dk=20", "smoke_alarm_e4=600"),
        *("smoke_clear_e4=300", "smoke_rise_e4=0", "smoke_small_e4=150", "smoke_alone_e4=600", "smoke_drift_e4=300"),
        *("smoke_long_e4=0", "prealarm_hold_s=5"),
    ]
)


def place(name: str, alarm_s: float | None, pho_s: float | None) -> dict[str, Any]:
    delay = None if alarm_s is None or pho_s is None else alarm_s - pho_s
    return {"place": name, "alarm_s": alarm_s, "photoelectric_s": pho_s, "delay_s": delay}


def test_a_missed_place_counts_against_the_share_and_one_without_data_does_not() -> None:
    places = [place("a", 10, 20), place("b", 24, 20), place("c", None, 20), place("d", 9, None)]
    (row,) = bench.nist_rows([{"profile": "home", "places": [*places, {"place": "e", "left_out": "nothing"}]}])
    assert (row["found"], row["missed"], row["ahead"], row["ahead %"]) == (3, 1, 1, 33.3)
    assert (row["within 5 s %"], row["median s"], row["worst s"]) == (66.7, -3, 4)


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 3), (0.9, 4.6), (1, 5)])
def test_percentiles(share: float, value: float) -> None:
    assert bench.percentile([1, 2, 3, 4, 5], share) == pytest.approx(value)


def window(*bumps: tuple[float, float]) -> Track:
    """Two minutes of clean air, then smoke for 20 s at each time (s, 1/m), each followed by what comes next."""
    times, smoke = [0.0], [0.002]
    for at_s, level in bumps:
        times += [at_s, at_s, at_s + 20, at_s + 20]
        smoke += [0.002, level, level, 0.002]
    end = times[-1] + 150
    return Track((*times, end), {"smoke_od_per_m": (*smoke, 0.002)})


@pytest.mark.parametrize(
    ("bumps", "dispatches"),
    [([(130.0, 0.002)], 0), ([(130.0, 0.2)], 1), ([(130.0, 0.2), (160.0, 0.2)], 1), ([(130.0, 0.2), (260.0, 0.2)], 2)],
)
def test_a_dispatch_is_an_alarm_while_none_stands(bumps: list[tuple[float, float]], dispatches: int) -> None:
    found = [what for what, _ in bench._window(window(*bumps), PLAIN)]
    assert found.count("dispatches") == dispatches <= found.count("alarms")


def test_a_missed_target_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    result = {"bytes_per_pass": 0.0, "bytes_per_log_line": 1, "us_median": 100.0, "us_worst_batch": 200.0}
    for spent, code in ((0.0, 0), (16.0, 1)):
        found = {part: [] for part in bench.PARTS} | {"pass": [result | {"bytes_per_pass": spent}]}
        monkeypatch.setattr(bench, "gather", lambda _args, found=found: found)
        assert bench.main(["--only", "pass", "--markdown"]) == code
    assert "| bytes allocated per pass | 16.0 | <= 0 | False |" in capsys.readouterr().out
