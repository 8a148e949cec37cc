"""`bongsu device set`: what a node is told, and where it hangs."""

from typing import TYPE_CHECKING

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.node_set import known_profile, numbers, refused, tell
from bongsu.cli.order import await_answer
from bongsu.cli.output import done

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.command("set")
@click.argument("node_id", metavar="MAC")
@click.argument("settings", metavar="[NAME=NUMBER]...", nargs=-1)
@click.option("--profile", callback=known_profile, help="Of its detector; numbers are changes of it.")
@click.option("--unit", "address", metavar="SITE/UNIT", help="Where it hangs from now on.")
@click.option("--label", help="Where in the unit it hangs.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 600), default=60.0, show_default=True, help="Seconds for the answer."
)
@data_option
@json_option
@pass_installation
def set_(
    installation: Installation,
    node_id: str,
    settings: tuple[str, ...],
    profile: str | None,
    address: str | None,
    label: str | None,
    wait_s: float,
    json_wanted: bool,
) -> None:
    """Change a node's place in the registry, and over the air what its detector decides by.

    What is refused here changes nothing at all. Unit and label are changed at once. The profile and numbers need the
    running receiver; they go out when the node is heard, within 45 s, and it takes all of them or none, and keeps them.
    Wi-Fi, sensors, broker and the interval of its readings are on the board: they need it at hand (bongsu device
    provision MAC --port PORT), and its key stays.

    \b
    Examples:
      bongsu device set a0b1c2d3e4f5 --profile market_kitchen
      bongsu device set a0b1c2d3e4f5 smoke_alarm_e4=500
      bongsu device set a0b1c2d3e4f5 --unit hannae/a-08 --label "over the door"
    """
    from bongsu.receiver import fields

    node, changes = fields.node_id(node_id), numbers(settings)
    tells, moves = profile is not None or bool(changes), address is not None or label is not None
    if not tells and not moves:
        raise click.UsageError("Nothing to change is named: a profile, numbers, a unit or a label.")
    unit = fields.unit_address(address) if address is not None else None
    with installation.writing("outbox" if tells else "registry") as conn:
        said = _move(conn, node, unit, label)
        order = tell(conn, node, profile, changes) if tells else None
    result = None
    if order is not None:
        result = await_answer(installation, node, order[0], wait_s)
        refused(node, result)
        said.append(order[2] + (" asked for" if result is None else ""))
    row = {"node": node, "changed": said, "result": result}
    done("\n".join([f"Node {node}:", *(f"  {line}" for line in said)]), row, json_wanted=json_wanted)


def _move(conn: "Connection", node: str, unit: tuple[str, str] | None, label: str | None) -> list[str]:
    """What is in the registry; returns what was changed, in words."""
    from bongsu.receiver import registry

    said = []
    if unit is not None:
        registry.assign_node(conn, node_id=node, unit=unit)
        said.append(f"unit: {'/'.join(unit)}")
    if label is not None:
        registry.edit_node(conn, node, label=label, actor=actor(), now_ms=now_ms())
        said.append(f"label: {label or '-'}")
    return said
