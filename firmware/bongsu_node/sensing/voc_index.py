"""A VOC index of 1..500 from the raw ticks of an SGP40: 100 is the usual air of this place. Pure, integers, own rule.

Like Sensirion's index (info note "VOC Index for Indoor Air Applications") it compares with the average of the last 24
hours and by how much this place usually varies; it is not that algorithm, and its values are no more than alike.

    x = usual ticks - ticks           the ticks fall as the gas rises (SGP40 data sheet, 3)
    x >= 0: 100 + 400 x / (x + 8 d)   d: usual deviation, 30..300 ticks
    x <  0: 100 - 99 |x| / (|x| + 8 d)

Usual value and deviation are learned once a minute from the minute's average, over n minutes after n minutes, at most
over 24 hours. Of a minute in which the index was above 200 nothing is learned, for three hours at most: a leak is not
to become the usual air while it is being looked for.
"""

_DAY_MIN = 1_440
_FROZEN_MIN = 180
_EVENT = 200
_SAMPLES = 60  # one a second
# Ticks have 16 bits; the usual value is kept in 1/4096, so that a difference of 1 tick moves even the slowest average.
_FINE = 12
_D_FIRST, _D_LEAST, _D_MOST = 50, 30, 300
_D_FINE = 12


class VocIndex:
    """index: newest; minutes: learned so far."""

    def __init__(self) -> None:
        self.index = 100
        self.minutes = 0
        self._smooth = -1  # ticks x 16
        self._usual = 0
        self._deviation = _D_FIRST << _D_FINE
        self._sum = 0
        self._count = 0
        self._frozen_min = 0
        self._event = False  # in this minute

    def sample(self, ticks: int) -> int:
        """Take the ticks (1..65535) of this second; return the index."""
        if self._smooth < 0:
            self._smooth = ticks << 4
            self._usual = ticks << _FINE
        # 8 s: the noise of a second is no news.
        self._smooth += ((ticks << 4) - self._smooth) >> 3
        x = (self._usual >> (_FINE - 4)) - self._smooth  # 1/16 tick
        width = self._deviation >> (_D_FINE - 7)  # 8 d in 1/16 tick
        if x >= 0:
            self.index = 100 + 400 * x // (x + width)
        else:
            self.index = 100 - 99 * -x // (width - x)
        self._event = self._event or self.index > _EVENT
        self._sum += ticks
        self._count += 1
        if self._count == _SAMPLES:
            self._learn()
        return self.index

    def _learn(self) -> None:
        average = (self._sum << 4) // _SAMPLES << (_FINE - 4)
        self._sum = self._count = 0
        event = self._event
        self._event = False
        if event and self._frozen_min < _FROZEN_MIN:
            self._frozen_min += 1
            return
        if not event:
            self._frozen_min = 0
        if self.minutes < _DAY_MIN:
            self.minutes += 1
        away = average - self._usual
        self._usual += away // self.minutes
        away = -away if away < 0 else away
        self._deviation += (away - self._deviation) // (self.minutes + 60 if self.minutes < _DAY_MIN else _DAY_MIN)
        self._deviation = min(max(self._deviation, _D_LEAST << _D_FINE), _D_MOST << _D_FINE)
