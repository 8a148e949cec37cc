"""`bongsu site`."""

import click

from bongsu.cli.context import Installation, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, show_list, show_one


@click.group()
@data_option
def site() -> None:
    """Markets and blocks of homes."""


@site.command()
@click.argument("site_id", metavar="ID")
@click.option("--name", required=True, help="Name as people know it.")
@click.option("--kind", type=click.Choice(["market", "homes"]), default="market", show_default=True)
@click.option("--address", default="", help="Street address, for the fire station.")
@click.option("--tz", default="Asia/Seoul", show_default=True, help="Time zone, IANA name.")
@data_option
@json_option
@pass_installation
def add(
    installation: Installation, site_id: str, name: str, kind: str, address: str, tz: str, json_wanted: bool
) -> None:
    """Add a site."""
    from bongsu.receiver import registry

    with installation.writing() as conn:
        made = registry.add_site(conn, site_id=site_id, name=name, kind=kind, address=address, tz=tz, now_ms=now_ms())
    done(f"Added site {made}", {"site": made}, json_wanted=json_wanted)


@site.command("list")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, json_wanted: bool) -> None:
    """List the sites."""
    from bongsu.receiver import registry

    with installation.reading() as conn:
        rows = registry.list_sites(conn)
    show_list(rows, ["id", "name", "kind", "address", "tz", "units"], json_wanted=json_wanted, empty="No sites yet.")


@site.command()
@click.argument("site_id", metavar="ID")
@data_option
@json_option
@pass_installation
def show(installation: Installation, site_id: str, json_wanted: bool) -> None:
    """Show a site with its units."""
    from bongsu.receiver import registry

    with installation.reading() as conn:
        row = registry.show_site(conn, site_id)
    show_one(row, json_wanted=json_wanted)
