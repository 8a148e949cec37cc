"""The serial log of a board: its lines, parsed, and waiting for one of them."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(r"^(\d+) ([IWE]) (\S+) ?(.*)$")
_FIELD = re.compile(r"(\w+)=(\S*)")
_SHOWN_ON_TIMEOUT = 15


@dataclass(frozen=True)
class LogLine:
    """One line. `wall_s`: UTC seconds when the host read it; `ticks_ms`, `level`, `tag`, `fields` are None, "", "",
    {} if it is not a line of the log format (a traceback, say); `index` counts from 0."""

    index: int
    wall_s: float
    text: str
    ticks_ms: int | None = None
    level: str = ""
    tag: str = ""
    fields: dict[str, str] = field(default_factory=dict)


def parse(index: int, wall_s: float, text: str) -> LogLine:
    """`text` as a LogLine, whatever it holds."""
    match = _LINE.match(text)
    if match is None:
        return LogLine(index, wall_s, text)
    fields = dict(_FIELD.findall(match[4]))
    return LogLine(index, wall_s, text, int(match[1]), match[2], match[3], fields)


class SerialLog:
    """Lines as they come; also appended to `path`. Thread-safe."""

    def __init__(self, path: Path, changed: threading.Condition) -> None:
        self.lines: list[LogLine] = []
        self.listener: Callable[[LogLine], None] | None = None
        self._path = path
        self._changed = changed
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take bytes of the serial line."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if whole:
            self._add(whole)

    def end_of_life(self) -> None:
        """The interpreter is gone: what stands in the line buffer is a line."""
        rest, self._rest = self._rest, b""
        if rest:
            self._add([rest])

    def _add(self, whole: list[bytes]) -> None:
        now = time.time()
        with self._path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in whole))
        for raw in whole:
            line = parse(len(self.lines), now, raw.decode(errors="replace").rstrip("\r"))
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
            if self.listener is not None:
                self.listener(line)

    def find(self, pattern: re.Pattern[str], since: int) -> LogLine | None:
        """The first line at or after index `since` that the pattern is found in."""
        for line in self.lines[since:]:
            if pattern.search(line.text):
                return line
        return None

    def tail(self) -> str:
        """The last lines, for an error message."""
        return "\n".join(line.text for line in self.lines[-_SHOWN_ON_TIMEOUT:]) or "(no line yet)"
