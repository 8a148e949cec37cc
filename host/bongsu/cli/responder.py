"""`bongsu responder`."""

import os
from pathlib import Path

import click

from bongsu.cli.context import Installation, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, show_list, show_one
from bongsu.errors import BongsuError

SECRETS_FOLDER = "secrets"


@click.group()
@data_option
def responder() -> None:
    """Fire stations and control centres: who is told of an alarm."""


@responder.command()
@click.argument("responder_id", metavar="ID")
@click.option("--kind", type=click.Choice(["station", "centre"]), required=True)
@click.option("--name", required=True)
@click.option("--url", required=True, help="Where reports are posted (Standard Webhooks).")
@click.option(
    "--secret-file", type=click.Path(path_type=Path), help="File with its signing secret (whsec_...); else one is made."
)
@click.option("--site", "sites", multiple=True, help="Only for this site (repeatable); else for all.")
@click.option("--rank", type=click.IntRange(0, 1000), default=0, show_default=True, help="Order, 0 first.")
@data_option
@json_option
@pass_installation
def add(
    installation: Installation,
    responder_id: str,
    kind: str,
    name: str,
    url: str,
    secret_file: Path | None,
    sites: tuple[str, ...],
    rank: int,
    json_wanted: bool,
) -> None:
    """Add a responder. A signing secret that is made here is written into a file, mode 0600, to be handed to the other
    side.
    """
    from bongsu.receiver import fields, responders

    made_id = fields.slug("responder id", responder_id)
    secret = _read(secret_file) if secret_file is not None else responders.new_secret()
    written = installation.data / SECRETS_FOLDER / f"{made_id}.whsec" if secret_file is None else None
    master = installation.master()
    try:
        with installation.writing() as conn:
            responders.add_responder(
                conn,
                master,
                responder_id=made_id,
                kind=kind,
                name=name,
                url=url,
                secret=secret,
                sites=sites,
                rank=rank,
                now_ms=now_ms(),
            )
            if written is not None:
                _write(written, secret)
    except BaseException:
        if written is not None:
            _remove_ours(written, secret)
        raise
    _say_added(made_id, written, json_wanted)


def _say_added(made_id: str, written: Path | None, json_wanted: bool) -> None:
    text = f"Added responder {made_id}" + (f"\nIts signing secret is in {written}" if written is not None else "")
    row = {"responder": made_id, "secret_file": str(written) if written is not None else None}
    done(text, row, json_wanted=json_wanted)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise BongsuError(
            f"cannot read a secret from {path}", "Name a text file by --secret-file, or leave it out."
        ) from None


def _write(path: Path, secret: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BongsuError(f"{path} is there already", f"Use it: --secret-file {path}, or move it away.") from None
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(secret + "\n")


def _remove_ours(path: Path, secret: str) -> None:
    """Remove the file of a responder that was not added, if this call wrote it."""
    try:
        if path.read_text(encoding="ascii").strip() in (secret, ""):
            path.unlink()
    except (OSError, UnicodeDecodeError):
        pass


@responder.command("list")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, json_wanted: bool) -> None:
    """List responders in order."""
    from bongsu.receiver import responders

    with installation.reading() as conn:
        rows = responders.list_responders(conn)
    show_list(rows, ["id", "kind", "name", "url", "rank", "sites"], json_wanted=json_wanted, empty="No responders yet.")


@responder.command()
@click.argument("responder_id", metavar="ID")
@data_option
@json_option
@pass_installation
def show(installation: Installation, responder_id: str, json_wanted: bool) -> None:
    """Show a responder; its secret is never shown."""
    from bongsu.receiver import responders

    with installation.reading() as conn:
        row = responders.show_responder(conn, responder_id)
    show_one(row, json_wanted=json_wanted)
