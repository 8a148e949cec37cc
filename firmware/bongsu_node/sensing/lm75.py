"""Thermometers compatible with the LM75: LM75A/B (9 or 11 bits), TMP100/101/102/112/175 (9 or 12 bits), on I2C.

Own driver: there is none on PyPI or micropython-lib that meets the protocol.

Register 0 holds the temperature left-aligned in 16 bits, big-endian, in 1/256 degC, whatever the resolution (LM75B
data sheet, 7.4.3; TMP102 data sheet, 7.5.2). The lowest four bits are no part of any of them. An old LM75 leaves its
lowest seven bits undefined: at most +0.44 degC, far inside its own tolerance of 2 degC.
Bit 0 of the configuration (register 1; LM75B 7.4.2, TMP102 7.5.3.1) is shutdown: the chip answers and its temperature
stands still. Bits 5 and 6 are a TMP1xx's resolution and reserved in an LM75, so all others are written back as read.
After a power dip the register says 0 degC until the first conversion. Nothing tells of a dip, so the hysteresis
(register 2, 75 degC after power-on; of an output that nobody wired) is set to 74 degC, and 75 means a dip.
"""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.i2c_sensor import I2cSensor, address_of
from bongsu_node.sensing.stuck import LIMIT_MIN
from bongsu_wire import kinds

_ADDRESSES = (0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F)  # three address pins
_TEMPERATURE = 0
_CONFIGURATION = 1
_HYSTERESIS = 2
_MARK = b"\x4a\x00"
_SHUTDOWN = 0x01
# One conversion after power-on or shutdown; before it the register says 0 degC. LM75B 100 ms, LM75A and TMP175 at 12
# bits 300 ms at most.
_FIRST_MS = 300
# Lower end of what these chips measure, -55 degC, in 1/256 degC. The upper end needs no check: a TMP102 saturates at
# +127.9 degC, and a thermometer that stands in a fire must go on saying "hot", not "faulty".
_LOWEST = -55 * 256
_ZERO_C = 699_264  # 273.15 K in units of 1/2560 K
_CHECK, _WAIT, _RUN = 0, 1, 2


class Lm75(I2cSensor):
    """`i2c`: a machine.I2C or alike; `stuck_min`: minutes after which a register that stands still is a fault."""

    quantities = (kinds.Q_TEMP_DK,)

    def __init__(self, i2c, address: int, ticks_diff, stuck_min: int = LIMIT_MIN) -> None:
        super().__init__(i2c, address, ticks_diff, stuck_min=stuck_min)
        self._raw = bytearray(2)
        self._conf = bytearray(1)

    def _step(self, now: int) -> bool:
        if self._state == _CHECK:
            self._wake(now)
            return False
        if self._state == _WAIT:
            if not self._waited(now, _FIRST_MS):
                return False
            self._state = _RUN
        self._read_register(_CONFIGURATION, self._conf)
        self._read_register(_HYSTERESIS, self._raw)
        if self._conf[0] & _SHUTDOWN or self._raw[0] != _MARK[0]:
            raise SensorError("reset")
        self._read_register(_TEMPERATURE, self._raw)
        raw = self._raw[0] << 8 | self._raw[1]
        self._moves(now, 0, raw)
        raw &= 0xFFF0
        if raw & 0x8000:
            raw -= 0x10000
        if raw < _LOWEST:
            raise SensorError("range")
        self.values[0] = (raw * 10 + _ZERO_C + 128) >> 8
        return True

    def _wake(self, now: int) -> None:
        """Out of shutdown. There is no register that names the chip: one that cannot be woken is none of these."""
        self._read_register(_CONFIGURATION, self._conf)
        if self._conf[0] & _SHUTDOWN:
            self._conf[0] &= 0xFF - _SHUTDOWN
            self._write_register(_CONFIGURATION, self._conf)
            self._read_register(_CONFIGURATION, self._conf)
            if self._conf[0] & _SHUTDOWN:
                raise SensorError("absent")
        self._write_register(_HYSTERESIS, _MARK)
        self._at = now
        self._state = _WAIT


def make(hw, s):
    """From the entry {"type": "lm75", "address": 72, "stuck_h": 48}; stuck_h 0: a place as steady as a cold store."""
    return Lm75(hw.i2c(), address_of(s, _ADDRESSES), hw.ticks_diff, s.get("stuck_h", LIMIT_MIN // 60) * 60)
