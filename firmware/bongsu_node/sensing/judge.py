"""The judge: from the channels of a node to its decisions (DESIGN section 6). Pure; a pass allocates nothing.

- One full threshold or rate of rise that has held 5 s is an alarm of its phenomenon.
- Small changes in two of heat, smoke and CO that overlap for 5 s are one alarm of both. Gas does not take part: a
  semiconductor that smells cooking says nothing about a fire.
- One small change that has held is a prealarm: one a rise, at most one in 10 minutes, fewer if they keep coming.
- Steam: while the humidity is high or rises, a decision by smoke or by rate of rise waits, at most steam_delay_s in all
  until the smoke has been gone for a minute, and is given then if its criterion still stands. The centre hears of the
  wait by a prealarm. A fixed temperature never waits.
- A sensor that is dead lends its vote: what it said last still counts for a fusion, its partner may get a lower limit
  (Channel.alone), and a dead humidity sensor delays nothing.
"""

from bongsu_node.sensing import at
from bongsu_node.sensing.hold import HOLD_MS, SAMPLE_MS, Hold
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN

_FUSED = kinds.HEAT | kinds.SMOKE | kinds.CO
_PREALARM_EVERY_MS = 600_000
_PREALARM_MOST_MS = 9_600_000
_STEAM_FORGET_MS = 60_000
_PACE_MS = 1_000  # a slower sensor lends its newest vote, and keeps nobody waiting
_STALE_MS = 2_000


