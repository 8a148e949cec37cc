"""`bongsu device`: boards at hand, on a serial port, and nodes in service."""

import click

from bongsu.cli.context import data_option
from bongsu.cli.lazy import Commands, lazy_group

COMMANDS: Commands = {
    "list": ("bongsu.cli.device_list", "list_", "Ports with boards, and nodes with how they are."),
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
    "show": ("bongsu.cli.device_list", "show", "A node, or what is on a port."),
    "logs": ("bongsu.cli.device_logs", "logs", "Follow the log of a board on a port."),
    "console": ("bongsu.cli.device_console", "console", "Talk to a board on a port."),
    "identify": ("bongsu.cli.device_identify", "identify", "Flash the lamp of a node, or of a board on a port."),
    "set": ("bongsu.cli.device_set", "set_", "Change a node's unit, label, profile, numbers."),
    "rotate-key": ("bongsu.cli.device_rotate", "rotate_key", "Give a node another key, over the air."),
    "replace": ("bongsu.cli.device_replace", "replace", "Put another board in the place of a broken one."),
    "retire": ("bongsu.cli.device_replace", "retire", "Take a node out of service."),
}


@click.group(cls=lazy_group(COMMANDS))
@data_option
def device() -> None:
    """Boards at hand: flash, provision, commission, and what comes on day two."""
