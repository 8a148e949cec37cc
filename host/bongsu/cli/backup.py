"""`bongsu backup`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from bongsu.cli import sealing
from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms
from bongsu.cli.output import done, show_one
from bongsu.errors import BongsuError
from bongsu.release import this_version

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(invoke_without_command=True)
@click.option("--out", type=_FILE, help="The file to make; never overwritten.")
@click.option("--passphrase-file", type=_FILE, help="File with the passphrase; else it is asked for.")
@click.option(
    "--recipient-key", "recipients", type=_FILE, multiple=True, help="Close it for this public key (`backup keygen`)."
)
@click.option("--with-master-key", is_flag=True, help="Put master.key into it too; else keep a copy of it apart.")
@data_option
@json_option
@click.pass_context
def backup(
    ctx: click.Context,
    out: Path | None,
    passphrase_file: Path | None,
    recipients: tuple[Path, ...],
    with_master_key: bool,
    json_wanted: bool,
) -> None:
    """Back up the whole installation into one encrypted file, while the receiver runs.

    It holds the database, settings, certificates and secrets as they were in one moment, in a form that SQLite and
    PostgreSQL can both be restored from. Without --with-master-key it is of use only together with master.key.
    """
    if ctx.invoked_subcommand is None:
        if out is None:
            raise click.UsageError("Missing option '--out'.", ctx)
        _make(ctx.find_object(Installation), out, passphrase_file, recipients, with_master_key, json_wanted)


def _make(
    installation: Installation | None,
    out: Path,
    passphrase_file: Path | None,
    recipients: tuple[Path, ...],
    with_master_key: bool,
    json_wanted: bool,
) -> None:
    from bongsu.receiver import audit
    from bongsu.receiver.backup import LAST_BACKUP, make_backup

    assert installation is not None
    at_ms = now_ms()
    locks = sealing.locks(passphrase_file, recipients)
    with installation.store() as store:
        summary = make_backup(
            store,
            installation.data,
            installation.master(),
            out,
            locks,
            with_master_key=with_master_key,
            version=this_version(),
            now_ms=at_ms,
            progress=_progress(),
        )
    with installation.writing() as conn:
        audit.set_meta(conn, LAST_BACKUP, str(at_ms))
        rows = sum(summary.tables.values())
        master = "with" if with_master_key else "without"
        detail = f"{rows} rows, {master} the master key"
        audit.write(conn, actor=actor(), action="backup", subject="", detail=detail, now_ms=at_ms)
    text = f"Made {out}: {rows} rows, {len(summary.files)} files, {summary.bytes:,} bytes"
    if not with_master_key:
        text += "\nKeep a copy of master.key apart from it: without that key it cannot be restored."
    done(text, {"file": str(out), **summary.shown()}, json_wanted=json_wanted)


@backup.command()
@click.argument("file", type=_FILE)
@click.option("--passphrase-file", type=_FILE, help="File with the passphrase; else it is asked for.")
@click.option("--key", "key_file", type=_FILE, help="The private key of one that it was made for.")
@click.option("--master-key", "master_file", type=_FILE, help="Check that this master.key belongs to it.")
@json_option
def verify(
    file: Path, passphrase_file: Path | None, key_file: Path | None, master_file: Path | None, json_wanted: bool
) -> None:
    """Read a backup wholly and check it; nothing is restored."""
    from bongsu.receiver.backup_reading import check_backup, opened_header
    from bongsu.receiver.keys import load_master

    opener = sealing.opener(opened_header(file), passphrase_file, key_file)
    checked = check_backup(file, opener, load_master(master_file) if master_file is not None else None)
    row = {"file": str(file), "whole": True, **checked.summary.shown()}
    if not json_wanted:
        row["tables"] = [{"table": name, "rows": count} for name, count in row["tables"].items() if count]
    show_one(row, json_wanted=json_wanted)


@backup.command()
@click.option("--out", type=_FILE, required=True, help="The private key's file; the public one gets .pub after it.")
@json_option
def keygen(out: Path, json_wanted: bool) -> None:
    """Make a pair of keys: whoever backs up needs the public one only, and can open nothing with it."""
    import secrets

    from bongsu.receiver.sealed_file import PrivateKey

    raw = secrets.token_bytes(32)
    public = Path(f"{out}.pub")
    made: list[Path] = []
    for path, text, mode in (
        (out, sealing.PRIVATE_PREFIX + raw.hex(), 0o600),
        (public, sealing.PUBLIC_PREFIX + PrivateKey(raw).public.hex(), 0o644),
    ):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(text + "\n")
        except BaseException as err:
            for one in made:  # half a pair is of no use, and a private key that nobody knows of is none
                one.unlink(missing_ok=True)
            if isinstance(err, FileExistsError):
                what = f"{path} is there already; it was not overwritten"
                raise BongsuError(what, "Name another file.") from None
            raise
    text = f"Made {out} (keep it apart, and safe) and {public} (for --recipient-key)"
    done(text, {"private": str(out), "public": str(public)}, json_wanted=json_wanted)


def _progress() -> Callable[[str, int], None]:
    """Shows on a terminal how far it is."""

    def show(table: str, count: int) -> None:
        click.echo(f"\r\033[K{table}: {count:,}", nl=False, err=True)

    return show if sys.stderr.isatty() else (lambda table, count: None)
