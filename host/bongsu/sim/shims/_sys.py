"""sys as on an ESP32, for a board with a REPL, where people and programs ask it what it is. (The built-in one cannot be
changed.)"""

import io
import sys as _real
from collections import namedtuple

import _board

# Pieces that a pipe takes whole.
_PIECE = 512


class _Raw(io.IOBase):
    """sys.stdout.buffer: on a chip its line feeds stay as they are, so the console is to know them from those of
    print(). write(data), write(data, size) or write(data, offset, size)."""

    def write(self, data, *span):
        if span:
            offset, size = span if len(span) == 2 else (0, span[0])
            data = memoryview(data)[offset : offset + size]
        data = bytes(data)
        for i in range(0, len(data), _PIECE):
            _real.stdout.buffer.write(data[i : i + _PIECE].replace(b"\n", _LINE_FEED))
        return len(data)


class _Stdout(io.IOBase):
    buffer = _Raw()

    def write(self, data):
        return _real.stdout.write(data)


_LINE_FEED = _board.repl["raw_line_feed"].encode()

_Implementation = namedtuple("implementation", ("name", "version", "_machine", "_mpy", "_build"))
implementation = _Implementation(
    "micropython", (1, 29, 0, ""), _board.repl["machine"], _board.repl["mpy"], _board.repl["build"]
)
version = "3.4.0; MicroPython v1.29.0 on 2026-07-05"
version_info = (3, 4, 0)
platform = "esp32"
byteorder = "little"
maxsize = 0x7FFFFFFF
argv = _real.argv
path = _real.path
modules = _real.modules
stdin = _real.stdin
stdout = _Stdout()
stderr = stdout
exit = _real.exit
print_exception = _real.print_exception
