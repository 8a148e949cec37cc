"""`bongsu device list|show`: boards on this machine's ports, and nodes in service."""

from typing import Any

import click

from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import as_json, printable, record, show_one, shown_row, table

_PORT_COLUMNS = ["port", "usb", "title", "boards", "node"]
_NODE_COLUMNS = ["node", "unit", "label", "state", "last_seen_ms", "silent", "firmware", "rssi_dbm", "battery_mv"]
_LINES_SHOWN = 10


@click.command("list")
@click.option("--site", "site_id", help="Only this site's nodes.")
@click.option("--ports", "only", flag_value="ports", help="Only the ports of this machine.")
@click.option("--nodes", "only", flag_value="nodes", help="Only the nodes.")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, site_id: str | None, only: str | None, json_wanted: bool) -> None:
    """List the ports on which boards may be, and the nodes with how they are. No port is opened.

    \b
    Examples:
      bongsu device list
      bongsu device list --site hannae --json
    """
    found: dict[str, list[dict[str, Any]]] = {}
    if only != "nodes" and site_id is None:
        from bongsu.install import port_report, ports

        found["ports"] = [port_report.about(port) for port in ports.found()]
    if only != "ports" and (only or site_id or installation.data.is_dir()):
        found["nodes"] = _nodes(installation, site_id)
    if json_wanted:
        click.echo(as_json(found))
        return
    if "ports" in found:
        _show(found["ports"], _PORT_COLUMNS, "No board is on a port.")
    if len(found) > 1:
        click.echo()
    if "nodes" in found:
        _show(found["nodes"], _NODE_COLUMNS, "No nodes yet.")


def _nodes(installation: Installation, site_id: str | None) -> list[dict[str, Any]]:
    from bongsu.receiver import node_health, registry

    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        return node_health.summaries(conn, site_id=site_id)


def _show(rows: list[dict[str, Any]], columns: list[str], empty: str) -> None:
    click.echo(table([shown_row(row) for row in rows], columns) if rows else empty)


@click.command()
@click.argument("node_id", metavar="[MAC]", required=False)
@click.option("--port", "url", help="The board on this port: a device file, or any pyserial URL.")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="To listen at the port."
)
@click.option("--ask", is_flag=True, help="Stop the board on the port, ask it who it is, and start it again.")
@data_option
@json_option
@pass_installation
def show(
    installation: Installation, node_id: str | None, url: str | None, seconds: float, ask: bool, json_wanted: bool
) -> None:
    """Show a node by its MAC, with how it was commissioned; or what is on a port.

    A port is only listened at, which disturbs nothing. With --ask the board behind it is stopped: for about ten seconds
    it senses nothing.

    \b
    Examples:
      bongsu device show a0b1c2d3e4f5
      bongsu device show --port /dev/ttyUSB0
      bongsu device show --port /dev/ttyUSB0 --ask --json
    """
    if (node_id is None) == (url is None):
        raise click.UsageError("Name a node by its MAC, or a port by --port.")
    if ask and url is None:
        raise click.UsageError("--ask is about a board on a port: name it by --port.")
    if node_id is not None:
        from bongsu.receiver import node_health

        row = _node(installation, node_id)
        show_one(row if json_wanted else node_health.shown(row), json_wanted=json_wanted)
    elif url is not None:
        row = _asked(url) if ask else _listened(url, seconds)
        if json_wanted:
            click.echo(as_json(row))
        else:
            _say_port(row)


def _node(installation: Installation, node_id: str) -> dict[str, Any]:
    from bongsu.receiver import commissioning, fields, registry

    node = fields.node_id(node_id)
    with installation.reading() as conn:
        row = registry.show_node(conn, node)
        records = commissioning.records(conn, node_id=node)
    return {**row, "commissioned_ms": records[0]["done_ms"] if records else None}


def _listened(url: str, seconds: float) -> dict[str, Any]:
    """What the board on the port says by itself."""
    from bongsu.install import port_report, ports

    port = ports.pick(url)
    with ports.PortLock(url), ports.open_serial(url, timeout_s=port_report.READ_S) as line:
        lines = list(port_report.follow(line, url, seconds))
    return {
        **port_report.about(port),
        "state": port_report.meaning(lines),
        "lines": [line.text for line in lines[-_LINES_SHOWN:]],
    }


def _asked(url: str) -> dict[str, Any]:
    """What the board on the port answers; it is started again in every case."""
    from dataclasses import asdict

    from bongsu.install import port_report, ports
    from bongsu.install.link import BoardLink

    port = ports.pick(url)
    with BoardLink(url) as link:
        link.service()
        try:
            facts = asdict(link.facts())
        finally:
            link.restart()
    return {**port_report.about(port), **facts, "node": facts["mac"]}


def _say_port(row: dict[str, Any]) -> None:
    lines = row.pop("lines", [])
    click.echo(record(row))
    for line in lines:
        click.echo(f"  {printable(line)}")
