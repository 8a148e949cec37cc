"""Boards are data (boards/*.toml): loaded and checked here, by one function, before anything is put on a node."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from bongsu.errors import BongsuError
from bongsu.resources import resources

_T = TypeVar("_T")
Direction = Literal["in", "out", "adc"]
# A sensor as node.json names it: "type", and the fields of that type (sensors.TYPES).
Entry = dict[str, Any]

# What hangs on a pin, and what the pin must be able to do. I2C lines are driven low, so they count as outputs.
FUNCTIONS: dict[str, Direction] = {
    "i2c_sda": "out",
    "i2c_scl": "out",
    "smoke_adc": "adc",
    "siren": "out",
    "lamp": "out",
    "button": "in",
}
# GPIO34-39 have no internal pull-up, and the button is read with one.
NEEDS_PULL = ("button",)


class BoardError(BongsuError):
    """A board file is wrong, or there is no such board."""


class Chip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chip's pins by what they may be used for (GPIO numbers), from boards/chips/<name>.toml."""

    name: str
    gpio: list[int]
    input_only: list[int]
    strapping: list[int]
    flash: list[int]
    console: list[int]
    adc1: list[int]
    adc2: list[int]


class SmokeHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An analogue smoke head: output in clean air in mV, and microvolt per 1e-4/m of optical density."""

    mv_clean: int
    uv_per_e4: int


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    title: str
    chip: str
    flash_mb: int
    psram_mb: int
    bearers: list[Literal["wifi", "lora"]]
    header: list[int]
    pins: dict[str, int]
    smoke_head: SmokeHead
    sensors: list[Entry]


@dataclass(frozen=True)
class Board:
    """A checked board. `pins`: GPIO number by function, a number for each of FUNCTIONS; `header`: GPIO that can be
    reached; `sensors`: what it carries if nobody says otherwise, whole entries of node.json.
    """

    name: str
    title: str
    chip: Chip
    flash_mb: int
    psram_mb: int
    bearers: tuple[str, ...]
    header: tuple[int, ...]
    pins: dict[str, int]
    smoke_head: SmokeHead
    sensors: tuple[Entry, ...]


def board_names(folder: Path | None = None) -> list[str]:
    """Names of the boards in `folder` (default: those that came with the package), sorted."""
    return sorted(path.stem for path in (folder or resources().boards).glob("*.toml"))


def load_board(name: str, folder: Path | None = None) -> Board:
    """The board called `name`. Raises BoardError, which names file, key and pin, for anything that is wrong with it."""
    folder = folder or resources().boards
    if name not in board_names(folder):
        raise BoardError(f"there is no board {name!r}", "Known boards: " + ", ".join(board_names(folder)))
    path = folder / f"{name}.toml"
    file = _read(path, _File)
    chip_path = folder / "chips" / f"{file.chip}.toml"
    if not chip_path.is_file():
        raise BoardError(f"{path.name}: chip: there is no {chip_path.name} in chips/", "Name a chip that is there.")
    chip = _read(chip_path, Chip)
    faults = [f for f in (_name_fault(file, name), *_pin_faults(file, chip)) if f]
    if faults:
        raise BoardError(f"{path.name}: " + "; ".join(faults), f"Mend {path}.")
    board = Board(
        name=file.name,
        title=file.title,
        chip=chip,
        flash_mb=file.flash_mb,
        psram_mb=file.psram_mb,
        bearers=tuple(file.bearers),
        header=tuple(file.header),
        pins=dict(file.pins),
        smoke_head=file.smoke_head,
        sensors=(),
    )
    return replace(board, sensors=_sensors(path, board, file.sensors))


def _sensors(path: Path, board: Board, entries: list[Entry]) -> tuple[Entry, ...]:
    from bongsu.install import sensors  # it knows boards

    try:
        return tuple(sensors.fit(board, entries))
    except sensors.SensorError as err:
        raise BoardError(f"{path.name}: {err.message}", f"Mend {path}. {err.next_step}") from None


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=kind)
    except OSError as err:
        raise BoardError(f"cannot read {path}: {err.strerror}", "Check the file's permissions.") from None
    except msgspec.DecodeError as err:  # msgspec names the path of a wrong value
        raise BoardError(f"{path.name}: {err}", f"Mend {path}.") from None
    except ValueError as err:  # not UTF-8, or no TOML
        raise BoardError(f"{path.name}: {err}", f"Mend {path}.") from None


def _name_fault(file: _File, name: str) -> str:
    return "" if file.name == name else f"name: is {file.name!r}, and the file is called {name!r}"


def _pin_faults(file: _File, chip: Chip) -> list[str]:
    faults = [f"pins.{function}: unknown key" for function in file.pins if function not in FUNCTIONS]
    faults += [f"pins.{function}: missing" for function in FUNCTIONS if function not in file.pins]
    users: dict[int, str] = {}
    for function, pin in file.pins.items():
        if function not in FUNCTIONS:
            continue
        if pin in users:
            faults.append(f"pins.{function}: GPIO{pin} is also {users[pin]}")
        users[pin] = function
        fault = _pin_fault(function, pin, file, chip)
        if fault:
            faults.append(f"pins.{function}: GPIO{pin} {fault}")
    return faults


def _pin_fault(function: str, pin: int, file: _File, chip: Chip) -> str:
    """What forbids this pin for this function, or ""."""
    fault = _fault(chip, file.header, file.bearers, FUNCTIONS[function], pin)
    if not fault and function in NEEDS_PULL and pin in chip.input_only:
        fault = "has no internal pull-up"
    return fault


def pin_fault(board: Board, direction: Direction, pin: int) -> str:
    """What forbids a pin of this board for this direction, or ""."""
    return _fault(board.chip, board.header, board.bearers, direction, pin)


def _fault(chip: Chip, header: Sequence[int], bearers: Sequence[str], direction: Direction, pin: int) -> str:
    rules = (
        (pin not in chip.gpio, f"does not exist on {chip.name}"),
        (pin not in header, "is not on this board's headers"),
        (pin in chip.flash, "belongs to the module's flash"),
        (pin in chip.console, "is the serial console"),
        (pin in chip.strapping, "is a strapping pin: what hangs on it can keep the board from starting"),
        (direction == "out" and pin in chip.input_only, "is input-only, and this is an output"),
        (direction == "adc" and pin in chip.adc2 and "wifi" in bearers, "is on ADC2, which stops while Wi-Fi is on"),
        (direction == "adc" and pin not in chip.adc1 + chip.adc2, "has no ADC"),
    )
    return next((why for broken, why in rules if broken), "")
