"""esp: what is left of it on an ESP32 that a program of ours may meet."""

import _board


def osdebug(level=None, log=None):
    pass


def flash_size():
    return _board.repl["flash_bytes"]
