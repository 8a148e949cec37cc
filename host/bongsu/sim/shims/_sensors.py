"""The sensors of the board: the chip models that node.json names, at their addresses and pins, in the air of _air.

Each is a `_Part`: it gives its model what there is to be sensed whenever the firmware looks, and takes the faults that
the host sets for its type (VirtualBoard.set_sensor_fault).
"""

import math

import _air
import _board
from chips import bus as _bus

# Sensors have power before main.py runs: boot loader, boot.py. Long enough for the slowest chip to answer.
_POWERED_BEFORE_MS = 2_000
_E4 = 10_000
_NTC_BETA_POINTS_C = (25, 85)
# When a certified head closes its relay (EN 54-7: 0.05-0.2/m; EN 54-5 class A1: 54-65 degC).
_HEAD_OD = 0.1
_HEAD_TEMP_C = 57

_parts = []
_starting = False


def ms():
    """The clock of the models."""
    now = _board.vt_us() // 1000
    return now - _POWERED_BEFORE_MS if _starting else now


class _Clock:
    """As chips.bus.Clock."""

    ms = staticmethod(ms)


class Bus(_bus.Bus):
    """The board's I2C bus; chips sense the air of the moment of each transfer."""

    def _chip(self, address, size):
        _board.pump()
        for part in _parts:
            if part.address == address:
                part.sense()
        _bus.Bus._chip(self, address, size)


class _Part:
    """`type`: of node.json; pin, address, rx: where it hangs (None: not there); adc, uart, chip: what it is."""

    address = None
    pin = None
    rx = None
    # fault -> what the model calls it
    faults = {}

    def __init__(self, entry):
        self.type = entry["type"]
        self.entry = entry

    def sense(self):
        """Give the model the present air."""

    def fail(self, fault):
        """Begin a fault, or end it (None)."""

    def dip(self):
        """The supply dips."""


class _OnBus(_Part):
    """`chip`: its model, at `address`."""

    faults = {"nak": "nak", "bus": "bus", "bit_error": "bit_error", "stuck": "frozen", "unplugged": "unplugged"}

    def __init__(self, entry, chip, address):
        _Part.__init__(self, entry)
        self.address = entry.get("address", address)
        self.chip = bus.attach(chip, self.address)
        self._fault = None
        if self.type == "max30105":
            chip.set(clean=entry["clean_counts"], per_e4=entry["counts_per_e4"])

    def sense(self):
        chip = self.chip
        for name in chip.defaults:
            value = self._value(name)
            if value is not None:
                chip._real[name] = value

    def _value(self, name):
        if name == "smoke_e4":
            return int(_air.seen("smoke_od") * _E4 + 0.5)
        if name == "gas_kohm":
            return 10_000 / _air.seen("gas_index")
        if name in ("pm1", "pm25", "pm10"):
            return int(_air.seen("pm25_ug") * _PM_SHARE[name] + 0.5)
        if name in ("clean", "per_e4", "ambient", "dead_led"):
            return None
        return _air.seen(name)

    def fail(self, fault):
        before, self._fault = self._fault, fault
        if before == "unplugged":
            bus.plug(self.address)
        elif before:
            bus.heal(self.address)
        if fault == "unplugged":
            bus.unplug(self.address)
        elif fault:
            self.sense()
            bus.fail(fault, self.address)

    def dip(self):
        bus.dip(self.address)


# PM1 and PM10 of the same dust: coarse against fine, an order of magnitude.
_PM_SHARE = {"pm1": 0.7, "pm25": 1.0, "pm10": 1.2}


class _OnAdc(_Part):
    """`circuit`: has mv() and the attribute fault; sensed by `give(circuit)`."""

    faults = {"open": "open", "short": "short", "stuck": "stuck", "unplugged": "open"}

    def __init__(self, entry, circuit, give, **faults):
        _Part.__init__(self, entry)
        self.pin = entry["pin"]
        self._circuit = circuit
        self._give = give
        self._held_mv = None
        if faults:
            self.faults = dict(self.faults)
            self.faults.update(faults)

    def mv(self):
        """The pin's voltage now."""
        if self._held_mv is not None:
            return self._held_mv
        self.sense()
        # A float that should be whole may be a little below it.
        return self._circuit.mv() + 1e-6

    def sense(self):
        heater = self.entry.get("heater_pin")
        if heater is not None:
            self._circuit.heater(_board.levels.get(heater, 0))
        self._give(self._circuit)

    def fail(self, fault):
        self._held_mv = None
        self._circuit.fault = ""
        if fault == "stuck":
            self._held_mv = self.mv()
        elif fault:
            self._circuit.fault = fault

    def dip(self):
        power_on = getattr(self._circuit, "power_on", None)
        if power_on is not None:
            power_on()


class _OnWire(_Part):
    faults = {"open": "high", "short": "short", "bit_error": "bit_error", "unplugged": "absent"}

    def __init__(self, entry):
        from chips import onewire

        _Part.__init__(self, entry)
        self.pin = entry["pin"]
        rom = entry.get("rom")
        serial = 0x1234567890AB
        if rom:
            serial = sum([int(rom[2 + 2 * n : 4 + 2 * n], 16) << 8 * n for n in range(6)])
        self.line = line_at(self.pin) or onewire.OneWire()
        self.chip = self.line.attach(onewire.Ds18b20(ms, serial))

    def sense(self):
        self.chip.temp_c = _air.seen("temp_c")

    def fail(self, fault):
        self.chip.present = fault != "absent"
        self.line.fault = fault if fault and fault != "absent" else ""

    def dip(self):
        self.chip.power_on()


