"""The flash image of a virtual board, worked on while the board is off: littlefs by MicroPython itself, so no other
implementation can differ."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bongsu.errors import BongsuError
from bongsu.install import bytecode
from bongsu.install.identity_blobs import ctr, ident
from bongsu.sim import micropython

BLOCK_BYTES = 4096
# The file system partition of a stock 4 MB ESP32 image (ESP32_GENERIC: 2 MB of `vfs`).
BLOCKS = 512


class FlashImage:
    """A file system in the file `path`: `blocks` of BLOCK_BYTES, from byte `start` on. All methods raise BongsuError if
    MicroPython cannot do it."""

    def __init__(self, path: Path, start: int = 0, blocks: int = BLOCKS) -> None:
        self.path = path
        self.start = start
        self.blocks = blocks

    def _do(self, orders: list[list[str]], *, erase: bool = False) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"start": self.start, "blocks": self.blocks, "format": erase, "orders": orders}, file)
            file.flush()
            micropython.run_script(micropython.SHIMS / "_store.py", [str(self.path), file.name])

    def format(self, files: Iterable[tuple[Path, str]]) -> None:
        """A new, empty file system that holds `files`: (host path, absolute path on the flash)."""
        with self.path.open("r+b" if self.path.exists() else "wb") as image:
            image.seek(self.start)
            image.write(bytes(self.blocks * BLOCK_BYTES))
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
    if mpy:
        if scratch is None:
            raise ValueError("compiling needs a scratch folder")
        compiled = bytecode.compile_packages(firmware, scratch)
        files += [(file, f"/lib/{inner.with_suffix('.mpy').as_posix()}") for inner, file in compiled.items()]
    else:
        files += [(firmware / inner, f"/lib/{inner.as_posix()}") for inner in bytecode.sources(firmware)]
    if not files:
        raise BongsuError(f"no firmware in {firmware}", "give the folder that holds boot.py and main.py")
    return files


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
        "ident": ident(key_epoch, key),
        "ctr": ctr(key_epoch),
        "down": b"",
    }
