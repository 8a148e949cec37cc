"""The lease in shared memory: another process never reads half of it, whatever moment it looks.

A half-read lease looks ended: the relay then gave the alarm back and it went out 0.8 s later.
"""

import mmap
import subprocess
import sys
import tempfile

from bongsu.receiver.clock import SetClock
from bongsu.receiver.jobs import LEASE_BYTES, Lease

# Looks as the relay's process does until its standard input ends; prints how often it looked, and what it saw.
_READER = """
import mmap, select, sys
from bongsu.receiver.jobs import LEASE_BYTES, lease_holds, lease_view
begun_ms, looks, ended = int(sys.argv[2]), 0, 0
with mmap.mmap(int(sys.argv[1]), LEASE_BYTES, prot=mmap.PROT_READ) as memory, lease_view(memory) as lease:
    print("looks", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(5000):
            looks += 1
            ended += not lease_holds(lease, begun_ms)
print(looks, ended)
"""
_RENEWALS = 300_000


def test_no_other_process_ever_reads_a_half_written_lease() -> None:
    clock = SetClock(1_800_000_000_000)
    with tempfile.TemporaryFile() as file:
        file.truncate(LEASE_BYTES)
        lease = Lease(clock, 5_000)
        lease.share(mmap.mmap(file.fileno(), LEASE_BYTES))
        lease.renew()
        child = subprocess.Popen(
            [sys.executable, "-c", _READER, str(file.fileno()), str(clock.mono_ms())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[file.fileno()],
        )
        assert child.stdout is not None and child.stdin is not None
        assert child.stdout.readline() == "looks\n"
        for i in range(_RENEWALS):
            if i % 100 == 0:
                clock.advance(1)
            lease.renew()
        said, _ = child.communicate(timeout=60)
    looks, ended = map(int, said.split())
    assert looks > 10_000 and ended == 0


def test_a_lease_ends_by_the_monotonic_clock_and_is_renewed() -> None:
    clock = SetClock(1_800_000_000_000)
    lease = Lease(clock, 5_000)
    assert not lease.holds(), "it was never taken"
    lease.renew()
    assert lease.holds()
    clock.advance(4_999)
    assert lease.holds()
    clock.advance(1)
    assert not lease.holds()
    lease.renew()
    assert lease.holds()
