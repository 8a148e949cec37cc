"""socket of the unix port, but without a network while Wi-Fi has no address.

The refusal comes in getaddrinfo(), which every connect passes: on the chip it comes from connect() itself, with the
same error.
"""

import errno

import _board
import network
import usocket

AF_INET = usocket.AF_INET
AF_INET6 = usocket.AF_INET6
SOCK_STREAM = usocket.SOCK_STREAM
SOCK_DGRAM = usocket.SOCK_DGRAM
SOL_SOCKET = usocket.SOL_SOCKET
SO_REUSEADDR = usocket.SO_REUSEADDR
SO_KEEPALIVE = usocket.SO_KEEPALIVE
IPPROTO_TCP = 6
TCP_NODELAY = 1
socket = usocket.socket


def getaddrinfo(host, port, af=0, type=0, proto=0, flags=0):
    if not network.up() and _board.state["wifi"] != "always":
        raise OSError(errno.EHOSTUNREACH)
    return usocket.getaddrinfo(host, port)
