"""Boards are data (boards/*.toml): loaded and checked here, by one function, before anything is put on a node.

A board is named by its name or by the path of its file, which ends in .toml. Names are sought among the boards that
came with the package, in the folder that BONGSU_BOARDS names, and in boards/ of the data folder; one name in two of
them is an error, so that no file silently stands for another. A chip that came with the package cannot be replaced; a
further one may lie in chips/ beside the board's file.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bongsu.errors import BongsuError
from bongsu.install import board_rules
from bongsu.install.board_rules import FUNCTIONS, Direction
from bongsu.install.board_schema import (
    BoardFile,
    Chip,
    Entry,
    Fault,
    FlashLayout,
    Image,
    Psram,
    Radio,
    SmokeHead,
    form_faults,
    without,
)
from bongsu.resources import resources

__all__ = [
    "BOARDS_ENV", "FUNCTIONS", "Board", "BoardError", "Chip", "Direction", "Entry", "Fault", "FlashLayout", "Image",
    "Radio", "SmokeHead", "UnknownBoard", "all_boards", "board_folders", "board_names", "board_path", "chip_names",
    "decode", "examine", "free_pins", "judge", "load_board", "pin_fault", "read_chip", "wrong_file",
]  # fmt: skip

BOARDS_ENV = "BONGSU_BOARDS"
_SUFFIX = ".toml"


class BoardError(BongsuError):
    """A board file is wrong; `faults`: each of its faults."""

    def __init__(self, message: str, next_step: str = "", faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message, next_step)
        self.faults = faults


class UnknownBoard(BoardError):
    """There is no board of this name, or no such file."""


@dataclass(frozen=True)
class Board:
    """A checked board.

    pins: GPIO number by function, one for each of FUNCTIONS; header: GPIO that can be reached; sensors: what it carries
    if nobody says otherwise, whole entries of node.json; pinout: where the pins are from; on_silicon: it has run on a
    real one; usb: ids ("vid:pid") of its port; radio: None: Wi-Fi only; flash_pins, on_board: what its maker wired;
    reasons: by key, why a rule is void there; path: of its file.
    """

    name: str
    title: str
    chip: Chip
    flash_mb: int
    psram_mb: int
    psram: Psram
    bearers: tuple[str, ...]
    header: tuple[int, ...]
    pins: dict[str, int]
    smoke_head: SmokeHead
    sensors: tuple[Entry, ...]
    role: str
    pinout: str
    on_silicon: bool
    usb: tuple[str, ...]
    image: Image
    flash: FlashLayout
    radio: Radio | None
    flash_pins: tuple[int, ...]
    on_board: Mapping[str, tuple[int, ...]]
    reasons: Mapping[str, str]
    path: Path


def board_folders(data: Path | None = None) -> list[Path]:
    """Where boards are sought: the package's folder, BONGSU_BOARDS, and boards/ of the data folder `data`."""
    named = os.environ.get(BOARDS_ENV)
    return [resources().boards, *([Path(named)] if named else []), *([data / "boards"] if data else [])]


def board_names(folder: Path | None = None, data: Path | None = None) -> list[str]:
    """Names of the boards in `folder` (default: in all of board_folders(data)), sorted."""
    folders = [folder] if folder else board_folders(data)
    return sorted({path.stem for one in folders for path in one.glob(f"*{_SUFFIX}")})


def board_path(name: str, folder: Path | None = None, data: Path | None = None) -> Path:
    """The file of a board, by its name or path. Raises UnknownBoard; BoardError if the name is there twice."""
    if name.endswith(_SUFFIX):
        if not Path(name).is_file():
            raise UnknownBoard(f"there is no board file {name}", "Name a file that is there: --board my-board.toml")
        return Path(name)
    folders = [folder] if folder else board_folders(data)
    found = {(one / f"{name}{_SUFFIX}").resolve() for one in folders if name in board_names(one)}
    if not found:
        raise UnknownBoard(f"there is no board {name!r}", "Known boards: " + ", ".join(board_names(folder, data)))
    if len(found) > 1:
        files = " and ".join(str(path) for path in sorted(found))
        raise BoardError(f"there are two boards {name!r}: {files}", "Rename one, or name the file itself.")
    return found.pop()


def load_board(name: str, folder: Path | None = None, data: Path | None = None) -> Board:
    """The board called `name`, or whose file it is (...toml). Raises BoardError, which names file, key and pin, for
    anything that is wrong with it.
    """
    path = board_path(name, folder, data)
    board, faults = examine(path)
    if board is None or faults:
        raise wrong_file(path, faults)
    return board


def wrong_file(path: Path, faults: Sequence[Fault]) -> BoardError:
    """What is said of a board's or chip's file with faults."""
    return BoardError(f"{path.name}: {'; '.join(map(str, faults))}", f"Mend {path}.", tuple(faults))


def all_boards(data: Path | None = None) -> tuple[list[Board], list[BoardError]]:
    """All boards that are known, by name, and what is wrong with those that cannot be used."""
    boards, wrong = [], []
    for name in board_names(data=data):
        try:
            boards.append(load_board(name, data=data))
        except BoardError as err:
            wrong.append(err)
    return boards, wrong


