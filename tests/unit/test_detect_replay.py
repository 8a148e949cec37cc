"""`bongsu detect`: what is read from files, what is said of it, and how it fails."""

import json
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from bongsu.detect import on_node, recordings
from bongsu.detect.profile import limits_of
from bongsu.detect.recordings import Recording, load
from bongsu.detect.replay import SENSORS, STEP_MS, replay
from bongsu.errors import BongsuError, UsageFault
from bongsu.sim.track import Track
from bongsu_node.sensing import at, limits
from bongsu_node.sensing.hold import HOLD_MS
from bongsu_wire import kinds
from tests.registry_parts import bongsu

NIST = files("bongsu.sim").joinpath("data", "nist")


# Limits of these tests' own, so that a profile may change: smoke 0.06/m, small 0.015/m, rate of rise off.
PLAIN = limits_of(
    changes=[
        *("heat_rise_dk_min=83", "heat_rise_total_dk=50", "heat_small_dk=20", "smoke_alarm_e4=600"),
        *("smoke_clear_e4=300", "smoke_rise_e4=0", "smoke_small_e4=150", "smoke_alone_e4=600", "smoke_drift_e4=300"),
        *("smoke_long_e4=0", "prealarm_hold_s=5"),
    ]
)


def step_at(t_s: float, temp_c: float = 20.0, smoke: float = 0.0, after: float = 60.0) -> Recording:
    """Clean air, then a step."""
    track = Track(
        (0.0, t_s, t_s, t_s + after), {"temp_c": (20, 20, temp_c, temp_c), "smoke_od_per_m": (0, 0, smoke, smoke)}
    )
    return Recording("step", "test", track)


# ---- replay


def test_a_step_alarms_when_it_has_held() -> None:
    """Full smoke from 30.00 s on: the median shows it one sample later, the hold is over 5.00 s after that."""
    done = replay(step_at(30.0, smoke=0.08), PLAIN)
    alarm = next(d for d in done.decisions if d.kind == "alarm")
    assert alarm.t_s == 30.0 + (STEP_MS + HOLD_MS) / 1000
    assert (alarm.phenomena, alarm.reason, alarm.held_ms) == (("smoke",), "smoke_fixed", HOLD_MS)
    assert alarm.values == {"temp_c": 20.0, "smoke_od_per_m": 0.08}


def test_what_is_short_of_the_hold_does_not() -> None:
    times = (0.0, 30.0, 30.0, 35.0, 35.0, 90.0)
    track = Track(times, {"temp_c": (20.0,) * 6, "smoke_od_per_m": (0.0, 0.0, 0.08, 0.08, 0.0, 0.0)})
    done = replay(Recording("short", "test", track), PLAIN)
    assert done.alarm_s is None and all(d.kind == "prealarm" for d in done.decisions)


def test_times_are_the_recordings_own() -> None:
    """Smoke from the first sample on: nothing is judged before the filter has three."""
    track = Track((1000.0, 1030.0), {"smoke_od_per_m": (0.1, 0.1)})
    expected = 1000 + (2 * STEP_MS + HOLD_MS) / 1000
    assert replay(Recording("late", "test", track), PLAIN).alarm_s == expected


def test_an_alarm_ends_with_a_restore_and_the_delay_is_told() -> None:
    track = Track((0, 20, 20, 40, 40, 140), {"smoke_od_per_m": (0, 0, 0.1, 0.1, 0, 0)})
    done = replay(Recording("r", "test", track, {"Pho1": 30.0, "Pho2": 27.0, "Ion1": 1.0}), PLAIN)
    kinds_ = [d.kind for d in done.decisions]
    assert kinds_[-1] == "restore" and done.decisions[-1].t_s == pytest.approx(40 + 60, abs=1)
    assert done.alarm_s is not None and done.delay_s == done.alarm_s - 27.0


def test_a_dead_sensor_is_a_fault_of_what_it_measures() -> None:
    from array import array

    for name, fault in (("rh_pct", kinds.FAULT_HUMIDITY_SENSOR), ("smoke_od_per_m", kinds.FAULT_SMOKE_SENSOR)):
        kind, quantity = SENSORS[name]
        run = on_node.Run({"sensors": [[kind, [quantity], 250]], "limits": limits.DEFAULTS, "start": 0})
        found = run.go(array("H", [250, on_node.DEAD] * 200))
        assert [(d[0], d[1], d[3]) for d in found] == [(250 + 10_000, kinds.FAULT, fault)]


