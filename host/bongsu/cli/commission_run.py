"""Commissioning from the command line: at one port, or at several by a list, with a line a port."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bongsu.cli.context import Installation, now_ms
from bongsu.cli.port_lines import PortLines
from bongsu.errors import BongsuError, Interrupted

if TYPE_CHECKING:
    from bongsu.install.batch import Plan, Roster
    from bongsu.install.bench import Kit
    from bongsu.install.commission import Assign, Outcome, Place, Status, Wish
    from bongsu.install.waiting import Waiting

_LOOK_S = 0.5
# A device file that has come back is not ours yet: udev gives it its group a moment later.
_SETTLE_S = 1.0
_GOES_ON = "Run it again: it goes on from where the board and the store are."


@dataclass(frozen=True)
class Job:
    """What is the same for all boards of a run."""

    installation: Installation
    kit: "Kit"
    wish: "Wish"
    installer: str


@dataclass(frozen=True)
class Run:
    """What became of a list. stopped: by Ctrl-C, before it was done."""

    outcomes: "list[Outcome]"
    roster: "Roster"
    stopped: bool = False


def one(job: Job, port: str, place: "Place", node_id: str | None) -> "Outcome":
    """A board at this port into this place. node_id: that it must be, None: any."""
    from bongsu.install.commission import CommissionError
    from bongsu.install.waiting import Waiting

    def assign(found: str, _unit: str | None) -> "Place":
        if node_id is not None and found != node_id:
            raise CommissionError(f"the label is of node {node_id}, and the board is {found}", "Take the right board.")
        return place

    try:
        return _at_port(job, port, assign, PortLines([port]).show, Waiting())
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(f"{port}: commissioning is not done", _GOES_ON) from None


def many(job: Job, ports: Sequence[str], plan: "Plan") -> Run:
    """The boards of a list, at all these ports at a time. A KeyboardInterrupt stops all; a second one is raised."""
    from bongsu.install.batch import Crew, Roster, done_rows
    from bongsu.install.waiting import Waiting

    with job.installation.reading() as conn:
        roster = Roster(plan.rows, done_rows(conn, plan.rows))
    lines, stop, context = PortLines(ports), threading.Event(), click.get_current_context()

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise KeyboardInterrupt

    def show(status: "Status") -> None:
        lines.show(status)
        pause(0)

    def work(port: str) -> "Outcome":
        try:
            with context.scope(cleanup=False):  # its name stands in the audit
                return _at_port(job, port, partial(roster.assign, port=port), show, Waiting(sleep=pause))
        finally:
            roster.leave(port)

    def next_board(port: str) -> bool:
        if "://" in port or not roster.is_left():
            return False
        lines.tell(port, "unplug it, and plug in the next board (Ctrl-C ends)")
        return _await_another(Path(port), roster.is_left, pause)

    crew = Crew(work, next_board, stop, _say_stop)
    try:
        return Run(crew.run(ports) if roster.is_left() else [], roster)
    except KeyboardInterrupt:
        if not crew.ended:
            raise
        return Run(crew.outcomes, roster, stopped=True)


def _say_stop() -> None:
    click.echo("Stopping: boards that are not done can be gone on with later (Ctrl-C once more ends at once)", err=True)


def _await_another(device: Path, is_left: Callable[[], bool], pause: Callable[[float], None]) -> bool:
    """Another board is plugged in: the device file goes, and comes again. False if other ports left nothing for it."""
    for there in (True, False):
        while device.exists() is there:
            if not is_left():
                return False
            pause(_LOOK_S)
    pause(_SETTLE_S)
    return True


def _at_port(
    job: Job,
    port: str,
    assign: "Assign",
    show: "Callable[[Status], None]",
    waiting: "Waiting",
) -> "Outcome":
    from bongsu.install.bench import SerialBench
    from bongsu.install.commission import Commissioning, Outcome, as_error
    from bongsu.install.ports import PortLock
    from bongsu.receiver.commissioning_desk import CommissioningDesk
    from bongsu.release import this_version

    begun = time.monotonic()
    try:
        with PortLock(port), job.installation.store() as store:
            desk = CommissioningDesk(
                store, job.installation.writing, installer=job.installer, version=this_version(), now_ms=now_ms
            )
            kit = replace(job.kit, before=desk.board_of)
            return Commissioning(port, SerialBench(port, kit), desk, assign, job.wish, show, waiting).run()
    except (BongsuError, OSError) as err:
        return Outcome(port, error=as_error(err), took_ms=round((time.monotonic() - begun) * 1000))
