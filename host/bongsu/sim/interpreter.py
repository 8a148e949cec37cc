"""Child process of a virtual board: becomes `micropython`. Run as a file: `interpreter.py <parent pid> <folder of
micropython_unix> <arguments...>`.

Before the interpreter starts it ties its life to the parent's, so that a killed parent leaves no board running, and
forbids core dumps.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run MicroPython with the arguments after the first two; return its exit code."""
    parent, packages = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        # Other systems rely on the control pipe: its end closes with the parent.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return 1  # it died before the call above
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.append(packages)
    from micropython_unix import run_main

    return int(run_main(["micropython", *sys.argv[3:]]))


if __name__ == "__main__":
    sys.exit(main())
