"""How the receiver starts the processes that belong to it: they end when it does, however that ends."""

import os
import sys

# Asks the kernel to end the process with us (PR_SET_PDEATHSIG, which is about the thread that starts it), makes way for
# others if told so, then becomes it. A preexec_fn would do the same, but not safely once the receiver has threads.
_LAUNCH = (
    "import ctypes,os,sys\n"
    "ctypes.CDLL(None).prctl(1,9)\n"
    "os.getppid()==int(sys.argv[1]) or sys.exit(0)\n"
    "os.nice(int(sys.argv[2]))\n"
    "os.execv(sys.argv[3],sys.argv[3:])"
)


def bound_to_us(command: list[str], nice: int = 0) -> list[str]:
    """The command, as a process that ends with this one. `nice`: how much it gives way to others."""
    return [sys.executable, "-ISc", _LAUNCH, str(os.getpid()), str(nice), *command]
