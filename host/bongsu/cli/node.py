"""`bongsu node`."""

from pathlib import Path

import click

from bongsu.cli import node_changes, node_set, order, outfit
from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, show_list, show_one
from bongsu.errors import BongsuError


@click.group()
@data_option
def node() -> None:
    """Boards, named by their MAC (12 hex digits)."""


node.add_command(order.order)
node.add_command(node_set.set_)
for _command in node_changes.COMMANDS:
    node.add_command(_command)
node.add_command(node_changes.move, "assign")


@node.command()
@click.argument("node_id", metavar="MAC")
@click.option("--unit", "address", metavar="SITE/UNIT", help="The unit in which it hangs.")
@click.option("--label", default="", help="Where in the unit it hangs.")
@data_option
@json_option
@pass_installation
def add(installation: Installation, node_id: str, address: str | None, label: str, json_wanted: bool) -> None:
    """Register a board."""
    from bongsu.receiver import fields, registry

    unit = fields.unit_address(address) if address is not None else None
    listed = fields.listed_node_id(node_id)
    with installation.writing() as conn:
        made = registry.add_node(conn, node_id=listed, unit=unit, label=label, now_ms=now_ms())
    done(f"Added node {made}\nNext: bongsu node provision {made} --out DIR", {"node": made}, json_wanted=json_wanted)


@node.command("list")
@click.option("--site", "site_id", help="Only this site's.")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, site_id: str | None, json_wanted: bool) -> None:
    """List nodes: unit, key epoch, last seen."""
    from bongsu.receiver import registry

    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        rows = registry.list_nodes(conn, site_id=site_id)
    columns = ["node", "unit", "label", "state", "epoch", "last_seen_ms", "silent"]
    show_list(rows, columns, json_wanted=json_wanted, empty="No nodes yet.")


@node.command()
@click.argument("node_id", metavar="MAC")
@data_option
@json_option
@pass_installation
def show(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """Show a node with its keys' states and its last heartbeat."""
    from bongsu.receiver import fields, node_health, registry

    with installation.reading() as conn:
        row = registry.show_node(conn, fields.node_id(node_id))
    show_one(row if json_wanted else node_health.shown(row), json_wanted=json_wanted)


@node.command()
@click.argument("node_id", metavar="MAC")
@data_option
@json_option
@pass_installation
def retire(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """Take a node out of service: nothing that it sends is accepted any more. Its open incidents stay open."""
    retire_named(installation, node_id, json_wanted)


def retire_named(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """What `bongsu node retire` and `bongsu device retire` do."""
    from bongsu.receiver import fields, registry

    retired = fields.node_id(node_id)
    with installation.writing() as conn:
        still_open = registry.retire_node(conn, node_id=retired)
        registry.audit(conn, actor=actor(), action="node.retire", subject=f"node:{retired}", detail="", now_ms=now_ms())
    stays = "".join(f"\nIncident {i} stays open. Next: bongsu incident show {i}" for i in still_open)
    row = {"node": retired, "open_incidents": still_open}
    done(f"Retired node {retired}{stays}", row, json_wanted=json_wanted)


@node.command()
@click.argument("node_id", metavar="MAC")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder for the bundle.")
@click.option(
    "--board",
    "board_name",
    metavar="NAME|FILE",
    default="esp32-devkitc",
    show_default=True,
    help="Its kind: see bongsu board list.",
)
@outfit.options
@data_option
@json_option
@pass_installation
def provision(
    installation: Installation,
    node_id: str,
    out: Path,
    broker_ip: str | None,
    broker_port: int | None,
    board_name: str,
    profile: str | None,
    wifi: tuple[str, ...],
    sensor_texts: tuple[str, ...],
    only_sensors: bool,
    reading_s: int | None,
    json_wanted: bool,
) -> None:
    """Make a new key and key epoch for a node, and write the bundle for its board.

    The former key stays valid until 24 hours after the new one's first frame. The bundle holds secrets: delete it when
    it is on the board.
    """
    from bongsu.receiver import fields, fitting
    from bongsu.receiver.provision import provision_node

    provisioned = fields.node_id(node_id)
    board = installation.board(board_name)
    wish = fitting.Wish(outfit.sensors_of(board, sensor_texts, only_sensors), only_sensors, reading_s)
    config = installation.config()
    broker = outfit.broker_address(installation, config.broker, broker_ip, broker_port)
    networks = [network.entry() for network in outfit.networks(wifi)]
    _require_new(out)
    # Committed before it is written: a key without a bundle does no harm, a bundle without a key would lock its node
    # out.
    with installation.writing() as conn:
        bundle = provision_node(
            conn,
            installation.master(),
            node_id=provisioned,
            broker=broker,
            board=board,
            wish=wish,
            wifi=networks,
            ca_der=outfit.ca_der(installation, config.broker),
            actor=actor(),
            now_ms=now_ms(),
            profile=profile,
        )
    bundle.save(out)
    row = {"node": bundle.node_id, "epoch": bundle.key_epoch, "bundle": str(out)}
    done(f"Wrote {out}: node {bundle.node_id}, key epoch {bundle.key_epoch}", row, json_wanted=json_wanted)


def _require_new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BongsuError(f"{out} is there already", "Name a new folder by --out.")
