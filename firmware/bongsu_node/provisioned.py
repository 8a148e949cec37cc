"""The identity as NVS has it (see counters.py), read once at the start; the app forgets this module then."""

import struct

from bongsu_node import counters
from bongsu_node.rotation import at_start, blob

NAMESPACE = "bongsu"
_IDENT = "<BB16s"


class Unprovisioned(Exception):
    """The node has no usable identity. `missing`: what is missing or does not fit."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing


def _senders(data: bytes):
    """{sender: (counter, order)} of the `down` blob; a damaged one is empty: commands must be fresh in any case."""
    if len(data) % counters.SENDER_LEN:
        return {}
    found = {}
    for i in range(0, len(data), counters.SENDER_LEN):
        sender, counter = struct.unpack(counters.SENDER, data[i : i + counters.SENDER_LEN])
        found[sender] = (counter, i)
    return found


def load(nvs, node: bytes) -> counters.Identity:
    """The identity in `nvs` (esp32.NVS of the namespace; None if it cannot be opened) of the node with MAC `node`.
    Raises Unprovisioned.
    """
    ident = blob(nvs, "ident", 18)
    ctr = blob(nvs, "ctr", 10)
    if len(ident) != 18:
        raise Unprovisioned("ident")
    if len(ctr) != 10:
        raise Unprovisioned("ctr")
    ident, waits = at_start(nvs, ident)
    version, epoch, key = struct.unpack(_IDENT, ident)
    ctr_version, ctr_epoch, counter, event = struct.unpack(counters.CEILINGS, ctr)
    if version != counters.VERSION or ctr_version != counters.VERSION:
        raise Unprovisioned("version")
    if not epoch or epoch != ctr_epoch:
        raise Unprovisioned("epoch")
    senders = _senders(blob(nvs, "down", counters.SENDERS_MAX * counters.SENDER_LEN))
    identity = counters.Identity(nvs, node, epoch, key, counter, event, senders)
    identity.next_waits = waits
    identity.reserve()
    return identity
