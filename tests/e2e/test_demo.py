"""The demo as a user runs it: it passes, and leaves nothing behind however it ends."""

import os
import re
import select
import signal
import subprocess
import sys
import time

import psutil
import pytest

from bongsu.demo.guard import TEMP_PREFIX

_DEMO_MOST_S = 90


@pytest.fixture
def temp(tmp_path):
    """A folder that the demo takes for the system's temporary one."""
    folder = tmp_path / "t"
    folder.mkdir()
    return folder


def start(temp, cwd, *args):
    return subprocess.Popen(
        [sys.executable, "-m", "bongsu.cli", "demo", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(temp), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
    )


def processes_of(temp):
    """Living processes that name the folder in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(temp) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def wait_clean(temp, seconds=15.0):
    """Fail unless the demo's processes and folder are gone in time."""
    end = time.monotonic() + seconds
    while left := [*processes_of(temp), *temp.glob(f"{TEMP_PREFIX}*")]:
        assert time.monotonic() < end, left
        select.select([], [], [], 0.05)


def read_until(process, pattern):
    """Lines up to the one that the pattern is found in."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return lines
    raise AssertionError("".join(lines))


def test_the_demo_passes_and_tells_the_whole_path(temp, tmp_path):
    process = start(temp, tmp_path, "--speed", "6")
    out, _ = process.communicate(timeout=_DEMO_MOST_S)
    assert process.returncode == 0, out
    # What one process tells comes in its order; a busy machine may delay any of them against the others.
    for chain in (
        ("sensing", "hold begins", "ALARM", "receipt"),
        ("stored", "incident"),
        ("incident", "dispatch", "report"),
        ("incident", "SMS"),
        ("ALARM", "restore", "report"),
    ):
        places = [out.index(f" {step} ") for step in chain]
        assert places == sorted(places), out
    assert "D-04" in out and "hold broken" in out and "FAIL" not in out
    assert not re.search(r"0000-?0\d\d\d|whsec_|Traceback", out.replace("010-****-0", "")), out
    assert "010-****-0107" in out and "+8210" not in out
    wait_clean(temp)


@pytest.mark.parametrize(
    ("number", "at", "code"),
    [
        (signal.SIGINT, "bongsu init", 130),
        (signal.SIGINT, "begins in", 130),
        (signal.SIGTERM, "receiver run", 130),
        (signal.SIGKILL, "begins in", -signal.SIGKILL),
    ],
)
def test_nothing_is_left_behind(temp, tmp_path, number, at, code):
    process = start(temp, tmp_path)
    try:
        read_until(process, at)
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(20) == code
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    wait_clean(temp)


def test_a_part_that_dies_fails_the_demo(temp, tmp_path):
    process = start(temp, tmp_path)
    try:
        read_until(process, "begins in")
        receiver = next(
            p for p in psutil.Process(process.pid).children() if "receiver" in p.cmdline() and "run" in p.cmdline()
        )
        receiver.kill()
        out = process.stdout.read()
        assert process.wait(30) == 1
        assert "the demo's receiver has ended" in out
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    wait_clean(temp)
