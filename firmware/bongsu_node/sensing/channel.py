"""One measured quantity of a phenomenon on its way to a decision: filter, fixed threshold, rate of rise, small change.

Every channel has: bit (kinds.*); quantity (kinds.Q_*); value: newest filtered one, UNKNOWN without; small: a small
change is there; votes: it counts for a fusion, being no fall; fulfilled: a criterion of its own has held; criterion,
held_ms: which, and how long; below: nothing of it is left, so that an alarm may end; rising: a hold is under way;
failed: its sensor is a fault (set by the probe). A sensor that dies leaves all of it as it was: a fault never ends an
alarm, nor takes back half of one.

Pure. Integers within +-2^30, no allocation per sample.
"""

from bongsu_node.sensing import at
from bongsu_node.sensing.baseline import Baseline
from bongsu_node.sensing.filters import Median3, Trend
from bongsu_node.sensing.hold import HOLD_MS, SAMPLE_MS, Hold
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN

_DEAD_MS = 2_000  # without a sample: a frozen hold no longer keeps the link from connecting, for its fault must get out
# A sensor that dies while it was up keeps its half of a fusion for 5 min (polls of 250 ms): what burnt it shows by
# then, and an old vote must not make an alarm of a warm afternoon.
VOTE_POLLS = 1_200
_HEAT_RISE_S = 20
_HEAT_SMALL_S = 120
_SMOKE_RISE_S = 30
_ALONE_TOTAL_DK = 40  # least rise within 120 s where heat must decide alone: no heating warms a room so fast
# A rate of rise counts only while it has not turned into a fall: what a lighter or a spray left behind dies away for
# longer than the hold. Beyond the noise of the sensors, over 3 s.
_TURN_S = 3
_HEAT_NOISE_DK = 2
_SMOKE_NOISE_E4 = 20
_SLOW_MS = 30_000
# A fall by 20 K in 3 s is a flame that was taken away; how hot the thermometer still is then is no evidence either way.
_FLAME_GONE_DK = 200


class Channel:
    """What all of them share. `values`: limits in the order of limits.NAMES; `period_ms` of its sensor's values."""

    waits = False  # its decision may be steam's doing, and waits while the air is steamy

    def __init__(self, bit: int, quantity: int, values, ticks_diff, period_ms: int = SAMPLE_MS) -> None:
        self.bit = bit
        self.quantity = quantity
        self.value = UNKNOWN
        self.small = False
        self.votes = False
        self.below = False
        self.idle = True  # its sensor warms up: it has nothing to say yet
        self.fresh = False  # for who looks at several channels together: sets it back
        self.failed = False
        self.alone = False  # no sensor that would confirm it is at work
        self.period_ms = period_ms
        self._values = values
        # A median of three would make the decision minutes late: a slow sensor filters for itself.
        self._filter = Median3() if period_ms < _SLOW_MS else None
        self._fixed = Hold(HOLD_MS, ticks_diff, period_ms)
        self._rise = Hold(HOLD_MS, ticks_diff, period_ms)
        self._missed = 0
        self._gone = 0
        self._dead = _DEAD_MS // period_ms + 1

    @property
    def fulfilled(self) -> bool:
        """A criterion of this channel alone has held."""
        return self._fixed.done or self._rise.done

    @property
    def criterion(self) -> int:
        """kinds.CRIT_* of the criterion that has held."""
        return 0

    @property
    def held_ms(self) -> int:
        """How long the criterion that has held longest has."""
        return max(self._fixed.held_ms, self._rise.held_ms)

    @property
    def rising(self) -> bool:
        """A hold is under way, and not by a dead sensor: the node must not do anything that blocks."""
        fixed, rise = self._fixed, self._rise
        holds = (fixed.active and not fixed.done) or (rise.active and not rise.done)
        return holds and self._missed < self._dead

    @property
    def active(self) -> bool:
        """The newest sample was high by some criterion."""
        return self._fixed.active or self._rise.active

    @property
    def begun(self) -> bool:
        """It has seen what may become an alarm, and would not see it again after a restart."""
        return (self.active or (self.small and self._gone > 0)) and self._gone < VOTE_POLLS

    @property
    def alive(self) -> bool:
        """Its sensor gives values."""
        return not self.failed and self._missed < self._dead

    def sample(self, now: int, raw: int) -> None:
        """Take a sensor's value of ticks `now`."""
        self._missed = 0
        self._gone = 0
        self.idle = False
        self.fresh = True
        median = self._filter
        self.value = raw if median is None else median.update(raw)
        if median is None or median.full:
            self._judge(now, self.value)

    def missed(self, now: int) -> None:
        """The sensor gave nothing at ticks `now`, where it should have."""
        self._missed += self._missed < self._dead
        if self._missed == self._dead and self._filter is not None:
            self._filter.restart()
        self._gone += self._gone < VOTE_POLLS
        if self._gone == VOTE_POLLS:
            self.small = self.votes = False
        self._fixed.missed(now)
        self._rise.missed(now)

    def forget_value(self) -> None:
        """Its sensor is a fault: there is no value to show. What it said before stands."""
        self.value = UNKNOWN

    def end_hold(self) -> None:
        """After a reset by hand every criterion must hold anew."""
        self._fixed.sample(0, False)
        self._rise.sample(0, False)
        self.small = self.votes = False

    def _judge(self, now: int, value: int) -> None:
        raise NotImplementedError


