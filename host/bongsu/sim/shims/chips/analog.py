"""Analogue sensors and the ADC that reads them. Runs on CPython and MicroPython.

    loop = HeadLoop(supply_mv=3300, series_ohm=4700, eol_ohm=10000, alarm_ohm=2200)
    adc = Adc(loop.mv)
    loop.alarm = True
    adc.read_uv()

A circuit gives the voltage at the pin, in mV; faults are attributes of the circuit.
"""

import errno
import math

# What an ESP32's ADC reads at 11 dB: it never goes below or above these (ESP-IDF, ADC calibration).
ADC_MIN_MV = 142
ADC_MAX_MV = 3300
# One conversion and its calibration, as an order of magnitude.
_READ_US = 100
_ZERO_C_K = 273.15


class Adc:
    """machine.ADC at one pin. `mv`: function that gives the pin's voltage; steps of 1 mV, as the calibrated driver
    gives them.

    taken: ADC2 belongs to the radio; busy_us, spent_bytes: see bus.Bus.
    """

    def __init__(self, mv, mem_alloc=None):
        self.taken = False
        self.busy_us = 0
        self.spent_bytes = 0
        self._mv = mv
        self._mem_alloc = mem_alloc if mem_alloc is not None else lambda: 0

    def read_uv(self):
        before = self._mem_alloc()
        try:
            self.busy_us += _READ_US
            if self.taken:
                raise OSError(errno.ETIMEDOUT)
            mv = int(self._mv())
            return max(ADC_MIN_MV, min(ADC_MAX_MV, mv)) * 1000
        finally:
            self.spent_bytes += self._mem_alloc() - before


class Thermistor:
    """An NTC in a divider. temp_c: what it senses; fault: "", "open" or "short" (of the thermistor)."""

    def __init__(self, r25_ohm, beta, divider_ohm, supply_mv, to="ground"):
        self.temp_c = 25.0
        self.fault = ""
        self._r25_ohm = r25_ohm
        self._beta = beta
        self._divider_ohm = divider_ohm
        self._supply_mv = supply_mv
        self._to_ground = to == "ground"

    def ohm(self):
        """The B equation: R = R25 exp(B (1/T - 1/298.15 K))."""
        return self._r25_ohm * math.exp(self._beta * (1 / (self.temp_c + _ZERO_C_K) - 1 / 298.15))

    def mv(self):
        if self.fault:
            low = (self.fault == "short") == self._to_ground
            return 0 if low else self._supply_mv
        ohm = self.ohm()
        share = ohm / (ohm + self._divider_ohm)
        return self._supply_mv * (share if self._to_ground else 1 - share)


class SmokeHead:
    """A head with a live zero. od_per_m: optical density; fault: "", "open" or "short"."""

    def __init__(self, mv_clean, uv_per_e4):
        self.od_per_m = 0.0
        self.fault = ""
        self._mv_clean = mv_clean
        self._uv_per_e4 = uv_per_e4

    def mv(self):
        if self.fault:
            return 0 if self.fault == "open" else ADC_MAX_MV
        return self._mv_clean + self._uv_per_e4 * self.od_per_m * 10


# Rs/Ro by gas: (ratio at 1 ppm on a straight line in log-log scale, its slope), and the ratio in clean air. Read off
# figure 3 of the data sheets.
MQ2_AIR = 9.83
MQ2_LPG = (18.6, -0.465)  # about 1.6 at 200 ppm, 0.75 at 1,000
MQ7_AIR = 27.0
MQ7_CO = (20.9, -0.66)  # 1.0 at 100 ppm, 0.22 at 1,000


class MqCircuit:
    """An MQ sensor with its load resistor, and a divider to the pin.

    ro_ohm: of the data sheet; air, gas: of the tables above; ppm: of that gas. fault: "", "open" (unplugged), "short"
    (output at the supply), "heater" (cold: an insulator), "stuck" (the heater gives warmth, but never changes).
    `ms`: function that gives the time; the sensor is cold at first and reads from open to dense gas for two minutes.
    heater(level): of an MQ-7: after 60 s at 5 V it has burnt off what settled, after 90 s at 1.4 V it reads true.
    """

    _COLD_MS = 120_000
    _SETTLE_MS = 10_000
    _HOT_SHARE = 0.2  # of the resistance in clean air, at 5 V

    def __init__(self, ms, ro_ohm, air, gas, load_ohm, supply_mv=5000, adc_permille=1000):
        self.ppm = 0.0
        self.fault = ""
        self.ro_ohm = ro_ohm
        self.switched = 0
        self._ms = ms
        self._air = air
        self._gas = gas
        self._load_ohm = load_ohm
        self._supply_mv = supply_mv
        self._share = adc_permille / 1000
        self._begun = ms()
        self._hot = None
        self._since = ms()

    def heater(self, level):
        if self.fault != "stuck" and level != self._hot:
            self.switched += 1
            self._hot = level
            self._since = self._ms()

    def power_on(self):
        """Power comes back: it is cold."""
        self._begun = self._ms()
        self._hot = None

    def ratio(self):
        """Rs/Ro, settled."""
        if self.ppm <= 0:
            return self._air
        at_one, slope = self._gas
        return min(self._air, at_one * self.ppm**slope)

    def ohm(self):
        past_ms = self._ms() - self._begun
        if self.fault == "heater":
            return 50_000_000
        if past_ms < self._COLD_MS:
            # From an insulator down to dense gas, and back.
            return 50_000_000 if past_ms < 5_000 else self.ro_ohm * (0.02 + self.ratio() * past_ms / self._COLD_MS)
        settled = self.ro_ohm * self.ratio()
        if self._hot is None:
            return settled
        burnt = self.ro_ohm * self._air * self._HOT_SHARE
        lag = math.exp(-(self._ms() - self._since) / self._SETTLE_MS)
        return (burnt + (settled - burnt) * lag) if self._hot else (settled + (burnt - settled) * lag)

    def mv(self):
        if self.fault == "open":
            return 0
        if self.fault == "short":
            return self._supply_mv * self._share
        return self._supply_mv * self._share * self._load_ohm / (self._load_ohm + self.ohm())


class HeadLoop:
    """The relay loop of a detector head. alarm: the contact is closed; fault: "", "open", "short"; leak_ohm: a bad
    joint's resistance between the wires (water), or None; joint_ohm: in series with the loop (corrosion).
    """

    def __init__(self, supply_mv, series_ohm, eol_ohm, alarm_ohm, adc_permille=1000):
        self.alarm = False
        self.fault = ""
        self.leak_ohm = None
        self.joint_ohm = 0
        self._supply_mv = supply_mv
        self._series_ohm = series_ohm
        self._eol_ohm = eol_ohm
        self._alarm_ohm = alarm_ohm
        self._share = adc_permille / 1000

    def mv(self):
        if self.fault == "short":
            return 0
        if self.fault == "open":
            return self._supply_mv * self._share
        ohm = self._eol_ohm
        if self.alarm:
            ohm = ohm * self._alarm_ohm / (ohm + self._alarm_ohm)
        ohm += self.joint_ohm
        if self.leak_ohm is not None:
            ohm = ohm * self.leak_ohm / (ohm + self.leak_ohm)
        return self._supply_mv * self._share * ohm / (self._series_ohm + ohm)
