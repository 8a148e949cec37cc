"""`bongsu sim board`: one board in the foreground, from a bundle, with a scenario."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bongsu.install.bundle import Bundle
from tests.board_parts import EPOCH, KEY, NODE, bundle

ROOT = Path(__file__).resolve().parents[2]


def _run(*args: str) -> "subprocess.CompletedProcess[str]":
    path = f"{ROOT / 'host'}:{ROOT / 'firmware'}"
    return subprocess.run(
        [sys.executable, "-m", "bongsu.cli", "sim", "board", *args],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved bundle."""
    made = tmp_path / "bundle"
    Bundle(NODE, EPOCH, KEY, bundle().node_json, b"").save(made)
    return made


def test_a_fire_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "fire.csv"
    scenario.write_text("t_s,temp_c,smoke_od_per_m\n0,21,0\n5,21,0\n5,70,0.2\n")
    state = tmp_path / "state"
    options = [str(folder), "--speed", "20", "--seconds", "1.5", "--state", str(state)]
    done = _run(*options, "--scenario", str(scenario))
    assert done.returncode == 0, done.stderr
    assert " alarm event=" in done.stdout
    again = _run(*options)  # the flash was kept: no second provisioning, the event waits in its journal
    assert again.returncode == 0, again.stderr
    assert " boot cause=" in again.stdout
    assert "unprovisioned" not in again.stdout


def test_a_bad_scenario_is_said(folder: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "bad.csv"
    scenario.write_text("t_s,temp_c,smoke_od_per_m\n0,warm,0\n")
    done = _run(str(folder), "--scenario", str(scenario))
    assert done.returncode == 1
    assert "line 2, temp_c: 'warm' is no number" in done.stderr and "Traceback" not in done.stderr
