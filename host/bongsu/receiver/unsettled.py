"""Which open incidents responders have yet to be told of: what is held back, and what was verified later. Pure.

Each waits at the monotonic clock: no step of the wall clock makes an alarm wait longer, and after a restart none waits
longer than it may in all.
"""

import heapq

from bongsu.receiver import policy
from bongsu.receiver.incidents import Incident


class Unsettled:
    """Incidents that wait, by when they are due. The casebook notes every incident that it takes in or changes."""

    def __init__(self) -> None:
        self._waits: dict[int, tuple[int, int]] = {}  # id -> (held_until_ms, longest wait in ms)
        self._fresh: list[int] = []
        self._due: dict[tuple[int, int], int] = {}  # (id, held_until_ms) -> monotonic ms
        self._heap: list[tuple[int, int, int]] = []

    def clear(self) -> None:
        """The incidents are read anew. What is known of their times stays: it counts on where it was."""
        self._waits.clear()
        self._fresh.clear()

    def note(self, incident: Incident) -> None:
        """The incident as it is now."""
        if policy.is_held(incident):
            wait = (incident.held_until_ms or 0, policy.longest_hold_ms(incident))
        elif policy.owes_update(incident):
            wait = (0, 0)
        else:
            if self._waits:
                self._waits.pop(incident.id, None)
            return
        self._waits[incident.id] = wait
        self._fresh.append(incident.id)

    def forget(self, incident_id: int) -> None:
        """It was closed."""
        self._waits.pop(incident_id, None)

    def due_ms(self, now_ms: int, mono_ms: int) -> int | None:
        """When the first is due (monotonic ms); None: nothing waits. `now_ms`: UTC."""
        self._take_fresh(now_ms, mono_ms)
        while self._heap and not self._is_current(self._heap[0]):
            _, incident_id, until_ms = heapq.heappop(self._heap)
            if self._waits.get(incident_id, (None,))[0] != until_ms:
                self._due.pop((incident_id, until_ms), None)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_ms: int, mono_ms: int) -> list[int]:
        """Ids of those whose time has come."""
        found = []
        while (due := self.due_ms(now_ms, mono_ms)) is not None and due <= mono_ms:
            _, incident_id, until_ms = heapq.heappop(self._heap)
            del self._waits[incident_id]
            self._due.pop((incident_id, until_ms), None)
            found.append(incident_id)
        return found

    def _is_current(self, entry: tuple[int, int, int]) -> bool:
        due_ms, incident_id, until_ms = entry
        wait = self._waits.get(incident_id)
        return wait is not None and wait[0] == until_ms and self._due.get((incident_id, until_ms)) == due_ms

    def _take_fresh(self, now_ms: int, mono_ms: int) -> None:
        for incident_id in self._fresh:
            wait = self._waits.get(incident_id)
            if wait is None:
                continue
            until_ms, longest_ms = wait
            key = incident_id, until_ms
            if key not in self._due:
                left_ms = min(max(0, until_ms - now_ms), longest_ms) if until_ms else 0
                self._due[key] = mono_ms + left_ms
            heapq.heappush(self._heap, (self._due[key], incident_id, until_ms))
        self._fresh.clear()
