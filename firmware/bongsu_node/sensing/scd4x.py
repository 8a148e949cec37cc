"""Sensirion SCD40/41: carbon dioxide, temperature and humidity on I2C.

Own driver: neither PyPI nor micropython-lib has one; those elsewhere sleep 500 ms to stop and allocate each sample.

Periodic measurement (data sheet, version 1.3, 3.5): a value every 5 s, fetched when the chip says that it is ready. A
chip that lost its supply is idle again and is never ready, which shows as "silent".
"""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.command_sensor import CommandSensor
from bongsu_node.sensing.crc8 import check
from bongsu_node.sensing.i2c_sensor import address_of
from bongsu_wire import kinds

_ADDRESSES = (0x62,)
_STOP = b"\x3f\x86"  # 3.5.3; 500 ms
_READ_SERIAL = b"\x36\x82"  # 3.9.2
_SELF_TEST = b"\x36\x39"  # 3.9.3; 10 s, so only once, when nobody waits for values yet
_PERIODIC = b"\x21\xb1"  # 3.5.1
_IS_READY = b"\xe4\xb8"  # 3.8.2
_FETCH = b"\xec\x05"  # 3.5.2
_BOOT_MS = 1_000  # table 6: until it answers after power-on
_STOP_MS = 500
_TEST_MS = 10_000
_ANSWER_MS = 1
_SILENT_MS = 9_000  # more than a period, and still a fault in time
_MOST_PPM = 40_000  # table 1
_LOWEST = 1_873  # -40 degC
_SATURATED = 0xFFFF
_START, _STOPPED, _IDENTITY, _TEST, _ASK, _READY, _COLLECT, _FIRST, _BOOTING = 0, 1, 2, 3, 4, 5, 6, 7, 8


class Scd4x(CommandSensor):
    """`i2c`: a machine.I2C or alike.

    warming: self-test, then the first value, thrown away as the data sheet advises after waking up (3.10.4); 22 s.
    """

    quantities = (kinds.Q_CO2_PPM, kinds.Q_TEMP_DK, kinds.Q_HUMIDITY_HALF)
    period_ms = 5_000

    def __init__(self, i2c, address: int, ticks_diff) -> None:
        super().__init__(i2c, address, ticks_diff, silent_ms=_SILENT_MS, raws=3)
        self.warming = True
        self._state = _FIRST
        self._tested = False
        self._answer = bytearray(3)
        self._raw = bytearray(9)

    def _step(self, now: int) -> bool:
        if self._state == _COLLECT:
            return self._waited(now, _ANSWER_MS) and self._collect(now)
        if self._state == _READY:
            if self._waited(now, _ANSWER_MS):
                self._read(self._answer)
                check(self._answer)
                # Ready unless the lowest eleven bits are all 0.
                if self._answer[0] & 7 or self._answer[1]:
                    self._command(now, _COLLECT, _FETCH)
                else:
                    self._command(now, _READY, _IS_READY)
        elif self._state == _ASK:
            self._command(now, _READY, _IS_READY)
        else:
            self._set_up(now)
        return False

    def _set_up(self, now: int) -> None:
        """It may be measuring from before a restart, when it obeys nothing but "stop"."""
        if self._state == _FIRST:
            self._at = now
            self._state = _BOOTING
        elif self._state == _START or (self._state == _BOOTING and self._waited(now, _BOOT_MS)):
            self._command(now, _STOPPED, _STOP)
        elif self._state == _STOPPED:
            if self._waited(now, _STOP_MS):
                self._command(now, _IDENTITY, _READ_SERIAL)
        elif self._state == _IDENTITY:
            if self._waited(now, _ANSWER_MS):
                self._read(self._raw)
                check(self._raw)
                if self._tested:
                    self._command(now, _ASK, _PERIODIC)
                else:
                    self._command(now, _TEST, _SELF_TEST)
        elif self._state == _TEST:
            self._judge_test(now)

    def _judge_test(self, now: int) -> None:
        self._quiet_ms = 0
        if self._waited(now, _TEST_MS):
            self._read(self._answer)
            check(self._answer)
            if self._answer[0] or self._answer[1]:
                raise SensorError("range")
            self._tested = True
            self._command(now, _ASK, _PERIODIC)

    def _collect(self, now: int) -> bool:
        raw = self._raw
        self._read(raw)
        check(raw)
        co2 = raw[0] << 8 | raw[1]
        temperature = raw[3] << 8 | raw[4]
        humidity = raw[6] << 8 | raw[7]
        self._state = _ASK
        if self.warming:
            self.warming = False
            self._quiet_ms = 0
            return False
        if not 0 < co2 <= _MOST_PPM or temperature < _LOWEST:
            raise SensorError("range")
        self._moves(now, 0, co2)
        self._moves(now, 1, temperature)
        if humidity != _SATURATED:
            self._moves(now, 2, humidity)
        # 3.5.2: T = -45 + 175 raw / 65535 degC, RH = 100 raw / 65535 %. In 0.1 K: 2281.5 + 1750 raw / 65535.
        self.values[0] = co2
        self.values[1] = (1_750 * temperature + 149_518_102 + 32_767) // 65_535
        self.values[2] = (200 * humidity + 32_767) // 65_535
        return True


def make(hw, s):
    """From the entry {"type": "scd4x"}."""
    return Scd4x(hw.i2c(), address_of(s, _ADDRESSES), hw.ticks_diff)
