"""`bongsu responder`."""

import os
from pathlib import Path

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, edited, given, show_list, show_one
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
@click.option("--area", "areas", multiple=True, help="Only for the sites of this area (repeatable).")
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
    areas: tuple[str, ...],
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
                areas=areas,
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


@responder.command()
@click.argument("responder_id", metavar="ID")
@click.option("--name")
@click.option("--url", help="Where reports are posted.")
@click.option("--rank", type=click.IntRange(0, 1000), help="Order, 0 first.")
@click.option("--site", "sites", multiple=True, help="Covers this site (repeatable), with --area all that it covers.")
@click.option("--area", "areas", multiple=True, help="Covers the sites of this area (repeatable).")
@click.option("--all-sites", "everywhere", is_flag=True, default=None, help="Covers all sites.")
@click.option("--force", is_flag=True, help="Although a site is left without any fire station.")
@data_option
@json_option
@pass_installation
def edit(
    installation: Installation,
    responder_id: str,
    name: str | None,
    url: str | None,
    rank: int | None,
    sites: tuple[str, ...],
    areas: tuple[str, ...],
    everywhere: bool | None,
    force: bool,
    json_wanted: bool,
) -> None:
    """Change what is given of a responder, nothing else. Its secret stays."""
    from bongsu.receiver import responders

    given(name=name, url=url, rank=rank, sites=sites, areas=areas, everywhere=everywhere)
    if everywhere and (sites or areas):
        raise click.UsageError("--all-sites covers every --site and --area: give one or the other")
    wanted = {k: v for k, v in (("name", name), ("url", url), ("rank", rank)) if v is not None}
    with installation.writing() as conn:
        changed = responders.edit_responder(
            conn,
            responder_id,
            wanted,
            sites=sites,
            areas=areas,
            everywhere=bool(everywhere),
            force=force,
            actor=actor(),
            now_ms=now_ms(),
        )
    edited(f"responder {responder_id}", changed, json_wanted=json_wanted)


@responder.command()
@click.argument("responder_id", metavar="ID")
@click.option("--force", is_flag=True, help="Although it is the last fire station of a site.")
@data_option
@json_option
@pass_installation
def remove(installation: Installation, responder_id: str, force: bool, json_wanted: bool) -> None:
    """Remove a responder; the file with its secret goes too."""
    from bongsu.receiver import responders

    with installation.writing() as conn:
        responders.remove_responder(conn, responder_id, force=force, actor=actor(), now_ms=now_ms())
    (installation.data / SECRETS_FOLDER / f"{responder_id}.whsec").unlink(missing_ok=True)
    done(f"Removed responder {responder_id}", {"responder": responder_id}, json_wanted=json_wanted)


@responder.command("list")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, json_wanted: bool) -> None:
    """List responders in order."""
    from bongsu.receiver import responders

    with installation.reading() as conn:
        rows = responders.list_responders(conn)
    show_list(
        rows,
        ["id", "kind", "name", "url", "rank", "sites", "areas"],
        json_wanted=json_wanted,
        empty="No responders yet.",
    )


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
