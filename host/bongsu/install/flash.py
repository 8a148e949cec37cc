"""Flashing a board: the plan of what will be done, and doing just that.

The chip is looked at first, and nothing is erased unless it is the right one. What was written is compared with the
file by esptool when it has written, and once more in a contact of its own.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bongsu.errors import BongsuError, Interrupted
from bongsu.install import esptool
from bongsu.install.boards import Board
from bongsu.install.esptool_output import (
    RIGHT_BOARD,
    Beginning,
    ChipFound,
    Erasing,
    FlashDiffers,
    FlashError,
    WritingAt,
    chip_found,
    event,
)
from bongsu.install.image import ImageError
from bongsu.install.image_store import ImageFile, Piece
from bongsu.install.ports import CONSOLE_BAUD, PortLock

# (step, done, total): of "write" in bytes of flash, else 0 or 1 of 1; a total of 0: nothing tells how far it is.
Progress = Callable[[str, int, int], None]
StepName = Literal["identify", "write", "verify"]
# As progress names them: `write` is two, if all is erased first.
STEPS = ("identify", "erase", "write", "verify")
# A plain socket carries no control lines, so no reset, and whatever is behind it has one speed.
_NO_CONTROL = "socket://"


@dataclass(frozen=True)
class Step:
    """One call of esptool. `words`: what it does, for people; `argv`: its command line."""

    name: StepName
    words: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class FlashPlan:
    """What run() does, all of it. `chip`: esptool's name; `flash_mb`: that the board must have; `erase`: the whole
    flash, keys and files too; `resets`: the port can reset the board; `found`: the chip, if it is identified already.
    """

    port: str
    board: str
    chip: str
    flash_mb: int
    image: ImageFile
    erase: bool
    baud: int
    resets: bool
    pieces: tuple[Piece, ...]
    steps: tuple[Step, ...]
    found: ChipFound | None

    @property
    def size(self) -> int:
        """Bytes that are written."""
        return sum(piece.size for piece in self.pieces)


@dataclass(frozen=True)
class Flashed:
    """A board that holds the image. `mac`: 12 hex digits, its node id; `took_ms`: wall time."""

    image_name: str
    image_sha256: str
    mac: str
    took_ms: int
    chip: str
    flash_mb: int | None


def plan(
    port: str,
    board: Board,
    image: ImageFile,
    pieces: Sequence[Piece],
    *,
    erase: bool = True,
    baud: int | None = None,
    found: ChipFound | None = None,
) -> FlashPlan:
    """The plan for this board on this port (device file or URL). `pieces`: of ImageStore.pieces; `baud`: the board's
    own if not given; `found`: what identify() said of the port, if its lock was held since. Raises FlashError if it
    is another chip.
    """
    resets = not port.lower().startswith(_NO_CONTROL)
    baud = (baud or board.flash.baud) if resets else CONSOLE_BAUD
    steps = _steps(port, board, pieces, erase, baud)
    made = FlashPlan(
        port=port,
        board=board.name,
        chip=board.chip.esptool,
        flash_mb=board.flash_mb,
        image=image,
        erase=erase,
        baud=baud,
        resets=resets,
        pieces=tuple(pieces),
        steps=steps[1:] if found else steps,
        found=found,
    )
    if found:
        _check_chip(made, found)
    return made


def _steps(port: str, board: Board, pieces: Sequence[Piece], erase: bool, baud: int) -> tuple[Step, Step, Step]:
    chip = board.chip.esptool
    size = sum(piece.size for piece in pieces)
    write = f"rite {size:,} bytes at {', '.join(hex(piece.offset) for piece in pieces)}"
    kept = ("--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep")  # the file, byte for byte
    where = [word for piece in pieces for word in (hex(piece.offset), str(piece.path))]
    return (
        Step(
            "identify",
            f"Identify the chip: an {_name(chip)} with at least {board.flash_mb} MB of flash, or nothing is written",
            esptool.identifying(port),
        ),
        Step(
            "write",
            f"Erase the whole flash, keys and files too, then w{write}" if erase else f"W{write}; keys and files stay",
            esptool.command(
                port, "write-flash", *kept, *(["--erase-all"] if erase else []), *where,
                chip=chip, baud=baud,
                after="no-reset-stub",  # a start would write into the flash before that is compared
            ),
        ),
        Step(
            "verify",
            "Compare the flash with the file, and restart the board",
            esptool.command(port, "verify-flash", *kept, *where, chip=chip, baud=baud),
        ),
    )  # fmt: skip


def run(todo: FlashPlan, progress: Progress) -> Flashed:
    """Do it. The port is free afterwards, however it ends. Raises FlashError, ImageError, PortError."""
    start = time.monotonic()
    found = todo.found
    with PortLock(todo.port):
        _check_files(todo)
        for step in todo.steps:
            lines = _run(todo, step, progress)
            if step.name == "identify":
                found = chip_found(lines)
                _check_chip(todo, found)
    assert found is not None
    took_ms = round((time.monotonic() - start) * 1000)
    return Flashed(todo.image.name, todo.image.sha256, found.mac, took_ms, found.chip, found.flash_mb)


def holds(todo: FlashPlan) -> bool:
    """Does the board hold all pieces of this plan already? It is restarted. Raises FlashError and PortError if that
    cannot be told.
    """
    (verify,) = (step for step in todo.steps if step.name == "verify")
    try:
        with PortLock(todo.port):
            esptool.run(todo.port, verify.argv, lambda line: None)
    except FlashDiffers:
        return False
    return True


def _run(todo: FlashPlan, step: Step, progress: Progress) -> list[str]:
    heard = _Listener(todo, step, progress)
    try:
        lines = esptool.run(todo.port, step.argv, heard.line)
    except BongsuError as err:
        if step.name == "identify":
            raise
        raise FlashError(f"{err.message} ({heard.where})", f"{err.next_step} It begins anew then.") from None
    except KeyboardInterrupt:
        if step.name == "identify" or not heard.touched:
            raise
        raise Interrupted(
            f"{todo.port}: {heard.where}: nothing runs on the board now", "Run this again: it begins anew."
        ) from None
    heard.finish()
    return lines


class _Listener:
    """Makes progress of what esptool prints in one step. `where`: how far it came, in words; touched: the flash is not
    what it was before.
    """

    def __init__(self, todo: FlashPlan, step: Step, progress: Progress) -> None:
        self._todo = todo
        self._step = step
        self._progress = progress
        self.where = "nothing was erased"
        self.touched = step.name == "verify"
        if self.touched:
            self.where = "all is written, but not compared with the file"
        if step.name != "write":
            progress(step.name, 0, 1)

    def line(self, line: str) -> None:
        """A line came."""
        what = event(line)
        if isinstance(what, Beginning) and not self.touched:
            self.where = "the first bytes were being written"
        self.touched = self.touched or what is not None
        if isinstance(what, Erasing):
            self.where = "the flash is erased" if what.done else "while the flash was erased"
            self._progress("erase", int(what.done), int(what.done))
        elif isinstance(what, WritingAt):
            size = self._todo.size
            done = sum(max(0, min(what.address - piece.offset, piece.size)) for piece in self._todo.pieces)
            self.where = f"{done:,} of {size:,} bytes were written"
            self._progress("write", done, size)

    def finish(self) -> None:
        """It is done; that all is written was told by the last block."""
        if self._step.name != "write":
            self._progress(self._step.name, 1, 1)


def _check_files(todo: FlashPlan) -> None:
    """The image is still the one that was looked at."""
    try:
        digest = hashlib.sha256(todo.image.path.read_bytes()).hexdigest()
        sizes = [piece.path.stat().st_size for piece in todo.pieces]
    except OSError as err:
        raise ImageError(f"cannot read {err.filename}: {err.strerror}", "Run this again.") from None
    if digest != todo.image.sha256 or sizes != [piece.size for piece in todo.pieces]:
        raise ImageError(f"{todo.image.path} has changed meanwhile", "Run this again.")


def _check_chip(todo: FlashPlan, found: ChipFound) -> None:
    if found.chip != todo.chip:
        wrong = f"the chip is an {found.title}, not the {_name(todo.chip)} of {todo.board}"
    elif found.flash_mb is not None and found.flash_mb < todo.flash_mb:
        wrong = f"the chip has {found.flash_mb} MB of flash, not the {todo.flash_mb} MB of {todo.board}"
    else:
        return
    raise FlashError(f"{todo.port}: {wrong}; nothing was written", RIGHT_BOARD)


def _name(chip: str) -> str:
    """A chip's name as people write it: ESP32-S3."""
    rest = chip.upper().removeprefix("ESP32")
    return f"ESP32-{rest}" if rest else "ESP32"


