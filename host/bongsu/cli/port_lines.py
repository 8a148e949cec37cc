"""One line a port, while several boards are worked on: drawn anew on a terminal, written on where it is none."""

import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from bongsu.cli.output import cut

if TYPE_CHECKING:
    from bongsu.install.commission import Status

_BAR = 20
_CLEAR = "\r\033[K"
_UP = "\033[{}A"
# How a step ended, for people.
ENDED: Mapping[str, str] = {"done": "done", "already": "done already", "failed": "FAILED", "left": "left out"}


class PortLines:
    """Shows statuses; from any thread. `ports`: in the order of their lines."""

    def __init__(self, ports: Sequence[str], stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._lines = {port: f"{port}  waits" for port in ports}
        self._said: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()
        self._drawn = False

    def show(self, status: "Status") -> None:
        """A port has something to say."""
        with self._lock:
            self._lines[status.port] = line(status, bar=self._live)
            if self._live:
                self._draw()
            elif self._is_news(status):
                print(self._lines[status.port], file=self._stream, flush=True)

    def tell(self, port: str, said: str) -> None:
        """A word that belongs to no step."""
        with self._lock:
            self._lines[port] = f"{port}  {said}"
            if self._live:
                self._draw()
            else:
                print(self._lines[port], file=self._stream, flush=True)

    def _is_news(self, status: "Status") -> bool:
        """Not every per cent: a line when what is done changes, and when a step has ended."""
        now = (status.step, status.said if status.works else status.state)
        before, self._said[status.port] = self._said.get(status.port), now
        return now != before and (not status.works or bool(status.said))

    def _draw(self) -> None:
        columns = shutil.get_terminal_size().columns
        head = _UP.format(len(self._lines)) if self._drawn else ""
        body = "".join(f"{_CLEAR}{cut(text, columns)}\n" for text in self._lines.values())
        self._stream.write(head + body)
        self._stream.flush()
        self._drawn = True


def line(status: "Status", *, bar: bool = True) -> str:
    """A status on one line; `bar`: with how far it is."""
    who = " ".join(part for part in (status.port, status.node_id, status.unit) if part)
    step = status.step.replace("_", " ")
    if not status.works:
        said = f": {status.said}" if status.said else ""
        return f"{who}  {step} {ENDED.get(status.state, status.state)}{said}"
    if bar and status.total > 1:
        full = _BAR * min(status.done, status.total) // status.total
        return f"{who}  {step} [{'#' * full}{'.' * (_BAR - full)}] {status.said}"
    return f"{who}  {step}: {status.said}" if status.said else f"{who}  {step} ..."
