"""Child process of a virtual board: becomes `micropython`. Run as a file: `interpreter.py <parent pid> <folder of
micropython_unix> <repl: none, friendly or raw> <arguments...>`.

Before the interpreter starts it ties its life to the parent's, so that a killed parent leaves no board running, and
forbids core dumps. With a REPL, SOFT + its mode is the exit code when the REPL ends in order, which on a chip is a soft
reset.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Ctrl-C, as the chip's UART interrupt gives it: an exception that the interpreter raises where it is safe. (Its own
# handler of SIGINT jumps out of whatever runs, a flash write too.)
INTERRUPT = signal.SIGUSR1
MODES = ("friendly", "raw")  # pyexec_mode_kind
SOFT = 64


def _repl_mode(module: str, mode: str) -> ctypes.c_int:
    """Let INTERRUPT reach the interpreter, and start its REPL in `mode`; returns the interpreter's own variable."""
    library = ctypes.CDLL(module)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal(INTERRUPT, ctypes.cast(library.mp_sched_keyboard_interrupt, ctypes.c_void_p))
    libc.siginterrupt(INTERRUPT, 1)  # a read that waits must end
    kind = ctypes.c_int.in_dll(library, "pyexec_mode_kind")
    kind.value = MODES.index(mode)
    return kind


def main() -> int:
    """Run MicroPython with the arguments after the first three; return its exit code."""
    parent, packages, repl = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    if sys.platform == "linux":
        # Other systems rely on the control pipe: its end closes with the parent.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return 1  # it died before the call above
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.append(packages)
    import micropython_run

    mode = _repl_mode(micropython_run.__file__, repl) if repl in MODES else None
    code = int(micropython_run.run_main(["micropython", *sys.argv[4:]]))
    return code if mode is None else SOFT + mode.value


if __name__ == "__main__":
    sys.exit(main())
