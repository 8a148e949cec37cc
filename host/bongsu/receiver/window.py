"""The replay window of one key epoch's heartbeats: which uplink counters were accepted (DESIGN section 5). Pure.

Bit i of the bitmap stands for counter `high - i`. 63 counters are remembered: what is older cannot be told from a
replay and is refused.
"""

from enum import Enum

WIDTH = 63
_MASK = (1 << WIDTH) - 1


class Verdict(Enum):
    """What a counter is to the window."""

    NEW = "new"
    DUPLICATE = "duplicate"
    STALE = "replay"


def judge(high: int, bitmap: int, counter: int) -> tuple[int, int, Verdict]:
    """(high, bitmap) after `counter`, and what it is. An empty window is (0, 0); counters begin at 1."""
    ahead = counter - high
    if ahead > 0:
        return counter, ((bitmap << ahead) | 1) & _MASK if ahead < WIDTH else 1, Verdict.NEW
    behind = -ahead
    if behind >= WIDTH:
        return high, bitmap, Verdict.STALE
    bit = 1 << behind
    if bitmap & bit:
        return high, bitmap, Verdict.DUPLICATE
    return high, bitmap | bit, Verdict.NEW
