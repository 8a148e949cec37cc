"""`bongsu duty`."""

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, show_list


@click.group()
@data_option
def duty() -> None:
    """Duty rosters: who is texted at once of a site's alarms, beside the unit's owner, and at which hours."""


@duty.command()
@click.argument("duty_id", metavar="ID")
@click.option("--contact", "contact_id", required=True, help="Who is on duty.")
@click.option("--site", "site_id", help="Of this site only; else of all, each by its own clock.")
@click.option("--days", default="daily", show_default=True, help="Days on which a shift begins: mon-fri, or sat,sun.")
@click.option(
    "--hours", default="00:00-24:00", show_default=True, help="By the site's clock; 22:00-06:00 ends next day."
)
@click.option("--from-date", "valid_from", default="", help="First day: 2026-03-01.")
@click.option("--until-date", "valid_until", default="", help="Last day.")
@click.option("--rank", type=click.IntRange(0, 1000), default=0, show_default=True, help="Order, 0 first.")
@data_option
@json_option
@pass_installation
def add(
    installation: Installation,
    duty_id: str,
    contact_id: str,
    site_id: str | None,
    days: str,
    hours: str,
    valid_from: str,
    valid_until: str,
    rank: int,
    json_wanted: bool,
) -> None:
    """Put a contact on duty."""
    from bongsu.receiver import roster

    with installation.writing() as conn:
        made = roster.add_duty(
            conn,
            duty_id=duty_id,
            contact_id=contact_id,
            site_id=site_id,
            days=days,
            hours=hours,
            valid_from=valid_from,
            valid_until=valid_until,
            rank=rank,
            now_ms=now_ms(),
        )
    done(f"Added duty {made}", {"duty": made}, json_wanted=json_wanted)


@duty.command("list")
@click.option("--site", "site_id", help="Only what holds for this site.")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, site_id: str | None, json_wanted: bool) -> None:
    """List the roster; phone numbers are masked."""
    from bongsu.receiver import roster

    with installation.reading() as conn:
        rows = roster.list_duties(conn, site_id)
    columns = ["id", "site", "contact", "name", "phone", "days", "hours", "rank", "valid_from_ms", "valid_until_ms"]
    show_list(rows, columns, json_wanted=json_wanted, empty="No duties yet.")


@duty.command()
@click.argument("site_id", metavar="SITE")
@data_option
@json_option
@pass_installation
def now(installation: Installation, site_id: str, json_wanted: bool) -> None:
    """Show who is on duty for a site at this moment."""
    from bongsu.receiver import roster

    with installation.reading() as conn:
        rows = roster.now_on_duty(conn, site_id, now_ms())
    show_list(rows, ["id", "name", "phone", "rank"], json_wanted=json_wanted, empty="Nobody is on duty.")


@duty.command()
@click.argument("duty_id", metavar="ID")
@data_option
@json_option
@pass_installation
def remove(installation: Installation, duty_id: str, json_wanted: bool) -> None:
    """Take a duty off the roster."""
    from bongsu.receiver import roster

    with installation.writing() as conn:
        roster.remove_duty(conn, duty_id, actor=actor(), now_ms=now_ms())
    done(f"Removed duty {duty_id}", {"duty": duty_id}, json_wanted=json_wanted)
