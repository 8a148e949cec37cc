"""Who has fallen silent, pure: monotonic times in ms are arguments.

Silence counts from when receiver and broker were both up: while the receiver's own link is down nobody can be heard, so
nobody is silent; one link fault stands for all, and afterwards every node gets the whole time again.
"""

from collections import OrderedDict
from itertools import takewhile
from zlib import crc32

# A heartbeat proves that the node lives now only if it echoes a server time this young, the way included (DESIGN 5).
ECHO_MAX_AGE_MS = 120_000
# A heartbeat is answered (which gives the node the server's time) if what it echoes is older: with 45 s between
# heartbeats every other one is, and one answer that gets lost costs one sign of life, not the node's good name.
ANSWER_AFTER_MS = 60_000
# After an outage all nodes of a city were answered within 45 s, and all would be answered again in the same 45 s of
# every 90: each second time of such a span half of the nodes may be answered early, so that answers spread out.
ANSWER_EARLY_MS = 40_000
_SPAN_MS = 45_000
# The receiver's own link: so long without the broker is a fault of its own.
LINK_FAULT_AFTER_MS = 20_000


def echo_is_fresh(now_ms: int, echo_server_ms: int, echo_age_ms: int) -> bool:
    """True if a heartbeat was made less than 120 s ago by the receiver's own clock.

    It carries the newest server time that the node had (0: none) and the ms since then; their sum is when it was made.
    A frame that somebody held back keeps its sum and grows old. A sum in the future means that this clock was set back
    since: the same span is allowed.
    """
    if not echo_server_ms:
        return False
    return -ECHO_MAX_AGE_MS < now_ms - (echo_server_ms + echo_age_ms) < ECHO_MAX_AGE_MS


