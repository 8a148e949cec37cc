"""`bongsu board`: kinds of boards, which are data (boards/*.toml)."""

import click


@click.group()
def board() -> None:
    """Kinds of boards: data files with chip, pins, sensors and image."""
