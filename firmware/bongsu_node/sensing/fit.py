"""Fits a node out: from the sensors of its settings to probes, channels and the judge. Needed once, at boot."""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.channel import HeatChannel, SmokeChannel
from bongsu_node.sensing.history import History
from bongsu_node.sensing.judge import Judge
from bongsu_node.sensing.probe import Probe
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN

# What a type of sensor is for: of it the fault is named, also when the sensor could not be made at all.
MAIN = {
    "lm75": kinds.Q_TEMP_DK,
    "ntc": kinds.Q_TEMP_DK,
    "ds18b20": kinds.Q_TEMP_DK,
    "sht3x": kinds.Q_TEMP_DK,
    "sht4x": kinds.Q_TEMP_DK,
    "bme280": kinds.Q_TEMP_DK,
    "bme680": kinds.Q_TEMP_DK,
    "smoke_head": kinds.Q_SMOKE_E4,
    "max30105": kinds.Q_SMOKE_E4,
    "head": kinds.Q_HEAD,
    "mq2": kinds.Q_GAS_INDEX,
    "mq7": kinds.Q_CO_DPPM,
    "sgp40": kinds.Q_VOC_INDEX,
    "scd4x": kinds.Q_CO2_PPM,
    "pms5003": kinds.Q_PM25_DUG,
    "pmsa003i": kinds.Q_PM25_DUG,
}
FAULTS = {
    kinds.Q_TEMP_DK: kinds.FAULT_HEAT_SENSOR,
    kinds.Q_SMOKE_E4: kinds.FAULT_SMOKE_SENSOR,
    kinds.Q_HEAD: kinds.FAULT_SMOKE_SENSOR,
    kinds.Q_GAS_INDEX: kinds.FAULT_GAS_SENSOR,
    kinds.Q_CO_DPPM: kinds.FAULT_CO_SENSOR,
    kinds.Q_HUMIDITY_HALF: kinds.FAULT_HUMIDITY_SENSOR,
}
# Too slow, and warmed by itself: its temperature and humidity are readings, nothing is decided by them.
_READINGS_ONLY = ("scd4x",)
_HISTORY = (kinds.Q_TEMP_DK, kinds.Q_SMOKE_E4, kinds.Q_HUMIDITY_HALF, kinds.Q_CO_DPPM, kinds.Q_HEAD, kinds.Q_GAS_INDEX)


def phenomena(entries):
    """kinds.* of what a node with these sensors decides about."""
    bits = kinds.HEAT | kinds.SMOKE  # also where only one is fitted: the other may stand from before
    for entry in entries:
        main = MAIN.get(entry["type"])
        bits |= kinds.CO if main == kinds.Q_CO_DPPM else kinds.GAS if main == kinds.Q_GAS_INDEX else 0
    return [bit for bit in (kinds.HEAT, kinds.SMOKE, kinds.CO, kinds.GAS) if bits & bit]


class Absent:
    """Stands for a sensor that could not be set up: a fault, and no reason not to start."""

    period_ms = 250
    warming = False

    def __init__(self, quantity: int, why: str) -> None:
        self.quantities = (quantity,)
        self.values = [UNKNOWN]
        self._why = why

    def poll(self, now: int) -> bool:
        """Raises SensorError."""
        raise SensorError(self._why)


class Outfit:
    """probes, judge, history, means, smoke (the first SmokeChannel, None without): made of `fitted`, pairs of an entry
    of node.json and its sensor; `values`: the limits; `interval_s` of the readings, 0: none; `start_e4`: the smoke
    baseline as kept; `told(fault)`: the centre was told of this fault before the restart.
    """

    def __init__(self, fitted, values, ticks_diff, *, interval_s: int = 0, start_e4: int = 0, told=None) -> None:
        self.smoke = None
        self._values = values
        self._diff = ticks_diff
        self._start_e4 = start_e4
        given = sorted({q for _, sensor in fitted for q in sensor.quantities})
        self.means = self._means(interval_s, given)
        self.probes = []
        channels = []
        for entry, sensor in fitted:
            mine = [self._channel(entry, sensor, quantity) for quantity in sensor.quantities]
            channels += [channel for channel in mine if channel is not None]
            fault = _fault(entry)
            faulty = told is not None and told(fault)
            self.probes.append(Probe(sensor, mine, fault, ticks_diff, self.means, faulty))
        self.judge = Judge(channels, values, ticks_diff)
        for _, sensor in fitted:
            if hasattr(sensor, "judge"):  # it needs the air around it to be right
                sensor.judge = self.judge
        watched = [channel.quantity for channel in channels]
        self.history = History([q for q in _HISTORY if q in watched], ticks_diff)

    def _means(self, interval_s: int, quantities):
        if not interval_s:
            return None
        from bongsu_node.sensing.means import Means

        return Means(interval_s, quantities, self._diff)

    def _channel(self, entry, sensor, quantity: int):
        """What decides by this quantity, None: nothing does. A node holds only the kinds of channel that it has."""
        if entry["type"] in _READINGS_ONLY:
            return None
        period_ms = sensor.period_ms
        if quantity == kinds.Q_TEMP_DK:
            return HeatChannel(self._values, self._diff, period_ms)
        if quantity == kinds.Q_SMOKE_E4:
            return self._smoke_channel(period_ms)
        if quantity == kinds.Q_HEAD:
            from bongsu_node.sensing.channel_head import HeadChannel

            bit = kinds.HEAT if entry.get("detects") == "heat" else kinds.SMOKE
            return HeadChannel(bit, self._values, self._diff, period_ms)
        return self._rare_channel(quantity, period_ms)

    def _rare_channel(self, quantity: int, period_ms: int):
        if quantity == kinds.Q_HUMIDITY_HALF:
            from bongsu_node.sensing.channel_humidity import HumidityChannel as Kind
        elif quantity == kinds.Q_CO_DPPM:
            from bongsu_node.sensing.channel_co import CoChannel as Kind
        elif quantity == kinds.Q_GAS_INDEX:
            from bongsu_node.sensing.channel_gas import GasChannel as Kind
        else:
            return None
        return Kind(self._values, self._diff, period_ms)

    def _smoke_channel(self, period_ms: int):
        channel = SmokeChannel(self._values, self._diff, period_ms, 0 if self.smoke else self._start_e4)
        self.smoke = self.smoke or channel
        return channel


def _fault(entry) -> int:
    if entry.get("detects") == "heat":
        return kinds.FAULT_HEAT_SENSOR
    return FAULTS.get(MAIN.get(entry["type"], 0), kinds.FAULT_AIR_SENSOR)


def sensor(entry, hw):
    """The sensor of an entry of node.json, on the chip's parts `hw` (hardware.Hardware); what goes wrong is its own
    fault, and no other's.
    """
    name = entry["type"]
    try:
        if name not in MAIN:
            return Absent(kinds.Q_VOC_INDEX, "no driver %s" % name)
        module = __import__("bongsu_node.sensing." + name, None, None, ("make",))
        return module.make(hw, entry)
    except Exception as e:
        return Absent(MAIN[name], repr(e))
