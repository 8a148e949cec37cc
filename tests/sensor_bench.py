"""A driver, its chip's model and a clock: the checks that every sensor on I2C must pass. Runs on both interpreters.

On CPython the models are imported as bongsu.sim.shims.chips, under MicroPython as chips (run_check() in
tests/sensor_parts.py). A check raises AssertionError.
"""

import sys

if sys.implementation.name == "micropython":
    import chips.bus as buses

    _CHIPS = "chips."
else:
    import bongsu.sim.shims.chips.bus as buses

    _CHIPS = "bongsu.sim.shims.chips."

from bongsu_node.sensing import SensorError, i2c_sensor
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN

STEP_MS = 250
# Ticks wrap soon after a bench begins.
SHORTLY_BEFORE_WRAP_MS = 0x3FFFFFFF - 20_000
NO_BLOCK_US = 15_000


def _module(name):
    module = __import__(name)
    for part in name.split(".")[1:]:
        module = getattr(module, part)
    return module


class Spec:
    """One chip: `type` of the driver and the model, `model` class, `address`, what the model is set to (`air`) and what
    the driver must then give (`values`, with `near` as tolerance); `first_ms`: until the first value;
    `warm_ms`: of it, warming; `back_ms`: until values come again after a fault; `crc`: it has check sums; `cycle_ms`:
    of its measurements; `dip`: the words that a dip may show as; `other_air`: values that all differ."""

    def __init__(self, type, model, address, air, values, near, first_ms, back_ms, **more):
        self.type = type
        self.model = model
        self.address = address
        self.air = air
        self.values = values
        self.near = near
        self.first_ms = first_ms
        self.back_ms = back_ms
        self.warm_ms = more.get("warm_ms", 0)
        self.crc = more.get("crc", True)
        self.cycle_ms = more.get("cycle_ms", STEP_MS)
        self.dip = more.get("dip", ("nak", "reset", "silent"))
        self.stuck = more.get("stuck", True)


_DK20, _HALF50, _HPA = 2_932, 100, 10_130
_AIR = {"temp_c": 20.0, "rh_pct": 50.0}
SPECS = {
    "lm75": Spec("lm75", "Lm75", 0x48, {"temp_c": 20.0}, (_DK20,), (2,), 750, 750, crc=False),
    "sht3x": Spec("sht3x", "Sht3x", 0x44, _AIR, (_DK20, _HALF50), (1, 1), 750, 1_250),
    "sht4x": Spec("sht4x", "Sht4x", 0x44, _AIR, (_DK20, _HALF50), (1, 1), 1_000, 1_500),
    "bme280": Spec(
        "bme280",
        "Bme280",
        0x76,
        {"temp_c": 20.0, "rh_pct": 50.0, "pressure_hpa": 1013.0},
        (_DK20, _HALF50, _HPA),
        (1, 1, 2),
        750,
        1_250,
        crc=False,
    ),
    "bme680": Spec(
        "bme680",
        "Bme680",
        0x76,
        {"temp_c": 20.0, "rh_pct": 50.0, "pressure_hpa": 1013.0, "gas_kohm": 100.0},
        (_DK20, _HALF50, _HPA, None),
        (1, 1, 2, 0),
        750,
        1_250,
        crc=False,
        cycle_ms=3_250,
    ),
    "sgp40": Spec("sgp40", "Sgp40", 0x59, {"voc": 1.0}, (100,), (3,), 62_000, 62_500, warm_ms=61_000, cycle_ms=1_000),
    "scd4x": Spec(
        "scd4x",
        "Scd4x",
        0x62,
        {"co2_ppm": 420.0, "temp_c": 20.0, "rh_pct": 50.0},
        (420, _DK20, _HALF50),
        (0, 1, 1),
        23_000,
        9_000,
        warm_ms=22_000,
        cycle_ms=5_500,
    ),
}


class Hw:
    """What make() is handed."""

    def __init__(self, bus):
        self._bus = bus

    def i2c(self):
        return self._bus

    def ticks_diff(self, a, b):
        return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    def ticks_add(self, a, b):
        return (a + b) & 0x3FFFFFFF


