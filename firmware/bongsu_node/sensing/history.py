"""The minute before an alarm: one row a second, kept in a ring. No allocation while it is filled."""

from array import array

from bongsu_wire import measured

ROWS = 60
STEP_MS = 1_000
# Columns, in this order, as far as the node has them: what an alarm is judged by.
_MOST_COLUMNS = 4


class History:
    """`quantities`: kinds.Q_* of the columns, at most 4 of them are kept."""

    def __init__(self, quantities, ticks_diff) -> None:
        self.quantities = list(quantities)[:_MOST_COLUMNS]
        self._columns = len(self.quantities)
        self._ring = array("H", bytes(2 * ROWS * self._columns))
        self._next = 0
        self._rows = 0
        self._ms = STEP_MS
        self._last = 0
        self._diff = ticks_diff

    def step(self, now: int, judge) -> None:
        """Take a row a second; `judge.value(quantity)` gives the values."""
        step = self._diff(now, self._last)
        self._last = now
        self._ms += step if 0 < step < STEP_MS else STEP_MS if step else 0
        if self._ms < STEP_MS:
            return
        self._ms -= STEP_MS
        self._put(judge)

    def _put(self, judge) -> None:
        at = self._next * self._columns
        for i in range(self._columns):
            self._ring[at + i] = judge.value(self.quantities[i])
        self._next = (self._next + 1) % ROWS
        self._rows += self._rows < ROWS

    def parts(self, number: int, judge):
        """The history as payloads (measured.History) that fit a frame each; the last row is of now. `number`: of the
        alarm's event.
        """
        self._put(judge)
        values = []
        for row in range(self._next - self._rows, self._next):
            at = row % ROWS * self._columns
            values.extend(self._ring[at : at + self._columns])
        most = measured.history_rows(self._columns)
        made = []
        for first in range(0, self._rows, most):
            cells = values[first * self._columns : (first + most) * self._columns]
            history = measured.History(number, STEP_MS, self._rows, first, self.quantities, cells)
            made.append(measured.encode_history(history))
        return made