def examine(path: Path) -> tuple[Board | None, list[Fault]]:
    """A board file with all its faults; the board is None where they leave none. Raises BoardError if the file cannot
    be read.
    """
    raw, faults = decode(path)
    return judge(raw, path) if raw is not None else (None, faults)


def judge(raw: Mapping[str, Any], path: Path) -> tuple[Board | None, list[Fault]]:
    """As `examine`, of what is or will be in the file `path`."""
    faults = list(form_faults(BoardFile, raw))
    try:
        file = msgspec.convert(without(raw, faults), BoardFile)
    except msgspec.ValidationError:
        return None, faults
    try:
        chip = read_chip(file.chip, path.parent)
    except BoardError as err:
        return None, [*faults, Fault("chip", err.message)]
    faults += board_rules.faults(file, chip, path.stem)
    if not FUNCTIONS.keys() <= file.pins.keys():
        return None, faults
    board = _board(file, chip, path)
    try:
        return replace(board, sensors=_sensors(board, file.sensors)), faults
    except _SensorFault as err:
        return None, [*faults, err.fault]


def read_chip(name: str, folder: Path | None = None) -> Chip:
    """The chip called `name`: the package's own, else from chips/ in `folder`. Raises UnknownBoard if there is none,
    BoardError if its file is wrong.
    """
    for one in (resources().boards, folder):
        path = (one or Path()) / "chips" / f"{name}{_SUFFIX}"
        if one and name.isalnum() and path.is_file():
            raw, faults = decode(path)
            faults += form_faults(Chip, raw) if raw is not None else []
            if faults:
                raise wrong_file(path, faults)
            return msgspec.convert(raw, Chip)
    known = ", ".join(chip_names())
    raise UnknownBoard(f"there is no {name}{_SUFFIX} in chips/, and those of Bongsu are {known}", "Name one of them.")


def chip_names() -> list[str]:
    """The chips that came with the package."""
    return sorted(path.stem for path in (resources().boards / "chips").glob(f"*{_SUFFIX}"))


def _board(file: BoardFile, chip: Chip, path: Path) -> Board:
    """Still without its sensors, which are judged by its pins."""
    return Board(
        name=file.name,
        title=file.title,
        chip=chip,
        flash_mb=file.flash_mb,
        psram_mb=file.psram_mb,
        psram=file.psram,
        bearers=tuple(file.bearers),
        header=tuple(file.header),
        pins=dict(file.pins),
        smoke_head=file.smoke_head,
        sensors=(),
        role=file.role,
        pinout=file.pinout,
        on_silicon=file.on_silicon,
        usb=tuple(file.usb),
        image=file.image,
        flash=file.flash,
        radio=file.radio,
        flash_pins=tuple(file.flash_pins),
        on_board={name: tuple(pins) for name, pins in file.on_board.items()},
        reasons=dict(file.reasons),
        path=path,
    )


class _SensorFault(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def _sensors(board: Board, entries: list[Entry]) -> tuple[Entry, ...]:
    from bongsu.install import sensors  # it knows boards

    try:
        return tuple(sensors.fit(board, entries))
    except sensors.SensorError as err:
        key, _, why = err.message.partition(": ")
        raise _SensorFault(Fault(key if why else "sensors", why or err.message)) from None


def decode(path: Path) -> tuple[dict[str, Any] | None, list[Fault]]:
    """What a TOML file holds, or why it is none. Raises BoardError if it cannot be read."""
    try:
        raw = tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # some editors begin a file with a mark
    except OSError as err:
        raise BoardError(f"cannot read {path}: {err.strerror}", "Check the file's permissions.") from None
    except ValueError as err:  # not UTF-8, or no TOML
        return None, [Fault("", f"is no TOML: {err}")]
    except RecursionError:
        return None, [Fault("", "is nested deeper than such a file is")]
    beyond = [Fault(key, "is no number that TOML has: it is beyond 64 bits") for key in _beyond(raw)]
    return (None, beyond) if beyond else (raw, [])


def _beyond(raw: Mapping[str, Any]) -> Iterator[str]:
    """The keys of whole numbers beyond 64 bits: TOML has none; Python reads them, and may fail to say them."""
    left: list[tuple[str, Any]] = list(raw.items())
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{key}.{name}", one) for name, one in value.items()]
        elif isinstance(value, list):
            left += [(f"{key}[{at}]", one) for at, one in enumerate(value)]
        elif isinstance(value, int) and value.bit_length() > 63:
            yield key


def pin_fault(board: Board, direction: Direction, pin: int) -> str:
    """What forbids a pin of this board for a sensor that needs this direction, or ""."""
    return board_rules.pin_fault(board, board.chip, direction, pin)


def free_pins(board: Board, direction: Direction) -> list[int]:
    """The pins that a further sensor could have."""
    used = {*board.pins.values(), *(entry["pin"] for entry in board.sensors if "pin" in entry)}
    return [pin for pin in sorted(board.header) if pin not in used and not pin_fault(board, direction, pin)]