class _OnUart(_Part):
    faults = {"silent": "silent", "bit_error": "check", "bus": "bus", "unplugged": "silent"}

    def __init__(self, entry):
        from chips.pms import Pms5003

        _Part.__init__(self, entry)
        self.rx = entry["rx"]
        self.port = Pms5003(ms)

    def sense(self):
        dust = _air.seen("pm25_ug")
        self.port.pm = tuple([int(dust * _PM_SHARE[name] + 0.5) for name in ("pm1", "pm25", "pm10")])

    def fail(self, fault):
        self.port.fault = fault or ""


# -- types

# type: (module of chips, model, address)
_CHIPS = {
    "lm75": ("lm75", "Lm75", 0x48),
    "sht3x": ("sht3x", "Sht3x", 0x44),
    "sht4x": ("sht4x", "Sht4x", 0x44),
    "bme280": ("bme280", "Bme280", 0x76),
    "bme680": ("bme680", "Bme680", 0x76),
    "sgp40": ("sgp40", "Sgp40", 0x59),
    "scd4x": ("scd4x", "Scd4x", 0x62),
    "pmsa003i": ("pms", "Pmsa003i", 0x12),
    "max30105": ("max30105", "Max30105", 0x57),
}


def _chip(entry):
    module_name, model, address = _CHIPS[entry["type"]]
    module = getattr(__import__("chips." + module_name), module_name)
    if entry["type"] == "lm75":
        return _OnBus(entry, module.Lm75(ms, _board.state["thermometer"]), address)
    return _OnBus(entry, getattr(module, model)(ms), address)


def _smoke_head(entry):
    from chips.analog import SmokeHead

    def give(circuit):
        circuit.od_per_m = _air.seen("smoke_od")

    return _OnAdc(entry, SmokeHead(entry["mv_clean"], entry["uv_per_e4"]), give)


def _head(entry):
    from chips.analog import HeadLoop

    def give(circuit):
        heat = entry.get("detects") == "heat"
        circuit.alarm = _air.seen("temp_c") >= _HEAD_TEMP_C if heat else _air.seen("smoke_od") >= _HEAD_OD

    loop = [entry[name] for name in ("supply_mv", "series_ohm", "eol_ohm", "alarm_ohm")]
    return _OnAdc(entry, HeadLoop(*loop, entry.get("adc_permille", 1000)), give)


def _ntc(entry):
    from chips.analog import Thermistor

    def give(circuit):
        circuit.temp_c = _air.seen("temp_c")

    r25_ohm, beta = _ntc_curve(entry)
    divider = (entry["divider_ohm"], entry["supply_mv"], entry.get("to", "ground"))
    return _OnAdc(entry, Thermistor(r25_ohm, beta, *divider), give)


def _ntc_curve(entry):
    """R25 and B; of a table: by its points next to 25 and 85 degC."""
    if "table" not in entry:
        return entry["r25_ohm"], entry["beta"]
    (c0, ohm0), (c1, ohm1) = [min(entry["table"], key=lambda p: abs(p[0] - c)) for c in _NTC_BETA_POINTS_C]
    beta = math.log(ohm0 / ohm1) / (1 / (c0 + 273.15) - 1 / (c1 + 273.15))
    return ohm0 * math.exp(beta * (1 / 298.15 - 1 / (c0 + 273.15))), beta


def _mq(entry):
    from chips import analog

    co = entry["type"] == "mq7"
    air, gas = (analog.MQ7_AIR, analog.MQ7_CO) if co else (analog.MQ2_AIR, analog.MQ2_LPG)
    # As the data sheets' middle, or as it was measured where it hangs.
    ro_ohm = entry.get("clean_ohm", 10_000 * air) / air
    supply = (entry["load_ohm"], entry.get("supply_mv", 5000), entry.get("adc_permille", 1000))

    def give(circuit):
        if co:
            circuit.ppm = _air.seen("co_ppm")
        else:
            # The ppm whose resistance is clean air's by this index.
            ratio = air * 100 / max(100, _air.seen("gas_index"))
            circuit.ppm = (ratio / gas[0]) ** (1 / gas[1]) if ratio < air else 0

    return _OnAdc(entry, analog.MqCircuit(ms, ro_ohm, air, gas, *supply), give, heater="heater")


_MADE = {"smoke_head": _smoke_head, "head": _head, "ntc": _ntc, "mq2": _mq, "mq7": _mq}
_MADE.update({"ds18b20": _OnWire, "pms5003": _OnUart})


# -- the board's


def start():
    """Mount what the state names; needs the host's file system for the models."""
    global bus, _starting
    bus = Bus(_Clock)
    _starting = True
    for entry in _board.state["sensors"]:
        _parts.append(_MADE.get(entry["type"], _chip)(entry))
    _starting = False
    _fail(_board.state["faults"])
    _board.hooks["faults"] = _fail
    _board.hooks["dip"] = _dip


def _fail(by_type):
    for part in _parts:
        fault = by_type.get(part.type)
        part.fail(part.faults[fault] if fault else None)


def _dip(name):
    for part in _parts:
        if part.type == name:
            part.sense()
            part.dip()


def pin_mv(pin):
    """The voltage at an analogue input; 0 where nothing hangs."""
    for part in _parts:
        if part.pin == pin and isinstance(part, _OnAdc):
            return part.mv()
    return 0


def line_at(pin):
    """The 1-Wire line at a pin, or None."""
    for part in _parts:
        if part.pin == pin and isinstance(part, _OnWire):
            return part.line
    return None


def sense_lines(pin):
    """What hangs on a 1-Wire line is given the present air."""
    for part in _parts:
        if part.pin == pin:
            part.sense()


def port_at(rx):
    """The part whose TXD goes to `rx`, or None."""
    for part in _parts:
        if part.rx == rx:
            return part
    return None
