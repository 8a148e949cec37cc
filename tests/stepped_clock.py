"""A real receiver whose wall clock a test can step, without touching the machine's.

The receiver is started by this file in place of `python -m bongsu.cli`: it adds the number of ms that stands in a small
file (8 bytes, mapped into memory) to what `time.time` and `time.time_ns` say in the receiver's process, and then is the
command `bongsu`. The monotonic clock runs on, as it does when a real clock is stepped. Not stepped are the receiver's
children (broker, relay, web) and certificates' checks in OpenSSL, which ask the kernel.

    clock = SteppedClock(tmp_path / "clock")
    receiver = Child("--data", data, "receiver", "run", launch=clock.launch)   # or hall.launch = clock.launch
    clock.step(3_600_000)        # an hour forward, at once; several receivers may share the file
    clock.step(-7_200_000)       # two hours back

Or by hand: python tests/stepped_clock.py FILE --data DIR receiver run
"""

import mmap
import struct
import sys
import time
from pathlib import Path

_FORM = struct.Struct("<q")


class SteppedClock:
    """The file that says by how much; made anew, with nothing."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(_FORM.pack(0))
        self.path = path
        self.launch = (str(Path(__file__).resolve()), str(path))
        self.offset_ms = 0

    def step(self, ms: int) -> None:
        """Step the clock of all receivers that were started with `launch` by so many ms, now."""
        self.offset_ms += ms
        with self.path.open("r+b") as file:
            file.write(_FORM.pack(self.offset_ms))


def _run() -> None:
    with Path(sys.argv[1]).open("rb") as file:
        offset = mmap.mmap(file.fileno(), _FORM.size, access=mmap.ACCESS_READ)
    real_ns, real_s = time.time_ns, time.time
    time.time_ns = lambda: real_ns() + _FORM.unpack_from(offset)[0] * 1_000_000
    time.time = lambda: real_s() + _FORM.unpack_from(offset)[0] / 1000
    sys.argv[:2] = ["bongsu"]
    from bongsu.cli.main import main

    main()


if __name__ == "__main__":
    _run()
