"""Which images were used first, by name and SHA-256: what later ones must be, where a board's file has no hash."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bongsu.install.image import ImageError


class _Pin(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str
    first_ms: int


class Pins:
    """The record, in one JSON file. Several processes may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self, name: str) -> str | None:
        """The SHA-256 of the image that was used first under this name."""
        pin = self._read().get(name)
        return pin.sha256 if pin else None

    def hold(self, name: str, sha256: str) -> bool:
        """Remember this hash if none is known. True if it is new. Raises ImageError if another one is known."""
        with self._lock():
            self.refuse_other(name, sha256)
            pins = self._read()
            if name in pins:
                return False
            self._write({**pins, name: _Pin(sha256, time.time_ns() // 1_000_000)})
            return True

    def refuse_other(self, name: str, sha256: str) -> None:
        """Raises ImageError if another hash is known for this name."""
        known = self.known(name)
        if known not in (None, sha256):
            raise ImageError(
                f"{name} is not the file that was used first under this name: its SHA-256 is {sha256}, not {known}",
                f"Find out why it was replaced. If you trust the new one, remove {name} from {self._path}.",
            )

    def _read(self) -> dict[str, _Pin]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Pin])
        except FileNotFoundError:
            return {}
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise ImageError(f"{self._path} is damaged: {err}", "Remove it: it is made again.") from None

    def _write(self, pins: dict[str, _Pin]) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({name: msgspec.to_builtins(pin) for name, pin in pins.items()}, indent=1) + "\n")
        os.replace(new, self._path)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
