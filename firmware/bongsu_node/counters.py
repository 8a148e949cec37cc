"""The node's identity: key, key epoch, and the numbers that must never come twice under one key (DESIGN section 5).

They live in NVS, namespace `bongsu`, as blobs:

    ident  version, key epoch, key of 16 bytes
    ctr    version, key epoch, counter ceiling, event-number ceiling: every number below its ceiling may have been used
    down   per sender its highest command counter, oldest sender first
    next   a key that waits to take over, if one does: see rotation.py

Numbers are reserved ahead: the ceilings go up by RESERVE in one commit before any number of the new block is used,
and after a restart numbers go on from the ceilings. A power cut costs numbers, never a repetition.
"""

import struct

from bongsu_wire.ccm import CcmKey
from bongsu_wire.topics import node_text

RESERVE = 256
# The next block is reserved while this many are left, so that a failing NVS is a fault to report before it is an end.
_MARGIN = 64
SENDERS_MAX = 8
VERSION = 1
CEILINGS = "<BBII"
SENDER = "<HI"
SENDER_LEN = 6
_LIMIT = 0xFFFFFFFF


class Exhausted(Exception):
    """No number may be used: NVS does not take the next reservation."""


class _Numbers:
    """One kind of number: the next to use, and the ceiling below which NVS has promised them."""

    def __init__(self, ceiling: int) -> None:
        self.next = max(ceiling, 1)
        self.ceiling = self.next

    def left(self) -> int:
        return self.ceiling - self.next


class Identity:
    """Made by provisioned.load(). nvs: where it lives; node: 6 bytes; node_text; epoch: 1..255; key: CcmKey;
    next_waits: another key waits to take over; failed: NVS refused a reservation.
    """

    def __init__(self, nvs, node: bytes, epoch: int, key: bytes, counter: int, event: int, senders) -> None:
        self.node = node
        self.node_text = node_text(node)
        self.epoch = epoch
        self.key = CcmKey(key)
        self.failed = False
        self.next_waits = False
        self.nvs = nvs
        self._counters = _Numbers(counter)
        self._events = _Numbers(event)
        self._senders = senders

    def next_counter(self) -> int:
        """A fresh uplink counter. Raises Exhausted."""
        return self._take(self._counters)

    def next_event_number(self) -> int:
        """A fresh event number. Raises Exhausted."""
        return self._take(self._events)

    def _take(self, numbers) -> int:
        if numbers.left() <= _MARGIN:
            self.reserve()
        if numbers.left() <= 0:
            raise Exhausted
        number = numbers.next
        numbers.next = number + 1
        return number

    def reserve(self) -> None:
        """Reserve the next block of what runs low, in one commit. At boot too: an alarm finds its number ready."""
        ceilings = []
        for n in (self._counters, self._events):
            ceilings.append(min(n.ceiling + RESERVE, _LIMIT) if n.left() <= _MARGIN else n.ceiling)
        try:
            self.nvs.set_blob("ctr", struct.pack(CEILINGS, VERSION, self.epoch, ceilings[0], ceilings[1]))
            self.nvs.commit()
        except Exception:
            self.failed = True
            return
        self.failed = False
        self._counters.ceiling, self._events.ceiling = ceilings

    def newest_command(self, sender: int) -> int:
        """The highest command counter that `sender` has used; 0 if it is new."""
        return self._senders.get(sender, (0, 0))[0]

    def note_command(self, sender: int, counter: int) -> None:
        """Store `sender`'s command counter, before the command is obeyed. Raises OSError if NVS does not take it.

        Of more than SENDERS_MAX senders the one heard of longest ago is forgotten: senders are replaced, not collected.
        """
        senders = dict(self._senders)
        senders[sender] = (counter, 1 + max([order for _, order in senders.values()], default=0))
        if len(senders) > SENDERS_MAX:
            del senders[min(senders, key=lambda s: senders[s][1])]
        data = b""
        for s in sorted(senders, key=lambda s: senders[s][1]):
            data += struct.pack(SENDER, s, senders[s][0])
        self.nvs.set_blob("down", data)
        self.nvs.commit()
        self._senders = senders
