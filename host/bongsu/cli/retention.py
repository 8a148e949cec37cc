"""`bongsu retention`."""

import time
from typing import Any

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, show_one

# As the receiver does it by itself: between slices an alarm has its turn.
_PAUSE_S = 0.02


@click.group()
@data_option
def retention() -> None:
    """How long records are kept ([retention] in receiver.toml); the receiver removes what is older by itself."""


@retention.command()
@data_option
@json_option
@pass_installation
def show(installation: Installation, json_wanted: bool) -> None:
    """Show for how many days each kind of record is kept."""
    import msgspec

    show_one(msgspec.to_builtins(installation.config().retention), json_wanted=json_wanted)


@retention.command()
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@data_option
@json_option
@pass_installation
def run(installation: Installation, dry_run: bool, json_wanted: bool) -> None:
    """Remove now what is too old, a little at a time; the receiver may run meanwhile."""
    from bongsu.receiver import audit
    from bongsu.receiver.retention import Limits, Sweep
    from bongsu.receiver.upkeep import SLICE_S

    key = audit.chain_key(installation.master())
    sweep = Sweep(Limits.of(installation.config().retention, now_ms()), key, dry=dry_run)
    if dry_run:
        with installation.reading() as conn:
            sweep.work(conn, float("inf"))
    else:
        with installation.store() as store:
            while True:
                with store.write() as conn:
                    if sweep.work(conn, SLICE_S):
                        break
                time.sleep(_PAUSE_S)
        with installation.writing() as conn:
            audit.write(conn, actor=actor(), action="retention.run", subject="", detail=_counts(sweep.removed),
                        now_ms=now_ms())  # fmt: skip
    removed: dict[str, Any] = dict(sorted(sweep.removed.items()))
    text = ("Would remove: " if dry_run else "Removed: ") + (_counts(removed) or "nothing")
    done(text, {"dry_run": dry_run, "removed": removed}, json_wanted=json_wanted)


def _counts(removed: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(removed.items()))
