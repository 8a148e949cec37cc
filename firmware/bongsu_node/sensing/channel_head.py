"""The relay of a certified detector head on its way to a decision. Pure; see channel.py."""

from bongsu_node.sensing.channel import Channel
from bongsu_node.sensing.hold import SAMPLE_MS
from bongsu_wire import kinds


class HeadChannel(Channel):
    """A certified detector head decides by itself; its relay must stand for the hold like any other condition. `bit`:
    what it detects, heat or smoke.
    """

    def __init__(self, bit: int, values, ticks_diff, period_ms: int = SAMPLE_MS) -> None:
        super().__init__(bit, kinds.Q_HEAD, values, ticks_diff, period_ms)

    @property
    def criterion(self) -> int:
        return kinds.CRIT_HEAD

    def _judge(self, now: int, value: int) -> None:
        self._fixed.sample(now, value > 0)
        self.below = value == 0
