"""Free space and inodes where the receiver writes. `measure` may hang on a dead mount: a thread of its own calls it."""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bongsu.receiver.config import Config, SupervisionConfig
from bongsu.receiver.state import DiskState

DISK, DISK_LOW, DISK_FULL, DISK_MUTE = "disk", "disk_low", "disk_full", "disk_not_answering"
# A file system that counts inodes and has so few left takes no new file, however much space there is.
INODES_LOW, INODES_FULL = 10_000, 500
_MB = 1_000_000


def places(config: Config) -> list[tuple[str, Path]]:
    """What is watched: the data folder, and a SQLite file's folder if that is elsewhere."""
    found = [("data", config.data_dir)]
    parts = urlsplit(config.store_url)
    if parts.scheme.startswith("sqlite") and parts.path:
        folder = Path(unquote(parts.path).removeprefix("/")).parent
        if folder.is_absolute() and folder != config.data_dir:
            found.append(("store", folder))
    return found


def measure(where: Iterable[tuple[str, Path]]) -> list[DiskState]:
    """How full these places are, for a process without special rights. A place that is not there has nothing free."""
    return [_measure(what, path) for what, path in where]


def _measure(what: str, path: Path) -> DiskState:
    try:
        found = os.statvfs(path)
    except OSError:
        return {"what": what, "free_bytes": 0, "total_bytes": 0, "free_inodes": 0, "total_inodes": 0}
    return {
        "what": what,
        "free_bytes": found.f_bavail * found.f_frsize,
        "total_bytes": found.f_blocks * found.f_frsize,
        "free_inodes": found.f_favail,
        "total_inodes": found.f_files,
    }


def faults(disks: Iterable[DiskState], limits: SupervisionConfig) -> tuple[str, ...]:
    """The worst that stands: DISK_FULL, DISK_LOW, or nothing. Pure."""
    worst = max((_level(disk, limits) for disk in disks), default=0)
    return ((), (DISK_LOW,), (DISK_FULL,))[worst]


def _level(disk: DiskState, limits: SupervisionConfig) -> int:
    free, inodes = disk["free_bytes"], disk["free_inodes"]
    counts_inodes = disk["total_inodes"] > 0
    if free < limits.disk_full_mb * _MB or (counts_inodes and inodes < INODES_FULL):
        return 2
    share = 100 * free / disk["total_bytes"] if disk["total_bytes"] else 0.0
    low = share < limits.disk_low_percent or free < limits.disk_low_mb * _MB
    return 1 if low or (counts_inodes and inodes < INODES_LOW) else 0
