"""`bongsu receiver`."""

import os
from pathlib import Path

import click

from bongsu.cli import output
from bongsu.cli.context import (
    Installation,
    actor,
    checked_config,
    data_option,
    json_option,
    now_ms,
    pass_installation,
)

_COLUMNS = ("sender", "name", "host", "version", "state", "last_seen_ms", "created_ms")


@click.group()
@data_option
def receiver() -> None:
    """The alarm receiver: takes in what nodes report, tells stations, centres and owners."""


@receiver.command()
@click.option("--config", type=click.Path(path_type=Path), help="receiver.toml (default: that of the data folder).")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines on stderr: for people, or for programs.",
)
@data_option
@pass_installation
def run(installation: Installation, config: Path | None, log_format: str) -> int:
    """Run the receiver until it is told to stop (SIGTERM, or Ctrl-C)."""
    from bongsu.receiver import service

    os.umask(0o077)  # logs, sockets and the broker's store are for this user only, as the whole data folder is
    return service.run(checked_config(config) if config is not None else installation.config(), log_format)


@receiver.command("list")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, json_wanted: bool) -> None:
    """All receivers of this installation, and when each was seen last."""
    from bongsu.receiver import receivers

    with installation.reading() as conn:
        found = receivers.list_receivers(conn, now_ms=now_ms())
    shown = [{**row, "last_seen_ms": output.when(row["last_seen_ms"]), "created_ms": output.when(row["created_ms"])}
             for row in found]  # fmt: skip
    click.echo(output.as_json(found) if json_wanted else output.table(shown, _COLUMNS))


@receiver.command()
@click.argument("sender", type=click.IntRange(1, 65535))
@click.option("--force", is_flag=True, help="Although it was seen a moment ago: it ends then.")
@data_option
@json_option
@pass_installation
def retire(installation: Installation, sender: int, force: bool, json_wanted: bool) -> None:
    """A receiver is gone for good: take it off the list, and end its session at the broker, which else would be kept
    full of messages that nobody fetches.
    """
    from bongsu.receiver import broker_sessions, receivers

    with installation.reading() as conn:
        client_id = receivers.check_retirable(conn, sender, now_ms=now_ms(), force=force)
    ended = broker_sessions.remove_session(installation.config(), client_id)
    with installation.writing() as conn:
        receivers.retire(conn, sender, by=actor(), now_ms=now_ms())
    session = "; its session at the broker is ended" if ended else ""
    output.done(f"Receiver {sender} is retired{session}.", {"sender": sender, "session_ended": ended},
                json_wanted=json_wanted)  # fmt: skip


@receiver.command()
@click.option("--user", default="bongsu", show_default=True, help="The user that it runs as; it owns the data folder.")
@click.option("--out", type=click.Path(path_type=Path), help="Write it to this file (else it is printed).")
@data_option
@pass_installation
def unit(installation: Installation, user: str, out: Path | None) -> None:
    """Print a systemd unit that runs the receiver: started at boot, again after any end, watched, and held to what it
    needs.
    """
    from bongsu.receiver import systemd

    text = systemd.unit(Path(os.path.abspath(installation.data)), user)
    if out is None:
        click.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    click.echo(f"{out} written; next: systemctl daemon-reload && systemctl enable --now {out.name}")
