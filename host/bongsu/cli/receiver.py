"""`bongsu receiver`."""

import os
from pathlib import Path

import click

from bongsu.cli.context import Installation, checked_config, data_option, pass_installation


@click.group()
@data_option
def receiver() -> None:
    """The alarm receiver: takes in what nodes report, tells stations, centres and owners."""


@receiver.command()
@click.option("--config", type=click.Path(path_type=Path), help="receiver.toml (default: that of the data folder).")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines on stderr: for people, or for programs.",
)
@data_option
@pass_installation
def run(installation: Installation, config: Path | None, log_format: str) -> int:
    """Run the receiver until it is told to stop (SIGTERM, or Ctrl-C)."""
    from bongsu.receiver import service

    os.umask(0o077)  # logs, sockets and the broker's store are for this user only, as the whole data folder is
    return service.run(checked_config(config) if config is not None else installation.config(), log_format)
