"""Sees to it that the demo leaves nothing behind, even if it is killed: a process of its own that waits for the demo's
end and then ends what is left and removes the folder.

It reads lines on stdin: "session N" (a session whose processes belong to the demo), "folder PATH". End of input means
that the demo is gone, whichever way it went. What was ended and removed in good order is simply no longer there.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_TERM_WAIT_S = 5.0
_LOOK_S = 0.05
_SESSION_FIELD = 3  # of /proc/PID/stat after the name: state, ppid, pgrp, session
TEMP_PREFIX = "bongsu-demo-"


class Guard:
    """The demo's side. `close` waits until the guard has done its work."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bongsu.demo.guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demo
            text=True,
        )

    def watch_session(self, session: int) -> None:
        """The processes of this session are the demo's."""
        self._tell(f"session {session}")

    def watch_folder(self, folder: Path) -> None:
        """This folder is the demo's."""
        self._tell(f"folder {folder}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it end what is left."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def session_pids(session: int) -> list[int]:
    """The living processes of a session (Linux)."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            after_name = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if after_name[0] != "Z" and int(after_name[_SESSION_FIELD]) == session:
            found.append(int(entry.name))
    return found


def end_session(session: int, wait_s: float = _TERM_WAIT_S) -> None:
    """Ask the processes of a session to end, then make them."""
    for number, patience_s in ((signal.SIGTERM, wait_s), (signal.SIGKILL, wait_s)):
        for pid in session_pids(session):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        end = time.monotonic() + patience_s
        while session_pids(session):
            if time.monotonic() > end:
                break
            time.sleep(_LOOK_S)
        else:
            return


def main() -> None:
    """The guard's life."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions, folders = [], []
    for line in sys.stdin:
        what, _, value = line.rstrip("\n").partition(" ")
        if what == "session":
            sessions.append(int(value))
        elif what == "folder" and Path(value).name.startswith(TEMP_PREFIX):
            folders.append(Path(value))
    for session in sessions:
        end_session(session)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
