"""The button: a short press asks for a test, a long one silences the siren."""

SHORT = 1
LONG = 2
LONG_MS = 2_000
_BOUNCE_MS = 40


class Button:
    """Pure: fed with the level about every 50 ms. `ticks_diff` handed in."""

    def __init__(self, ticks_diff) -> None:
        self._diff = ticks_diff
        self._down = False
        self._since = 0
        self._spent = False

    def step(self, now: int, pressed: bool) -> int:
        """Returns LONG once when the press becomes a long one, SHORT when a shorter one ends, else 0.

        A press counts from its second look on; a button that hangs gives one LONG and nothing more.
        """
        if not self._down:
            if pressed:
                self._down = True
                self._spent = False
                self._since = now
            return 0
        held_ms = self._diff(now, self._since)
        if pressed:
            if self._spent or held_ms < LONG_MS:
                return 0
            self._spent = True
            return LONG
        self._down = False
        return SHORT if not self._spent and held_ms >= _BOUNCE_MS else 0
