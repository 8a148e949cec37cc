"""Humidity: what tells steam from smoke. Pure; see channel.py."""

from bongsu_node.sensing import at
from bongsu_node.sensing.channel import Channel
from bongsu_node.sensing.filters import Trend
from bongsu_node.sensing.hold import SAMPLE_MS
from bongsu_wire import kinds

_RISE_S = 300  # a steamer steams for minutes
_DAMP_RISE_HALF = 4  # air that is damp already has no room for the full rise; the monsoon's does not rise at all


class HumidityChannel(Channel):
    """Relative humidity, 0.5 %: no phenomenon of its own; steamy: smoke may be steam now."""

    def __init__(self, values, ticks_diff, period_ms: int = SAMPLE_MS) -> None:
        super().__init__(0, kinds.Q_HUMIDITY_HALF, values, ticks_diff, period_ms)
        self._trend = Trend(_RISE_S, ticks_diff)
        self._steamy = False

    @property
    def steamy(self) -> bool:
        """Smoke may be steam. A dead sensor cannot say so."""
        return self._steamy and self.alive

    def missed(self, now: int) -> None:
        super().missed(now)
        self._trend.missed(now)

    def _judge(self, now: int, value: int) -> None:
        values, trend = self._values, self._trend
        trend.step(now, value)
        rise = value - trend.low
        damp = value >= values[at.STEAM_RH] and rise >= _DAMP_RISE_HALF
        self._steamy = damp or rise >= values[at.STEAM_RISE]
