"""Combustible gas on its way to a decision. Pure; see channel.py."""

from bongsu_node.sensing import at
from bongsu_node.sensing.channel import Channel
from bongsu_node.sensing.hold import SAMPLE_MS
from bongsu_wire import kinds


class GasChannel(Channel):
    """Combustible gas by an index of a semiconductor: 100 x resistance in clean air / resistance now."""

    def __init__(self, values, ticks_diff, period_ms: int = SAMPLE_MS) -> None:
        super().__init__(kinds.GAS, kinds.Q_GAS_INDEX, values, ticks_diff, period_ms)

    @property
    def criterion(self) -> int:
        return kinds.CRIT_GAS

    def _judge(self, now: int, value: int) -> None:
        values = self._values
        self._fixed.sample(now, 0 < values[at.GAS_ALARM] <= value)
        self.below = value < values[at.GAS_CLEAR] or not values[at.GAS_ALARM]