class HeatChannel(Channel):
    """Temperature, 0.1 K. Class A1 of EN 54-5 for the fixed limit; rate of rise as its variant R; a small change is a
    rise within two minutes, so that a warming morning is none.
    """

    def __init__(self, values, ticks_diff, period_ms: int = SAMPLE_MS) -> None:
        super().__init__(kinds.HEAT, kinds.Q_TEMP_DK, values, ticks_diff, period_ms)
        self._trend = Trend(_HEAT_SMALL_S, ticks_diff)

    @property
    def criterion(self) -> int:
        if self._fixed.done:
            return kinds.CRIT_HEAT_FIXED
        return kinds.CRIT_HEAT_ALONE if self.alone and self._values[at.HEAT_ALONE] else kinds.CRIT_HEAT_RISE

    @property
    def begun(self) -> bool:
        return self.small or (self.active and self._gone < VOTE_POLLS)

    def missed(self, now: int) -> None:
        super().missed(now)
        self._trend.missed(now)

    def _judge(self, now: int, value: int) -> None:
        values, trend = self._values, self._trend
        trend.step(now, value)
        gained = value - trend.low
        on = value + _HEAT_NOISE_DK + (gained >> 3) >= trend.past(_TURN_S)  # flames swirl: an eighth is no fall
        self.small = gained >= values[at.HEAT_SMALL]
        # Heat that has come to rest is warm air; that of a fire goes on: the last 20 s brought three fifths of it, or
        # the two minutes twice as much.
        lately = value - trend.past(_HEAT_RISE_S)
        much = lately * 5 >= values[at.HEAT_SMALL] * 3 or gained >= values[at.HEAT_SMALL] * 2
        self.votes = self.small and on and much
        high = value >= values[at.HEAT_ALARM]
        if high and value + _FLAME_GONE_DK < trend.past(_TURN_S):
            self._fixed.missed(now)
        else:
            self._fixed.sample(now, high)
        self.waits = not self._fixed.done  # a steamer warms a thermometer by 25 K within two minutes
        rate, total = values[at.HEAT_RISE], values[at.HEAT_RISE_TOTAL]
        if self.alone and values[at.HEAT_ALONE]:
            rate, total = values[at.HEAT_ALONE], _ALONE_TOTAL_DK
        fast = lately * 60 >= rate * _HEAT_RISE_S
        self._rise.sample(now, rate > 0 and fast and on and gained >= total)
        self.below = value < values[at.HEAT_CLEAR] and not self.small


class SmokeChannel(Channel):
    """Optical density, 1e-4/m, judged above its baseline (EN 54-7). `start_e4`: the baseline as it was kept."""

    waits = True

    def __init__(self, values, ticks_diff, period_ms: int = SAMPLE_MS, start_e4: int = 0) -> None:
        super().__init__(kinds.SMOKE, kinds.Q_SMOKE_E4, values, ticks_diff, period_ms)
        self.baseline = Baseline(values, ticks_diff, start_e4)
        self._trend = Trend(_SMOKE_RISE_S, ticks_diff)
        self._long_ms = 0
        self._long_e4 = 0  # the level that it was counted for
        self._lowered = False

    @property
    def fulfilled(self) -> bool:
        return self._fixed.done or self._rise.done or self._long_done

    @property
    def held_ms(self) -> int:
        if self._long_done and not self._fixed.done and not self._rise.done:
            return self._long_ms
        return max(self._fixed.held_ms, self._rise.held_ms)  # MicroPython has no property of super()

    @property
    def criterion(self) -> int:
        if not self._fixed.done:
            return kinds.CRIT_SMOKE_RISE if self._rise.done else kinds.CRIT_SMOKE_LONG
        return kinds.CRIT_SMOKE_ALONE if self._lowered else kinds.CRIT_SMOKE_FIXED

    @property
    def begun(self) -> bool:
        return (self._long_ms > 0 or self.active or (self.small and self._gone > 0)) and self._gone < VOTE_POLLS

    @property
    def _long_done(self) -> bool:
        return self._values[at.SMOKE_LONG] > 0 and self._long_ms >= self._values[at.SMOKE_LONG_S] * 1000

    def missed(self, now: int) -> None:
        super().missed(now)
        self._trend.missed(now)

    def end_hold(self) -> None:
        super().end_hold()
        self._long_ms = 0

    def _judge(self, now: int, value: int) -> None:
        values, trend = self._values, self._trend
        trend.step(now, value)
        self.baseline.step(now, value)
        level = value - self.baseline.level_e4
        full = values[at.SMOKE_ALARM]
        alone = values[at.SMOKE_ALONE]
        if self.alone and 0 < alone < full:
            full = alone
        self._lowered = level < values[at.SMOKE_ALARM]
        self.small = self.votes = level >= values[at.SMOKE_SMALL]
        self._fixed.sample(now, level >= full)
        # Counted up and down, not held: smoke that stays swirls about its level. What was counted for a lower level
        # than that of another profile was too little smoke.
        long = values[at.SMOKE_LONG]
        if long > self._long_e4:
            self._long_ms = 0
        self._long_e4 = long
        if 0 < long <= level:
            self._long_ms += self.period_ms if not self._long_done else 0
        elif self._long_ms > 0:
            self._long_ms -= self.period_ms
        rise = values[at.SMOKE_RISE]
        before = trend.past(_TURN_S)
        on = value + _SMOKE_NOISE_E4 + (before >> 3) >= before  # smoke swirls: an eighth of it is no fall
        self._rise.sample(now, on and 0 < rise <= value - trend.past(_SMOKE_RISE_S))
        self.below = level < values[at.SMOKE_CLEAR] and not self.small
