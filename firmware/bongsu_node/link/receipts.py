"""Which answers of the receiver prove what, and when an event is sent again. Pure: ticks are arguments.

Everything here forgets: no tick anchor lives longer than a minute or so (ticks wrap), and the tables are bounded.
"""

try:
    from time import ticks_diff
except ImportError:  # CPython

    def ticks_diff(a: int, b: int) -> int:  # type: ignore[no-redef]
        """a - b for ticks that wrap at 2^30."""
        return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000


# A receipt gives the time only if it answers a frame sent less than this ago: the error of the clock is at most as
# large (DESIGN section 5).
TIME_WITHIN_MS = 30_000
# A command quotes a frame sent less than this ago, so a held-back one cannot act later.
COMMAND_WITHIN_MS = 60_000
# Pauses between the sendings of one event that no receipt ends; the last one repeats for ever.
REPEAT_AFTER_MS = (5_000, 10_000, 20_000, 40_000, 60_000)


class SentCounters:
    """The uplink counters sent in the last minute of this boot. `capacity`: how many are kept; the receiver quotes the
    newest ones."""

    def __init__(self, capacity: int = 48) -> None:
        self._capacity = capacity
        self._sent = []  # [counter, ticks, time taken], oldest first
        self.newest = 0

    def add(self, counter: int, now_ms: int) -> None:
        """Note that a frame with `counter` is sent at ticks `now_ms`."""
        self.forget_old(now_ms)
        if len(self._sent) >= self._capacity:
            self._sent.pop(0)
        self._sent.append([counter, now_ms, False])
        self.newest = counter

    def forget_old(self, now_ms: int) -> None:
        """Drop what nothing may quote any more; to be called at least every few days."""
        while self._sent and ticks_diff(now_ms, self._sent[0][1]) >= COMMAND_WITHIN_MS:
            self._sent.pop(0)

    def fresh(self, counter: int, now_ms: int) -> bool:
        """True if `counter` was sent by this boot less than COMMAND_WITHIN_MS ago."""
        self.forget_old(now_ms)
        return any([entry[0] == counter for entry in self._sent])

    def gives_time(self, counter: int, now_ms: int) -> bool:
        """True, once for each counter, if an answer to `counter` may set the clock at ticks `now_ms`."""
        self.forget_old(now_ms)
        for entry in self._sent:
            if entry[0] == counter and not entry[2] and ticks_diff(now_ms, entry[1]) < TIME_WITHIN_MS:
                entry[2] = True
                return True
        return False


class RepeatSchedule:
    """When each unreceipted event is to be sent (again)."""

    def __init__(self, after_ms=REPEAT_AFTER_MS) -> None:
        self._after_ms = after_ms
        self._events = {}  # number -> [ticks of the first sending on this connection, of the last one, sendings]

    def restart(self) -> None:
        """Everything is due at once: the connection is new."""
        self._events.clear()

    def __len__(self) -> int:
        return len(self._events)

    def forget_all_but(self, numbers) -> None:
        """Events that the journal gave up, or merged into another, are not repeated."""
        for number in list(self._events):
            if number not in numbers:
                del self._events[number]

    def due_in_ms(self, number: int, now_ms: int) -> int:
        """ms until `number` is to be sent; 0 or less: now."""
        entry = self._events.get(number)
        if entry is None:
            return 0
        pause = self._after_ms[min(entry[2], len(self._after_ms)) - 1]
        return pause - ticks_diff(now_ms, entry[1])

    def sent(self, number: int, now_ms: int) -> None:
        """Note a sending."""
        entry = self._events.get(number)
        if entry is None:
            self._events[number] = [now_ms, now_ms, 1]
        else:
            entry[1] = now_ms
            entry[2] += 1

    def done(self, number: int, now_ms: int):
        """Forget a receipted event; return the ms since its first sending on this connection, None if it was not sent
        on it."""
        entry = self._events.pop(number, None)
        return None if entry is None else ticks_diff(now_ms, entry[0])