def wants_answer(node: str, echo_age_ms: int, now_ms: int) -> bool:
    """Is a heartbeat to be answered that echoes a server time this old? `now_ms`: UTC."""
    its_span = (now_ms // _SPAN_MS + crc32(node.encode())) % 2 == 0
    return echo_age_ms > (ANSWER_EARLY_MS if its_span else ANSWER_AFTER_MS)


class Liveness:
    """When each watched node was last seen, in that order."""

    def __init__(self, silent_after_ms: int) -> None:
        self._silent_after_ms = silent_after_ms
        self._seen_ms: OrderedDict[str, int] = OrderedDict()
        self._newest_ms: int | None = None  # of all times in it
        self._disordered = False  # times were put in that are not the newest: sorted before it is read
        self.silent: set[str] = set()
        self.generation = 0  # counts up whenever other nodes are watched than before
        self._down_since_ms: int | None = None
        self._link_fault = False

    def watch(self, node: str, now_ms: int, silent: bool = False) -> None:
        """Begin to watch a node, as if seen now; `silent`: it was found silent before this process began."""
        if node in self._seen_ms or node in self.silent:
            return
        self.generation += 1
        if silent:
            self.silent.add(node)
        else:
            self._put_last(node, now_ms)

    def _put_last(self, node: str, now_ms: int) -> None:
        """Seen now. A grace may have put the others later than now: then it shares in it."""
        newest = self._newest_ms = now_ms if self._newest_ms is None else max(now_ms, self._newest_ms)
        self._seen_ms[node] = newest
        self._seen_ms.move_to_end(node)

    def _in_order(self) -> "OrderedDict[str, int]":
        if self._disordered:
            self._seen_ms = OrderedDict(sorted(self._seen_ms.items(), key=lambda item: item[1]))
            self._disordered = False
        return self._seen_ms

    def seen_in_order(self) -> list[int]:
        """The times at which the nodes that are not silent were last seen, oldest first."""
        return list(self._in_order().values())

    def unstored(self, stored: set[str], now_ms: int) -> None:
        """A transaction failed: what is not in the store as silent is found silent once more."""
        for node in self.silent - stored:
            self.silent.discard(node)
            self._seen_ms[node] = now_ms - self._silent_after_ms
            self._disordered = True
        self._link_fault = False

    def link_fault_stands(self, stands: bool) -> None:
        """The store says, at first or after a failed transaction, whether the fault of the own link stands."""
        self._link_fault = stands

    def link_fault_over(self) -> bool:
        """True, once, if the link is up and its fault still stands."""
        over = self._link_fault and self._down_since_ms is None
        self._link_fault = self._link_fault and not over
        return over

    def heard_elsewhere(self, node: str, seen_ms: int) -> None:
        """Another receiver heard the node at `seen_ms`, later than this one."""
        self.silent.discard(node)
        self._seen_ms[node] = seen_ms
        self._newest_ms = seen_ms if self._newest_ms is None else max(seen_ms, self._newest_ms)
        self._disordered = True

    def told(self, node: str, silent: bool, now_ms: int) -> None:
        """The store says whether the node is silent."""
        if silent and node in self._seen_ms:
            del self._seen_ms[node]
            self.silent.add(node)
        elif not silent and node in self.silent:
            self.seen(node, now_ms)

    def forget(self, node: str) -> None:
        """The node left service."""
        self.generation += 1
        self._seen_ms.pop(node, None)
        self.silent.discard(node)

    @property
    def is_down(self) -> bool:
        """Is the receiver's own link down?"""
        return self._down_since_ms is not None

    def not_heard_since(self, mono_ms: int) -> list[str]:
        """Nodes that were last seen before this, and have not been found silent yet."""
        seen_ms = self._in_order()
        return list(takewhile(lambda node: seen_ms[node] < mono_ms, seen_ms))

    def __len__(self) -> int:
        return len(self._seen_ms) + len(self.silent)

    def watched(self) -> set[str]:
        """All nodes that are watched."""
        return self.silent.union(self._seen_ms)

    def seen(self, node: str, now_ms: int) -> bool:
        """The node gave a sign of life. Returns True if it had been silent."""
        was_silent = node in self.silent
        if not was_silent and node not in self._seen_ms:
            self.generation += 1
        self.silent.discard(node)
        self._put_last(node, now_ms)
        return was_silent

    def link_down(self, now_ms: int) -> None:
        """The receiver lost the broker."""
        if self._down_since_ms is None:
            self._down_since_ms = now_ms

    def link_up(self, now_ms: int, grace_ms: int | None = None) -> bool:
        """The broker is back (or there at first): every node gets `grace_ms` from now (None: the whole time). Returns
        True if this ends a link fault.
        """
        if self._down_since_ms is None:
            return False
        down_ms, self._down_since_ms = now_ms - self._down_since_ms, None
        if grace_ms is None and not self._link_fault:  # a blip: nobody could be heard for so long, and no longer
            last_ms = max(now_ms, self._newest_ms or now_ms)
            for node in self._seen_ms:
                self._seen_ms[node] = min(self._seen_ms[node] + down_ms, last_ms)
            self._newest_ms = last_ms
            return False
        start = now_ms if grace_ms is None else now_ms + grace_ms - self._silent_after_ms
        for node in self._seen_ms:
            self._seen_ms[node] = start
        self._newest_ms, self._disordered = start, False
        ended, self._link_fault = self._link_fault, False
        return ended

    def due_ms(self) -> int | None:
        """When `expire` is to be called next; None: not before something changes."""
        if self._down_since_ms is not None:
            return None if self._link_fault else self._down_since_ms + LINK_FAULT_AFTER_MS
        if self._link_fault:
            return 0  # `link_fault_over` is to be asked
        if not self._seen_ms:
            return None
        return next(iter(self._in_order().values())) + self._silent_after_ms

    def expire(self, now_ms: int) -> tuple[list[str], bool]:
        """Nodes that have fallen silent by now, and whether a link fault begins now."""
        if self._down_since_ms is not None:
            begins = not self._link_fault and now_ms - self._down_since_ms >= LINK_FAULT_AFTER_MS
            self._link_fault = self._link_fault or begins
            return [], begins
        fallen = []
        for node, seen_ms in self._in_order().items():
            if now_ms - seen_ms < self._silent_after_ms:
                break
            fallen.append(node)
        for node in fallen:
            del self._seen_ms[node]
            self.silent.add(node)
        return fallen, False
