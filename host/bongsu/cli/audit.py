"""`bongsu audit`."""

from pathlib import Path

import click

from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import show_list, show_one
from bongsu.cli.times import TIME

_COLUMNS = ["id", "at_ms", "actor", "action", "subject", "detail"]


@click.group()
@data_option
def audit() -> None:
    """Who did what by hand, and every phone number that was shown whole."""


@audit.command("list")
@click.option("--since", type=TIME, help="2026-03-01, 2026-03-01T14:05, or 7d, 12h, 30m ago.")
@click.option("--until", type=TIME, help="Before this time.")
@click.option("--subject", help="Only what begins so: contact:, incident:12.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The newest so many.")
@data_option
@json_option
@pass_installation
def list_(
    installation: Installation,
    since: int | None,
    until: int | None,
    subject: str | None,
    limit: int,
    json_wanted: bool,
) -> None:
    """List the audit, oldest first."""
    from bongsu.receiver import audit as rows

    with installation.reading() as conn:
        found = list(rows.entries(conn, since_ms=since, until_ms=until, subject=subject, newest=limit))
    show_list(found, _COLUMNS, json_wanted=json_wanted, empty="Nothing is written down.")


@audit.command()
@data_option
@json_option
@pass_installation
def verify(installation: Installation, json_wanted: bool) -> int:
    """Check that no row was changed, put in or taken out by another hand; exit code 1 if one was."""
    from bongsu.receiver import audit as rows

    key = rows.chain_key(installation.master())
    with installation.reading() as conn:
        found = rows.verify(conn, key, installation.data)
    row = {
        "whole": not found.faults,
        "rows": found.rows,
        "first_id": found.first_id,
        "last_id": found.last_id,
        "not_sealed_yet": found.unsealed,
        "faults": found.faults,
    }
    show_one(row, json_wanted=json_wanted)
    return 1 if found.faults else 0


@audit.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A new file; else standard output.")
@click.option("--since", type=TIME, help="From this time on.")
@click.option("--until", type=TIME, help="Before this time.")
@data_option
@json_option
@pass_installation
def export(
    installation: Installation, out: Path | None, since: int | None, until: int | None, json_wanted: bool
) -> None:
    """Write the audit as CSV (UTF-8, times in UTC), or with --json as one JSON object a line."""
    from bongsu.receiver import audit as rows
    from bongsu.receiver import records

    with installation.reading() as conn:
        entries = rows.entries(conn, since_ms=since, until_ms=until)
        records.write_table(out, entries, _COLUMNS, as_json=json_wanted)
