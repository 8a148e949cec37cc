"""The data folder and the machine: rights, settings, master key, disk, certificates, clock, time zones."""

import ctypes
import os
import shlex
import stat
import zoneinfo
from pathlib import Path

from bongsu.receiver import certificate_watch, disk, reasons
from bongsu.receiver.config import Config
from bongsu.receiver.doctor.finding import FAIL, OK, WARN, Finding, Findings
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master

_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")
# adjtimex(2): the kernel's word for a clock that nobody disciplines.
_TIME_ERROR = 5
_TIMEX_BYTES = 512
_GB = 1_000_000_000
_PRIVATE = ("ca/ca.key", "ca/server.key", "secrets", "run")


def rights(config: Config) -> Findings:
    """Who owns the data folder, and who may look into it."""
    folder = config.data_dir
    found = folder.stat()
    good = True
    if stat.S_IMODE(found.st_mode) & 0o077:
        good = False
        yield Finding(
            FAIL, "data folder", f"{folder} is open to other users", f"Run: chmod 700 {shlex.quote(str(folder))}"
        )
    if found.st_uid != os.geteuid():
        good = False
        yield Finding(
            WARN, "data folder", f"{folder} belongs to another user (uid {found.st_uid})", "Run this as that user."
        )
    for name in _PRIVATE:
        path = folder / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            good = False
            yield Finding(
                FAIL, "data folder", f"{path} is open to other users", f"Run: chmod go= {shlex.quote(str(path))}"
            )
    if good:
        yield Finding(OK, "data folder", f"{folder} is for its owner only")


def master_key(config: Config) -> Findings:
    """Is it there, and private?"""
    load_master(config.data_dir / MASTER_KEY_NAME)
    yield Finding(OK, "master key", "it is there, and for its owner only")


def disks(config: Config) -> Findings:
    """Free space where the receiver writes."""
    for found in disk.measure(disk.places(config)):
        names = disk.faults([found], config.supervision)
        what = f"{found['what']}: {found['free_bytes'] / _GB:.1f} GB of {found['total_bytes'] / _GB:.1f} GB free"
        if not names:
            yield Finding(OK, "disk", what)
            continue
        yield Finding(FAIL if disk.DISK_FULL in names else WARN, "disk", what, reasons.WORDS[names[0]][1])


def certificates(config: Config, now_ms: int) -> Findings:
    """The CA and the broker's certificate."""
    for found in certificate_watch.look(config.data_dir / "ca", now_ms):
        yield certificate(found["what"], found["days"], found["problem"], config.supervision.certificate_days)


def certificate(what: str, days: float | None, problem: str, warn_days: int) -> Finding:
    """One certificate's finding."""
    if problem:
        return Finding(FAIL, "certificates", f"{what}: {problem}", "Restore the folder ca/ from the backup.")
    if days is not None and days <= 0:
        return Finding(FAIL, "certificates", f"{what}: it ended {-days:.0f} days ago", "Renew it.")
    if days is not None and days <= warn_days:
        return Finding(WARN, "certificates", f"{what}: it ends in {days:.0f} days", "Renew it before then.")
    return Finding(OK, "certificates", f"{what}: good for {days or 0:.0f} days")


def clock() -> Findings:
    """Is the clock kept right by somebody?"""
    if _SYNCHRONIZED.exists() or _is_disciplined():
        yield Finding(OK, "clock", "it is synchronised")
    else:
        yield Finding(
            WARN,
            "clock",
            "nothing keeps the machine's clock right",
            "Install chrony, or switch on systemd-timesyncd: timedatectl set-ntp true",
        )


def _is_disciplined() -> bool:
    """The kernel's own word, by adjtimex(2), which only reads with an empty request."""
    request = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = int(ctypes.CDLL(None, use_errno=True).adjtimex(request))
    except (AttributeError, OSError):
        return False
    return 0 <= state != _TIME_ERROR


def time_zones(zones: list[str]) -> Findings:
    """Are the sites' zones known here?"""
    for zone in zones or ["Asia/Seoul"]:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            yield Finding(FAIL, "time zones", f"{zone} is not known", "Run: pip install tzdata")
            return
    yield Finding(OK, "time zones", f"known: {', '.join(zones or ['Asia/Seoul'])}")
