"""`bongsu receiver`."""

from pathlib import Path

import click

from bongsu.cli.context import Installation, data_option, pass_installation


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
    from bongsu.receiver.config import load

    return service.run(load(config) if config is not None else installation.config(), log_format)
