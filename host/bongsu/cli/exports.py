"""`bongsu export`."""

import os
from pathlib import Path

import click

from bongsu.cli.context import Installation, actor, data_option, now_ms, pass_installation
from bongsu.errors import BongsuError, UsageFault


@click.command("export")
@click.option("--site", "site_id", required=True)
@click.option(
    "--out", type=click.Path(path_type=Path, allow_dash=True), required=True, help="FILE.csv, FILE.xlsx or -."
)
@click.option("--unmasked", is_flag=True, help="With whole phone numbers; this is written into the audit.")
@data_option
@pass_installation
def export_shops(installation: Installation, site_id: str, out: Path, unmasked: bool) -> None:
    """Write a market's shop list with all columns, to be worked on and imported again; "-" prints it as CSV.

    Phone numbers are masked; an import takes a masked number for that of the person who is registered. The file is
    readable by you only.
    """
    from bongsu.receiver import registry, shop_export

    printed = str(out) == "-"
    if not printed and out.suffix.lower() not in (".csv", ".xlsx"):
        raise UsageFault(f"{out} is neither .csv nor .xlsx", "Name it so: --out shops.xlsx")
    with installation.writing() if unmasked else installation.reading() as conn:
        rows = shop_export.rows_of_site(conn, site_id, unmasked=unmasked)
        if unmasked:
            detail = f"export of {len(rows)} units"
            subject = f"site:{site_id}"
            registry.audit(
                conn, actor=actor(), action="phone.unmasked", subject=subject, detail=detail, now_ms=now_ms()
            )
    book = out.suffix.lower() == ".xlsx"
    content = shop_export.as_workbook(rows, site_id) if book else shop_export.as_csv(rows)
    if printed:
        click.echo(content.decode("utf-8-sig"), nl=False)
        return
    _write(out, content)
    click.echo(f"Wrote {out}: {len(rows)} units")


def _write(path: Path, content: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BongsuError(f"{path} is there already", "Name a new file by --out.") from None
    with os.fdopen(fd, "wb") as file:
        file.write(content)
