"""`bongsu board new`: a board file by options, by questions, or by both."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import done
from bongsu.errors import BongsuError, UsageFault

if TYPE_CHECKING:
    from bongsu.install.board_draft import Raw
    from bongsu.install.boards import Chip

_DIGITS = 10  # no number of a board has so many
_EXAMPLES = """\b
Examples:
  bongsu board new my-board
  bongsu board new my-board --like esp32-devkitc --pin siren=32 --pin lamp=33
  bongsu board new my-c3 --chip esp32c3 --title "My C3" --pinout "its manual" \\
    --header 0-10 --pin i2c_sda=6 --pin i2c_scl=7 --pin smoke_adc=3 \\
    --pin siren=4 --pin lamp=5 --pin button=10
"""


def _slug(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    from bongsu.install.board_rules import is_name

    if not is_name(name):
        raise click.BadParameter("a board's name is of a-z, 0-9 and -, at most 32 characters")
    return name


@click.command(epilog=_EXAMPLES)
@click.argument("name", callback=_slug)
@click.option("--like", metavar="NAME|FILE", help="Begin as this board; what is said else replaces what it has.")
@click.option("--chip", "chip_name", help="Its chip (default: of --like, else it is asked for).")
@click.option("--title", help="Maker, model and version.")
@click.option("--pinout", help="Where the pins are from: the maker's document.")
@click.option("--role", type=click.Choice(["node", "gateway"]), help="What it is, if nobody says otherwise.")
@click.option("--flash-mb", type=click.IntRange(1, 64), help="Flash in MB.")
@click.option("--psram", type=click.Choice(["none", "quad", "octal"]), help="Kind of its PSRAM.")
@click.option("--psram-mb", type=click.IntRange(0, 64), help="PSRAM in MB.")
@click.option("--usb", multiple=True, metavar="VID:PID", help="USB id of its port; repeatable.")
@click.option("--header", metavar="GPIO,GPIO-GPIO...", help="The pins that can be reached: 0-5,12,13.")
@click.option("--pin", "pins", multiple=True, metavar="FUNCTION=GPIO", help="A function's pin: siren=25; repeatable.")
@click.option("--flash-pins", metavar="GPIO,...", help="Pins that its module takes for flash, beyond its chip's own.")
@click.option("--on-board", multiple=True, metavar="DEVICE=GPIO,...", help="What its maker wired; repeatable.")
@click.option("--radio", multiple=True, metavar="KEY=VALUE", help="Of its LoRa radio: chip=sx1276, cs=18; repeatable.")
@click.option("--reason", "reasons", multiple=True, metavar="KEY=WHY", help="Why a rule is void there; repeatable.")
@click.option("--sensor", "sensors", multiple=True, metavar="TYPE[,KEY=VALUE...]", help="What it carries; repeatable.")
@click.option("--image", metavar="URL", help="MicroPython image (default: the stock one for chip, flash and PSRAM).")
@click.option("--sha256", metavar="HEX", help="Of the image, if you computed it from the file.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to (default: see below).")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option("--ask/--no-ask", default=None, help="Ask for what is not said (default: in a terminal).")
@json_option
@data_option
@pass_installation
def new(
    installation: Installation, /, name: str, json_wanted: bool, force: bool, ask: bool | None, **said: Any
) -> None:
    """Make the file of a new board: it is checked first, and written whole or not at all.

    It goes to --folder, else to the folder that BONGSU_BOARDS names, else to boards/ of the data folder. Then its name
    will do wherever a board is named.
    """
    from bongsu.install import board_draft
    from bongsu.install.boards import board_names

    folder = _folder(installation, said.pop("folder"))
    _require_own_name(installation, name, folder)
    asking = sys.stdin.isatty() if ask is None else ask
    raw, chip = _begun(installation, name, said, asking)
    _take(raw, chip, said)
    if asking:
        from bongsu.cli.board_ask import ask_rest

        ask_rest(raw, chip, said)
    if lacks := board_draft.missing(raw):
        keys = ", ".join(fault.key for fault in lacks)
        raise UsageFault(f"{name}: there is no {keys}", "Say it by options (bongsu board new -h), or --ask.")
    path = board_draft.save(raw, folder, force=force)
    called = name if name in board_names(data=installation.data) else str(path)
    done(
        f"Wrote {path}\nNext: bongsu board show {called}", {"board": called, "file": str(path)}, json_wanted=json_wanted
    )


def _folder(installation: Installation, named: Path | None) -> Path:
    from bongsu.install.boards import BOARDS_ENV

    if named is not None:
        return named
    if found := os.environ.get(BOARDS_ENV):
        return Path(found)
    if installation.data.is_dir():
        return installation.data / "boards"
    raise BongsuError(
        f"there is no data folder {installation.data} for it", "Name a folder: --folder DIR; or bongsu init first."
    )


def _require_own_name(installation: Installation, name: str, folder: Path) -> None:
    """No board of this name elsewhere: neither could be named then."""
    from bongsu.install.boards import board_folders

    for other in board_folders(installation.data):
        path = other / f"{name}.toml"
        if path.is_file() and other.resolve() != folder.resolve():
            raise BongsuError(f"there is a board {name!r} already: {path}", "Take another name.")


def _begun(installation: Installation, name: str, said: dict[str, Any], asking: bool) -> "tuple[Raw, Chip]":
    from bongsu.install import board_draft
    from bongsu.install.boards import UnknownBoard, board_path, chip_names, read_chip

    like, chip_name = said["like"], said["chip_name"]
    if like is not None:
        return _begun_like(name, board_path(like, data=installation.data), chip_name)
    if chip_name is None and asking:
        chip_name = click.prompt("Chip", type=click.Choice(chip_names()), err=True)
    if chip_name is None:
        raise UsageFault("neither --chip nor --like is there", f"Known chips: {', '.join(chip_names())}")
    try:
        chip = read_chip(chip_name)
    except UnknownBoard:
        known = ", ".join(chip_names())
        raise UsageFault(f"there is no chip {chip_name!r}", f"Known chips: {known}") from None
    raw = board_draft.begin(name, chip)
    board_draft.fit_image(raw, chip)
    return raw, chip


def _begun_like(name: str, other: Path, chip_name: str | None) -> "tuple[Raw, Chip]":
    from bongsu.install import board_draft
    from bongsu.install.boards import load_board

    chip = load_board(str(other)).chip
    if chip_name not in (None, chip.name):
        raise UsageFault(f"{other.stem} is of {chip.name}, and not of {chip_name}", "Leave --chip or --like out.")
    return board_draft.begin_like(name, other), chip


def _take(raw: "Raw", chip: "Chip", said: dict[str, Any]) -> None:
    """Put what the options say into the draft."""
    from bongsu.install import board_draft

    if said["psram"] == "none":
        raw["psram_mb"] = 0
    for key in ("title", "pinout", "role", "flash_mb", "psram", "psram_mb"):
        if said[key] is not None:
            raw[key] = said[key]
    if said["usb"]:
        raw["usb"] = list(said["usb"])
    for key in ("header", "flash_pins"):
        if said[key] is not None:
            raw[key] = gpios(said[key], f"--{key.replace('_', '-')}")
    raw["pins"] = {**raw["pins"], **{key: _gpio(text, "--pin") for key, text in _pairs(said["pins"], "--pin")}}
    _take_tables(raw, said)
    if said["image"] is not None:
        board_draft.take_image(raw, chip, said["image"], said["sha256"])
    elif said["sha256"] is not None:
        raw["image"]["sha256"] = said["sha256"]
    elif said["flash_mb"] is not None or said["psram"] is not None:
        board_draft.fit_image(raw, chip)


def _take_tables(raw: "Raw", said: dict[str, Any]) -> None:
    from bongsu.install import sensors

    devices = {key: gpios(text, "--on-board") for key, text in _pairs(said["on_board"], "--on-board")}
    radio = {key: _radio_value(text) for key, text in _pairs(said["radio"], "--radio")}
    for key, more in (("on_board", devices), ("radio", radio), ("reasons", dict(_pairs(said["reasons"], "--reason")))):
        if more:
            raw[key] = {**raw.get(key, {}), **more}
    if radio:
        raw["bearers"] = sorted({*raw["bearers"], "lora"}, reverse=True)
    if said["sensors"]:
        try:
            raw["sensors"] = [sensors.parse(text) for text in said["sensors"]]
        except sensors.SensorError as err:
            raise UsageFault(err.message, err.next_step) from None


def _pairs(texts: tuple[str, ...], option: str) -> list[tuple[str, str]]:
    for text in texts:
        if not text.partition("=")[2]:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
    return [(text.partition("=")[0], text.partition("=")[2]) for text in texts]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < _DIGITS


def _gpio(text: str, option: str) -> int:
    if not _is_number(text):
        raise click.BadParameter(f"{text!r} is no GPIO number", param_hint=option)
    return int(text)


def gpios(text: str, option: str) -> list[int]:
    """Pins as "0-5,12,13" names them. Raises click.BadParameter."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        first = _gpio(low, option)
        last = _gpio(high, option) if dash else first
        if not 0 <= last - first <= 64:
            raise click.BadParameter(f"{part!r} is no range of pins", param_hint=option)
        found += range(first, last + 1)
    return found


def _radio_value(text: str) -> int | str | bool:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _is_number(text) else text