class Bench:
    """`spec`: of SPECS; `entry`: more of the sensor's entry in node.json; `mem_alloc`: see Bus."""

    def __init__(self, spec, start_ms=SHORTLY_BEFORE_WRAP_MS, mem_alloc=None, entry=None, **model):
        self.spec = spec
        self.clock = buses.Clock(start_ms)
        self.bus = buses.Bus(self.clock, mem_alloc=mem_alloc)
        chip = getattr(_module(_CHIPS + spec.type), spec.model)
        self.chip = self.bus.attach(chip(self.clock.ms, **model), spec.address)
        self.chip.set(**spec.air)
        settings = {"type": spec.type}
        settings.update(entry or {})
        self.sensor = _module("bongsu_node.sensing." + spec.type).make(Hw(self.bus), settings)

    def poll(self, after_ms=STEP_MS):
        """One poll, 250 ms after the last: True (values), False, or the word of the SensorError."""
        self.clock.advance(after_ms)
        before_us = self.bus.busy_us
        before_transfers = self.bus.transfers
        values = self.sensor.values
        try:
            said = self.sensor.poll(self.clock.ticks())
        except SensorError as e:
            said = e.why
        assert self.sensor.values is values
        took_us = self.bus.busy_us - before_us
        # A line that is held costs one time-out of the bus itself, never two.
        assert took_us <= NO_BLOCK_US or (said == "bus" and self.bus.transfers == before_transfers + 1), took_us
        if said is True:
            self.check_values()
        elif said is not False:
            assert all([v == UNKNOWN for v in values]), values
        return said

    def check_values(self):
        """What it gives is what the model was set to."""
        for got, want, near in zip(self.sensor.values, self.spec.values, self.spec.near):  # noqa: B905
            assert want is None or abs(got - want) <= near, (self.sensor.values, self.spec.values)

    def run(self, ms):
        """Polls of `ms` milliseconds: what each said."""
        return [self.poll() for _ in range(ms // STEP_MS)]

    def start(self):
        """Until the first value; returns what the polls said before."""
        said = []
        while not said or said[-1] is not True:
            said.append(self.poll())
            assert len(said) * STEP_MS <= self.spec.first_ms + 2 * STEP_MS, said
        return said


_benches = {}


def measure(type, air):
    """What the driver makes of `air` (what the model senses): its values, or the word of its error.

    One bench a type goes on from call to call, so that a value is also right after any other.
    """
    bench = _benches.get(type)
    if bench is None:
        _benches[type] = bench = Bench(SPECS[type])
        bench.start()
        if type == "bme680":
            bench.run(310_000)
        bench.check_values = lambda: None
    bench.chip.set(**air)
    # The value under way may be of before.
    fresh = 0
    for _ in range(200):
        said = bench.poll()
        fresh += said is True
        if said not in (True, False):
            return said
        if fresh == 2:
            return list(bench.sensor.values)
    raise AssertionError("no value")


def words_of(said):
    return [w for w in said if w is not True and w is not False]


def _never_silent_longer(said, ms, what):
    """Among the polls there is no stretch of `ms` without a fault."""
    for n in range(len(said) - ms // STEP_MS):
        assert words_of(said[n : n + ms // STEP_MS]), (what, n, said)


# The checks


def starts(spec):
    """Good from the first poll: no fault, no value while it warms up, then a value each period."""
    bench = Bench(spec)
    said = bench.start()
    assert not words_of(said), said
    assert len(said) * STEP_MS >= spec.warm_ms
    assert not bench.sensor.warming
    said = bench.run(12 * spec.cycle_ms)
    assert not words_of(said)
    assert said.count(True) >= 11
    assert len(bench.sensor.quantities) == len(bench.sensor.values)
    assert all([q in kinds.QUANTITY_NAMES for q in bench.sensor.quantities])


def warms(spec):
    """While warming: every poll says False, and it ends."""
    bench = Bench(spec)
    said = []
    while not said or bench.sensor.warming:
        said.append(bench.poll())
        assert said[-1] is False
        assert bench.sensor.values == [UNKNOWN] * len(bench.sensor.values)
        assert len(said) * STEP_MS <= spec.warm_ms + 2_000


def _fails(spec, word, begin, end):
    """A fault at every phase of the cycle: seen within 2 s at all times, and well again after it."""
    for phase in range(0, spec.cycle_ms + STEP_MS, STEP_MS):
        bench = Bench(spec)
        bench.start()
        bench.run(phase)
        begin(bench)
        said = bench.run(20_000)
        _never_silent_longer(said[1_000 // STEP_MS :], 2_000, word)
        # What was under way when it began may still come, then nothing.
        assert True not in said[3_000 // STEP_MS :], said
        assert word in said, said
        assert [w for w in said if w == word] == words_of(said), said
        end(bench)
        said = bench.run(spec.back_ms + STEP_MS)
        assert True in said, said
        assert not words_of(bench.run(3 * spec.cycle_ms))
        if spec.warm_ms > 30_000:
            break  # its cycles are alike and its warm-up is long


def nak(spec):
    _fails(spec, "nak", lambda b: b.bus.fail("nak", spec.address), lambda b: b.bus.heal())


def bus_held(spec):
    _fails(spec, "bus", lambda b: b.bus.fail("bus"), lambda b: b.bus.heal())


def unplugged(spec):
    _fails(spec, "nak", lambda b: b.bus.unplug(spec.address), lambda b: b.bus.plug(spec.address))


def bit_errors(spec):
    if spec.crc:
        _fails_crc(spec)


def _fails_crc(spec):
    bench = Bench(spec)
    bench.start()
    bench.bus.fail("bit_error", spec.address)
    said = bench.run(20_000)
    assert True not in said[1:], said
    _never_silent_longer(said[4:] if spec.cycle_ms < 2_000 else said[24:], 2_000, "crc")
    assert words_of(said)[0] == "crc"
    bench.bus.heal()
    assert True in bench.run(spec.back_ms + STEP_MS)


def absent_at_first(spec):
    """Nothing there at power-on: a fault from the first poll on, and values once it is."""
    bench = Bench(spec)
    bench.bus.unplug(spec.address)
    said = bench.run(10_000)
    assert words_of(said[6:]) == said[6:]  # an SCD4x may take a second to wake up
    bench.bus.plug(spec.address)
    said = bench.run(max(spec.first_ms, spec.back_ms) + 1_000)
    assert True in said, said


def dips(spec):
    """A power dip at any moment: never a wrong value, and values again soon."""
    for phase_ms in range(0, spec.cycle_ms + STEP_MS, 50):
        bench = Bench(spec)
        bench.start()
        bench.run(phase_ms // STEP_MS * STEP_MS)
        bench.clock.advance(phase_ms % STEP_MS)
        bench.bus.dip(spec.address)
        said = [bench.poll(STEP_MS - phase_ms % STEP_MS)]
        said += bench.run(10_000 + spec.back_ms)
        assert all([w in spec.dip for w in words_of(said)]), said
        assert True in said[-spec.cycle_ms // STEP_MS - 1 :], said
        if spec.warm_ms > 30_000:
            break


def stuck(spec):
    """48 h without one count of change is a fault, some minutes less is none; it ends when the value moves."""
    bench = Bench(spec, 5)
    bench.start()
    bench.bus.fail("frozen", spec.address)
    good_ms = 0
    begun = bench.clock.now_ms
    while True:
        said = bench.poll()
        if words_of([said]):
            break
        if said is True:
            good_ms = bench.clock.now_ms - begun
            bench.clock.advance(240_000)
    assert said == "stuck"
    assert good_ms >= 47 * 3_600_000, good_ms
    assert bench.clock.now_ms - begun <= 50 * 3_600_000
    said = bench.run(20_000)
    _never_silent_longer(said, 2_000, "stuck")
    bench.bus.heal()
    _nudge(bench)
    assert True in bench.run(spec.back_ms + spec.cycle_ms + STEP_MS)


_NUDGED = {"temp_c": 20.13, "rh_pct": 50.2, "pressure_hpa": 1013.1, "gas_kohm": 100.5, "voc": 1.002, "co2_ppm": 420.0}


def _nudge(bench):
    """The air changes by less than the tolerance, and by more than a count."""
    bench.chip.set(**{name: _NUDGED[name] for name in bench.spec.air})
    if bench.spec.type == "lm75":
        bench.chip.set(temp_c=20.13)
    if bench.spec.type == "scd4x":
        bench.chip.set(co2_ppm=421)
        bench.spec = Spec("scd4x", "Scd4x", 0x62, {}, (421, 2_933, 100), (0, 1, 1), 0, 0)


def stuck_in_one(spec):
    """Each of what it measures is watched for itself, but for the pressure, which decides nothing.

    A Bosch chip's raw humidity moves with the temperature, so that it is held by its own test.
    """
    bosch = spec.type in ("bme280", "bme680")
    for held in spec.air:
        if bosch and held == "rh_pct":
            continue
        bench = Bench(spec, 5)
        bench.start()
        bench.check_values = lambda: None
        begun = bench.clock.now_ms
        said = None
        n = 0
        while (said is None or not words_of([said])) and bench.clock.now_ms - begun < 60 * 3_600_000:
            said = bench.poll()
            if said is True:
                n += 1
                moved = {name: value + n % 2 for name, value in spec.air.items() if name != held}
                bench.chip.set(**moved)
                bench.clock.advance(400_000)
        assert (said == "stuck") == (held != "pressure_hpa"), (held, said)


def polled_early(spec):
    """Polls at any distance: what is not over yet is waited for, and that is no fault."""
    for step_ms in (1, 7, 33, 110) if spec.first_ms < 5_000 else (33, 110):
        bench = Bench(spec)
        said = [bench.poll(step_ms) for _ in range((spec.first_ms + 5 * spec.cycle_ms) * 6 // 5 // step_ms)]
        assert not words_of(said), (step_ms, words_of(said))
        assert said.count(True) >= 3, (step_ms, said.count(True))


def moves_now_and_then(spec):
    """One count in 40 h is enough."""
    bench = Bench(spec, 5)
    bench.start()
    for n in range(6):
        end = bench.clock.now_ms + 40 * 3_600_000
        while bench.clock.now_ms < end:
            said = bench.poll()
            assert not words_of([said]), (n, said)
            if said is True:
                bench.clock.advance(500_000)
        if n % 2 == 0:
            _nudge(bench)
        else:
            bench.spec = spec
            bench.chip.set(**spec.air)


def blocked_loop(spec):
    """The loop stood for 30 s (TLS): no fault of the sensor."""
    bench = Bench(spec)
    bench.start()
    for _ in range(20):
        said = bench.run(spec.cycle_ms)
        bench.clock.advance(30_000)
        assert not words_of(said), said


def wrong_address(spec):
    for address in (0, 0x10, 0x78, "68", None):
        try:
            Bench(spec, entry={"address": address})
        except ValueError:
            continue
        raise AssertionError(address)


def default_address(spec):
    assert Bench(spec).sensor._address == spec.address
    assert i2c_sensor.address_of({}, (1, 2)) == 1


def allocates_nothing(spec):
    """In good state, over whole cycles, after it has settled; only MicroPython can tell."""
    if sys.implementation.name != "micropython":
        return
    import gc

    bench = Bench(spec, 0x3FFFFFFF - 400_000 - spec.first_ms, mem_alloc=gc.mem_alloc)
    bench.start()
    if spec.type == "bme680":
        bench.run(310_000)  # the gas part, too
        assert bench.sensor.values[3] != UNKNOWN
    poll = bench.sensor.poll
    clock = bench.clock
    bus = bench.bus
    gc.collect()
    gc.disable()
    values = 0
    n = 800
    spent = bus.spent_bytes
    before = gc.mem_alloc()
    while n:
        clock.now_ms += STEP_MS
        if poll(clock.now_ms & 0x3FFFFFFF):
            values += 1
        n -= 1
    took = gc.mem_alloc() - before - (bus.spent_bytes - spent)
    gc.enable()
    assert values >= 800 * STEP_MS // spec.cycle_ms - 1, values
    assert took == 0, took


CHECKS = {
    f.__name__: f
    for f in (
        starts,
        warms,
        nak,
        bus_held,
        unplugged,
        bit_errors,
        absent_at_first,
        dips,
        stuck,
        stuck_in_one,
        polled_early,
        moves_now_and_then,
        blocked_loop,
        wrong_address,
        default_address,
        allocates_nothing,
    )
}


def check(name, type):
    """Raises AssertionError."""
    CHECKS[name](SPECS[type])
