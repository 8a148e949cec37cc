"""Is the receiver keeping up? Pure: monotonic times in s are arguments.

An alarm that waits for its acceptance too long is a fault of its incident already (dispatch_late); this is about the
receiver itself: its queue, and a writer that stands still.
"""

BACKLOG, WRITER = "backlog", "writer"
QUEUE_LONG, WRITER_STUCK = "queue_long", "writer_stuck"
# A burst of a whole market's alarms is done in less.
QUEUE_FOR_S = 5.0
STUCK_AFTER_S = 5.0
# A fault that the writer could not write while it stood is told when it works again, and stands for at least so long.
STANDS_S = 10.0


class Progress:
    """Whether something that counts up still does, while it has something to do."""

    def __init__(self, now_s: float) -> None:
        self._count: float | None = None
        self._since_s = now_s

    def stuck_s(self, count: float | None, now_s: float, has_work: bool = True) -> float:
        """Since when (in s) it has not counted, although there was work; 0.0: it works or has nothing to do."""
        if count != self._count or not has_work:
            self._count, self._since_s = count, now_s
        return now_s - self._since_s


class Lasting:
    """A condition that counts only if it lasts `for_s`, and then for at least `stands_s`."""

    def __init__(self, for_s: float, stands_s: float = 0.0) -> None:
        self._for_s, self._stands_s = for_s, stands_s
        self._since_s: float | None = None
        self._last_s: float | None = None

    def look(self, holds: bool, now_s: float) -> bool:
        """Does it count now? `holds`: at this moment."""
        if not holds:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        if self._since_s is not None and now_s - self._since_s >= self._for_s:
            self._last_s = now_s
        return self._last_s is not None and now_s - self._last_s <= self._stands_s
