"""`bongsu device flash`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import as_json, done, seconds, warn
from bongsu.cli.progress import Progress, shown

if TYPE_CHECKING:
    from bongsu.install.boards import Board
    from bongsu.install.esptool_output import ChipFound
    from bongsu.install.flash import Flashed, FlashPlan
    from bongsu.install.image_store import ImageFile

TITLES = {
    "download": "Download the image",
    "identify": "Identify the chip",
    "erase": "Erase the flash (takes up to two minutes)",
    "write": "Write the image",
    "verify": "Compare the flash with the image",
}
_PINS = {
    "board": "its SHA-256 is the one in the board's file",
    "remembered": "its SHA-256 is the one of the file used first",
    "first": "unpinned",
    "own": "your own",
}


@click.command()
@click.option("--port", help="Device file or URL (rfc2217://HOST:PORT, socket://HOST:PORT); else the only board's.")
@click.option("--board", "board_name", help="Kind of board (bongsu board list); else by the chip, if that tells.")
@click.option("--image", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of the board's image.")
@click.option("--erase/--keep", default=True, show_default=True, help="The whole flash first, or keep keys and files.")
@click.option("--baud", type=click.IntRange(9_600, 3_000_000), help="Speed of writing, bit/s; else the board's.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done; the board stays as it is.")
@data_option
@json_option
@pass_installation
def flash(
    installation: Installation,
    port: str | None,
    board_name: str | None,
    image: Path | None,
    erase: bool,
    baud: int | None,
    dry_run: bool,
    json_wanted: bool,
) -> None:
    """Put MicroPython on a board: identify the chip, erase, write, compare, restart.

    The image is the board's own, which is downloaded once and kept (in ~/.cache/bongsu/images), or a FILE. It is looked
    at before anything is erased: whole, for this chip, of a size that fits. Where the board's file has no SHA-256 for
    it, the first file under that name is remembered, and another one is refused from then on.

    --keep leaves what a board has stored (key, counters, settings, alarms that are not sent yet), and is for changing
    MicroPython's version; without it the board is blank afterwards and must be provisioned.

    If a run is broken off, run it again: it begins anew.

    \b
    Examples:
      bongsu device flash
      bongsu device flash --port /dev/ttyUSB0 --board esp32-devkitc
      bongsu device flash --port rfc2217://bench:4000 --image firmware.bin
      bongsu device flash --board esp32-devkitc --dry-run
      bongsu device flash --keep
    """
    from bongsu.install import flash as flashing
    from bongsu.install import ports
    from bongsu.install.image_store import ImageStore

    url = ports.pick(port).url
    with ports.PortLock(url), shown(TITLES) as progress:
        board, found = _board(installation, url, board_name, image is not None, progress)
        store = ImageStore()
        file = store.choose(board, image, progress)
        pieces = store.pieces(file, keep=not erase)
        plan = flashing.plan(url, board, file, pieces, erase=erase, baud=baud, found=found)
        if not dry_run:
            _warn(plan.image, plan.board)
            flashed = flashing.run(plan, progress)
    if dry_run:
        click.echo(as_json(flashing.as_row(plan)) if json_wanted else _plan_text(plan))
    else:
        _say(plan, flashed, json_wanted)


def _board(
    installation: Installation, url: str, name: str | None, own_image: bool, progress: Progress
) -> "tuple[Board, ChipFound | None]":
    """The board that is named; else the one that is found on the port, and the chip that it was found by."""
    from bongsu.install.boards import all_boards, load_board
    from bongsu.install.esptool import identify
    from bongsu.install.flash import board_for

    if name is not None:
        return load_board(name, data=installation.data), None
    progress("identify", 0, 1)
    found = identify(url)
    progress("identify", 1, 1)
    known, _ = all_boards(installation.data)
    return board_for(found, known, own_image=own_image), found


def _warn(file: "ImageFile", board: str) -> None:
    if file.pin == "first":
        warn(
            f"{file.name} is unpinned: {board} has no SHA-256 for it. Its own digest and its chip are right; "
            f"{file.sha256} is remembered, and another file under this name will be refused"
        )
    elif file.pin == "own":
        warn(f"{file.path} is your own image: its digest and its chip are right, and nothing else is known of it")


def _plan_text(plan: "FlashPlan") -> str:
    lines = [
        f"Would flash {plan.board} on {plan.port}",
        f"Image: {plan.image.path}, SHA-256 {plan.image.sha256} ({_PINS[plan.image.pin]})",
    ]
    if plan.found:
        lines.append(f"Chip: {plan.found.title}, {plan.found.flash_mb or '?'} MB of flash, MAC {plan.found.mac}")
    for number, step in enumerate(plan.steps, 1):
        lines += [f"{number}. {step.words}:", f"   {shlex.join(step.argv)}"]
    return "\n".join(lines)


def _say(plan: "FlashPlan", flashed: "Flashed", json_wanted: bool) -> None:
    row = {
        "port": plan.port,
        "board": plan.board,
        "image": flashed.image_name,
        "sha256": flashed.image_sha256,
        "pin": plan.image.pin,
        "bytes": plan.size,
        "erase": plan.erase,
        "chip": flashed.chip,
        "flash_mb": flashed.flash_mb,
        "mac": flashed.mac,
        "took_ms": flashed.took_ms,
    }
    text = f"Flashed {flashed.mac} on {plan.port}: {flashed.image_name}, in {seconds(flashed.took_ms)}"
    if not plan.resets:
        text += "\nPress EN (RST) to start it: a socket cannot"
    done(text, row, json_wanted=json_wanted)
