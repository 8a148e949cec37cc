"""kill -9 in the middle of `init` and `import`: the data folder and the registry hold all of it, or nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parents[1] / "data" / "kill_points.py"
ROOT = Path(__file__).parents[2]


def _runs(mode: str, folder: Path, step: int) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), mode, str(folder), str(step)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": ":".join([str(ROOT), *(p for p in sys.path if p)]), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_init_is_whole_or_not_there(tmp_path: Path) -> None:
    runs = _runs("init", tmp_path, 1)
    assert len(runs) > 10 and [r["killed"] for r in runs] == [True] * (len(runs) - 1) + [False]
    whole = runs[-1]["left"]["data"]
    assert {"master.key", "receiver.toml", "bongsu.db", "ca/ca.key", "ca/server.crt"} <= set(whole)
    for run in runs:
        assert run["left"]["data"] in (None, whole), run
        assert run["left"]["beside_after_next"] == ["data"], "the next init clears what the killed one left"


def test_import_is_whole_or_not_there(tmp_path: Path) -> None:
    runs = _runs("import", tmp_path, 1)
    assert len(runs) > 10 and [r["killed"] for r in runs] == [True] * (len(runs) - 1) + [False]
    before, after = [2, 1, 1, 1], [6, 5, 6, 3]
    assert runs[-1]["left"] == after
    for run in runs[:-1]:
        assert run["left"] in (before, after), run
    assert runs[0]["left"] == before
