"""A real receiver on a disk of its own that a test can fill: real ENOSPC, for it and its broker, without root.

The receiver is started by this file in place of `python -m bongsu.cli`. It makes user and mount namespaces of its own,
mounts a tmpfs of a few MB with a copy of the data folder over that folder, and then is the command `bongsu`. Nobody
else sees that disk but by way of /proc/PID/root, which is how the test fills it and looks into it; it is gone with the
receiver. Chosen because RLIMIT_FSIZE gives another error (EFBIG), SQLite's max_page_count knows nothing of the broker
and the log, and a loop device needs root.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUSER, _MS_BIND, _MS_PRIVATE_ALL = 0x20000, 0x10000000, 0x1000, 0x44000
_BLOCK = 64 * 1024


def missing() -> str | None:
    """Why this machine cannot do it; None if it can."""
    words = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except OSError as err:
        return f"unshare is not there: {err}"
    return f"no mounts in a user namespace here: {done.stderr.strip()}" if done.returncode else None


class SmallDisk:
    """`launch` for Child or Hall; `size_mb`: of the disk."""

    def __init__(self, data: Path, size_mb: int) -> None:
        self._data = data.resolve()
        self.launch = (str(Path(__file__).resolve()), str(self._data), str(size_mb))
        self._pid, self._seen = 0, Path()

    def of(self, pid: int) -> None:
        """It is the receiver `pid` that sees the disk."""
        self._pid, self._seen = pid, Path(f"/proc/{pid}/root{self._data}")

    def database(self, folder: Path) -> Path:
        """A copy of the database of this moment. (SQLite itself would follow /proc/PID/root to this side's file.)"""
        folder.mkdir(exist_ok=True)
        os.killpg(self._pid, signal.SIGSTOP)
        try:
            for name in ("bongsu.db", "bongsu.db-wal"):
                shutil.copyfile(self._seen / name, folder / name)
        finally:
            os.killpg(self._pid, signal.SIGCONT)
        return folder / "bongsu.db"

    def fill(self) -> None:
        """Not a byte is left."""
        self._fill("wb")

    def fill_more(self) -> None:
        """What came free meanwhile is taken too."""
        self._fill("ab")

    def _fill(self, mode: str) -> None:
        with (self._seen / "ballast").open(mode, buffering=0) as file:
            for size in (_BLOCK, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """There is room again."""
        (self._seen / "ballast").unlink()


def _own_disk(data: Path, size_mb: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()

    def checked(result: int, what: str) -> None:
        if result:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    checked(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    checked(libc.mount(None, b"/", None, _MS_PRIVATE_ALL, None), "mount private")
    place = Path(tempfile.mkdtemp(prefix="disk-", dir=data.parent))  # which goes with the test's folder
    checked(libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, f"size={size_mb}m,mode=700".encode()), "mount tmpfs")
    shutil.copytree(data, place, dirs_exist_ok=True, ignore=lambda folder, names: [n for n in names if ".sock" in n])
    place.chmod(0o700)
    checked(libc.mount(bytes(place), bytes(data), None, _MS_BIND, None), "mount bind")


def _run() -> None:
    data, size_mb = Path(sys.argv[1]), int(sys.argv[2])
    _own_disk(data, size_mb)
    sys.argv[:3] = ["bongsu"]
    from bongsu.cli.main import main

    main()


if __name__ == "__main__":
    _run()
