"""Writing what a broker reads: private files, each whole or as it was before, and the hint to read them again."""

import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bongsu.errors import BongsuError


class BrokerFilesError(BongsuError):
    """A broker's files cannot be written, or the broker cannot be told."""


def write_private(path: Path, data: str | bytes) -> None:
    """Write a file (0600) so that it is there whole, or as it was. Several may do so at once: the last one's stays."""
    # A name of its own: with a shared one, two that write at once take it away from each other.
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> list[str]:
    """Write `files` (name below `folder` -> content) as far as they differ from what is there; returns the names
    written. Folders are made 0700. Raises BrokerFilesError.
    """
    written = []
    try:
        for name, content in files.items():
            path = folder / name
            data = content.encode() if isinstance(content, str) else content
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.is_file() and path.read_bytes() == data:
                continue
            write_private(path, data)
            written.append(name)
        for parent in {(folder / name).parent for name in written}:
            _sync_folder(parent)
    except OSError as err:
        raise BrokerFilesError(
            f"cannot write {err.filename or folder}: {err.strerror}", "Name a folder by --out in which you may write."
        ) from None
    return written


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def reload(pid_file: Path) -> int:
    """Send SIGHUP to the process whose id stands in the file; returns the id. Raises BrokerFilesError."""
    try:
        pid = int(pid_file.read_text())
        if pid <= 1:
            raise ValueError
        os.kill(pid, signal.SIGHUP)
    except ValueError:
        raise BrokerFilesError(f"{pid_file} holds no process id", "Name the broker's PID file by --reload.") from None
    except ProcessLookupError:
        raise BrokerFilesError(
            f"no process {pid} runs, which {pid_file} names", "Start the broker; it reads the new files then."
        ) from None
    except OSError as err:
        raise BrokerFilesError(
            f"cannot tell the broker to read its files again: {err.strerror}",
            "Run this as a user who may, or send the broker SIGHUP.",
        ) from None
    return pid
