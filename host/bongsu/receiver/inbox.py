"""What waits for the writer, and what of it makes a turn.

Whatever is there when a turn begins goes into it. Nobody waits for company but what is in no hurry: results of
deliveries, and heartbeats, which stay in the MQTT edge until a turn has room for some of them. Minutes before alarms
(histories.py) stand aside as well: however many a node sends, an alarm that comes among them is first.
"""

import queue
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from bongsu.receiver.histories import may_be_history
from bongsu.receiver.jobs import Done
from bongsu.receiver.mqtt_edge import Arrived, BeatsWait

GROUP_MAX = 512
# Results of deliveries may wait so long for company: each commit costs a flush of the disk, which alarms need.
_RESULTS_WAIT_S = 0.01
# Heartbeats as well: a thousand nodes a second must not mean a thousand turns. Few a turn, for an alarm may come
# meanwhile.
_BEATS_WAIT_S = 0.05
_BEATS_A_TURN = 16
# None in the turn of an alarm, unless that goes on: then so many that 1,600 a second are done beside the alarms.
_PUT_OFF_S = 0.05
_CATCH_UP_PER_S, _CATCH_UP_MAX = 1_600, 128
# Minutes before alarms: so many a turn, and beside alarms only if none was taken for _PUT_OFF_S. If more than this wait
# (no broker lets so many go unacknowledged), they go with the rest.
_MINUTES_A_TURN, _MINUTES_MAX = 16, 20_000


class Inbox:
    """The writer's queue. `put` may be called from any thread, the rest by the writer alone."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put = self._queue.put
        self._beats_taken_s = 0.0
        self._minutes: deque[Arrived] = deque()
        self._minutes_taken_s = 0.0

    def __len__(self) -> int:
        return self._queue.qsize()

    def get(self, timeout_s: float) -> Any:
        """The next one. Raises queue.Empty."""
        return self._queue.get(timeout=timeout_s)

    def gather(self, timeout_s: float | None, take_beats: Callable[[int], list[Arrived]]) -> list[Any]:
        """What makes the next turn; [] if the time was over first. `take_beats`: at most so many of the heartbeats."""
        items = self._gather(0.0 if self._minutes else timeout_s)
        beside_alarms = Arrived in map(type, items)
        if BeatsWait in map(type, items):
            items = [item for item in items if type(item) is not BeatsWait]
            most = self._room_for_beats(beside_alarms)
            if most == 0:
                self.put(BeatsWait(at_once=True))
            else:
                items += take_beats(most)
        return items + self._take_minutes(beside_alarms)

    def _gather(self, timeout_s: float | None) -> list[Any]:
        items: list[Any] = []
        try:
            self._take(items, timeout_s)
        except queue.Empty:
            return []
        begun_s = time.monotonic()
        self._take_waiting(items)
        while items and len(items) < GROUP_MAX and not self._minutes and (patience_s := _patience_s(items)):
            try:
                self._take(items, max(0.0, begun_s + patience_s - time.monotonic()))
            except queue.Empty:
                break
            self._take_waiting(items)
        return items

    def _put_aside(self, item: Any) -> bool:
        """Is it a minute before an alarm? Then it waits aside."""
        if type(item) is not Arrived or not may_be_history(item.data) or len(self._minutes) >= _MINUTES_MAX:
            return False
        self._minutes.append(item)
        return True

    def _take_minutes(self, beside_alarms: bool) -> list[Arrived]:
        now_s = time.monotonic()
        if not self._minutes or (beside_alarms and now_s - self._minutes_taken_s < _PUT_OFF_S):
            return []
        self._minutes_taken_s = now_s
        return [self._minutes.popleft() for _ in range(min(_MINUTES_A_TURN, len(self._minutes)))]

    def _room_for_beats(self, beside_alarms: bool) -> int:
        now_s = time.monotonic()
        waited_s = now_s - self._beats_taken_s
        if beside_alarms and waited_s < _PUT_OFF_S:
            return 0
        self._beats_taken_s = now_s
        return min(round(waited_s * _CATCH_UP_PER_S), _CATCH_UP_MAX) if beside_alarms else _BEATS_A_TURN

    def _take_waiting(self, items: list[Any]) -> None:
        while len(items) < GROUP_MAX and not self._queue.empty():
            self._take(items, None)

    def _take(self, items: list[Any], timeout_s: float | None) -> None:
        """The next one, into `items` or aside. Raises queue.Empty."""
        item = self._queue.get(timeout=timeout_s)
        if not self._put_aside(item):
            items.append(item)


def _patience_s(items: list[Any]) -> float:
    """How long this group may wait for company: 0 as soon as it holds anything that is in a hurry."""
    kinds = set(map(type, items))
    if not kinds <= {Done, BeatsWait} or any(type(item) is BeatsWait and item.at_once for item in items):
        return 0.0
    return _RESULTS_WAIT_S if Done in kinds else _BEATS_WAIT_S
