"""`bongsu device`: boards at hand, on a serial port, and nodes in service."""

import click

from bongsu.cli.context import data_option
from bongsu.cli.lazy import Commands, lazy_group

COMMANDS: Commands = {
    "flash": ("bongsu.cli.device_flash", "flash", "Put MicroPython on a board."),
    "provision": (
        "bongsu.cli.device_provision",
        "provision",
        "Make a node of a board: application, settings, key, first heartbeat.",
    ),
    "commission": (
        "bongsu.cli.device_commission",
        "commission",
        "Take a board from its box into service: all of it, one or many.",
    ),
    "record": ("bongsu.cli.device_record", "record", "Show how boards came into service, and what is not done."),
    "label": ("bongsu.cli.device_label", "label", "Make labels: PNG, PDF sheets, Brother QL."),
}


@click.group(cls=lazy_group(COMMANDS))
@data_option
def device() -> None:
    """Boards at hand: flash, provision, commission, and what comes on day two."""
