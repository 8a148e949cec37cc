"""`bongsu node move|unassign|edit|remove|bulk`: where boards hang, one by one or many by a list."""

from pathlib import Path

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import as_json, counted, done, edited, table
from bongsu.errors import BongsuError


@click.command()
@click.argument("node_id", metavar="MAC")
@click.argument("address", metavar="SITE/UNIT")
@data_option
@json_option
@pass_installation
def move(installation: Installation, node_id: str, address: str, json_wanted: bool) -> None:
    """Move a node into a unit. Refused while an alarm of it, or of the unit in which it hangs, is open."""
    from bongsu.receiver import fields, registry

    unit, moved = fields.unit_address(address), fields.node_id(node_id)
    with installation.writing() as conn:
        registry.assign_node(conn, node_id=moved, unit=unit)
    done(f"Node {moved} is now in {'/'.join(unit)}", {"node": moved, "unit": "/".join(unit)}, json_wanted=json_wanted)


@click.command()
@click.argument("node_id", metavar="MAC")
@data_option
@json_option
@pass_installation
def unassign(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """Take a node out of its unit: its alarms go to all responders until it hangs somewhere again."""
    from bongsu.receiver import fields, registry

    moved = fields.node_id(node_id)
    with installation.writing() as conn:
        registry.assign_node(conn, node_id=moved, unit=None)
    done(f"Node {moved} is in no unit now", {"node": moved, "unit": None}, json_wanted=json_wanted)


@click.command()
@click.argument("node_id", metavar="MAC")
@click.option("--label", required=True, help="Where in the unit it hangs.")
@data_option
@json_option
@pass_installation
def edit(installation: Installation, node_id: str, label: str, json_wanted: bool) -> None:
    """Change a node's label."""
    from bongsu.receiver import fields, registry

    named = fields.node_id(node_id)
    with installation.writing() as conn:
        changed = registry.edit_node(conn, named, label=label, actor=actor(), now_ms=now_ms())
    edited(f"node {named}", changed, json_wanted=json_wanted)


@click.command()
@click.argument("node_id", metavar="MAC")
@data_option
@json_option
@pass_installation
def remove(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """Forget a board that was registered by mistake and never had a key. Others are retired: bongsu node retire."""
    from bongsu.receiver import fields, registry

    gone = fields.node_id(node_id)
    with installation.writing() as conn:
        registry.remove_node(conn, gone, actor=actor(), now_ms=now_ms())
    done(f"Removed node {gone}", {"node": gone}, json_wanted=json_wanted)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--sheet", help="Sheet of an Excel workbook that has several.")
@click.option("--dry-run", is_flag=True, help="Only check and say what would change.")
@data_option
@json_option
@pass_installation
def bulk(installation: Installation, file: Path, sheet: str | None, dry_run: bool, json_wanted: bool) -> None:
    """Move, label and retire many nodes by a CSV or Excel list: all of it, or nothing if anything in it is wrong.

    Columns: node, and if wanted unit (SITE/UNIT; empty: nothing changes), label, retire (yes).
    """
    from bongsu.receiver import node_list

    try:
        data = file.read_bytes()
    except OSError as err:
        raise BongsuError(f"cannot read {file}: {err.strerror}", "Name the list of nodes.") from None
    with installation.trying(dry_run) as conn:
        plan = node_list.make_plan(conn, data, sheet)
        if not plan.faults:
            node_list.execute(conn, plan, actor=actor(), now_ms=now_ms())
    faults = [{"line": f.line or None, "column": f.column, "what": f.message} for f in plan.faults]
    if json_wanted:
        click.echo(as_json({"ok": not faults, "dry_run": dry_run, "changes": plan.rows(), "faults": faults}))
    elif faults:
        click.echo(f"Faults:\n{table(faults, ['line', 'column', 'what'])}")
    else:
        if rows := plan.rows():
            click.echo(table(rows, ["node", "field", "old", "new"]))
        click.echo(f"{'Would change' if dry_run else 'Changed'} {len(plan.changes)} of {plan.lines} nodes")
    if faults:
        raise BongsuError(
            f"{file}: {counted(len(faults), 'fault')}, nothing was changed", "Correct the lines named above."
        )


COMMANDS = (move, unassign, edit, remove, bulk)
