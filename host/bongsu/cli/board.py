"""`bongsu board`: kinds of boards, which are data (boards/*.toml)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bongsu.cli.board_new import new
from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import as_json, show_list, show_one

if TYPE_CHECKING:
    from bongsu.install.boards import Board, Fault

_PLACES = """\b
Boards of your own lie in boards/ of the data folder, or in the folder that
BONGSU_BOARDS names; --board and these commands also take the path of a file,
which ends in .toml.
"""


@click.group(epilog=_PLACES)
@data_option
def board() -> None:
    """Kinds of boards: data files with chip, pins, sensors and image."""


board.add_command(new)


@board.command("list", epilog="\b\nExample:\n  bongsu board list --json")
@json_option
@data_option
@pass_installation
def list_(installation: Installation, json_wanted: bool) -> None:
    """List the boards, those that came with Bongsu and your own."""
    from bongsu.cli.output import warn
    from bongsu.install.boards import all_boards

    boards, wrong = all_boards(installation.data)
    rows = [_row(one) for one in boards]
    columns = ["name", "title", "chip", "flash_mb", "bearers", "role", "on_silicon", "image_pinned"]
    show_list(rows, columns, json_wanted=json_wanted, empty="No boards.")
    for err in wrong:
        warn(f"{err.message}. {err.next_step}")


def _row(one: "Board") -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "chip": one.chip.name,
        "flash_mb": one.flash_mb,
        "psram_mb": one.psram_mb,
        "bearers": list(one.bearers),
        "role": one.role,
        "on_silicon": one.on_silicon,
        "image": one.image.file,
        "image_pinned": one.image.sha256 is not None,
        "file": str(one.path),
    }


@board.command(epilog="\b\nExample:\n  bongsu board show lilygo-t3-s3")
@click.argument("name", metavar="NAME|FILE")
@json_option
@data_option
@pass_installation
def show(installation: Installation, name: str, json_wanted: bool) -> None:
    """Show a board: its pins and what uses them, which are free, its image, and the USB ids of its port."""
    one = installation.board(name)
    show_one(_whole(one) if json_wanted else _told(one), json_wanted=json_wanted)


def _whole(one: "Board") -> dict[str, Any]:
    """Everything that its file says, and what follows from it."""
    import msgspec

    return {
        **_row(one),
        "pinout": one.pinout,
        "psram": one.psram,
        "usb": list(one.usb),
        "header": list(one.header),
        "flash_pins": list(one.flash_pins),
        "pins": one.pins,
        "on_board": {device: list(pins) for device, pins in one.on_board.items()},
        "radio": msgspec.to_builtins(one.radio),
        "reasons": dict(one.reasons),
        "smoke_head": msgspec.to_builtins(one.smoke_head),
        "sensors": list(one.sensors),
        "image": {**msgspec.to_builtins(one.image), "file": one.image.file},
        "flash": msgspec.to_builtins(one.flash),
        "esptool": one.chip.esptool,
        "free": _free(one),
    }


def _free(one: "Board") -> dict[str, list[int]]:
    from bongsu.install.boards import free_pins

    return {"output": free_pins(one, "out"), "input": free_pins(one, "in"), "analogue": free_pins(one, "adc")}


def _told(one: "Board") -> dict[str, Any]:
    from bongsu.install import board_rules, sensors

    uses = [{"pin": f"GPIO{use.pin}", "use": use.name} for use in board_rules.uses(one, one.pins)]
    uses += [{"pin": f"GPIO{pin}", "use": device} for device, pins in one.on_board.items() for pin in pins]
    return {
        **_row(one),
        "image": one.image.url,
        "image_pinned": one.image.sha256
        or "no: its own digest and chip id are checked, and its hash kept at first use",
        "pinout": one.pinout,
        "usb": list(one.usb),
        "radio": one.radio.chip if one.radio else None,
        "sensors": [sensors.said(entry) for entry in one.sensors],
        **{f"free_{what}": [f"GPIO{pin}" for pin in pins] for what, pins in _free(one).items()},
        "pins": uses,
        "reasons": [{"key": key, "why": why} for key, why in one.reasons.items()],
    }


@board.command(epilog="\b\nExamples:\n  bongsu board check --all\n  bongsu board check my-board.toml --json")
@click.argument("names", metavar="[FILE|NAME]...", nargs=-1)
@click.option("--all", "all_wanted", is_flag=True, help="Every board that is known.")
@json_option
@data_option
@pass_installation
def check(installation: Installation, names: tuple[str, ...], all_wanted: bool, json_wanted: bool) -> int:
    """Check board files; say every fault of each, with key and pin. Exit code 1 if there is one."""
    from bongsu.install.boards import board_names, board_path

    if not names and not all_wanted:
        raise click.UsageError("name files or boards, or say --all")
    if all_wanted:
        names = (*names, *board_names(data=installation.data))
    paths = [board_path(name, data=installation.data) for name in dict.fromkeys(names)]
    found = {path: _faults(path) for path in paths}
    if json_wanted:
        click.echo(as_json([_checked(path, faults) for path, faults in found.items()]))
    else:
        _say_faults(found)
    return 1 if any(found.values()) else 0


def _faults(path: Path) -> "list[Fault]":
    from bongsu.install.boards import BoardError, Fault, examine

    try:
        return examine(path)[1]
    except BoardError as err:  # it cannot be read
        return [Fault("", err.message)]


def _checked(path: Path, faults: "list[Fault]") -> dict[str, Any]:
    rows = [{"key": fault.key, "pin": fault.pin, "why": fault.why} for fault in faults]
    return {"board": path.stem, "file": str(path), "faults": rows}


def _say_faults(found: "dict[Path, list[Fault]]") -> None:
    for path, faults in found.items():
        if not faults:
            click.echo(f"{path}: well")
        for fault in faults:
            click.echo(f"{path}: {fault}")
    wrong = sum(bool(faults) for faults in found.values())
    click.echo(f"{len(found) - wrong} well, {wrong} with faults")
