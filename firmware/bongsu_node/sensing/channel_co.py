"""Carbon monoxide as an alarm of its own: how much for how long (EN 50291-1, 5.3.6). Pure.

| CO      | no alarm before | alarm before |
|---------|-----------------|--------------|
| 30 ppm  | 120 min         | -            |
| 50 ppm  | 60 min          | 90 min       |
| 100 ppm | 10 min          | 40 min       |
| 300 ppm | -               | 3 min        |

The standard tries each with a tolerance of 10 % of the gas, and a sensor of this class has as much: a level counts from
10 % below, and alarms in the middle of its two times.
"""

from bongsu_node.sensing import at
from bongsu_node.sensing.channel import VOTE_POLLS, Channel
from bongsu_node.sensing.hold import SAMPLE_MS
from bongsu_wire import kinds

# (0.1 ppm, seconds). The times are counted, not held: air that flickers about a level is as bad for who breathes it. So
# each counter runs down as fast as it ran up.
LEVELS = ((450, 4500), (900, 1500), (2700, 120))
_CLEAR_DPPM = 300


class CoChannel(Channel):
    """Carbon monoxide, 0.1 ppm."""

    def __init__(self, values, ticks_diff, period_ms: int = SAMPLE_MS) -> None:
        super().__init__(kinds.CO, kinds.Q_CO_DPPM, values, ticks_diff, period_ms)
        self._diff = ticks_diff
        self._last = 0
        self._ms = -1
        self._counted_s = [0] * len(LEVELS)
        self._done = False

    @property
    def fulfilled(self) -> bool:
        return self._done

    @property
    def criterion(self) -> int:
        return kinds.CRIT_CO

    @property
    def held_ms(self) -> int:
        return max(self._counted_s) * 1000

    @property
    def rising(self) -> bool:
        # A dose of minutes and hours must not keep the link from connecting.
        return False

    @property
    def begun(self) -> bool:
        return (max(self._counted_s) > 0 or (self.small and self._gone > 0)) and self._gone < VOTE_POLLS

    def end_hold(self) -> None:
        for i in range(len(LEVELS)):
            self._counted_s[i] = 0
        self._done = False

    def _judge(self, now: int, value: int) -> None:
        self.small = self.votes = value >= self._values[at.CO_SMALL]
        self.below = value < _CLEAR_DPPM
        step = self._diff(now, self._last)
        self._last = now
        if self._ms < 0:
            self._ms = step = 0
        # A gap counts as two periods, as in a hold: what was not measured is no evidence.
        self._ms += step if 0 < step <= 2 * self.period_ms else 2 * self.period_ms if step > 0 else 0
        while self._ms >= 1000:
            self._ms -= 1000
            self._second(value)

    def _second(self, value: int) -> None:
        done = False
        counted = self._counted_s
        for i in range(len(LEVELS)):
            dppm, need_s = LEVELS[i]
            if value >= dppm:
                counted[i] += counted[i] < need_s
            elif counted[i]:
                counted[i] -= 1
            done = done or counted[i] >= need_s
        self._done = done