# ---- recordings


def test_a_fire_of_nist_gives_a_recording_a_station(tmp_path: Path) -> None:
    for name in ("NIST_Smoke_Alarms_SDC33.csv", "Activation_Times.csv"):
        (tmp_path / name).write_bytes(NIST.joinpath(name).read_bytes())
    found = {one.name: one for one in load(str(tmp_path / "NIST_Smoke_Alarms_SDC33.csv"))}
    assert list(found) == [f"SDC33-{s}" for s in "ABCDEF"]
    assert found["SDC33-A"].alarms_s == {"Ion1": 130, "Ion3": 116, "Ion4": 132, "Pho1": 184}
    assert found["SDC33-A"].first_photoelectric_s == 184 and found["SDC33-F"].first_photoelectric_s is None
    # Station A's smoke meter stood still; the others' zero is their first reading.
    assert "smoke_od_per_m" not in found["SDC33-A"].track.columns
    assert any("no working smoke meter" in note for note in found["SDC33-A"].notes)
    assert all(found[f"SDC33-{s}"].track.columns["smoke_od_per_m"][0] == 0 for s in "BCDEF")
    assert {one.name: one for one in load("SDC33")} == found == {one.name: one for one in load("nist/SDC33")}


def test_carbon_monoxide_is_the_first_gas_column_beyond_its_noise() -> None:
    at = {one.name: one for fire in ("SDC02", "SDC05") for one in load(fire)}
    co = at["SDC05-B"].track.columns["co_ppm"]  # 0.0023 to 0.0876 vol-%
    assert co[0] == 0 and 800 < max(co) < 900 and all(value == 0 or value >= 250 for value in co)
    assert "co_ppm" not in at["SDC02-B"].track.columns and any("noise" in note for note in at["SDC02-B"].notes)
    assert any("before the fire" in note for note in at["SDC02-F"].notes)  # it reads 0.059 vol-% of clean air
    assert "co_ppm" not in at["SDC02-D"].track.columns  # no analyser there


def nist_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "NIST_Smoke_Alarms_SDC99.csv").write_text(text)
    return str(tmp_path / "NIST_Smoke_Alarms_SDC99.csv")


def test_other_fires_have_other_columns(tmp_path: Path) -> None:
    text = "TIME,TCA_1,SMA_1,SMB_1\n" + "".join(f"{2 * i},{20 + i},{i / 100},\n" for i in range(10))
    text = text.replace("8,24,0.04,", "8,,0.04,")
    (one,) = load(nist_file(tmp_path, text))
    assert one.name == "SDC99-A" and one.alarms_s == {}
    assert one.track.columns["temp_c"][:6] == (20, 21, 22, 23, 23, 25)  # a missing reading is the one before it


@pytest.mark.parametrize("text", ["TIME,TCA_1\n", "TIME,TCA_1\n2,20\n1,20\n", "TIME,TCA_1\nx,20\n"])
def test_a_file_whose_times_are_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BongsuError, match="TIME"):
        load(nist_file(tmp_path, text))


def test_every_name_that_is_offered_can_be_loaded() -> None:
    for name in recordings.model_names():
        (one,) = load(name)
        assert one.name == name and one.track.end_s > 100
    with pytest.raises(BongsuError, match="neither a file nor") as e:
        load("SDC33-G")
    for name in e.value.next_step.removeprefix("Name a file, or one of ").rstrip(".").split(", "):
        assert load(name)


# ---- the command


def test_the_command_says_when_and_why(tmp_path: Path) -> None:
    ran = bongsu("detect", "replay", "SDC02-E", "en54/TF2")
    assert ran.code == 0, ran.err
    assert "alarm" in ran.out and "held 5.00 s" in ran.out and "Pho2 78 s (-" in ran.out and "degC" in ran.out


def test_json_has_all_of_it() -> None:
    ran = bongsu("detect", "replay", "SDC02-E", "--json", "--profile", "home")
    (row,) = json.loads(ran.out)
    assert row["recording"] == "SDC02-E" and row["profile"] == "home" and row["first_photoelectric_s"] == 78
    alarm = next(d for d in row["decisions"] if d["kind"] == "alarm")
    assert alarm["t_s"] == row["alarm_s"] and row["delay_s"] == row["alarm_s"] - 78
    assert alarm["held_ms"] >= HOLD_MS and alarm["reason"] and alarm["phenomena"] and alarm["values"]


