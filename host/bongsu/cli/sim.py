"""`bongsu sim`: virtual boards, and the peers that stand in for a fire station and an SMS provider."""

import asyncio
import importlib
from pathlib import Path
from typing import Any, TextIO

import click

from bongsu.cli.context import data_option
from bongsu.errors import BongsuError
from bongsu.sim.http_peer import MODES, Faults, serve

# Loaded when called, as in the main group: a board needs other modules than a phone does.
_ELSEWHERE = {
    "board": ("bongsu.cli.sim_board", "board", "One virtual board on real MicroPython."),
    "fleet": ("bongsu.cli.sim_fleet", "fleet", "A city of nodes in one process."),
    "rig": ("bongsu.cli.sim_rig", "rig", "One virtual board with its serial port."),
}


class _SimGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = _ELSEWHERE[cmd_name]
        command: Any = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_SimGroup)
@data_option
def sim() -> None:
    """Virtual boards and peers for trying out."""


def _peer_options(command: Any) -> Any:
    for option in (
        click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any free one."),
        click.option("--mode", type=click.Choice(MODES), default="ok", show_default=True, help="How it misbehaves."),
        click.option("-n", "count", type=click.IntRange(1), help="Only towards the next N messages."),
        click.option("--delay-ms", type=click.IntRange(0), default=0, help="For --mode delay."),
        click.option("--quiet", is_flag=True, help="Print no messages, only the port."),
    ):
        command = option(command)
    return command


def _ready(port: int) -> None:
    click.echo(f"ready port={port}")


def _show(line: str) -> None:
    click.echo(line)


def _hide(_line: str) -> None:
    pass


@sim.command()
@_peer_options
@click.option(
    "--secret-file", "secret_files", type=click.Path(path_type=Path), multiple=True, required=True, help="whsec_..."
)
@click.option("--log", "log_path", type=click.Path(path_type=Path), help="Append each report as a JSON line.")
def station(
    port: int,
    mode: Any,
    count: int | None,
    delay_ms: int,
    quiet: bool,
    secret_files: tuple[Path, ...],
    log_path: Path | None,
) -> None:
    """A fire station: takes signed reports on any path and prints them.

    Its first line is "ready port=N". GET /received lists what came; POST /faults {"mode", "n", "delay_ms"} changes how
    it behaves. It ends with whoever started it: a shell that is left takes it along.
    """
    from bongsu.receiver.responders import checked_secret
    from bongsu.sim.station import Station

    secrets = [checked_secret(_read(path)) for path in secret_files]
    log = _append(log_path)
    made = Station(secrets, show=_hide if quiet else _show, log=log)
    made.peer.faults = Faults(mode, count, delay_ms)
    asyncio.run(serve(made.peer, port, _ready))


@sim.command()
@_peer_options
@click.option("--token-file", type=click.Path(path_type=Path), help="Ask for this token.")
@click.option("--delivery-ms", type=click.IntRange(0), default=0, help="How long a delivery takes.")
@click.option("--undelivered", multiple=True, metavar="NUMBER", help="Never reaches this number (E.164, or * for all).")
def phone(
    port: int,
    mode: Any,
    count: int | None,
    delay_ms: int,
    quiet: bool,
    token_file: Path | None,
    delivery_ms: int,
    undelivered: tuple[str, ...],
) -> None:
    """An SMS gateway with phones behind it: POST /send, GET /status/ID; prints each text.

    Its first line is "ready port=N". GET /received lists the texts; POST /faults and /phones change how it behaves.
    It ends with whoever started it: a shell that is left takes it along.
    """
    from bongsu.channels.sms_http import read_token
    from bongsu.sim.phone import Gateway, Phones

    token = read_token(token_file) if token_file is not None else None
    made = Gateway(token=token, show=_hide if quiet else _show)
    made.phones = Phones(undelivered=list(undelivered), delivery_ms=delivery_ms)
    made.peer.faults = Faults(mode, count, delay_ms)
    asyncio.run(serve(made.peer, port, _ready))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise BongsuError(
            f"cannot read a secret from {path}", "Name the file that `bongsu responder add` wrote."
        ) from None


def _append(path: Path | None) -> TextIO | None:
    return path.open("a", encoding="utf-8") if path is not None else None
