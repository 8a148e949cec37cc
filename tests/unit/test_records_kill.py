"""kill -9 in the middle of a backup or a restore: there is a whole one, or what was there before."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[1] / "data" / "kill_restore.py"
ROOT = Path(__file__).parents[2]


def _runs(mode: str, folder: Path, step: int) -> list[dict[str, Any]]:
    words = [sys.executable, str(PROGRAM), mode, str(folder), str(step)]
    env = {"PYTHONPATH": ":".join([str(ROOT), *(p for p in sys.path if p)]), "PATH": ""}
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) > 5 and [r["killed"] for r in runs] == [True] * (len(runs) - 1) + [False]
    return runs


@pytest.mark.sqlite
def test_a_backup_is_whole_or_not_there(tmp_path: Path) -> None:
    for run in _runs("backup", tmp_path, 2):
        left = run["left"]
        assert left["backup"] in (None, True) and left["names"] in ([], ["b"]), run
    assert left == {"backup": True, "names": ["b"]}


@pytest.mark.sqlite
def test_a_restore_leaves_the_old_or_the_new_installation(tmp_path: Path) -> None:
    """Between the two renames the old one stands beside, whole, under the name that the restore would have told."""
    runs = _runs("restore", tmp_path, 29)
    for run in runs:
        left = run["left"]
        assert left["units"] in (0, 2) or (left["units"] is None and left["put_aside"] == [0]), run
        assert left["hidden"] == [], "the next restore clears what the killed one left"
    assert runs[0]["left"]["units"] == 0 and runs[-1]["left"]["units"] == 2
