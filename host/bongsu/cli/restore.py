"""`bongsu restore`."""

import sys
from pathlib import Path

import click

from bongsu.cli import sealing
from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, when

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--store", "store_url", help='The database to restore into: a URL, or "sqlite" for a file in the folder.')
@click.option("--store-password-file", "password_file", type=_FILE, help="File with the database user's password.")
@click.option("--passphrase-file", type=_FILE, help="File with the passphrase; else it is asked for.")
@click.option("--key", "key_file", type=_FILE, help="The private key of one that it was made for.")
@click.option("--master-key", "master_file", type=_FILE, help="The copy of master.key, if it is not in the backup.")
@click.option(
    "--resend-within",
    type=click.IntRange(0, 7 * 24 * 60),
    default=60,
    show_default=True,
    help="Minutes: messages that waited in the backup are sent if they are not older; a person decides on the others.",
)
@click.option("--force", is_flag=True, help="In place of an installation that is there; its folder is put aside.")
@data_option
@json_option
@pass_installation
def restore(
    installation: Installation,
    file: Path,
    store_url: str | None,
    password_file: Path | None,
    passphrase_file: Path | None,
    key_file: Path | None,
    master_file: Path | None,
    resend_within: int,
    force: bool,
    json_wanted: bool,
) -> None:
    """Restore a backup into a new data folder (--data) and its database.

    Everything is checked before anything is written. The receiver gets a fresh sender number; open alarms stay open,
    and a fault tells of the restore and of messages that a person must decide on. Stop the old receiver for good first.
    """
    from bongsu.receiver.backup_reading import opened_header
    from bongsu.receiver.restore import Target, restore_backup

    header = opened_header(file)
    master_raw = sealing.secret_file(master_file, "the master key") if master_file is not None else None
    opener = sealing.opener(header, passphrase_file, key_file)
    target = Target(installation.data, store_url, password_file, force, resend_within * 60_000)
    made = restore_backup(
        file, opener, target, master_raw=master_raw, actor=actor(), now_ms=now_ms(), progress=_progress
    )
    settled = made.settled
    row = {
        "data": str(installation.data),
        "made_ms": made.made_ms,
        "rows": made.rows,
        "sender": made.sender,
        "retired": settled.retired,
        "open_incidents": settled.open_incidents,
        "messages_to_send": settled.resent,
        "held_incidents": settled.held_incidents,
        "fault": settled.fault,
        "kept": str(made.kept) if made.kept is not None else None,
    }
    lines = [f"Restored {installation.data} as of {when(made.made_ms)}: {made.rows} rows; sender {made.sender}"]
    if settled.open_incidents:
        lines.append(f"Open alarms as of then, look at them: {', '.join(map(str, settled.open_incidents))}")
    if settled.held_incidents:
        held = ", ".join(map(str, settled.held_incidents))
        lines.append(f"Messages too old to be sent now, decide on them (incident {settled.fault}): {held}")
    if made.kept is not None:
        lines.append(f"What was there before is in {made.kept}")
    lines.append("Next: bongsu receiver run. With an external broker, end the old session: bongsu receiver retire "
                 + " ".join(map(str, settled.retired)))  # fmt: skip
    done("\n".join(lines), row, json_wanted=json_wanted)


def _progress(table: str, count: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{table}: {count:,}", nl=False, err=True)
