"""How long work shows how far it is: a bar on a terminal, lines elsewhere; on stderr, for stdout has the result."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click

from bongsu.cli.output import cut

# (step, done, total); a total of 0: nothing tells how far it is.
Progress = Callable[[str, int, int], None]

_BAR = 30
_CLEAR_LINE = "\r\033[K"


@contextmanager
def shown(titles: Mapping[str, str]) -> Iterator[Progress]:
    """A callback that shows steps by their titles (a step that is not among them by its name); "step: ..." is the same
    step, with something to say of it.
    """
    steps = _Bars(titles) if sys.stderr.isatty() else _Lines(titles)
    try:
        yield steps.report
    finally:
        steps.close()


def bar(title: str, done: int, total: int, seconds: float) -> str:
    """One line of a terminal."""
    if not total:
        return f"{title} ..."
    full = _BAR * done // total
    return f"{title} [{'#' * full}{'.' * (_BAR - full)}] {100 * done // total:3} % {seconds:4.0f} s"


class _Lines:
    """A line when a step begins, and one when it has ended."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = titles
        self._step = self._said = ""
        self._start = 0.0

    def report(self, step: str, done: int, total: int) -> None:
        step, colon, said = step.partition(": ")
        title = self._titles.get(step, step) + colon + said
        if step != self._step:
            self._step, self._start = step, time.monotonic()
            self._begin(title)
        elif said and said != self._said:
            self._begin(title)
        self._said = said
        ended = 0 < total <= done
        self._show(title, done, total, time.monotonic() - self._start, ended)
        if ended:
            self._step = ""

    def close(self) -> None:
        pass

    def _begin(self, title: str) -> None:
        click.echo(f"{title} ...", err=True)

    def _show(self, title: str, done: int, total: int, seconds: float, ended: bool) -> None:
        if ended:
            click.echo(f"{title}: done in {seconds:.1f} s", err=True)


class _Bars(_Lines):
    """A line that is drawn anew."""

    _open = False

    def close(self) -> None:
        if self._open:
            click.echo(err=True)  # what comes next, an error for example, has a line of its own

    def _begin(self, title: str) -> None:
        pass

    def _show(self, title: str, done: int, total: int, seconds: float, ended: bool) -> None:
        line = cut(bar(title, done, total, seconds), shutil.get_terminal_size().columns)
        click.echo(_CLEAR_LINE + line, nl=ended, err=True)
        self._open = not ended
