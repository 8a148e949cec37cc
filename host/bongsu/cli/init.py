"""`bongsu init`."""

import shlex
from pathlib import Path

import click

from bongsu.cli.context import Installation, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done


@click.command()
@data_option
@click.option(
    "--host", "hosts", multiple=True, help="A name or address under which nodes reach the broker (repeatable)."
)
@json_option
@pass_installation
def init(installation: Installation, hosts: tuple[str, ...], json_wanted: bool) -> None:
    """Make a data folder: CA and server certificate, master key, settings, database.

    Nothing is overwritten; after an error nothing is left. Keep a copy of master.key apart from the folder's backup:
    without it no node's key can be read.
    """
    from bongsu.receiver.init_data import init_data

    init_data(installation.data, now_ms=now_ms(), hosts=hosts)
    folder = Path(installation.data).resolve()
    text = f"Made {folder}\nNext: bongsu --data {shlex.quote(str(installation.data))} site add ID --name NAME"
    done(text, {"data": str(folder)}, json_wanted=json_wanted)
