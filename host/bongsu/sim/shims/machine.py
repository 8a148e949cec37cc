"""machine as on an ESP32, as far as a node uses it. What is not here is not modelled: the firmware then fails
loudly."""

import errno

import _board
import _sensors
import micropython

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

# A board with a REPL may carry another chip.
_chip = _board.repl["pins"] if _board.repl else {}
_NO_PIN = (20, 24, 28, 29, 30, 31)
_GPIO = _chip.get("gpio") or [n for n in range(40) if n not in _NO_PIN]
_INPUT_ONLY = _chip.get("input_only", (34, 35, 36, 37, 38, 39))
_FLASH = _chip.get("flash", (6, 7, 8, 9, 10, 11))
_ADC1 = _chip.get("adc1", (32, 33, 34, 35, 36, 37, 38, 39))
_ADC2 = _chip.get("adc2", (0, 2, 4, 12, 13, 14, 15, 25, 26, 27))
# What an ESP32's ADC reads at 11 dB: it never goes below or above these (ESP-IDF, ADC calibration).
_ADC_MIN_MV, _ADC_MAX_MV = _chip.get("adc_mv", (142, 3300))
# Without a tx UART 1 and 2 drive their own pins.
_OWN_TX = _chip.get("uart_tx", {"1": 10, "2": 17})


def reset():
    _board.die("x soft")


def soft_reset():
    if _board.repl is None:
        reset()
    raise SystemExit  # the REPL ends with it, and what that leads to is a soft reset


def deepsleep(time_ms=0):
    _board.die("x sleep %d" % time_ms)


def lightsleep(time_ms=0):
    _board.sleep_us(time_ms * 1000)


def idle():
    _board.sleep_us(1000)


def reset_cause():
    return _board.state["cause"]


def unique_id():
    return _board.unhex(_board.state["node"])


_freq = 160000000


def freq(hz=None):
    global _freq
    if hz is None:
        return _freq
    if hz not in (20000000, 40000000, 80000000, 160000000, 240000000):
        raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz, 160MHz or 240MHz")
    _freq = hz


def disable_irq():
    return 0


def enable_irq(_state=0):
    pass


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2
    WAKE_LOW = 4
    WAKE_HIGH = 5
    DRIVE_0 = 0
    DRIVE_1 = 1
    DRIVE_2 = 2
    DRIVE_3 = 3

    def __init__(self, number, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        if isinstance(number, Pin):
            number = number._number
        if not isinstance(number, int) or number not in _GPIO:
            raise ValueError("invalid pin")
        self._number = number
        self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        if mode not in (-1, None):
            if mode in (Pin.OUT, Pin.OPEN_DRAIN) and self._number in _INPUT_ONLY:
                raise ValueError("pin can only be input")
            _modes[self._number] = mode
        if pull not in (-1, None):
            _pulls[self._number] = pull
            _board.levels.setdefault(self._number, 1 if pull == Pin.PULL_UP else 0)
        if value is not None:
            self.value(value)

    def value(self, level=None):
        if level is None:
            _board.pump()
            return _board.levels.get(self._number, 0)
        if _modes.get(self._number) not in (Pin.OUT, Pin.OPEN_DRAIN):
            return None  # the latch is written, the pad does not change
        level = 1 if level else 0
        if _board.levels.get(self._number) != level:
            _board.levels[self._number] = level
            _board.tell("p %d %d" % (self._number, level))
        return None

    def __call__(self, level=None):
        return self.value(level)

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def toggle(self):
        self.value(1 - _board.levels.get(self._number, 0))

    def irq(self, handler=None, trigger=3, *, wake=None):
        if handler is None:
            _board.irqs.pop(self._number, None)
        else:
            # As on the chip: not in the middle of anything, but at the next moment the interpreter allows.
            _board.irqs[self._number] = (lambda pin: micropython.schedule(handler, pin), trigger, self)
        return self

    def __repr__(self):
        return "Pin(%d)" % self._number


_modes = {}
_pulls = {}


def _press(order):
    """The host presses a button: [pin, ms]. It pulls the pin against its resistor."""
    number, ms = order
    idle_level = 0 if _pulls.get(number) == Pin.PULL_DOWN else 1
    _board.set_input(number, 1 - idle_level)
    _board.at(_board.vt_us() + ms * 1000, lambda: _board.set_input(number, idle_level))


_board.hooks["press"] = _press
_board.hooks["input"] = lambda order: _board.set_input(order[0], order[1])


class Signal:
    def __init__(self, pin, *args, invert=False, **kwargs):
        self._pin = pin if isinstance(pin, Pin) else Pin(pin, *args, **kwargs)
        self._invert = invert

    def value(self, level=None):
        if level is None:
            return self._pin.value() ^ (1 if self._invert else 0)
        return self._pin.value((not level) if self._invert else level)

    def __call__(self, level=None):
        return self.value(level)

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)


