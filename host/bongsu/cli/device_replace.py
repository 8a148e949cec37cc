"""`bongsu device replace|retire`: a board leaves its place, with another in it or without."""

import sys

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done
from bongsu.errors import UsageFault


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

    gone, come = fields.node_id(old), fields.listed_node_id(new)
    with installation.writing() as conn:
        row = registry.replace_node(conn, old=gone, new=come, actor=actor(), now_ms=now_ms())
    where = f" in {row['unit']}" if row["unit"] else ""
    next_step = "bongsu device commission" + (f" --unit {row['unit']}" if row["unit"] else "")
    text = f"Node {come} is in the place of {gone}{where}; {gone} is retired."
    done(f"{text}\nNext, with the new board on a port: {next_step}", row, json_wanted=json_wanted)


@click.command()
@click.argument("node_id", metavar="MAC")
@click.option("--yes", is_flag=True, help="Do not ask whether this is the right one.")
@data_option
@json_option
@pass_installation
def retire(installation: Installation, node_id: str, yes: bool, json_wanted: bool) -> None:
    """Take a node out of service: nothing that it sends is accepted any more. Its open incidents stay open.

    This is final: the board cannot come back under its MAC. So it asks, or wants --yes.

    \b
    Examples:
      bongsu device retire a0b1c2d3e4f5
      bongsu device retire a0b1c2d3e4f5 --yes
    """
    from bongsu.cli.node import retire_named

    if not yes:
        _ask(installation, node_id)
    retire_named(installation, node_id, json_wanted)


def _ask(installation: Installation, node_id: str) -> None:
    """Whether it is this node. Raises UsageFault where nobody can answer, click.Abort at a no."""
    from bongsu.receiver import fields, registry

    if not sys.stdin.isatty():
        raise UsageFault("retiring a node is final", "Say that it is meant: --yes")
    with installation.reading() as conn:
        row = registry.show_node(conn, fields.node_id(node_id))
    where = f"in {row['unit']}" if row["unit"] else "in no unit"
    label = f" ({row['label']})" if row["label"] else ""
    click.confirm(f"Node {row['node']} {where}{label} will never be accepted again. Retire it?", abort=True, err=True)
