"""`bongsu device replace|retire`: a board leaves its place, with another in it or without."""

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done


@click.command()
@click.argument("old", metavar="OLD-MAC")
@click.argument("new", metavar="NEW-MAC")
@data_option
@json_option
@pass_installation
def replace(installation: Installation, old: str, new: str, json_wanted: bool) -> None:
    """Put another board in the place of a broken one: unit, label, profile, sensors and readings interval go to NEW,
    and OLD is retired, so that nothing it sends counts any more.

    NEW need not be registered. Refused while an alarm of OLD or of its unit is open.

    \b
    Example:
      bongsu device replace a0b1c2d3e4f5 a0b1c2d3e4f6
    """
    from bongsu.receiver import fields, registry

    gone, come = fields.node_id(old), fields.node_id(new)
    with installation.writing() as conn:
        row = registry.replace_node(conn, old=gone, new=come, actor=actor(), now_ms=now_ms())
    where = f" in {row['unit']}" if row["unit"] else ""
    next_step = "bongsu device commission" + (f" --unit {row['unit']}" if row["unit"] else "")
    text = f"Node {come} is in the place of {gone}{where}; {gone} is retired."
    done(f"{text}\nNext, with the new board on a port: {next_step}", row, json_wanted=json_wanted)


@click.command()
@click.argument("node_id", metavar="MAC")
@data_option
@json_option
@pass_installation
def retire(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """Take a node out of service: nothing that it sends is accepted any more. Its open incidents stay open.

    \b
    Example:
      bongsu device retire a0b1c2d3e4f5
    """
    from bongsu.cli.node import retire_named

    retire_named(installation, node_id, json_wanted)