class PWM:
    """The host sees the pin high while the duty is above 0."""

    def __init__(self, pin, freq=5000, duty=None, *, duty_u16=None, duty_ns=None):
        self._pin = Pin(pin, Pin.OUT)
        self._freq = freq
        self._duty = 0
        self.init(freq, duty, duty_u16=duty_u16)

    def init(self, freq=None, duty=None, *, duty_u16=None, duty_ns=None):
        self._freq = freq or self._freq
        if duty is not None:
            duty_u16 = duty * 65535 // 1023
        if duty_u16 is not None:
            self.duty_u16(duty_u16)

    def freq(self, hz=None):
        if hz is None:
            return self._freq
        self._freq = hz

    def duty_u16(self, duty=None):
        if duty is None:
            return self._duty
        self._duty = duty
        self._pin.value(1 if duty else 0)

    def duty(self, duty=None):
        if duty is None:
            return self._duty * 1023 // 65535
        self.duty_u16(duty * 65535 // 1023)

    def deinit(self):
        self.duty_u16(0)


class ADC:
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3
    WIDTH_9BIT = 9
    WIDTH_10BIT = 10
    WIDTH_11BIT = 11
    WIDTH_12BIT = 12

    # Full scale by attenuation, mV (ESP-IDF, suggested ranges of the ESP32).
    _FULL_MV = (950, 1250, 1750, _ADC_MAX_MV)

    def __init__(self, pin, *, atten=0):
        self._number = Pin(pin)._number
        if self._number not in _ADC1 and self._number not in _ADC2:
            raise ValueError("invalid pin")
        self._atten = atten

    def init(self, *, atten=0):
        self._atten = atten

    def atten(self, atten):
        self._atten = atten

    def width(self, bits):
        pass

    def read_uv(self):
        _board.pump()
        if self._number in _ADC2 and _board.state["wifi_active"]:
            raise OSError(errno.ETIMEDOUT)  # ADC2 belongs to the radio while Wi-Fi runs
        mv = max(_ADC_MIN_MV, min(_ADC_MAX_MV, int(_sensors.pin_mv(self._number))))
        return min(mv, self._FULL_MV[self._atten]) * 1000

    def read(self):
        return self.read_uv() * 4095 // (self._FULL_MV[self._atten] * 1000)

    def read_u16(self):
        raw = self.read()
        return raw << 4 | raw >> 8


def I2C(bus=-1, *, scl=None, sda=None, freq=400000, timeout=50000):
    """The board's only bus; on other pins than its own there is nothing."""
    pins = _board.state["pins"]
    wired = all(
        [
            pin is None or name not in pins or Pin(pin)._number == pins[name]
            for name, pin in (("i2c_scl", scl), ("i2c_sda", sda))
        ]
    )
    return _sensors.bus if wired else _sensors.Bus(None)


SoftI2C = I2C


class UART:
    """A serial port that only hears: what hangs at its rx."""

    def __init__(self, number, baudrate=9600, *, rx=None, tx=None, timeout=0, rxbuf=256, **more):
        if str(number) not in _OWN_TX:
            raise ValueError("UART(%d) does not exist" % number if number else "UART(0) is the console")
        tx = _OWN_TX[str(number)] if tx is None else Pin(tx)._number
        if tx in _FLASH:
            raise RuntimeError("GPIO%d belongs to the flash: an ESP32 crashes here" % tx)
        self._part = _sensors.port_at(Pin(rx)._number)
        if baudrate != 9600:
            self._part = None

    def any(self):
        _board.pump()
        if self._part is None:
            return 0
        self._part.sense()
        return self._part.port.any()

    def readinto(self, buffer, size=None):
        return None if self._part is None else self._part.port.readinto(buffer, size)

    def read(self, size=None):
        size = self.any() if size is None else size
        buffer = bytearray(size)
        n = self.readinto(buffer) if size else None
        return bytes(buffer[:n]) if n else None

    def write(self, data):
        return len(data)


class WDT:
    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        _board.watchdog(timeout)

    def feed(self):
        _board.watchdog(0)


class RTC:
    """Keeps running through resets; a power cut sets it to 2000-01-01."""

    def datetime(self, fields=None):
        import time

        if fields is None:
            now = time._rtc_us()
            t = time.gmtime(now // 1000000)
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], now % 1000000)
        year, month, day, _weekday, hour, minute, second, us = fields
        base = time.mktime((year, month, day, hour, minute, second)) * 1000000 + us
        _board.state["rtc"] = (base, _board.vt_us())
        _board.tell("r %d %d" % _board.state["rtc"])
        return None

    def init(self, fields):
        return self.datetime(fields)

    def memory(self, data=None):
        if data is None:
            return _board.unhex(_board.state["rtc_memory"])
        if len(data) > 2048:
            raise ValueError("buffer too long")
        _board.state["rtc_memory"] = _board.hex(data)
        _board.tell("m " + _board.state["rtc_memory"])
        return None
