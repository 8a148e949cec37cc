"""`bongsu unit`."""

import click

from bongsu.cli.context import Installation, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, show_list, show_one


@click.group()
@data_option
def unit() -> None:
    """Shops and homes, addressed SITE/UNIT."""


@unit.command()
@click.argument("address", metavar="SITE/UNIT")
@click.option("--name", required=True, help="The shop's name.")
@click.option("--place", default="", help="Where in the market it is: building, floor, row.")
@data_option
@json_option
@pass_installation
def add(installation: Installation, address: str, name: str, place: str, json_wanted: bool) -> None:
    """Add a unit."""
    from bongsu.receiver import fields, registry

    site_id, unit_id = fields.unit_address(address)
    with installation.writing() as conn:
        made = registry.add_unit(conn, site_id=site_id, unit_id=unit_id, name=name, place=place, now_ms=now_ms())
    done(f"Added unit {made}", {"unit": made}, json_wanted=json_wanted)


@unit.command("list")
@click.option("--site", "site_id", help="Only this site's.")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, site_id: str | None, json_wanted: bool) -> None:
    """List units with owner and nodes."""
    from bongsu.receiver import registry

    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        rows = registry.list_units(conn, site_id)
    columns = ["unit", "name", "place", "owner", "owner_phone", "nodes"]
    show_list(rows, columns, json_wanted=json_wanted, empty="No units yet.")


@unit.command()
@click.argument("address", metavar="SITE/UNIT")
@data_option
@json_option
@pass_installation
def show(installation: Installation, address: str, json_wanted: bool) -> None:
    """Show a unit with its contacts in calling order."""
    from bongsu.receiver import fields, registry

    with installation.reading() as conn:
        row = registry.show_unit(conn, *fields.unit_address(address))
    show_one(row, json_wanted=json_wanted)
