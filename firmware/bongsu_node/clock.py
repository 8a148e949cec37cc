"""The node's clock. The receiver's receipts set it, backwards too; nothing else does, since anyone can forge NTP
(DESIGN section 6).

It exists for the certificates: an event's time is its age, which needs no clock. At boot it starts at the latest of
the build, the provisioning and the time last saved, so that a certificate which begins with its CA is never "not yet
valid".
"""

import struct

from bongsu_node import flashfile
from bongsu_wire.payload import AGE_UNKNOWN

SAVE_EVERY_S = 6 * 3600  # flash wear against how far the clock falls back at a restart
_STEP_S = 60  # a saved time further ahead than this is wrong, not early
_RTC_STEP_S = 2


class Clock:
    """`ticks_ms`, `ticks_diff`; `set_rtc(unix_s)`; `path`: file of the saved time; `build_s`, `provisioned_s`:
    seconds since 1970. A chip or a flash that refuses costs the right time, nothing else.
    """

    def __init__(self, ticks_ms, ticks_diff, set_rtc, path: str, build_s: int, provisioned_s: int) -> None:
        self.failed = False  # the time could not be saved
        self._ticks_ms = ticks_ms
        self._diff = ticks_diff
        self._set_rtc = set_rtc
        self._path = path
        self._last = ticks_ms()
        self._uptime_ms = 0
        self._server_ms = 0
        self._server_at_ms = 0
        saved = flashfile.read(path)
        self._saved_s = struct.unpack("<I", saved)[0] if saved and len(saved) == 4 else 0
        self._base_s = max(build_s, provisioned_s, self._saved_s)
        self._base_at_ms = 0
        self._set_chip()

    def uptime_ms(self) -> int:
        """ms since boot; never wraps if it is called at least once a day."""
        now = self._ticks_ms()
        self._uptime_ms += self._diff(now, self._last)
        self._last = now
        return self._uptime_ms

    def now_s(self) -> int:
        """Best knowledge of the time, seconds since 1970."""
        return self._base_s + (self.uptime_ms() - self._base_at_ms) // 1000

    def server_time(self, server_ms: int) -> None:
        """An authentic and timely answer says that it is `server_ms` (ms since 1970)."""
        up = self.uptime_ms()
        error_s = self.now_s() - server_ms // 1000
        self._server_ms = server_ms
        self._server_at_ms = up
        self._base_s = server_ms // 1000
        self._base_at_ms = up - server_ms % 1000
        if abs(error_s) >= _RTC_STEP_S:
            self._set_chip()
        self.save()

    def _set_chip(self) -> None:
        try:
            self._set_rtc(self._base_s)
        except Exception:
            self.failed = True

    def echo(self):
        """(newest server time in ms, ms since it came); (0, AGE_UNKNOWN) if none came since boot."""
        if not self._server_ms:
            return (0, AGE_UNKNOWN)
        return (self._server_ms, self.uptime_ms() - self._server_at_ms)

    def save(self) -> None:
        """Save the time if the saved one is old, or ahead of it; call it now and then."""
        now_s = self.now_s()
        if -_STEP_S < now_s - self._saved_s < SAVE_EVERY_S:
            return
        try:
            flashfile.write(self._path, struct.pack("<I", now_s))
        except Exception:
            self.failed = True
            return
        self.failed = False
        self._saved_s = now_s
