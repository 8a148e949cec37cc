"""`bongsu device record`."""

from typing import TYPE_CHECKING, Any

import click

from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import as_json, seconds, table, when
from bongsu.cli.output import record as record_text
from bongsu.errors import BongsuError

if TYPE_CHECKING:
    from bongsu.receiver.registry import Row

_LIST = ["record", "node", "unit", "begun", "done", "not done", "took", "rssi", "trip", "installer"]


@click.command()
@click.argument("node_id", metavar="[MAC]", required=False)
@click.option("--site", "site_id", help="Of all nodes of this site, and its units that are left.")
@click.option("--open", "only_open", is_flag=True, help="Only what is not done.")
@data_option
@json_option
@pass_installation
def record(
    installation: Installation, node_id: str | None, site_id: str | None, only_open: bool, json_wanted: bool
) -> None:
    """Show records of commissioning: of a node, of a site, or all; with --open what is not done.

    Of a node the newest record is shown whole: image, application, what was measured, the walk test, and each step with
    its time.

    \b
    Examples:
      bongsu device record a0b1c2d3e4f5
      bongsu device record --site hannae --open
      bongsu device record --json
    """
    from bongsu.receiver import commissioning, fields, registry

    node = fields.node_id(node_id) if node_id is not None else None
    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        rows = commissioning.records(conn, node_id=node, site_id=site_id, only_open=only_open)
        left = commissioning.units_left(conn, site_id) if site_id is not None else []
    if json_wanted:
        click.echo(as_json({"records": rows, "units_left": left}))
        return
    if node is not None and not rows and not only_open:
        raise BongsuError(f"there is no record of node {node}", "Make one: bongsu device commission")
    if node is not None and rows:
        click.echo(record_text(_whole(rows[0])))
        rows = rows[1:]
    if rows:
        click.echo(("\nEarlier:\n" if node is not None else "") + table([_line(row) for row in rows], _LIST))
    elif node is None:
        click.echo("No records." if not only_open else "Nothing that is begun is left to be done.", err=True)
    if left:
        click.echo(f"\nUnits without a commissioned node: {', '.join(left)}")


def _line(row: "Row") -> dict[str, Any]:
    return {
        "record": row["id"],
        "node": row["node"],
        "unit": row["unit"],
        "begun": when(row["begun_ms"]),
        "done": when(row["done_ms"]),
        "not done": ", ".join(step.replace("_", " ") for step in row["left"]),
        "took": seconds(row["took_ms"]),
        "rssi": None if row["rssi_dbm"] is None else f"{row['rssi_dbm']} dBm",
        "trip": None if row["round_trip_ms"] is None else f"{row['round_trip_ms']} ms",
        "installer": row["installer"],
    }


def _whole(row: "Row") -> dict[str, Any]:
    walk = row["walk_test"] or {}
    text = walk.get("delivery") or {}
    return {
        **{name: row[name] for name in ("id", "node", "unit", "installer", "version", "board", "image")},
        "image_sha256": row["image_sha256"],
        "app_sha256": row["app_sha256"],
        "key_epoch": row["key_epoch"],
        "rssi": None if row["rssi_dbm"] is None else f"{row['rssi_dbm']} dBm",
        "round_trip": None if row["round_trip_ms"] is None else f"{row['round_trip_ms']} ms",
        "walk_test": walk.get("outcome"),
        "walk_test_event": walk.get("event"),
        "text_to": text.get("recipient"),
        "text_state": text.get("state"),
        "begun_ms": row["begun_ms"],
        "done_ms": row["done_ms"],
        "not_done": [step.replace("_", " ") for step in row["left"]],
        "took": seconds(row["took_ms"]),
        "steps": [
            {
                "step": name.replace("_", " "),
                "state": step["state"],
                "took": seconds(step["took_ms"]),
                "at_ms": step["at_ms"],
                "what": step["said"],
            }
            for name, step in row["steps"].items()
        ],
    }
