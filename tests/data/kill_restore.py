"""Kill a backup, or a restore over an installation that is there, at one file operation after the other (program of
test_records_kill.py).

usage: kill_restore.py backup|restore FOLDER STEP. Prints one JSON line a run: {"killed": bool, "left": what is there}.
"""

import json
import os
import signal
import sys
from pathlib import Path

from sqlalchemy import func, select

from bongsu.receiver import sealed_file
from bongsu.receiver.backup import make_backup
from bongsu.receiver.backup_reading import check_backup
from bongsu.receiver.init_data import init_data
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.restore import Target, restore_backup
from bongsu.receiver.sealed_file import Passphrase, SealedFileError
from bongsu.receiver.store import open_store, schema
from tests.registry_parts import NOW_MS, fill

WORDS = Passphrase("six words nobody will guess")
_EVENTS = ("open", "os.", "sqlite3.", "fcntl.", "shutil.", "tempfile.")
sealed_file.SCRYPT_N = 2**12


def _backup(data: Path, out: Path) -> None:
    store = open_store(f"sqlite:///{data / 'bongsu.db'}")
    make_backup(store, data, load_master(data / MASTER_KEY_NAME), out, [WORDS], with_master_key=True, version="0",
                now_ms=NOW_MS)  # fmt: skip
    store.close()


def _restore(source: Path, target: Path) -> None:
    restore_backup(source, WORDS, Target(target, "sqlite", force=True), master_raw=None, actor="x", now_ms=NOW_MS)


def _killed(work: "object", at: int) -> bool:
    """Run `work` in a forked process that ends itself at its at-th step; True if it did."""
    pid = os.fork()
    if pid == 0:
        left = [at]

        def step(name: str, _args: object) -> None:
            if name.startswith(_EVENTS):
                left[0] -= 1
                if left[0] == -1:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(step)
        work()  # type: ignore[operator]
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _units(data: Path) -> int | None:
    """How many units an installation has; None if there is none."""
    if not (data / "receiver.toml").exists():
        return None
    load_master(data / MASTER_KEY_NAME)
    store = open_store(f"sqlite:///{data / 'bongsu.db'}", migrate=False)
    with store.read() as conn:
        count = conn.execute(select(func.count()).select_from(schema.unit)).scalar_one()
    store.close()
    return int(count)


def _whole(path: Path) -> bool | None:
    if not path.exists():
        return None
    try:
        check_backup(path, WORDS)
    except SealedFileError:
        return False
    return True


def backup_run(folder: Path, at: int) -> tuple[bool, object]:
    """One backup."""
    place = folder / f"run{at}"
    place.mkdir()
    killed = _killed(lambda: _backup(folder / "base", place / "b"), at)
    return killed, {"backup": _whole(place / "b"), "names": sorted(p.name for p in place.iterdir())}


def restore_run(folder: Path, at: int) -> tuple[bool, object]:
    """One restore over an installation without units; then once more, for what the killed one left."""
    place = folder / f"run{at}"
    init_data(place / "data", now_ms=NOW_MS)
    killed = _killed(lambda: _restore(folder / "backup", place / "data"), at)
    units = _units(place / "data")
    put_aside = [_units(p) for p in place.iterdir() if ".before-" in p.name]
    _restore(folder / "backup", place / "again")
    left = sorted(p.name for p in place.iterdir() if p.name.startswith("."))
    return killed, {"units": units, "put_aside": put_aside, "hidden": left}


def main() -> None:
    """All runs, up to the one that is not killed."""
    mode, folder, step = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    init_data(folder / "base", now_ms=NOW_MS)
    store = open_store(f"sqlite:///{folder / 'base' / 'bongsu.db'}")
    fill(store)
    store.close()
    _backup(folder / "base", folder / "backup")
    _restore(folder / "backup", folder / "warm")  # loads everything once, before the forks
    at, killed = 0, True
    while killed:
        killed, left = (backup_run if mode == "backup" else restore_run)(folder, at)
        print(json.dumps({"killed": killed, "left": left}), flush=True)
        at += step


main()
