"""What holds for every test: it leaves no process behind (deadline and warnings are set in pyproject.toml).

A process that lasts longer than one test (an interpreter or broker shared by a module) belongs to a fixture of that
scope: pytest sets those up before the check below takes its first look.
"""

from collections.abc import Iterator

import psutil
import pytest

# How long a process that has been told to end may take, before it counts as left behind.
ENDING_S = 5.0


def _children() -> set[psutil.Process]:
    return {p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE}


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"{process.pid}: gone by now"


@pytest.fixture(autouse=True)
def no_process_left_behind() -> Iterator[None]:
    """Fail the test if a process that it started still runs when it is over; end that process, so that only this test
    fails."""
    before = _children()
    yield
    _, left = psutil.wait_procs(_children() - before, timeout=ENDING_S)
    if not left:
        return
    names = [_describe(p) for p in left]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=ENDING_S)
    pytest.fail("left running: " + "; ".join(names))
