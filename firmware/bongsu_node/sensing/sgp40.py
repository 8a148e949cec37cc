"""Sensirion SGP40: raw ticks of volatile organic compounds on I2C, and an index made of them.

Own driver: micropython-sgp40 (PyPI, MIT) sleeps 30 ms a sample, allocates, and has no index.

One measurement a second keeps the plate hot (data sheet, version 1.2, 3.1); humidity and temperature of the air go in
with each command (table 9). A measurement takes 30 ms, but is fetched only when the next one is due: the chip keeps it
till then, and one that lost its supply at any moment between has nothing to give, which shows as "nak".
"""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.command_sensor import CommandSensor
from bongsu_node.sensing.crc8 import check, crc8
from bongsu_node.sensing.i2c_sensor import address_of
from bongsu_node.sensing.voc_index import VocIndex
from bongsu_wire import kinds
from bongsu_wire.measured import UNKNOWN

_ADDRESSES = (0x59,)
_READ_SERIAL = b"\x36\x82"  # 3.4
_SELF_TEST = b"\x28\x0e"
_PASSED = 0xD4
_SERIAL_MS = 1
_TEST_MS = 320  # table 8
# Table 1: reliable detection 60 s after switching on.
_WARM_MS = 60_000
# A failure may have been a power dip that let the plate grow cold, so each is followed by another warm-up. It is no
# part of the fault if the sensor has worked for long before (10 minutes); one that fails again and again is a fault.
_WORKED = 540
_START, _IDENTITY, _TEST, _COLLECT = 0, 1, 2, 3


class Sgp40(CommandSensor):
    """`i2c`: a machine.I2C or alike. raw: newest ticks; index: see VocIndex; judge: gives temperature and humidity of
    the node's other sensors, to be set; without them it is told 50 % and 25 degC.

    warming: the first minute after power-on and after each failure.
    """

    quantities = (kinds.Q_VOC_INDEX,)
    period_ms = 1_000

    def __init__(self, i2c, address: int, ticks_diff) -> None:
        super().__init__(i2c, address, ticks_diff)
        self.raw = 0
        self.judge = None
        self.index = VocIndex()
        self.warming = True
        self._warm_ms = 0
        self._worked = 0  # values since the last warm-up
        self._serial = bytearray(9)
        self._answer = bytearray(3)
        # As in the data sheet for 50 % and 25 degC: 0x8000 and 0x6666 with their check sums.
        self._measure = bytearray(b"\x26\x0f\x80\x00\xa2\x66\x66\x93")

    def compensate(self, temp_dk: int, humidity_half: int) -> None:
        """The air at the sensor, in 0.1 K and 0.5 %: of the thermometer and hygrometer next to it."""
        self._put(2, humidity_half * 65_535 // 200)
        self._put(5, (2 * temp_dk - 4_563) * 65_535 // 3_500)  # (t + 45 degC) 65535 / 175

    def _look_around(self) -> None:
        if self.judge is not None:
            temp_dk = self.judge.value(kinds.Q_TEMP_DK)
            humidity_half = self.judge.value(kinds.Q_HUMIDITY_HALF)
            if max(temp_dk, humidity_half) != UNKNOWN:
                self.compensate(temp_dk, humidity_half)

    def _put(self, at: int, word: int) -> None:
        word = 0 if word < 0 else word if word < 65_535 else 65_535
        self._measure[at] = word >> 8
        self._measure[at + 1] = word & 0xFF
        self._measure[at + 2] = crc8(self._measure, at)

    def _step(self, now: int) -> bool:
        if self._state == _COLLECT:
            return self._waited(now, self.period_ms) and self._collect(now)
        if self._state == _START:
            self._command(now, _IDENTITY, _READ_SERIAL)
        elif self._state == _IDENTITY:
            if self._waited(now, _SERIAL_MS):
                self._read(self._serial)
                check(self._serial)
                self._command(now, _TEST, _SELF_TEST)
        elif self._waited(now, _TEST_MS):
            self._judge_test(now)
        return False

    def _judge_test(self, now: int) -> None:
        self._read(self._answer)
        check(self._answer)
        if self._answer[0] != _PASSED:
            raise SensorError("range")
        self._warm_ms = 0
        self.warming = True
        if self._worked >= _WORKED:
            self._why = ""
        self._worked = 0
        self._command(now, _COLLECT, self._measure)

    def _collect(self, now: int) -> bool:
        self._read(self._answer)
        check(self._answer)
        raw = self._answer[0] << 8 | self._answer[1]
        if raw in (0, 0xFFFF):
            raise SensorError("range")
        self._moves(now, 0, raw)
        self.raw = raw
        self._look_around()
        self._command(now, _COLLECT, self._measure)
        if self.warming:
            self._quiet_ms = 0
            self._warm_ms += self.period_ms
            self.warming = self._warm_ms < _WARM_MS
            return False
        self._worked += self._worked < _WORKED
        self.values[0] = self.index.sample(raw)
        return True


def make(hw, s):
    """From the entry {"type": "sgp40"}."""
    return Sgp40(hw.i2c(), address_of(s, _ADDRESSES), hw.ticks_diff)
