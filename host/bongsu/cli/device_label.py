"""`bongsu device label`."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import done
from bongsu.errors import BongsuError

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.command()
@click.argument("node_ids", metavar="[MAC]...", nargs=-1)
@click.option("--site", "site_id", help="All nodes of this site, too.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="FILE.pdf (A4 pages), FILE.png, FILE.ql (what a Brother QL prints), or a folder for a PNG each.",
)
@click.option("--printer", metavar="PRINTER", help="Print it: a Brother QL at /dev/usb/lp0 or tcp://HOST:9100.")
@click.option("--size", "size_name", default="62", show_default=True, help="Tape: 62 (mm, continuous) or 29x90.")
@click.option("--first", type=click.IntRange(1), default=1, help="Place on the first PDF page at which to begin.")
@click.option("--font", type=click.Path(path_type=Path), help="Font file (default: one of this machine).")
@click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day of fitting (default: that of its commissioning, else today).",
)
@data_option
@json_option
@pass_installation
def label(
    installation: Installation,
    node_ids: tuple[str, ...],
    site_id: str | None,
    out: Path | None,
    printer: str | None,
    size_name: str,
    first: int,
    font: Path | None,
    day: dt.datetime | None,
    json_wanted: bool,
) -> None:
    """Make labels of nodes, with the node id, the unit in words, the date and a QR code; there is nothing secret in it.

    \b
    Examples:
      bongsu device label a0b1c2d3e4f5 --out label.png
      bongsu device label --site hannae --out hannae.pdf --first 4
      bongsu device label a0b1c2d3e4f5 --printer /dev/usb/lp0
    """
    from bongsu.install import label as labels
    from bongsu.install import label_file, label_ql
    from bongsu.receiver import label_words

    size = labels.size_of(size_name)
    if not node_ids and site_id is None:
        raise click.UsageError("Name nodes, or --site.")
    if out is None and printer is None:
        raise click.UsageError("Name a file (--out) or a printer (--printer).")
    with installation.reading() as conn:
        nodes = _nodes(conn, node_ids, site_id)
        texts = [label_words.of_node(conn, node, day.date() if day else day_of_fitting(conn, node)) for node in nodes]
    pictures = {text.node_id: labels.draw(text, size, font) for text in texts}
    files = label_file.save(out, pictures, size, first) if out is not None else []
    if printer is not None:
        label_ql.send(printer, label_ql.raster(list(pictures.values()), size))
    said = [f"Wrote {file}" for file in files] + ([f"Sent {len(pictures)} to {printer}"] if printer else [])
    row = {"nodes": list(pictures), "files": [str(file) for file in files], "printer": printer, "size": size.name}
    done("\n".join(said), row, json_wanted=json_wanted)


def day_of_fitting(conn: "Connection", node: str) -> dt.date:
    """When its commissioning was done, by this machine's calendar; today if it was not."""
    from bongsu.receiver import commissioning

    done_ms = next((row["done_ms"] for row in commissioning.records(conn, node_id=node) if row["done_ms"]), None)
    return dt.date.today() if done_ms is None else dt.datetime.fromtimestamp(done_ms / 1000).date()


def _nodes(conn: "Connection", node_ids: tuple[str, ...], site_id: str | None) -> list[str]:
    """The nodes that are named, each once, and those of the site."""
    from bongsu.receiver import fields, registry

    named = [fields.node_id(text) for text in node_ids]
    if site_id is not None:
        registry.require_site(conn, site_id)
        named += [row["node"] for row in registry.list_nodes(conn, site_id=site_id)]
    if not named:
        raise BongsuError(f"site {site_id} has no nodes", "Register one: bongsu node add MAC --unit SITE/UNIT")
    return list(dict.fromkeys(named))
