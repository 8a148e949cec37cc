"""Why a node that was just provisioned is not heard, from what it complains of on its serial line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_UNJOINED = re.compile(r"^wifi unjoined net=(\d{1,9}) status=(-?\d{1,9})$")
_NO_BROKER = re.compile(r"^mqtt state=down why=(\S+) ")
# Of MicroPython's network.STAT_*, which are the driver's reasons: a handshake that ends without success (15 and 204
# by its time) is a wrong passphrase in most cases.
_REFUSED = (15, 202, 204)
_NOT_FOUND = (201, 210, 211, 212)
_WIFI, _BROKER = "Wi-Fi network ", "the broker is not reached"
_WRONG = "refuses the passphrase"
# A weak signal may cost a handshake or two; so often in a row it is the passphrase.
_REFUSALS = 3


@dataclass
class Complaints:
    """What a node complains of, as its lines come. ssids: its networks by their number on it, as far as they are known;
    networks: how many it has; words: the newest complaint, "" if there is none or it is over.
    """

    ssids: Sequence[str]
    networks: int
    words: str = ""
    _again: bool = False
    _refused: dict[int, int] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """A line of its log."""
        parts = line.split(" ", 2)
        if len(parts) != 3:
            return
        if parts[1] in ("W", "E"):
            self._count(parts[2])
            if words := in_words(parts[2], self.ssids):
                self._again = self._again or words == self.words
                self.words = words
        elif parts[2].startswith("wifi state=up"):  # what it complained of is over
            self.words, self._again = "", False
            self._refused.clear()

    def _count(self, complaint: str) -> None:
        if found := _UNJOINED.match(complaint):
            number = int(found[1])
            self._refused[number] = self._refused.get(number, 0) + 1 if int(found[2]) in _REFUSED else 0

    @property
    def said(self) -> str:
        """The words, once it complained more than once."""
        return self.words if self._again else ""

    @property
    def refused(self) -> str:
        """That every network refuses it again and again, in words; "": that is not so, or not yet."""
        if not self.networks or any(self._refused.get(number, 0) < _REFUSALS for number in range(self.networks)):
            return ""
        return ", ".join(f"{_name(number, self.ssids)} {_WRONG}" for number in range(self.networks))


def _name(number: int, ssids: Sequence[str]) -> str:
    return _WIFI + (f'"{ssids[number]}"' if number < len(ssids) else str(number + 1))


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
    name = _name(number, ssids)
    if status in _REFUSED:
        return f"{name} {_WRONG}"
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
