"""For esptool's process alone, on rfc2217:// ports (esptool.py puts this folder on its path; Python imports the file by
its name as it starts).

pyserial negotiates speed, parity and flow control anew, 0.1 s with its two waits of 50 ms, whenever a time-out is set,
and esptool sets two for each of some hundred commands. Here it does so only where one of these has changed: to look at
a chip takes 3 s in place of 23. Written against pyserial 3.5; another version that lacks what is named here stays as
it is.
"""

from typing import Any

from serial import rfc2217

_NEGOTIATED = ("_baudrate", "_bytesize", "_parity", "_stopbits", "_rtscts", "_xonxoff", "_write_timeout", "_socket")


def _only_changes(whole: Any) -> Any:
    def reconfigure(port: Any) -> None:
        wanted = tuple(getattr(port, name, None) for name in _NEGOTIATED)
        if getattr(port, "_bongsu_negotiated", None) != wanted:
            whole(port)
            port._bongsu_negotiated = wanted

    return reconfigure


if hasattr(rfc2217.Serial, "_reconfigure_port"):
    rfc2217.Serial._reconfigure_port = _only_changes(rfc2217.Serial._reconfigure_port)