def board_for(found: ChipFound, boards: Sequence[Board], *, own_image: bool = False) -> Board:
    """The board to flash as, where nobody names one: that with this chip, whose flash holds its image. Several will do
    if they take the same image, or if an image is named (`own_image`). Raises FlashError.
    """
    fit = [
        board
        for board in boards
        if board.chip.esptool == found.chip and (found.flash_mb is None or board.flash_mb <= found.flash_mb)
    ]
    if not fit:
        size = "" if found.flash_mb is None else f" and {found.flash_mb} MB of flash"
        raise FlashError(
            f"no board is known with an {_name(found.chip)}{size}",
            "See which there are: bongsu board list; make one: bongsu board new",
        )
    if own_image or len({(board.image.url, board.flash.offset) for board in fit}) == 1:
        return max(fit, key=lambda board: board.flash_mb)
    raise FlashError(
        f"{len(fit)} boards have an {_name(found.chip)}, and they take different images: "
        + ", ".join(board.name for board in fit),
        "Name yours by --board.",
    )


def as_row(todo: FlashPlan) -> dict[str, Any]:
    """The plan for scripts."""
    return {
        "port": todo.port,
        "board": todo.board,
        "chip": todo.chip,
        "image": todo.image.name,
        "sha256": todo.image.sha256,
        "pin": todo.image.pin,
        "bytes": todo.size,
        "erase": todo.erase,
        "baud": todo.baud,
        "steps": [{"step": step.name, "does": step.words, "argv": list(step.argv)} for step in todo.steps],
    }
