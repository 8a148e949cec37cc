"""`bongsu detect`: recordings through the node's own detection, and plots of them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bongsu.cli.context import data_option, json_option

if TYPE_CHECKING:
    from bongsu.detect.replay import Replayed

_UNITS = """NAME=VALUE changes one limit, in the node's units (0.1 K, 1e-4/m, 0.5 %, 0.1 ppm, s); its names are those of
firmware/bongsu_node/sensing/limits.py."""


@click.group()
@data_option
def detect() -> None:
    """What the node's detection makes of recordings."""


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change one limit; repeatable."),
        click.option("--profile", default="market_dry", show_default=True, help="The limits' profile."),
        click.argument("recordings", metavar="FILE...", nargs=-1, required=True),
    ):
        command = option(command)
    return command


@detect.command(epilog=_UNITS)
@_shared
@click.option(
    "--interpreter",
    type=click.Choice(["cpython", "micropython"]),
    default="cpython",
    show_default=True,
    help="What runs the node's code; both decide alike.",
)
@json_option
def replay(
    recordings: tuple[str, ...], profile: str, changes: tuple[str, ...], interpreter: str, json_wanted: bool
) -> None:
    """Run recordings through the node's detection; print when and why it would have alarmed.

    FILE: a scenario file (CSV: t_s,temp_c,smoke_od_per_m and what else was measured), a fire of NIST as published
    (NIST_Smoke_Alarms_SDCnn.csv; one replay a station), or the name of a recording that comes with Bongsu: SDC02,
    SDC02-E, en54/TF2, cfast/flaming.
    """
    from bongsu.cli.output import as_json
    from bongsu.detect.profile import limits_of
    from bongsu.detect.recordings import load
    from bongsu.detect.replay import replay as run

    limits = limits_of(profile, changes)
    found = [one for word in recordings for one in load(word)]
    rows = []
    for number, one in enumerate(found):
        done = run(one, limits, interpreter)
        rows.append(_row(done, profile, interpreter))
        if not json_wanted:
            click.echo(("\n" if number else "") + _text(done, profile, interpreter))
    if json_wanted:
        click.echo(as_json(rows))


@detect.command(epilog=_UNITS)
@_shared
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to: .png, .svg or .pdf (several recordings: -NAME is added to the file's name).",
)
def plot(recordings: tuple[str, ...], profile: str, changes: tuple[str, ...], out: Path) -> None:
    """Draw recordings with the node's limits and decisions; FILE as for replay."""
    from bongsu.detect.plot import check_out, draw
    from bongsu.detect.profile import limits_of
    from bongsu.detect.recordings import load

    check_out(out)
    limits = limits_of(profile, changes)
    found = [one for word in recordings for one in load(word)]
    for one in found:
        path = out if len(found) == 1 else out.with_name(f"{out.stem}-{one.name.replace('/', '-')}{out.suffix}")
        draw(one, limits, path, profile=profile)
        click.echo(str(path))


def _row(done: "Replayed", profile: str, interpreter: str) -> dict[str, Any]:
    recording = done.recording
    return {
        "recording": recording.name,
        "source": recording.source,
        "notes": list(recording.notes),
        "start_s": recording.track.start_s,
        "end_s": recording.track.end_s,
        "profile": profile,
        "interpreter": interpreter,
        "decisions": [one.as_row() for one in done.decisions],
        "alarm_s": done.alarm_s,
        "commercial_alarms_s": dict(recording.alarms_s),
        "first_photoelectric_s": recording.first_photoelectric_s,
        "delay_s": done.delay_s,
    }


def _text(done: "Replayed", profile: str, interpreter: str) -> str:
    recording, track = done.recording, done.recording.track
    lines = [
        f"{recording.name}: {recording.source}, {track.start_s:g} to {track.end_s:g} s, {', '.join(track.columns)}"
        f" (profile {profile}, {interpreter})"
    ]
    lines += [f"  note: {note}" for note in recording.notes]
    lines += [f"  {one.text()}" for one in done.decisions]
    if done.alarm_s is None:
        lines.append("  no alarm")
    lines += _beside(done)
    return "\n".join(lines)


def _beside(done: "Replayed") -> list[str]:
    """The commercial alarms of the same place, and how far ahead or behind this one is."""
    theirs = sorted(done.recording.alarms_s.items(), key=lambda one: one[1])
    if not theirs:
        return []
    shown = []
    for kind, seconds in theirs:
        off = "" if done.alarm_s is None else f" ({done.alarm_s - seconds:+.2f} s)"
        shown.append(f"{kind} {seconds:g} s{off}")
    return [f"  commercial alarms here, and the first alarm after (+) or before (-) them: {', '.join(shown)}"]
