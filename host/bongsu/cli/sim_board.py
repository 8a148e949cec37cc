"""`bongsu sim board`: one virtual board in the foreground."""

import contextlib
import signal
import tempfile
import threading
from pathlib import Path

import click

from bongsu.errors import BongsuError
from bongsu.sim.track import Track


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--scenario",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What the sensors see: CSV with t_s,temp_c,smoke_od_per_m and, if wanted, rh_pct,co_ppm,gas_index,pm25_ug "
    "(else: quiet air).",
)
@click.option("--speed", type=click.FloatRange(0.1, 20), default=1.0, show_default=True, help="Board s per wall s.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after this long (else: by Ctrl-C).")
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), help="Keep flash and NVS here (else: forgotten)."
)
@click.option("--firmware", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Another firmware.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is random on the board.")
def board(
    bundle: Path,
    scenario: Path | None,
    speed: float,
    seconds: float | None,
    state: Path | None,
    firmware: Path | None,
    seed: int,
) -> None:
    """Run one virtual board with the firmware, provisioned from BUNDLE (made by `bongsu node provision`).

    Its serial line is printed as it comes. With --state the flash is kept: the next run goes on with the same counters
    and journal, so one bundle must be run in one state folder only.
    """
    from bongsu.sim import scenario_csv

    track = scenario_csv.read_track(scenario) if scenario else None
    with contextlib.ExitStack() as stack:
        if state is None:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bongsu-board-")))
        _run(bundle, state, track, firmware, speed=speed, seconds=seconds, seed=seed)


def _run(
    bundle_folder: Path,
    state: Path,
    track: Track | None,
    firmware: Path | None,
    *,
    speed: float,
    seconds: float | None,
    seed: int,
) -> None:
    from bongsu.install.bundle import Bundle
    from bongsu.resources import resources
    from bongsu.sim.board import VirtualBoard

    bundle = Bundle.load(bundle_folder)
    with VirtualBoard(state, node_id=bundle.node_id, speed=speed, seed=seed) as virtual:
        if virtual.image.path.exists():
            virtual.wire(bundle.node_json)
        else:
            virtual.flash(firmware or resources().firmware)
            virtual.provision(bundle)
        if track is not None:
            virtual.set_scenario(track)
        virtual.on_log(lambda line: click.echo(line.text))
        virtual.power_on()
        _wait(seconds)
        if virtual.crash is not None:
            raise BongsuError(virtual.crash)


def _wait(seconds: float | None) -> None:
    """Until the time is over, or the user or the system ends it."""
    done = threading.Event()
    old = signal.signal(signal.SIGTERM, lambda *_: done.set())
    try:
        with contextlib.suppress(KeyboardInterrupt):
            done.wait(seconds)
    finally:
        signal.signal(signal.SIGTERM, old)
