"""`bongsu import`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bongsu.cli import output
from bongsu.cli.context import Installation, data_option, json_option, now_ms, pass_installation
from bongsu.errors import BongsuError

if TYPE_CHECKING:
    from bongsu.receiver import shop_import

# More faults than this are counted, not printed, in the table; JSON has them all.
FAULTS_SHOWN = 200


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--site", "site_id", required=True, help="The site to which the shops belong.")
@click.option("--dry-run", is_flag=True, help="Only check and say what would be done.")
@data_option
@json_option
@pass_installation
def import_shops(installation: Installation, file: Path, site_id: str, dry_run: bool, json_wanted: bool) -> None:
    """Read a market's shop list from a CSV file: all of it, or nothing if anything in it is wrong.

    Columns: unit, name, place, owner, owner_phone, and if wanted deputy, deputy_phone, lang, node. Korean headers
    (호수, 상호, 위치, 대표자, 연락처) and CP949 files are understood too. A shop number such as 1-가 becomes the
    unit 1-ga, and the number stands before its place.
    """
    from bongsu.receiver import shop_import

    data = _read(file)
    if dry_run:
        with installation.reading() as conn:
            plan = shop_import.make_plan(conn, site_id, data)
    else:
        with installation.writing() as conn:
            plan = shop_import.make_plan(conn, site_id, data)
            if not plan.faults:
                shop_import.execute(conn, plan, now_ms=now_ms())
    imported = not dry_run and not plan.faults
    if json_wanted:
        click.echo(output.as_json(_as_row(plan, imported)))
    else:
        _show(plan, imported)
    if plan.faults:
        raise BongsuError(
            f"{file}: {len(plan.faults)} faults, nothing was imported",
            "Correct the lines named above and import the file again.",
        )


def _read(file: Path) -> bytes:
    from bongsu.receiver.shop_list import MAX_BYTES

    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as err:
        raise BongsuError(f"cannot read {file}: {err.strerror}", "Name the CSV file that you want to import.") from None


def _as_row(plan: "shop_import.Plan", imported: bool) -> dict[str, object]:
    return {
        "ok": not plan.faults,
        "imported": imported,
        "site": plan.site_id,
        **plan.counts,
        "faults": [dataclasses.asdict(f) for f in plan.faults],
        "warnings": [dataclasses.asdict(f) for f in plan.warnings],
    }


def _show(plan: "shop_import.Plan", imported: bool) -> None:
    for title, found in (("Faults", plan.faults), ("Notes", plan.warnings)):
        if found:
            rows = [{"line": f.line or None, "column": f.column, "what": f.message} for f in found[:FAULTS_SHOWN]]
            click.echo(f"{title}:\n{output.table(rows, ['line', 'column', 'what'])}")
            if len(found) > FAULTS_SHOWN:
                click.echo(f"... and {len(found) - FAULTS_SHOWN} more (--json shows all)")
    if not plan.faults:
        counts = plan.counts
        verb = "Imported" if imported else "Would import"
        click.echo(f"{verb} {counts['units']} units, {counts['new_contacts']} new contacts, {counts['nodes']} nodes")
