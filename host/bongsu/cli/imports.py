"""`bongsu import`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bongsu.cli import output
from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.errors import BongsuError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bongsu.receiver import shop_import
    from bongsu.receiver.shop_list import Fault

# More faults or changes than this are counted, not printed, in the table; JSON has them all.
ROWS_SHOWN = 200


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--site", "site_id", required=True, help="The site to which the shops belong.")
@click.option("--dry-run", is_flag=True, help="Only check and say what would be done.")
@click.option("--sheet", help="Sheet of an Excel workbook that has several.")
@click.option("--remove-missing", is_flag=True, help="Remove units of the site that the list does not name.")
@data_option
@json_option
@pass_installation
def import_shops(
    installation: Installation,
    file: Path,
    site_id: str,
    dry_run: bool,
    sheet: str | None,
    remove_missing: bool,
    json_wanted: bool,
) -> None:
    """Read a market's shop list from a CSV or Excel file: all of it, or nothing if anything in it is wrong.

    Columns: unit, name, place, owner, owner_phone, and if wanted floor, stall, hours, lat, lon, lang, deputy,
    deputy_phone, node and more (bongsu export writes them all). Korean headers (호수, 상호, 위치, 대표자, 연락처) and
    CP949 files are understood too. A shop number such as 1-가 becomes the unit 1-ga, and the number stands before its
    place. Units that are registered already get what differs; an empty cell clears floor, stall, hours, position and
    deputies. Nodes are added and placed, never taken away.
    """
    from bongsu.receiver import shop_import
    from bongsu.receiver.store import changes

    data = read_list(file)

    def planned(conn: "Connection") -> "shop_import.Plan":
        return shop_import.make_plan(conn, site_id, data, sheet=sheet, remove_missing=remove_missing)

    with installation.reading() as conn:  # the longer part of the work: alarms are committed meanwhile
        plan, as_of = planned(conn), changes.position(conn)
    if not dry_run and not plan.faults:
        with installation.writing() as conn:
            if changes.position(conn) != as_of:  # somebody changed something since
                plan = planned(conn)
            if not plan.faults:
                shop_import.execute(conn, plan, actor=actor(), now_ms=now_ms())
    imported = not dry_run and not plan.faults
    if json_wanted:
        click.echo(output.as_json(_as_row(plan, imported)))
    else:
        _show(plan, imported)
    if plan.faults:
        raise BongsuError(
            f"{file}: {output.counted(len(plan.faults), 'fault')}, nothing was imported",
            "Correct the lines named above and import the file again.",
        )


def read_list(file: Path) -> bytes:
    """A list that was named, as far as it is read at all. Raises BongsuError."""
    from bongsu.receiver.shop_list import MAX_BYTES

    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as err:
        raise BongsuError(f"cannot read {file}: {err.strerror}", "Name the file that you want to import.") from None


def _as_row(plan: "shop_import.Plan", imported: bool) -> dict[str, object]:
    changes = [
        {"unit": c.unit, "what": c.what, "fields": {f: list(pair) for f, pair in c.fields.items()}}
        for c in plan.changes
        if c.what != "unchanged"
    ]
    return {
        "ok": not plan.faults,
        "imported": imported,
        "site": plan.site_id,
        **plan.counts,
        "changes": changes,
        "faults": [dataclasses.asdict(f) for f in plan.faults],
        "warnings": [dataclasses.asdict(f) for f in plan.warnings],
    }


def _show(plan: "shop_import.Plan", imported: bool) -> None:
    show_faults(plan.faults)
    show_faults(plan.warnings, "Notes")
    if plan.faults:
        return
    touched = [c for c in plan.changes if c.what in ("changed", "removed")]
    _table("Changes", [row for c in touched for row in _change_rows(c)], ["unit", "field", "old", "new"])
    counts = plan.counts
    verb = "Imported" if imported else "Would import"
    click.echo(f"{verb} {counts['units']} units, {counts['new_contacts']} new contacts, {counts['nodes']} nodes")
    done = [f"{counts[what]} {what}" for what in ("added", "changed", "unchanged", "removed")]
    click.echo(f"Of the site's units: {', '.join(done)}")


def show_faults(found: "Sequence[Fault]", title: str = "Faults") -> None:
    """What is wrong with a list, line by line."""
    rows = [{"line": f.line or None, "column": f.column, "what": f.message} for f in found]
    _table(title, rows, ["line", "column", "what"])


def _change_rows(change: "shop_import.Change") -> list[dict[str, object]]:
    if change.what == "removed":
        return [{"unit": change.unit, "field": "(removed)"}]
    return [{"unit": change.unit, "field": f, "old": old, "new": new} for f, (old, new) in change.fields.items()]


def _table(title: str, rows: Sequence[Mapping[str, object]], columns: list[str]) -> None:
    if rows:
        click.echo(f"{title}:\n{output.table(rows[:ROWS_SHOWN], columns)}")
        if len(rows) > ROWS_SHOWN:
            click.echo(f"... and {len(rows) - ROWS_SHOWN} more (--json shows all)")
