"""`bongsu site`."""

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, edited, given, show_list, show_one, warn


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
@click.option("--area", default="", help="District: responders of this area cover the site.")
@data_option
@json_option
@pass_installation
def add(installation: Installation, /, site_id: str, json_wanted: bool, **typed: str) -> None:
    """Add a site."""
    from bongsu.receiver import registry

    with installation.writing() as conn:
        made = registry.add_site(conn, site_id=site_id, now_ms=now_ms(), **typed)
    done(f"Added site {made}", {"site": made}, json_wanted=json_wanted)


@site.command()
@click.argument("site_id", metavar="ID")
@click.option("--name")
@click.option("--kind", type=click.Choice(["market", "homes"]))
@click.option("--address")
@click.option("--tz", help="Time zone, IANA name.")
@click.option("--area", help="District: responders of this area cover the site; an empty text takes it out.")
@click.option("--dispatch", type=click.Choice(["on_alarm", "on_verified"]), help="When stations and centres are told.")
@click.option(
    "--unverified-after", "after_s", type=click.IntRange(1), help="Of on_verified: seconds until it goes out."
)
@data_option
@json_option
@pass_installation
def edit(
    installation: Installation,
    /,
    site_id: str,
    dispatch: str | None,
    after_s: int | None,
    json_wanted: bool,
    **typed: str | None,
) -> None:
    """Change what is given of a site, nothing else."""
    from bongsu.receiver import dispatch_setting, registry, responders

    wanted = {k: v for k, v in given(dispatch=dispatch, after_s=after_s, **typed).items() if k in typed}
    with installation.writing() as conn:
        changed = registry.edit_site(conn, site_id, wanted, actor=actor(), now_ms=now_ms())
        policy = (dispatch, after_s) != (None, None) and dispatch_setting.set_dispatch_policy(
            conn, site_id, wanted=dispatch, unverified_after_s=after_s, actor=actor(), now_ms=now_ms()
        )
        if policy:
            changed |= {k: (None, v) for k, v in (("dispatch", dispatch), ("unverified_after_s", after_s)) if v}
        bare = not responders.stations_by_site(conn)[site_id]
    edited(f"site {site_id}", changed, json_wanted=json_wanted)
    _warn_bare([site_id] if bare else [])


@site.command()
@click.argument("site_id", metavar="ID")
@data_option
@json_option
@pass_installation
def remove(installation: Installation, site_id: str, json_wanted: bool) -> None:
    """Remove a site that has no units. What closed incidents say of it stays."""
    from bongsu.receiver import registry

    with installation.writing() as conn:
        registry.remove_site(conn, site_id, actor=actor(), now_ms=now_ms())
    done(f"Removed site {site_id}", {"site": site_id}, json_wanted=json_wanted)


def _warn_bare(sites: list[str]) -> None:
    if sites:
        warn(f"no fire station is told of fires in {', '.join(sites)}. Next: bongsu responder add --kind station")


@site.command("list")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, json_wanted: bool) -> None:
    """List the sites."""
    from bongsu.receiver import registry, responders

    with installation.reading() as conn:
        stations = responders.stations_by_site(conn)
        rows = [{**row, "stations": stations[row["id"]]} for row in registry.list_sites(conn)]
    columns = ["id", "name", "kind", "address", "tz", "area", "units", "stations"]
    show_list(rows, columns, json_wanted=json_wanted, empty="No sites yet.")
    _warn_bare([row["id"] for row in rows if not row["stations"]])


@site.command()
@click.argument("site_id", metavar="ID")
@data_option
@json_option
@pass_installation
def show(installation: Installation, site_id: str, json_wanted: bool) -> None:
    """Show a site with its units."""
    from bongsu.receiver import registry, responders

    with installation.reading() as conn:
        row = registry.show_site(conn, site_id)
        stations = responders.stations_by_site(conn)[site_id]
    show_one({**row, "stations": stations}, json_wanted=json_wanted)
    _warn_bare([] if stations else [site_id])
