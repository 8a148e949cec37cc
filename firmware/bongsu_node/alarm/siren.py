"""Siren and lamp.

The lamp: dark = no alarm; blinking = alarm, the centre does not know yet; steady = the centre has it; flickering =
"here I am".
"""

IDENTIFY_MS = 30_000
CHIRP_MS = 1_000
_BLINK_MS = 500
_FLICKER_MS = 100


class Siren:
    """`siren`, `lamp`: functions that set an output (a machine.Pin does); `ticks_diff` handed in."""

    def __init__(self, siren, lamp, ticks_diff) -> None:
        self._siren = siren
        self._lamp = lamp
        self._diff = ticks_diff
        self._chirping = False
        self._chirp_since = 0
        self._flickering = False
        self._flicker_since = 0

    def alarm(self) -> None:
        """Sound and light at once; show() takes over from here."""
        self._siren(1)
        self._lamp(1)

    def chirp(self, now: int) -> None:
        """Sound for a second: the test."""
        self._chirping = True
        self._chirp_since = now

    def identify(self, now: int) -> None:
        """Flicker for half a minute."""
        self._flickering = True
        self._flicker_since = now

    def show(self, now: int, alarm: bool, silenced: bool, known: bool) -> None:
        """Set both outputs for ticks `now`; to be called every 50 ms. `known`: the centre has receipted every alarm."""
        if self._chirping and self._diff(now, self._chirp_since) >= CHIRP_MS:
            self._chirping = False
        if self._flickering and self._diff(now, self._flicker_since) >= IDENTIFY_MS:
            self._flickering = False
        self._siren(1 if (alarm and not silenced) or self._chirping else 0)
        if self._flickering:
            self._lamp(now // _FLICKER_MS & 1)
        elif alarm:
            self._lamp(1 if known else now // _BLINK_MS & 1)
        else:
            self._lamp(0)
