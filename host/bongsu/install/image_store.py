"""MicroPython images at hand: a file that was named, the cache, or a download; each is looked at before it is used.

A board's image is pinned by the SHA-256 in its file. Where none stands there, the one that was used first is
remembered, and from then on another file under that name is refused.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bongsu.install import image as images
from bongsu.install.boards import Board
from bongsu.install.image import Image, ImageError
from bongsu.install.image_pins import Pins

# (step, done, total): bytes.
Progress = Callable[[str, int, int], None]
# How a file is known to be the right one: by the board's file, by what was remembered, not yet (it is remembered from
# now on), or not at all, for it is somebody's own.
Pin = Literal["board", "remembered", "first", "own"]

BIGGEST = 32 << 20  # bytes; larger than any flash of a board


@dataclass(frozen=True)
class Piece:
    """`size` bytes in a file that go into flash at `offset`."""

    offset: int
    path: Path
    size: int


@dataclass(frozen=True)
class ImageFile:
    """A checked image in a file. `sha256`: 64 hex digits; `pin`: how it is known to be the right one."""

    path: Path
    sha256: str
    pin: Pin
    image: Image

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name


def cache_folder() -> Path:
    """Where images are kept; what is in it can be had again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bongsu" / "images"


def pins_file() -> Path:
    """Where it is remembered which images were used first."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "bongsu" / "images.json"


class ImageStore:
    """The images of this user. `cache`: a folder, `pins`: a file; they are made when they are needed."""

    def __init__(self, cache: Path | None = None, pins: Path | None = None) -> None:
        self._cache = cache or cache_folder()
        self._pins = Pins(pins or pins_file())

    def choose(self, board: Board, file: Path | None, progress: Progress) -> ImageFile:
        """The image in `file`, else the board's own, from the cache or downloaded. A file that is the board's own image
        is kept in the cache, so that it need be named once only. Raises ImageError.
        """
        if file is None:
            return self.of_board(board, progress)
        found = self.named(board, file)
        if found.pin != "own":
            with suppress(OSError):  # the cache is a help, and no more
                self._keep(found.path, self._cache / board.image.file)
        return found

    def _keep(self, file: Path, cached: Path) -> None:
        if cached.is_file() and cached.stat().st_size == file.stat().st_size:
            return
        with _temporary(cached) as new:
            shutil.copyfile(file, new)
            os.replace(new, cached)

    def named(self, board: Board, file: Path) -> ImageFile:
        """The image in a file. One that bears the name of the board's image must be it. Raises ImageError."""
        data = _read(file)
        image = images.check(data, board)
        digest = hashlib.sha256(data).hexdigest()
        pin = self._pin(board, digest, str(file)) if file.name == board.image.file else "own"
        return ImageFile(file, digest, pin, image)

    def of_board(self, board: Board, progress: Progress) -> ImageFile:
        """The board's image: the one in the cache if it is still whole, else a new download. Raises ImageError."""
        cached = self._cache / board.image.file
        if not self._is_whole(cached, board):
            self._download(board, cached, progress)
        return self.named(board, cached)

    def _is_whole(self, cached: Path, board: Board) -> bool:
        if not cached.is_file():
            return False
        known = board.image.sha256 or self._pins.known(board.image.file)
        data = _read(cached)
        if known is not None:
            return hashlib.sha256(data).hexdigest() == known
        try:
            images.check(data, board)
        except ImageError:
            return False
        return True

    def _download(self, board: Board, cached: Path, progress: Progress) -> None:
        """Into the cache, if it is what it should be."""
        from bongsu.install.download import fetch  # a quarter of the command's start, and seldom needed

        with _temporary(cached) as new:
            digest = fetch(board.image.url, new, limit=BIGGEST, progress=progress)
            _refuse_other(board, digest, board.image.url)
            images.check(_read(new), board)
            self._pins.refuse_other(board.image.file, digest)
            os.replace(new, cached)

    def _pin(self, board: Board, digest: str, source: str) -> Pin:
        """How this file is known to be the board's image. Raises ImageError if it is another."""
        _refuse_other(board, digest, source)
        if board.image.sha256 is not None:
            return "board"
        return "first" if self._pins.hold(board.image.file, digest) else "remembered"

    def pieces(self, file: ImageFile, *, keep: bool) -> tuple[Piece, ...]:
        """What is written: the whole image; or, to `keep` what a board has stored, the image without the places of
        keys and files.
        """
        image = file.image
        if not keep:
            return (Piece(image.offset, file.path, image.size),)
        data = _read(file.path)
        return tuple(
            self._piece(file, start, data[start - image.offset : end - image.offset])
            for start, end in _without_stored(image)
        )

    def _piece(self, file: ImageFile, start: int, data: bytes) -> Piece:
        path = self._cache / f"{file.sha256[:16]}-{start:x}.part"
        with _temporary(path) as new:
            new.write_bytes(data)
            os.replace(new, path)
        return Piece(start, path, len(data))


def _refuse_other(board: Board, digest: str, source: str) -> None:
    if board.image.sha256 not in (None, digest):
        raise ImageError(
            f"{source} is not the image of {board.name}: its SHA-256 is {digest}, not {board.image.sha256}",
            "Fetch it again from micropython.org; a file of your own needs a name of its own.",
        )


def _without_stored(image: Image) -> Iterator[tuple[int, int]]:
    """The ranges of flash (first byte, first byte after) that hold the image, but nothing that a board stores."""
    start, end = image.offset, image.offset + image.size
    for stored in sorted((p for p in (image.nvs, image.vfs) if p), key=lambda p: p.offset):
        if stored.offset >= end:
            break
        yield start, stored.offset
        start = stored.end
    if start < end:
        yield start, end


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(BIGGEST + 1)
    except OSError as err:
        raise ImageError(f"cannot read the image {file}: {err.strerror}", "Name a file that can be read.") from None
    if len(data) > BIGGEST:
        raise ImageError(f"{file} is too large for an image", "Name the .bin file of MicroPython for this board.")
    return data


@contextmanager
def _temporary(beside: Path) -> Iterator[Path]:
    """A new file in the same folder, which is gone afterwards unless it was renamed."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=beside.parent, prefix=f".{beside.name}.")
    os.close(number)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
