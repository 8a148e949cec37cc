"""Why a node that was just provisioned is not heard, from what it complains of on its serial line."""

import re
from collections.abc import Sequence

_UNJOINED = re.compile(r"^wifi unjoined net=(\d{1,9}) status=(-?\d{1,9})$")
_NO_BROKER = re.compile(r"^mqtt state=down why=(\S+) ")
# Of MicroPython's network.STAT_*, which are the driver's reasons: a handshake that ends without success (15 and 204
# by its time) is a wrong passphrase in most cases.
_REFUSED = (15, 202, 204)
_NOT_FOUND = (201, 210, 211, 212)
_WIFI, _BROKER = "Wi-Fi network ", "the broker is not reached"


def in_words(complaint: str, ssids: Sequence[str]) -> str:
    """A complaint (tag and text) for people; "" if there is nothing in it that the one before does not say better.
    `ssids`: the networks by their number on the board, as far as they are known.
    """
    if complaint.startswith("wifi restart="):
        return ""
    if broker := _NO_BROKER.match(complaint):
        return f"{_BROKER} ({broker[1]})"
    found = _UNJOINED.match(complaint)
    if found is None:
        return complaint
    number, status = int(found[1]), int(found[2])
    name = _WIFI + (f'"{ssids[number]}"' if number < len(ssids) else str(number + 1))
    if status in _REFUSED:
        return f"{name} refuses the passphrase"
    if status in _NOT_FOUND:
        return f"{name} is not to be found"
    return f"{name} does not let it in (status {status})"


def next_step(words: str) -> str:
    """What to do about it, with a space behind it; "" if only the log helps."""
    if words.startswith(_WIFI):
        return (
            "Are name and passphrase right (--wifi SSID=FILE), and is it there on 2.4 GHz, strong enough?"
            " Then run this again. "
        )
    if words.startswith(_BROKER):
        return (
            "Can the board reach this machine (firewall, [broker] host in receiver.toml, --broker-ip), is its"
            " certificate for that address (bongsu doctor)? Then run this again. "
        )
    return ""
