"""A sensor driver on the model of its chip, polled as a node polls it. Runs on CPython and on MicroPython.

play(request) takes and returns JSON values, so that one test plays the same script on both (see sensor_play):

    type, entry    as in node.json
    wiring         what the model is made with
    script         [[ms, who, what, ...], ...] in time order:
                       [0, "chip", "set", {"temp_c": 21.5}]     attributes, or what Chip.set() senses
                       [0, "chip", "power_on"]                  a method, with arguments
                       [0, "bus", "fail", "nak", 18]            the I2C bus
                       [0, "port", "set", {"fault": "short"}]   ADC, 1-Wire line
    until_ms       how long to poll
    step_ms        every so often (250)

Returned: events, [[ms, values or why], ...] of every poll that gave something; warm_ms, how long it was warming;
most_us, the longest poll by what the models took; heap, the most that a poll without a failure allocated, of every
seventh from the second event on (MicroPython).
"""

import gc

try:
    from bongsu.sim.shims.chips import analog, bus, max30105, onewire, pms
except ImportError:  # MicroPython has the shims' folder on its path
    from chips import analog, bus, max30105, onewire, pms

from bongsu_node.sensing import SensorError

POLL_MS = 250
# Ticks begin shortly before they wrap.
START_MS = 0x3FFFFFFF - 20_000


def ticks_diff(a, b):
    return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000


def ticks_add(a, b):
    return (a + b) & 0x3FFFFFFF


_COUNTED = hasattr(gc, "mem_alloc")
_counting = [False]


def mem_alloc():
    """Bytes on the heap; 0 while nobody counts, since MicroPython walks its whole heap for the answer."""
    return gc.mem_alloc() if _counting[0] else 0


class Rig:
    """The parts of one play, and the `hw` that a driver's make() is handed."""

    ticks_diff = staticmethod(ticks_diff)
    ticks_add = staticmethod(ticks_add)

    def __init__(self, kind, wiring):
        self.clock = bus.Clock(START_MS)
        ms = self.clock.ms
        self.chip = self.bus = self.port = None
        self.pins = {}
        if kind == "ds18b20":
            self.port = onewire.OneWire(mem_alloc)
            second = wiring.pop("second", None)
            if second is not None:
                self.port.attach(onewire.Ds18b20(ms, **second))
            self.chip = self.port.attach(onewire.Ds18b20(ms, **wiring))
        elif kind == "pms5003":
            self.port = self.chip = pms.Pms5003(ms, mem_alloc=mem_alloc, **wiring)
        elif kind in ("max30105", "pmsa003i"):
            self.port = self.bus = bus.Bus(self.clock, mem_alloc=mem_alloc)
            model, address = (max30105.Max30105, 0x57) if kind == "max30105" else (pms.Pmsa003i, 0x12)
            self.chip = self.bus.attach(model(ms), address)
        else:
            self.chip = self._circuit(kind, ms, wiring)
            self.port = analog.Adc(self.chip.mv, mem_alloc)

    def _circuit(self, kind, ms, wiring):
        if kind == "ntc":
            return analog.Thermistor(**wiring)
        if kind == "smoke_head":
            return analog.SmokeHead(**wiring)
        if kind == "head":
            return analog.HeadLoop(**wiring)
        air, gas = (analog.MQ2_AIR, analog.MQ2_LPG) if kind == "mq2" else (analog.MQ7_AIR, analog.MQ7_CO)
        return analog.MqCircuit(ms, air=air, gas=gas, **wiring)

    # hw

    def i2c(self):
        return self.bus

    def adc(self, pin):
        return self.port

    def onewire(self, pin):
        return self.port

    def uart(self, rx, tx, baud):
        return self.port

    def pin_out(self, pin):
        return self.chip.heater

    # script

    def act(self, who, what, *args):
        part = {"chip": self.chip, "bus": self.bus, "port": self.port}[who]
        if what != "set":
            getattr(part, what)(*args)
        elif hasattr(part, "set"):
            part.set(**args[0])
        else:
            for name, value in args[0].items():
                setattr(part, name, value)


def make(kind, hw, entry):
    """The driver of an entry, by its module."""
    module = __import__("bongsu_node.sensing." + kind, None, None, ["make"])
    return module.make(hw, entry)


def play(request):
    rig = Rig(request["type"], dict(request.get("wiring", {})))
    driver = make(request["type"], rig, request["entry"])
    script = list(request.get("script", []))
    step_ms = request.get("step_ms", POLL_MS)
    events = []
    warm_ms = most_us = heap = 0
    for at in range(0, request["until_ms"], step_ms):
        while script and script[0][0] <= at:
            rig.act(*script.pop(0)[1:])
        # Seven has no common factor with the polls between two values; a heater cycle ends at whole 150 s.
        _count(at // step_ms % 7 == 0 or at % 150_000 == 0)
        seen, took_us, spent = poll(rig, driver)
        warm_ms += step_ms if driver.warming else 0
        most_us = max(most_us, took_us)
        if len(events) > 1 and not isinstance(seen, str):
            heap = max(heap, spent)
        if seen:
            events.append([at, seen])
        rig.clock.advance(step_ms)
    _count(False)
    return {"events": events, "warm_ms": warm_ms, "most_us": most_us, "heap": heap}


def _count(on):
    """Count heap from here on, or not; a collection in between would spoil it."""
    if not _COUNTED:
        return
    if on:
        gc.collect()
        gc.disable()
    else:
        gc.enable()
    _counting[0] = on


def poll(rig, driver):
    """One poll: (values, why or None; microseconds; bytes)."""
    now = rig.clock.ticks()
    port = rig.port
    busy_us = port.busy_us
    spent = port.spent_bytes
    before = mem_alloc()
    why = None
    fresh = False
    try:
        fresh = driver.poll(now)
    except SensorError as e:
        why = e.why
    used = mem_alloc() - before - (port.spent_bytes - spent)
    return why if why else list(driver.values) if fresh else None, port.busy_us - busy_us, used
