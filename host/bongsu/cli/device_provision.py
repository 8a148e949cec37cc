"""`bongsu device provision`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bongsu.cli import outfit
from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import done, seconds, warn
from bongsu.cli.progress import shown

if TYPE_CHECKING:
    from bongsu.install.provision_words import Provisioned, Role

TITLES = {
    "compile": "Compile the application, if it has changed",
    "service": "Stop what runs on the board",
    "format": "Its file system is damaged: make a new one",
    "application": "Copy the application",
    "settings": "Write the settings",
    "key": "Write the key",
    "restart": "Restart the board",
    "heartbeat": "Wait for its first heartbeat",
}


@click.command()
@click.argument("node_id", metavar="[MAC]", required=False)
@click.option("--port", help="Device file or URL (rfc2217://HOST:PORT, socket://HOST:PORT); else the only board's.")
@click.option("--board", "board_name", help="Kind of board (bongsu board list); else what it was, or by its chip.")
@click.option("--unit", "address", metavar="SITE/UNIT", help="Register the board there, if it is not registered.")
@click.option("--label", default="", help="Where in the unit it hangs.")
@click.option("--role", type=click.Choice(["node", "gateway"]), help="What it is to be (default: its kind of board's).")
@outfit.options
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(1, 3600),
    default=120.0,
    show_default=True,
    help="Seconds for its first heartbeat at the receiver.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait for it: there is no receiver yet, or no network here.")
@data_option
@json_option
@pass_installation
def provision(
    installation: Installation,
    node_id: str | None,
    port: str | None,
    board_name: str | None,
    address: str | None,
    label: str,
    role: "Role | None",
    broker_ip: str | None,
    broker_port: int | None,
    profile: str | None,
    wifi: tuple[str, ...],
    sensor_texts: tuple[str, ...],
    only_sensors: bool,
    reading_s: int | None,
    wait_s: float,
    no_wait: bool,
    json_wanted: bool,
) -> None:
    """Make a node of a board that runs MicroPython: application, settings and key, over its serial line.

    The board must be registered, or is by --unit; MAC is only needed to be sure that it is this one. What is on it
    already is not copied again: a second run copies nothing and keeps its key. A run that was broken off is run again,
    and goes on from where the board and the store are. Without --wifi the board keeps the networks that it knows.

    It ends when the receiver has heard the node under its key, which proves all of it.

    \b
    Examples:
      bongsu device provision --unit hannae/a-07 --wifi market=wifi.txt
      bongsu device provision a0b1c2d3e4f5 --port /dev/ttyUSB0
      bongsu device provision --port rfc2217://bench:4000 --wifi lab --wifi market=-
      bongsu device provision --profile home --no-wait --json
    """
    from bongsu.install import ports
    from bongsu.install.link import BoardLink
    from bongsu.install.provision import TAKEN_OVER, Request
    from bongsu.install.provision import provision as provision_board
    from bongsu.receiver import fields

    outfit.parsed_sensors(sensor_texts, only_sensors)
    request = Request(
        node_id=fields.node_id(node_id) if node_id is not None else None,
        board=board_name,
        wifi=tuple(outfit.networks(wifi)) or None,
        role=role,
        profile=profile,
        sensors=sensor_texts,
        only_sensors=only_sensors,
        reading_s=reading_s,
        unit=fields.unit_address(address) if address is not None else None,
        label=label,
        wait_s=0 if no_wait else wait_s,
    )
    enrolment = outfit.enrolment(installation, broker_ip, broker_port)
    url = ports.pick(port).url
    outfit.require_way(enrolment, url)
    with BoardLink(url) as link, shown(TITLES) as progress:
        made = provision_board(link, enrolment, request, progress)
    if made.taken_over:
        warn(f"node {made.node_id} {TAKEN_OVER}. If it hangs in another centre's list, retire it there")
    done(_said(made), _row(made), json_wanted=json_wanted)


def _row(made: "Provisioned") -> dict[str, Any]:
    row = asdict(made)
    return {"node": row.pop("node_id"), **row}


def _said(made: "Provisioned") -> str:
    key = f"a new key (epoch {made.epoch})" if made.new_key else f"its key (epoch {made.epoch}) stays"
    copied = f"{made.copied} of {made.files} files copied ({made.bytes_copied:,} bytes)"
    heard = "" if made.heard_ms is None else ", heard by the receiver"
    radio = "" if made.rssi_dbm is None else f" at {made.rssi_dbm} dBm"
    return f"Node {made.node_id} ({made.board}): {copied}, {key}{heard}{radio}, {seconds(made.took_ms)}"
