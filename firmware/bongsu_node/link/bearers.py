"""Wi-Fi supervision: keeps the station joined to one of the configured networks, apart from MQTT, and never by
restarting the node.

It never scans: scan() blocks an ESP32 for seconds, while connect() lets the radio look for the one network in the
background. What does block for a moment is starting and stopping the interface, so that waits until `may_block()`.
`step` is a plain function of the ticks; `run` calls it for ever.
"""

import asyncio

from bongsu_node.link.backoff import Backoff
from bongsu_node.link.receipts import ticks_diff

try:
    from time import ticks_ms as _now
except ImportError:  # CPython: tests hand in their own
    _now = None  # type: ignore[assignment]

# Milliseconds.
TIMES_MS = {
    "step": 500,
    "join": 15_000,  # one network's chance: association and DHCP of a loaded access point
    "lost": 1_000,  # not joined for this long = down; shorter gaps are the driver's own business
    "rest": 1_000,  # the interface stays off this long in a restart
    # joined, but the link above does not work: try elsewhere; doubles up to useless_cap, for the broker may be what is
    # down
    "useless": 180_000,
    "useless_cap": 1_800_000,
    "backoff_first": 1_000,
    "backoff_cap": 30_000,
}
# Rounds through all networks that fail in a row before the interface itself is suspected.
ROUNDS_TO_RESTART = 3

_COLD = "cold"  # interface off, or to be restarted
_PAUSE = "pause"
_JOINING = "joining"
_UP = "up"


def _no_beat() -> None:
    pass


class WifiSupervisor:
    """`wlan`: network.WLAN in station mode; `networks`: [{"ssid":, "psk":}, ...] in order of preference; `may_block()`:
    False while a criterion rises; `link_works()`: whether the link above (MQTT) is connected; `on_change(up)`: called
    at every change. `up`: joined, as far as known."""

    def __init__(
        self, wlan, networks: list, may_block, log, *, link_works=None, on_change=None, times_ms=None, ticks_ms=_now
    ) -> None:
        self.up = False
        self.restarts = 0  # of the interface, since boot
        self._wlan = wlan
        self._networks = networks
        self._may_block = may_block
        self._log = log
        self._link_works = link_works
        self._on_change = on_change
        self._times = dict(TIMES_MS, **times_ms) if times_ms else TIMES_MS
        self._ticks_ms = ticks_ms
        self._backoff = Backoff(self._times["backoff_first"], self._times["backoff_cap"])
        self._state = _COLD
        self._since_ms = None  # ticks at which what is waited for began; None: nothing is
        self._wait_ms = 0
        self._round = []  # indexes of the networks still to be tried in this round
        self._current = 0  # the network being joined, or joined; tried first in the next round
        self._failed_rounds = 0
        self._stuck = False
        self._patience_ms = self._times["useless"]
        self._lost_ms = None  # ticks at which the joined network was first seen gone
        self._useless_since_ms = None  # ticks at which the link above was first seen not to work

    async def run(self, beat=_no_beat) -> None:
        """Supervise for ever. Raises nothing but CancelledError."""
        if not self._networks:
            self._log("E", "wifi", "err=no-network-configured")
        while True:
            beat()
            if self._networks:
                self.step()
            await asyncio.sleep_ms(self._times["step"])

    def step(self) -> None:
        """Look at the interface and do the next thing. Raises nothing."""
        try:
            self._step(self._ticks_ms())
        except Exception as e:  # the driver refuses in many ways; whatever it was, begin again from the interface
            self._log("E", "wifi", "err=%r" % e)
            self._next_first()
            self._restart()

    def _step(self, now: int) -> None:
        if self._state == _UP:
            self._watch(now)
        elif self._state == _JOINING:
            self._join_or_next(now)
        elif self._since_ms is None or ticks_diff(now, self._since_ms) >= self._wait_ms:
            if self._state == _COLD:
                self._start(now)
            else:
                self._new_round(now)

    # -- the interface

    def _restart(self) -> None:
        self._state = _COLD
        self._since_ms = None
        self._stuck = True

    def _start(self, now: int) -> None:
        """Stop the interface if it was stuck, and after a rest start it; both only when the loop may block."""
        if not self._may_block():
            return
        if self._stuck:
            self._stuck = False
            self.restarts += 1
            self._log("W", "wifi", "restart=%d" % self.restarts)
            self._set_up(False)
            self._wait(now, self._times["rest"])
            self._wlan.active(False)
            return
        self._wlan.active(True)
        for setting in (
            {"reconnects": 0},
            {"pm": getattr(self._wlan, "PM_NONE", 0)},
        ):  # we choose the network; no sleeping radio
            try:
                self._wlan.config(**setting)
            except Exception:  # a port without this setting, or one that has no words for why it does not take it
                pass
        self._new_round(now)

    # -- joining

    def _new_round(self, now: int) -> None:
        others = [i for i in range(len(self._networks)) if i != self._current]
        self._round = [self._current] + others
        self._join_next(now)

    def _join_next(self, now: int) -> None:
        """Begin to join the next network of the round, or end the round."""
        if not self._round:
            self._failed_rounds += 1
            self._state = _PAUSE
            self._current = 0
            if self._failed_rounds >= ROUNDS_TO_RESTART and self._may_block():
                self._failed_rounds = 0
                self._restart()
            else:
                self._wait(now, self._backoff.next_ms())
            return
        self._current = self._round.pop(0)
        self._state = _JOINING
        self._since_ms = now
        network = self._networks[self._current]
        try:
            self._wlan.disconnect()
        except Exception:  # it was not joined; an ESP32 raises RuntimeError for what it has no words for
            pass
        self._wlan.connect(network["ssid"], network["psk"])

    def _join_or_next(self, now: int) -> None:
        if self._wlan.isconnected():
            self._state = _UP
            self._lost_ms = self._useless_since_ms = None
            self._failed_rounds = 0
            self._backoff.reset()
            self._set_up(True)
        elif ticks_diff(now, self._since_ms) >= self._times["join"]:
            self._log("W", "wifi", "unjoined net=%d status=%d" % (self._current, self._wlan.status()))
            self._join_next(now)

    # -- joined

    def _watch(self, now: int) -> None:
        joined = self._wlan.isconnected()
        works = joined and (self._link_works is None or self._link_works())
        self._lost_ms = None if joined else self._lost_ms or now
        self._useless_since_ms = None if works or not joined else self._useless_since_ms or now
        if works:
            self._patience_ms = self._times["useless"]
        if self._lost_ms is not None and ticks_diff(now, self._lost_ms) >= self._times["lost"]:
            self._set_up(False)
            self._new_round(now)
        elif self._useless_since_ms is not None and ticks_diff(now, self._useless_since_ms) >= self._patience_ms:
            self._give_up_useless()

    def _give_up_useless(self) -> None:
        """Joined for minutes, and nothing gets through: another network if there is one, and a fresh interface in any
        case."""
        self._patience_ms = min(2 * self._patience_ms, self._times["useless_cap"])
        self._next_first()
        self._restart()

    def _next_first(self) -> None:
        self._current = (self._current + 1) % len(self._networks)

    def _wait(self, now: int, wait_ms: int) -> None:
        self._since_ms = now
        self._wait_ms = wait_ms

    def _set_up(self, up: bool) -> None:
        if up == self.up:
            return
        self.up = up
        self._log("I" if up else "W", "wifi", "state=%s net=%d" % ("up" if up else "down", self._current))
        if self._on_change is not None:
            self._on_change(up)
