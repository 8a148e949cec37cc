"""`bongsu unit`."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import as_json, done, edited, given, show_list, show_one, table


@click.group()
@data_option
def unit() -> None:
    """Shops and homes, addressed SITE/UNIT."""


_FIELDS = (
    ("--place", "Where in the market it is: building, row."),
    ("--floor", "Floor, as people there call it: 2, B1."),
    ("--stall", "Stall number, as painted."),
    ("--hours", 'Opening hours: "mon-fri 09:00-21:00; sat 10:00-18:00; closed sun".'),
    ("--lat", "Latitude in degrees (WGS 84); with --lon."),
    ("--lon", "Longitude in degrees."),
    ("--next-to", 'Units of the site beside it, "a-06 a-08": a fire alarm in both at a time is a verified one.'),
)


def _unit_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, purpose in reversed(_FIELDS):
        command = click.option(name, help=purpose)(command)
    return command


@unit.command()
@click.argument("address", metavar="SITE/UNIT")
@click.option("--name", required=True, help="The shop's name.")
@_unit_options
@data_option
@json_option
@pass_installation
def add(
    installation: Installation, /, address: str, name: str, place: str | None, json_wanted: bool, **more: str | None
) -> None:
    """Add a unit."""
    from bongsu.receiver import fields, registry

    site_id, unit_id = fields.unit_address(address)
    typed = {field: text for field, text in more.items() if text is not None}
    with installation.writing() as conn:
        made = registry.add_unit(
            conn, site_id=site_id, unit_id=unit_id, name=name, place=place or "", now_ms=now_ms(), **typed
        )
    done(f"Added unit {made}", {"unit": made}, json_wanted=json_wanted)


@unit.command()
@click.argument("address", metavar="SITE/UNIT")
@click.option("--name", help="The shop's name.")
@_unit_options
@data_option
@json_option
@pass_installation
def edit(installation: Installation, /, address: str, json_wanted: bool, **typed: str | None) -> None:
    """Change what is given of a unit, nothing else; an empty text clears a field."""
    from bongsu.receiver import fields, registry

    site_id, unit_id = fields.unit_address(address)
    wanted = given(**typed)
    with installation.writing() as conn:
        done_to = registry.edit_units(conn, site_id, [unit_id], wanted, actor=actor(), now_ms=now_ms())
    edited(f"unit {site_id}/{unit_id}", done_to.get(unit_id, {}), json_wanted=json_wanted)


@unit.command()
@click.argument("address", metavar="SITE/UNIT")
@data_option
@json_option
@pass_installation
def remove(installation: Installation, address: str, json_wanted: bool) -> None:
    """Remove a unit that has no nodes and no open incident. What closed incidents say of it stays."""
    from bongsu.receiver import fields, registry

    site_id, unit_id = fields.unit_address(address)
    with installation.writing() as conn:
        registry.remove_unit(conn, site_id, unit_id, actor=actor(), now_ms=now_ms())
    done(f"Removed unit {site_id}/{unit_id}", {"unit": f"{site_id}/{unit_id}"}, json_wanted=json_wanted)


@unit.command()
@click.argument("source", metavar="FROM")
@click.argument("into", metavar="INTO")
@data_option
@json_option
@pass_installation
def merge(installation: Installation, source: str, into: str, json_wanted: bool) -> None:
    """Two units became one: nodes and contacts of FROM go to INTO (each SITE/UNIT), and FROM is removed."""
    from bongsu.receiver import fields, registry

    gone, kept = fields.unit_address(source), fields.unit_address(into)
    with installation.writing() as conn:
        moved = registry.merge_units(conn, gone, kept, actor=actor(), now_ms=now_ms())
    text = (
        f"Merged {'/'.join(gone)} into {'/'.join(kept)}: {len(moved['nodes'])} nodes, {len(moved['contacts'])} contacts"
    )
    done(text, {"unit": "/".join(kept), **moved}, json_wanted=json_wanted)


@unit.command()
@click.option("--site", "site_id", required=True)
@click.option("--match", "pattern", default="*", show_default=True, help="Only units whose id is like this: b-*")
@click.option("--set", "settings", metavar="FIELD=TEXT", multiple=True, required=True, help="Repeatable; floor=2")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@data_option
@json_option
@pass_installation
def bulk(
    installation: Installation, site_id: str, pattern: str, settings: tuple[str, ...], dry_run: bool, json_wanted: bool
) -> None:
    """Change the same fields (place, floor, stall, hours) of many units: all of them, or none."""
    from bongsu.receiver import registry

    wanted = _settings(settings)
    with installation.trying(dry_run) as conn:
        registry.require_site(conn, site_id)
        units = [u["unit"].partition("/")[2] for u in registry.list_units(conn, site_id)]
        named = [u for u in units if fnmatchcase(u, pattern.lower())]
        changed = registry.edit_units(conn, site_id, named, wanted, actor=actor(), now_ms=now_ms())
    rows = [
        {"unit": f"{site_id}/{u}", "field": field, "old": old, "new": new}
        for u, fields_of in changed.items()
        for field, (old, new) in fields_of.items()
    ]
    if json_wanted:
        click.echo(as_json({"matched": len(named), "changed": rows, "dry_run": dry_run}))
        return
    if rows:
        click.echo(table(rows, ["unit", "field", "old", "new"]))
    click.echo(f"{'Would change' if dry_run else 'Changed'} {len(changed)} of {len(named)} units")


def _settings(typed: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for setting in typed:
        field, sign, text = setting.partition("=")
        if not sign or field not in ("place", "floor", "stall", "hours"):
            raise click.BadParameter("write FIELD=TEXT; fields: place, floor, stall, hours", param_hint="--set")
        found[field] = text
    return found


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
    columns = ["unit", "name", "place", "floor", "stall", "owner", "owner_phone", "nodes"]
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
