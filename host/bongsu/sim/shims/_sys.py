"""sys as on an ESP32, for a board with a REPL, where people and programs ask it what it is. (The built-in one cannot be
changed.)"""

import sys as _real
from collections import namedtuple

import _board

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
stdout = _real.stdout
stderr = _real.stderr
exit = _real.exit
print_exception = _real.print_exception
