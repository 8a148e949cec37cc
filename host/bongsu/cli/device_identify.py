"""`bongsu device identify`: which board is it? Its lamp flashes."""

from typing import TYPE_CHECKING

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.order import await_answer
from bongsu.cli.output import done, warn, when
from bongsu.errors import BongsuError

if TYPE_CHECKING:
    from sqlalchemy import Connection

# On the board, in its raw REPL: flash for 10 s, by the lamp's pin of its node.json, else by the board file's.
_FLASH = """
import json, machine, time
try:
    with open('/node.json') as f:
        pin = json.load(f)['pins']['lamp']
except (OSError, ValueError, KeyError):
    pin = {pin}
if pin is not None:
    lamp = machine.Pin(pin, machine.Pin.OUT)
    for i in range(20):
        lamp(1 - i % 2)
        time.sleep_ms(500)
    lamp(0)
print(json.dumps(pin))
"""


@click.command()
@click.argument("node_id", metavar="[MAC]", required=False)
@click.option("--port", "url", help="The board on this port: a device file, or any pyserial URL.")
@click.option("--board", "board_name", help="Its kind, if it is not provisioned yet: where its lamp is.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 600), default=60.0, show_default=True, help="Seconds for the answer."
)
@data_option
@json_option
@pass_installation
def identify(
    installation: Installation,
    node_id: str | None,
    url: str | None,
    board_name: str | None,
    wait_s: float,
    json_wanted: bool,
) -> None:
    """Flash the lamp of a node, by its MAC over the air, or of the board on a port.

    Over the air the receiver must be running, and the node goes on sensing. By the port the board is stopped, flashes
    for ten seconds and is started again.

    \b
    Examples:
      bongsu device identify a0b1c2d3e4f5
      bongsu device identify --port /dev/ttyUSB0 --board esp32-devkitc
    """
    if (node_id is None) == (url is None):
        raise click.UsageError("Name a node by its MAC, or a port by --port.")
    if node_id is not None:
        _by_air(installation, node_id, wait_s, json_wanted)
    elif url is not None:
        _by_port(installation, url, board_name, json_wanted)


def _by_air(installation: Installation, node_id: str, wait_s: float, json_wanted: bool) -> None:
    from bongsu.receiver import fields, orders

    node = fields.node_id(node_id)
    with installation.writing("outbox") as conn:
        _require_heard(conn, node)
        order_id = orders.place(conn, node, "identify", actor=actor(), now_ms=now_ms())
    result = await_answer(installation, node, order_id, wait_s)
    if result not in (None, "done"):
        raise BongsuError(f"node {node} answers: {result}", f"Look at it: bongsu device show {node}")
    text = f"Node {node}: {'asked to flash' if result is None else 'its lamp flashes'}"
    done(text, {"node": node, "port": None, "result": result}, json_wanted=json_wanted)


def _require_heard(conn: "Connection", node: str) -> None:
    """Raise BongsuError for a node that has never been heard: it cannot be told anything. Say that one is silent."""
    from bongsu.receiver import registry

    heard = registry.show_node(conn, node)
    if heard["last_seen_ms"] is None and heard["state"] == "provisioned":
        raise BongsuError(
            f"node {node} has never been heard, so it can be told nothing",
            f"Is it powered, and does the receiver run (bongsu doctor)? Plugged in here it flashes by --port, and says"
            f" what hinders it: bongsu device provision {node}",
        )
    if heard["silent"]:
        seen = when(heard["last_seen_ms"])
        warn(f"node {node} is silent, and was last seen at {seen}: it flashes if it is heard again")


def _by_port(installation: Installation, url: str, board_name: str | None, json_wanted: bool) -> None:
    from bongsu.install.boards import load_board
    from bongsu.install.link import BoardLink

    known = load_board(board_name, data=installation.data).pins["lamp"] if board_name is not None else None
    with BoardLink(url) as link:
        link.service()
        try:
            node = link.facts().mac
            pin = link.value(_FLASH.replace("{pin}", str(known)))
        finally:
            link.restart()
    if pin is None:
        raise BongsuError(
            f"board {node} does not know where its lamp is", "It is not provisioned: name its kind by --board NAME."
        )
    row = {"node": node, "port": url, "result": "done"}
    done(f"Board {node} on {url}: its lamp (GPIO{pin}) flashed", row, json_wanted=json_wanted)
