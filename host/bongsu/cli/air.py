"""`bongsu air`."""

from pathlib import Path
from typing import Any

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import as_json, cell, done, show_list, table
from bongsu.cli.times import TIME
from bongsu.errors import UsageFault

_DAY_MS = 86_400_000


@click.group()
@data_option
def air() -> None:
    """Air quality: what units measure now, advisories, export, tables of levels.

    An advisory tells people that a unit's air is bad; nobody is dispatched. A dangerous amount of CO is an alarm of the
    node, and an incident.
    """


@air.command()
@click.argument("where", metavar="SITE|SITE/UNIT")
@data_option
@json_option
@pass_installation
def now(installation: Installation, where: str, json_wanted: bool) -> None:
    """Show what a site's units measure now, and which levels that is.

    "now" is the newest reading, of the worst node of the unit; the level goes by the average over the table's averaging
    time, of which "share" is covered by readings (a level needs 75 %).
    """
    from bongsu.receiver import registry
    from bongsu.receiver.air import present

    with installation.reading() as conn:
        site_id, unit_id = _address(where)
        registry.require_site(conn, site_id)
        if unit_id is not None:
            registry.show_unit(conn, site_id, unit_id)
        rows = present.air_of_units(conn, site_id, present.units_of(conn, site_id, unit_id), now_ms())
    columns = ["unit", "quantity", "now", "measure", "level", "average", "averaging", "share", "at_ms"]
    show_list(rows, columns, json_wanted=json_wanted, empty="No unit has measured anything within half an hour.")


@air.command()
@click.option("--site", "site_id", help="Only this site's.")
@click.option("--all", "all_wanted", is_flag=True, help="Those that are over, too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@data_option
@json_option
@pass_installation
def advisories(
    installation: Installation, site_id: str | None, all_wanted: bool, limit: int, json_wanted: bool
) -> None:
    """List the advisories that stand."""
    from bongsu.receiver import registry
    from bongsu.receiver.air.advisories import list_advisories

    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        rows = list_advisories(conn, standing_only=not all_wanted, site_id=site_id, limit=limit)
    shown = ["id", "subject", "quantity", "level", "average", "unit", "averaging", "limit_said", "began_ms"]
    if all_wanted:
        shown += ["worst", "ended_ms", "ending"]
    show_list(rows, shown, json_wanted=json_wanted, empty="No advisory stands.")


@air.command()
@click.option("--from", "from_ms", type=TIME, required=True, help="2026-03-01, 2026-03-01T14:05, or 7d ago.")
@click.option("--to", "to_ms", type=TIME, help="Before this time (else: until now).")
@click.option("--unit", "where", metavar="SITE|SITE/UNIT", help="Only of this site or unit (else: all).")
@click.option("--rollup", type=click.Choice(("raw", "hour", "day")), default="hour", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A new FILE.csv.")
@data_option
@json_option
@pass_installation
def export(
    installation: Installation, from_ms: int, to_ms: int | None, where: str | None, rollup: str, out: Path,
    json_wanted: bool,
) -> None:  # fmt: skip
    """Write readings, or their sums by the hour or the day, as CSV (UTF-8).

    One row a time and node, by node; times in the site's zone with their offset. A reading stands at the end of its
    interval, an hour and a day at their begin. Means are weighted by the intervals.
    """
    from bongsu.receiver import registry
    from bongsu.receiver.air import export as air_export

    until_ms = now_ms() if to_ms is None else to_ms
    if from_ms >= until_ms:
        raise UsageFault("--from is not before --to", "Name a time that is.")
    if out.suffix.lower() != ".csv":
        raise UsageFault(f"{out} is no .csv", "Name it so: --out air.csv")
    site_id, unit_id = _address(where) if where is not None else (None, None)
    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        if site_id is not None and unit_id is not None:
            registry.show_unit(conn, site_id, unit_id)
        nodes = air_export.nodes_of(conn, site_id, unit_id)
        rows = air_export.all_rows(conn, nodes, rollup, from_ms, until_ms)
        count = air_export.write_csv(out, rollup, rows)
    done(f"Wrote {out}: {count} rows", {"file": str(out), "rows": count}, json_wanted=json_wanted)


@air.command("levels")
@click.argument("table_id", metavar="[TABLE]", required=False)
@json_option
def levels_(table_id: str | None, json_wanted: bool) -> None:
    """Print the tables of levels, or one of them, each limit with its averaging time and source."""
    from bongsu.receiver.air.levels import LEVELS, load_tables

    tables = load_tables().by_id
    if table_id is not None and table_id not in tables:
        raise UsageFault(f"there is no table {table_id}", f"Use one of: {', '.join(tables)}.")
    found: list[dict[str, Any]] = [
        {"table": one.id, "quantity": limit.quantity.name, "level": LEVELS[limit.rank], "limit": limit.said,
         "averaging": limit.averaging, "advisory": limit.advise, "source": limit.source}
        for one in tables.values() if table_id in (None, one.id) for some in one.limits.values() for limit in some
    ]  # fmt: skip
    if json_wanted:
        click.echo(as_json(found))
        return
    for one in tables.values():
        mine = [row for row in found if row["table"] == one.id]
        if not mine:
            continue
        sources = {source: f"[{n}]" for n, source in enumerate(dict.fromkeys(row["source"] for row in mine), 1)}
        click.echo(f"{one.id}: {one.name['en']} / {one.name['ko']}")
        shown = [{**row, "source": sources[row["source"]]} for row in mine]
        click.echo(table(shown, ["quantity", "level", "limit", "averaging", "advisory", "source"]))
        click.echo("".join(f"{mark} {cell(source)}\n" for source, mark in sources.items()))


@air.command("table")
@click.argument("site_id", metavar="SITE")
@click.argument("table_id", metavar="[TABLE]", required=False)
@click.option("--advise-at", metavar="LEVEL", help="Advisories from this level on: moderate, bad, very_bad, hazardous.")
@data_option
@json_option
@pass_installation
def table_(
    installation: Installation, site_id: str, table_id: str | None, advise_at: str | None, json_wanted: bool
) -> None:
    """Set by which table of levels a site goes, and from which level on there are advisories."""
    from bongsu.receiver.air import setting

    if table_id is None and advise_at is None:
        raise click.UsageError("name a table, or a level by --advise-at; see bongsu air levels")
    with installation.writing() as conn:
        chosen, level = setting.set_site_air(
            conn, site_id, table_id=table_id, advise_at=advise_at, actor=actor(), now_ms=now_ms()
        )
    row = {"site": site_id, "table": chosen, "advise_at": level}
    done(f"Site {site_id} goes by {chosen}; advisories from {level}", row, json_wanted=json_wanted)


def _address(where: str) -> tuple[str, str | None]:
    from bongsu.receiver import fields

    if "/" in where:
        return fields.unit_address(where)
    return where, None
