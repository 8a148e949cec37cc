"""The minute before an alarm on its way to the centre: sent after the alarm's receipt, kept until its own. Pure.

It lives in RAM: an alarm is never lost, its history may be by a restart.
"""

from bongsu_node.link.receipts import ticks_diff

ALARMS = 3  # whose histories are kept; the oldest goes
REPEAT_MS = 30_000


class Minutes:
    """Parts of histories, each until a receipt answers the frame that carried it."""

    def __init__(self) -> None:
        self._parts = []  # [event number, payload, counter of its newest sending (0: none on this connection), ticks]

    def keep(self, number: int, parts) -> None:
        """The history of alarm `number`, as payloads."""
        numbers = []
        self._parts = [part for part in self._parts if part[0] != number]
        for part in self._parts:
            if part[0] not in numbers:
                numbers.append(part[0])
        if len(numbers) >= ALARMS:
            self._parts = [part for part in self._parts if part[0] != numbers[0]]
        self._parts += [[number, data, 0, 0] for data in parts]

    def due(self, waiting, now_ms: int):
        """The next part to send at ticks `now_ms`, None without one. `waiting`: event numbers without a receipt: their
        histories wait too.
        """
        for part in self._parts:
            again = part[2] and ticks_diff(now_ms, part[3]) < REPEAT_MS
            if not again and part[0] not in waiting:
                return part
        return None

    def sent(self, part, counter: int, now_ms: int) -> None:
        """`part` went out in the frame with `counter`."""
        part[2] = counter
        part[3] = now_ms

    def answered(self, counter: int) -> None:
        """A receipt answers the frame with `counter`: what it carried is at the centre."""
        self._parts = [part for part in self._parts if part[2] != counter]

    def restart(self) -> None:
        """The connection is new: what has no receipt is sent anew."""
        for part in self._parts:
            part[2] = 0

    def __len__(self) -> int:
        return len(self._parts)
