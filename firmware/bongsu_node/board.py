"""The one place that touches the chip: machine, esp32 and network become the small things that the rest is handed."""

import time

import machine

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.lm75 import Lm75
from bongsu_node.sensing.smoke_head import SmokeHead

WATCHDOG_MS = 30_000  # DESIGN section 6: TLS may block for seconds, so never less
_I2C_HZ = 100_000
_I2C_TIMEOUT_US = 50_000  # a part that holds the bus must not hold the sampling
_EPOCH_2000_S = 946_684_800


class Absent:
    """Stands for a sensor that could not be set up: a fault, and no reason not to start."""

    def __init__(self, why: str) -> None:
        self._why = why

    def read(self) -> int:
        """Raises SensorError."""
        raise SensorError(self._why)


def thermometer(pins):
    """The thermometer on I2C; `pins`: of node.json."""
    try:
        scl, sda = machine.Pin(pins["i2c_scl"]), machine.Pin(pins["i2c_sda"])
        return Lm75(machine.I2C(0, scl=scl, sda=sda, freq=_I2C_HZ, timeout=_I2C_TIMEOUT_US))
    except Exception as e:
        return Absent(repr(e))


def smoke_head(pins, settings):
    """The smoke head on the ADC; `settings`: smoke_head of node.json."""
    try:
        adc = machine.ADC(machine.Pin(pins["smoke_adc"]), atten=machine.ADC.ATTN_11DB)
        return SmokeHead(adc, settings["mv_clean"], settings["uv_per_e4"])
    except Exception as e:
        return Absent(repr(e))


def output(number: int):
    """A pin that is driven, low at first: call it with the level. One that this chip has not drives nothing."""
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
    except (OSError, ValueError):
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
