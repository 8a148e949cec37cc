"""A node's log on its serial line (firmware/bongsu_node/log.py): `<ticks_ms> <LEVEL> <tag> key=value ...`, cut out of
the bytes and parsed. Whatever else comes over the line (a boot message, a traceback, noise) is a line without level.
"""

import re
from dataclasses import dataclass, field

# From the least to the worst: information, warning, error.
LEVELS = ("I", "W", "E")
# Noise without any line end must not fill the memory.
LONGEST_LINE = 4096

_LINE = re.compile(r"^(\d{1,10}) ([IWE]) (\S+) ?(.*)$")
_FIELD = re.compile(r"(\w+)=(\S*)")


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


class LineCutter:
    """Cuts the bytes of a serial line into lines, without their ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now; more than LONGEST_LINE bytes without an end are a line too."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LONGEST_LINE:
            whole.append(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]
        return whole

    def end(self) -> list[bytes]:
        """Nothing more comes: what has no end is a line."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def text_of(raw: bytes) -> str:
    """A line's text; bytes that are no UTF-8 become replacement characters."""
    return raw.decode(errors="replace").rstrip("\r")
