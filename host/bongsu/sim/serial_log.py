"""The serial log of a board: its lines, parsed, and waiting for one of them."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bongsu.install.node_log import LineCutter, LogLine, parse, text_of

__all__ = ["LogLine", "SerialLog"]

_SHOWN_ON_TIMEOUT = 15


class SerialLog:
    """Lines as they come; also appended to `path`. Thread-safe."""

    def __init__(self, path: Path, changed: threading.Condition) -> None:
        self.lines: list[LogLine] = []
        self.listener: Callable[[LogLine], None] | None = None
        self._path = path
        self._changed = changed
        self._cutter = LineCutter()

    def feed(self, data: bytes) -> None:
        """Take bytes of the serial line."""
        if whole := self._cutter.feed(data):
            self._add(whole)

    def end_of_life(self) -> None:
        """The interpreter is gone: what stands in the line buffer is a line."""
        if rest := self._cutter.end():
            self._add(rest)

    def _add(self, whole: list[bytes]) -> None:
        now = time.time()
        with self._path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in whole))
        for raw in whole:
            line = parse(len(self.lines), now, text_of(raw))
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
