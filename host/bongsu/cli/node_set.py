"""`bongsu node set`: what a node's detector decides by."""

from typing import TYPE_CHECKING

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.order import await_answer
from bongsu.cli.output import done
from bongsu.errors import BongsuError, UsageFault

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bongsu.receiver.detector import Setting


def known_profile(_ctx: click.Context, _param: click.Parameter, name: str | None) -> str | None:
    """An option's value, if there is such a profile."""
    from bongsu.install import profiles

    try:
        return profiles.profile(name).name if name is not None else None
    except profiles.ProfileError as err:
        raise UsageFault(err.message, err.next_step) from None


@click.command("set")
@click.argument("node_id", metavar="MAC")
@click.argument("settings", metavar="[NAME=NUMBER]...", nargs=-1)
@click.option("--profile", "profile", callback=known_profile, help="Begin from this profile's numbers.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 600), default=60.0, show_default=True, help="Seconds for the answer."
)
@data_option
@json_option
@pass_installation
def set_(
    installation: Installation,
    node_id: str,
    settings: tuple[str, ...],
    profile: str | None,
    wait_s: float,
    json_wanted: bool,
) -> None:
    """Tell a board by which profile, and by which numbers, its detector decides. The receiver must be running.

    Without --profile the numbers are changes of what the node has. A number out of its range is refused before anything
    is sent. It goes out as soon as the node has been heard: within 45 s; the node takes all of it or nothing, and keeps
    it over restarts and provisioning.
    """
    from bongsu.receiver import fields

    node, changes = fields.node_id(node_id), numbers(settings)
    if not changes and profile is None:
        raise click.UsageError("Name a profile (--profile NAME) or numbers (NAME=NUMBER).")
    with installation.writing("outbox") as conn:
        order_id, wanted, said = tell(conn, node, profile, changes)
    result = await_answer(installation, node, order_id, wait_s)
    refused(node, result)
    text = f"Node {node}: {said}{' asked for' if result is None else ''}"
    row = {"node": node, "profile": wanted.profile, "detector": wanted.differing, "changed": said, "result": result}
    done(text, row, json_wanted=json_wanted)


def tell(conn: "Connection", node: str, profile: str | None, changes: dict[str, int]) -> "tuple[int, Setting, str]":
    """Ask a node for it; returns the order's number, what the node is to have, and what that changes, in words. Raises
    UsageFault for what no node takes, RegistryError.
    """
    from bongsu.install import profiles
    from bongsu.receiver import detector

    before = detector.standing(conn, node)
    try:
        wanted = detector.wanted(before, profile, changes)
    except profiles.ProfileError as err:
        raise UsageFault(err.message, err.next_step) from None
    order_id = detector.place(conn, node, wanted, actor=actor(), now_ms=now_ms())
    return order_id, wanted, wanted.said(before)


def refused(node: str, result: str | None) -> None:
    """Raises BongsuError if the node answered that it does not do it."""
    if result not in (None, "done"):
        raise BongsuError(
            f"node {node} answers: {result}",
            f"It goes on as before. Its firmware may be older: bongsu node show {node}",
        )


def numbers(settings: tuple[str, ...]) -> dict[str, int]:
    """Of NAME=NUMBER texts. Raises UsageFault for what is no NAME=NUMBER, or names a number twice."""
    found: dict[str, int] = {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign or not text.isascii() or not text.isdigit() or name in found:
            why = "is there twice" if name in found else "is not NAME=NUMBER (a whole number)"
            raise UsageFault(f"{setting!r} {why}", "For example: smoke_alarm_e4=500")
        found[name] = int(text)
    return found
