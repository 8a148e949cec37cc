"""The one place, with hardware.py, that touches the chip: machine and esp32 become the small things handed on."""

import time

import machine

WATCHDOG_MS = 30_000  # DESIGN section 6: TLS may block for seconds, so never less
_EPOCH_2000_S = 946_684_800


def output(number: int):
    """A pin that is driven, low at first: call it with the level. One that this chip has not (-1) drives nothing."""
    try:
        return machine.Pin(number, machine.Pin.OUT, value=0)
    except ValueError:
        return lambda level: None


def button(number: int):
    """A function that says whether the button to ground is pressed."""
    try:
        pin = machine.Pin(number, machine.Pin.IN, machine.Pin.PULL_UP)
    except ValueError:
        return lambda: False
    return lambda: pin() == 0


def set_rtc(unix_s: int) -> None:
    """Set the chip's clock, which TLS checks certificates by; `unix_s`: seconds since 1970."""
    # ESP32 counts from 2000, the unix port from 1970.
    f = time.gmtime(unix_s - _EPOCH_2000_S if time.gmtime(0)[0] == 2000 else unix_s)
    machine.RTC().datetime((f[0], f[1], f[2], f[6], f[3], f[4], f[5], 0))


def rssi(wlan) -> int:
    """Signal of the joined network in dBm; 0 if there is none."""
    try:
        return wlan.status("rssi")
    except Exception:  # an ESP32 raises RuntimeError for what it has no words for (network_common.c)
        return 0


class BootRecord:
    """Counts of boots in `nvs` (None if it cannot be opened).

    count: all so far; unclean: restarts in a row, not by power, that did not last.
    """

    def __init__(self, nvs, cause: int) -> None:
        self._nvs = nvs
        self.count = self._get("boots") + 1
        self.unclean = 0 if cause == machine.PWRON_RESET else self._get("unclean") + 1
        self._put("boots", self.count & 0x7FFFFFFF)
        if cause != machine.PWRON_RESET or self._get("unclean"):
            self._put("unclean", self.unclean)
        self._commit()

    def lasted(self) -> None:
        """This boot has run long enough to be no part of a crash loop."""
        if self.unclean:
            self.unclean = 0
            self._put("unclean", 0)
            self._commit()

    def _get(self, key: str) -> int:
        try:
            return self._nvs.get_i32(key)
        except Exception:
            return 0

    def _put(self, key: str, value: int) -> None:
        try:
            self._nvs.set_i32(key, value)
        except Exception:
            pass

    def _commit(self) -> None:
        try:
            self._nvs.commit()
        except Exception:  # the identity's reservation will report it
            pass