def test_a_changed_limit_changes_the_decision() -> None:
    """TF2 smoulders: heat takes no part, so no alarm is left with smoke out of reach."""
    off = ("smoke_alarm_e4=2000", "smoke_rise_e4=0", "smoke_alone_e4=0", "smoke_long_e4=0")
    never = [word for change in off for word in ("--set", change)]
    assert "no alarm" in bongsu("detect", "replay", "en54/TF2", *never).out
    assert "no alarm" not in bongsu("detect", "replay", "en54/TF2").out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("replay",), 2, "FILE"),
        (("replay", "nowhere.csv"), 1, "neither a file nor"),
        (("replay", "SDC02-E", "--profile", "palace"), 2, "market_dry"),
        (("replay", "SDC02-E", "--set", "smoke=1"), 2, "smoke_alarm_e4"),
        (("replay", "SDC02-E", "--set", "smoke_alarm_e4=much"), 2, "whole number"),
        (("replay", "SDC02-E", "--set", "smoke_alarm_e4=49"), 2, "smoke_alarm_e4"),
        (("replay", "SDC02-E", "--set", "smoke_small_e4=5000"), 2, "smoke_small_e4"),
        (("replay", "SDC02-E", "--interpreter", "pypy"), 2, "pypy"),
        (("plot", "SDC02-E"), 2, "--out"),
        (("plot", "SDC02-E", "--out", "fire.gif"), 2, ".png"),
    ],
)
def test_what_cannot_be_is_said_with_its_next_step(words: tuple[str, ...], code: int, said: str) -> None:
    ran = bongsu("detect", *words)
    assert ran.code == code and said in ran.err and not ran.out


def test_a_scenario_without_anything_to_judge_is_refused() -> None:
    track = Track((0.0, 9.0), {"pm25_ug": (1.0, 1.0)})
    with pytest.raises(BongsuError, match="no column"):
        replay(Recording("dust", "test", track), limits_of())


def test_limits_are_the_profiles() -> None:
    assert limits_of("market_dry") == limits.DEFAULTS
    assert limits_of(changes=["prealarm_hold_s=9"])[at.PREALARM_HOLD] == 9
    with pytest.raises(UsageFault):
        limits_of("nobody")


# ---- plots


def test_without_matplotlib_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = bongsu("detect", "plot", "SDC02-E", "--out", tmp_path / "a.png")
    assert ran.code == 1 and "pip install 'bongsu[plot]'" in ran.err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_plot_is_what_its_name_says_and_the_same_twice(tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    made = []
    for name in ("a", "b"):
        ran = bongsu("detect", "plot", "SDC02-E", "--out", tmp_path / f"{name}{suffix}")
        assert ran.code == 0, ran.err
        made.append((tmp_path / f"{name}{suffix}").read_bytes())
    assert made[0].startswith(magic) and made[0] == made[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_plot_shows_criteria_and_decisions_by_name(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import matplotlib
    from matplotlib import rc_context

    matplotlib.use("Agg")
    changes = ("heat_alarm_dk=3302", "heat_rise_dk_min=83")
    words = [word for change in changes for word in ("--set", change)]
    with rc_context({"svg.fonttype": "none"}):
        ran = bongsu("detect", "plot", "SDC02-E", "cfast/fryer", "--out", tmp_path / "p.svg", *words)
    assert ran.code == 0, ran.err
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(made) == {"p-SDC02-E.svg", "p-cfast-fryer.svg"}
    shown = made["p-SDC02-E.svg"]
    decisions = replay(load("SDC02-E")[0], limits_of(changes=changes)).decisions
    assert decisions and all(f"{one.kind} {'+'.join(one.phenomena)}" in shown for one in decisions)
    assert "Pho2" in shown and "fixed 57.0" in shown and "above the baseline" in shown and "8.3 K/min" in shown
    assert "humidity" in made["p-cfast-fryer.svg"]


def test_names_of_marks_do_not_overlap() -> None:
    from bongsu.detect.plot import _LABEL_EM, _spread

    for spots in ([0.5] * 10, [0.0, 0.001, 0.9], [0.99, 0.995, 1.0], [], [0.3]):
        placed = _spread(spots)
        assert all(b - a >= _LABEL_EM - 1e-9 for a, b in zip(placed, placed[1:], strict=False))
        assert all(-0.2 <= p <= 1 for p in placed)