class Judge:
    """`channels`: see channel.py; `values`: limits in the order of limits.NAMES.

    fusing: the Hold of small changes that overlap, those of `bits`; fusion: the bits once it has held, else 0;
    delayed: a decision waits for steam; prealarm: bits of a prealarm that step() just decided, else 0.
    """

    def __init__(self, channels, values, ticks_diff) -> None:
        self.channels = channels
        self.fusion = 0
        self.prealarm = 0
        self.delayed = False
        self._values = values
        self._diff = ticks_diff
        self._voters = [c for c in channels if c.bit & _FUSED]
        self._humidity = None
        slowest = SAMPLE_MS
        for channel in channels:
            if channel.quantity == kinds.Q_HUMIDITY_HALF:
                self._humidity = channel
            if channel.bit & _FUSED and slowest < channel.period_ms <= _PACE_MS:
                slowest = channel.period_ms
        self.fusing = Hold(HOLD_MS, ticks_diff, slowest)
        self._small = Hold(values[at.PREALARM_HOLD] * 1000, ticks_diff, slowest)
        self.bits = 0
        self._told = False
        self._small_delayed = False
        self._since_prealarm_ms = 4 * _PREALARM_MOST_MS
        self._waited_ms = 0
        self._small_waited_ms = 0
        self._stale_ms = 0
        self._pause_ms = _PREALARM_EVERY_MS
        self._calm_ms = 0
        self._last = 0
        self._started = False

    def apply(self) -> None:
        """The limits have changed."""
        self._small.need_ms = self._values[at.PREALARM_HOLD] * 1000

    def step(self, now: int) -> None:
        """After the channels took what there was at ticks `now`."""
        passed = self._passed(now)
        self._look_who_is_dead()
        self.prealarm = 0
        if self._since_prealarm_ms < 4 * _PREALARM_MOST_MS:
            self._since_prealarm_ms += passed
        if self._all_fresh():
            self._fuse(now)
            self._stale_ms = 0
        else:
            self._stale_ms += passed if self._stale_ms < _STALE_MS else 0
            self.fusing.missed(now)
            self._small.missed(now)
        self._wait_for_steam(passed)
        self.fusion = self.bits if self.fusing.done and not (self.delayed and self.bits & kinds.SMOKE) else 0

    @property
    def rising(self) -> bool:
        """Some hold is under way (nothing may block the loop now)."""
        if self.fusing.active and not self.fusing.done and self._stale_ms < _STALE_MS:
            return True
        for channel in self.channels:
            if channel.rising:
                return True
        return False

    @property
    def quiet(self) -> bool:
        """Nothing is seen, counted or held back that a restart would lose."""
        for channel in self.channels:
            if channel.begun:
                return False
        return not self.rising and not self.delayed

    def fulfilled(self, bit: int):
        """The channel of this phenomenon whose own criterion has held (and waits for nothing); None without one."""
        for channel in self.channels:
            if channel.bit == bit and channel.fulfilled and not (self.delayed and channel.waits):
                return channel
        return None

    def below(self, bit: int) -> bool:
        """Nothing of this phenomenon is left, as far as its sensors live."""
        for channel in self.channels:
            if channel.bit == bit and channel.alive and not channel.below:
                return False
        return True

    def is_high(self, bit: int) -> bool:
        """Something of this phenomenon is left, by a sensor that works."""
        for channel in self.channels:
            if channel.bit == bit and not channel.failed and not channel.below:
                return True
        return False

    def sampled(self, bit: int) -> bool:
        """Some sensor of it gives values (or none was fitted): silence of all is no sign of quiet."""
        fitted = False
        for channel in self.channels:
            if channel.bit == bit:
                fitted = True
                if channel.alive:
                    return True
        return not fitted

    def value(self, quantity: int) -> int:
        """Newest value of a quantity, the highest if there are several; 0xFFFF without one."""
        found = -1
        for channel in self.channels:
            if channel.quantity == quantity and found < channel.value < UNKNOWN:
                found = channel.value
        return found if found >= 0 else UNKNOWN

    def end_hold(self, bit: int) -> None:
        """After a reset by hand the criteria of phenomenon `bit` must hold anew."""
        for channel in self.channels:
            if channel.bit == bit:
                channel.end_hold()
        self.fusing.sample(0, False)

    def _passed(self, now: int) -> int:
        step = self._diff(now, self._last)
        self._last = now
        if not self._started:
            self._started = True
            return 0
        return 0 if step < 0 else step if step <= 2 * SAMPLE_MS else 2 * SAMPLE_MS

    def _look_who_is_dead(self) -> None:
        works = 0
        for channel in self._voters:
            if not channel.failed:
                works |= channel.bit
        for channel in self._voters:
            channel.alone = works & (kinds.SMOKE if channel.bit == kinds.HEAT else kinds.HEAT) == 0

    def _wait_for_steam(self, passed: int) -> None:
        """Whether decisions by smoke are held back in this pass."""
        wanted = small = False
        for channel in self.channels:
            if channel.waits:
                wanted = wanted or channel.fulfilled
            if channel.quantity == kinds.Q_SMOKE_E4:
                small = small or channel.small
        wanted = wanted or (self.fusing.done and self.bits & kinds.SMOKE != 0)
        if small or wanted:
            self._calm_ms = 0
        elif self._calm_ms < _STEAM_FORGET_MS:
            self._calm_ms += passed
        else:
            self._waited_ms = self._small_waited_ms = 0
        was = self.delayed
        self.delayed = wanted and self._may_be_steam(self._waited_ms)
        if self.delayed:
            self._waited_ms += passed
            if not was:  # whatever becomes of it, the centre sees it
                self._tell(self.bits if self.fusing.done else kinds.SMOKE)
        self._small_delayed = small and self._may_be_steam(self._small_waited_ms)
        if self._small_delayed:
            self._small_waited_ms += passed

    def _may_be_steam(self, waited_ms: int) -> bool:
        if self._humidity is None or not self._humidity.steamy:
            return False
        return waited_ms < self._values[at.STEAM_DELAY] * 1000

    def _all_fresh(self) -> bool:
        """Every quick voter that lives has a new value since the last look; then they are looked at together."""
        any_fresh = False
        for channel in self._voters:
            if channel.fresh:
                any_fresh = True
            elif channel.alive and not channel.idle and channel.period_ms <= _PACE_MS:
                return False
        if any_fresh:
            for channel in self._voters:
                channel.fresh = False
        return any_fresh

    def _fuse(self, now: int) -> None:
        bits = votes = 0
        for channel in self._voters:
            if channel.small:
                bits |= channel.bit
            if channel.votes:
                votes |= channel.bit
        two = votes & (votes - 1) != 0
        self.fusing.sample(now, two)
        if two:
            self.bits = votes
        steam = bits == kinds.SMOKE and self._small_delayed
        if bits == 0:
            self._told = False
        if self._small.sample(now, bits != 0 and not two and not steam) and not self._told:
            self._tell(bits)

    def _tell(self, bits: int) -> None:
        """A prealarm is due: none twice for one rise, at most one in 10 minutes, and fewer if they keep coming."""
        if self._since_prealarm_ms < self._pause_ms:
            return
        often = self._since_prealarm_ms < 4 * self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, _PREALARM_MOST_MS) if often else _PREALARM_EVERY_MS
        self._since_prealarm_ms = 0
        self._told = True
        self.prealarm = bits
