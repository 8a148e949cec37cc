"""`bongsu device rotate-key`: another key for a node, over the air."""

import time
from typing import TYPE_CHECKING

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, show_list
from bongsu.errors import BongsuError

if TYPE_CHECKING:
    from bongsu.receiver.rotation import Rotation

_LOOK_S = 0.2
# What has become of it, for people; the key of the dictionary is what scripts see (bongsu.receiver.rotation).
_WORDS = {
    "asked": "is asked to change its key; it has not answered yet",
    "given": "has its next key, and goes over to it when no alarm stands or may come up, and all that it reported is"
    " received",
    "active": "speaks under its next key; the one before it is accepted for 24 h more",
    "refused": "refused, and keeps its key",
    "unsupported": "knows no such command (its firmware is older), and keeps its key",
    "failed": "could not store the key for sure; both keys are accepted",
    "expired": "did not answer within 10 minutes; should it have the key, that is accepted",
    "silent": "is silent: not asked",
}
# Where running it again changes nothing. A receiver that is older than the command gives no key: the node refuses that.
_UPDATE = "at its serial port: bongsu device provision MAC."
_STEPS = {
    "unsupported": f"Bring the firmware of a node that knows no such command up to date, {_UPDATE}",
    "refused": "Is the receiver older than this command, where it was refused? Start it again, and run this once more;"
    f" if it stays so, bring the node's firmware up to date, {_UPDATE}",
}
Row = dict[str, object]
_COLUMNS = ("node", "epoch", "result", "what")


@click.command("rotate-key")
@click.argument("node_ids", metavar="[MAC]...", nargs=-1)
@click.option("--site", "site_id", help="All nodes of this site that are in service, one after the other.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 3600), default=180.0, show_default=True,
    help="Seconds for each node; 0: only ask.",
)  # fmt: skip
@data_option
@json_option
@pass_installation
def rotate_key(
    installation: Installation, node_ids: tuple[str, ...], site_id: str | None, wait_s: float, json_wanted: bool
) -> None:
    """Give a node another key, and wait until it speaks under it. The receiver must be running.

    The key goes out sealed under the present one, when the node is heard: within 45 s. The node stores it, answers, and
    goes over to it with a restart of some seconds at the next quiet moment: no alarm stands or may come up, nothing
    waits for its receipt. Run again, it goes on waiting for a key that is under way; `bongsu doctor` names nodes that
    wait for a day. A node that refuses, or is not heard, keeps the key that it has.

    Exit code 1 unless every node speaks under its next key (with --wait 0: is asked).

    \b
    Examples:
      bongsu device rotate-key a0b1c2d3e4f5
      bongsu device rotate-key --site hannae --wait 300
    """
    from bongsu.receiver import fields, rotation

    if bool(node_ids) == (site_id is not None):
        raise click.UsageError("Name nodes by their MAC, or a site by --site.")
    if len(node_ids) == 1:
        row = _one(installation, fields.node_id(node_ids[0]), wait_s)
        done(f"Node {row['node']} {row['what']}.", row, json_wanted=json_wanted)
        rows = [row]
    else:
        rows = _several(installation, [fields.node_id(node_id) for node_id in node_ids], site_id, wait_s)
        show_list(rows, _COLUMNS, json_wanted=json_wanted, empty="No node of this site is in service.")
    well = (rotation.ACTIVE,) if wait_s else (rotation.ASKED, rotation.GIVEN, rotation.ACTIVE)
    left = [row for row in rows if row["result"] not in well]
    if left:
        raise BongsuError(
            f"{len(left)} of {len(rows)} do not speak under another key yet",
            _next_step({str(row["result"]) for row in left}),
        )


def _next_step(results: set[str]) -> str:
    """What to do about those that are left."""
    steps = [step for result, step in _STEPS.items() if result in results]
    if results - _STEPS.keys():
        steps.append("Run it again: it goes on where it stands.")
    return " ".join(steps)


def _several(installation: Installation, nodes: list[str], site_id: str | None, wait_s: float) -> list[Row]:
    """One after the other; what hinders one hinders no other."""
    from bongsu.receiver import fields, registry, rotation

    silent: list[str] = []
    if site_id is not None:
        with installation.reading() as conn:
            registry.require_site(conn, fields.slug("site", site_id))
            nodes, silent = rotation.in_service(conn, site_id)
    rows = []
    for node in nodes:
        try:
            rows.append(_one(installation, node, wait_s))
        except BongsuError as err:
            rows.append({"node": node, "epoch": None, "result": "not_asked", "what": f"is not asked: {err.message}"})
        click.echo(f"Node {node} {rows[-1]['what']}.", err=True)
    return rows + [_row(node, None, "silent") for node in silent]


def _one(installation: Installation, node: str, wait_s: float) -> Row:
    """Ask one node, and wait."""
    begun = _begin(installation, node)
    return _row(node, begun.epoch, _await(installation, begun, wait_s))


def _begin(installation: Installation, node: str) -> "Rotation":
    from bongsu.receiver import rotation

    with installation.writing("outbox") as conn:
        return rotation.begin(conn, installation.master(), node, actor=actor(), now_ms=now_ms())


def _row(node: str, epoch: int | None, result: str) -> Row:
    return {"node": node, "epoch": epoch, "result": result, "what": _WORDS[result]}


def _await(installation: Installation, begun: "Rotation", wait_s: float) -> str:
    """What has become of it: the end, or where it stands when the time is over."""
    from bongsu.receiver import rotation

    end = time.monotonic() + wait_s
    while True:
        with installation.reading() as conn:
            state, lost = rotation.state(conn, begun), rotation.is_overdue(conn, begun, now_ms())
        if state in rotation.ENDED or time.monotonic() >= end:
            return state
        if lost:
            begun = _begin(installation, begun.node_id)
        time.sleep(_LOOK_S)
