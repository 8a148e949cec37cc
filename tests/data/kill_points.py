"""Kill a writing command at one point after the other (program of test_cli_kill.py).

usage: kill_points.py init|import FOLDER STEP

Each run happens in a forked process, which sends itself SIGKILL: `init` at every STEP-th file operation (Python's audit
events), `import` at every STEP-th SQL statement. Prints one JSON line a run: {"at": n, "killed": bool, "left": what is
there afterwards}.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

from sqlalchemy import event

from bongsu.receiver import phone, shop_import
from bongsu.receiver.init_data import init_data
from bongsu.receiver.store import open_store
from tests.registry_parts import NOW_MS, fill

SHOPS = Path(__file__).parent / "shops" / "market_en.csv"


class Killer:
    """Counts steps, and ends this process at the given one."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self) -> None:
        self.left -= 1
        if self.left == -1:  # not below: the kill itself is an audit event too
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: "object") -> bool:
    """Run `work` in a forked process; True if it was killed."""
    pid = os.fork()
    if pid == 0:
        work()  # type: ignore[operator]
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit("the child failed by itself")
    return os.WIFSIGNALED(status)


def init_run(folder: Path, at: int) -> tuple[bool, object]:
    target = folder / f"run{at}" / "data"
    target.parent.mkdir()

    def work() -> None:
        killer = Killer(at)
        file_events = ("open", "os.", "sqlite3.", "fcntl.", "shutil.", "tempfile.")
        sys.addaudithook(lambda name, _args: killer.step() if name.startswith(file_events) else None)
        init_data(target, now_ms=NOW_MS)

    killed = in_child(work)
    left = sorted(str(p.relative_to(target)) for p in target.rglob("*")) if target.exists() else None
    init_data(target, now_ms=NOW_MS) if left is None else None  # after a kill the same command works
    beside = sorted(p.name for p in target.parent.iterdir())
    return killed, {"data": left, "beside_after_next": beside}


def import_run(folder: Path, at: int) -> tuple[bool, object]:
    path = folder / f"run{at}.db"
    for end in ("", "-wal", "-shm"):
        if (folder / f"base.db{end}").exists():
            shutil.copy(folder / f"base.db{end}", f"{path}{end}")

    def work() -> None:
        killer = Killer(at)
        store = open_store(f"sqlite:///{path}")
        event.listen(store.engine, "before_cursor_execute", lambda *_: killer.step())
        event.listen(store.engine, "commit", lambda *_: killer.step())
        with store.write() as conn:
            plan = shop_import.make_plan(conn, "hannae", SHOPS.read_bytes())
            shop_import.execute(conn, plan, now_ms=NOW_MS)

    killed = in_child(work)
    conn = sqlite3.connect(path)
    counts = [
        conn.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("unit", "contact", "unit_contact", "node")
    ]
    conn.close()
    return killed, counts


def main() -> None:
    mode, folder, step = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if mode == "import":
        phone.normal("010-1234-5678")  # loads the tables once, before the forks
        store = open_store(f"sqlite:///{folder / 'base.db'}")
        fill(store)
        store.close()
    else:
        init_data(folder / "warm", now_ms=NOW_MS)  # loads Alembic once
    at, killed = 0, True
    while killed:
        killed, left = (init_run if mode == "init" else import_run)(folder, at)
        print(json.dumps({"at": at, "killed": killed, "left": left}), flush=True)
        at += step


main()
