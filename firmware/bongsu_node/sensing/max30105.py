"""MAX30105, an optical module (red, infrared and green LED, one photodiode) as a smoke sensor by reflection, on I2C.

Entry: counts_per_e4 and clean_counts, and if other than the default: led ("ir", "red" or "green": the one that counts),
current_ua (of each LED, steps of 200 uA, default 7000).

    smoke in 1e-4/m = (counts - clean_counts) / counts_per_e4

The data sheet gives no optical density: how much light comes back depends on the housing around the module. So
clean_counts (in clean air, in its housing) and counts_per_e4 (against a reference, at one density) are the installer's
calibration, and the value is worth what that is.

The chip subtracts ambient light itself; where that fails it says so (ALC_OVF), and the value is "range". Dense smoke
ends at the ADC's full scale, as does a hand before it: smoke climbs there, and keeps the top value; what jumps there is
"range". Less than half of clean_counts is a dead LED or a covered window: "open".

PyPI micropython-max30102 (BSD) is not depended on: it sleeps until a reset is over, polls the chip in loops that may
never end, and keeps samples in lists.
"""

from bongsu_node.sensing import SensorError, entry
from bongsu_node.sensing.i2c_sensor import I2cSensor
from bongsu_node.sensing.stuck import LIMIT_MIN
from bongsu_wire import kinds

ADDRESS = 0x57
_PART_ID = 0x15
_INT_STATUS_1 = 0x00  # cleared by reading
_ALC_OVF = 0x20
_PWR_RDY = 0x01  # set by power-on
_FIFO_WR_PTR = 0x04  # then OVF_COUNTER, FIFO_RD_PTR
_FIFO_RD_PTR = 0x06
_FIFO_DATA = 0x07
_MODE = 0x09
_REG_PART_ID = 0xFF
_RESET = b"\x40"  # of the mode register, bit 6: all registers to their power-on state
_DEPTH_MASK = 31
_SAMPLE_LEN = 9  # three LEDs of three bytes
_FULL_SCALE = 0x3FFFF  # 18 bits
_LEDS = ("red", "ir", "green")  # order of the slots
_RISEN_E4 = 200  # as of smoke_head.py
_MOST_E4 = 0xFFFE
_RESET_MS = 10  # the reset bit clears itself "after the reset sequence is completed", within a millisecond
_START, _RESETTING, _RUN = 0, 1, 2


class Max30105(I2cSensor):
    """`led`: index of the LED that counts; `pulse`: current of each LED, 0.2 mA. Its first value comes within 1 s.

    Fails as "nak", "bus", "absent" (another part answers), "open", "range", "reset" (its supply dipped), "silent",
    "stuck".
    """

    quantities = (kinds.Q_SMOKE_E4,)

    def __init__(
        self, i2c, led: int, pulse: int, clean: int, per_e4: int, ticks_diff, stuck_min: int = LIMIT_MIN
    ) -> None:
        super().__init__(i2c, ADDRESS, ticks_diff, stuck_min=stuck_min)
        self._led_at = 3 * led
        self._clean = clean
        self._per_e4 = per_e4
        self._last = 0
        self._one = bytearray(1)
        self._pointers = bytearray(3)
        self._sample = bytearray(_SAMPLE_LEN)
        # (register, value): data sheet, "Register Map".
        self._set_up = (
            (0x08, b"\x7f"),  # FIFO: means of 8 samples, rolls over when full
            (0x0A, b"\x43"),  # full scale 8,192 nA; 50 samples/s, so 6.25 means; pulses of 411 us, 18 bits
            (0x0C, bytes([pulse])),
            (0x0D, bytes([pulse])),
            (0x0E, bytes([pulse])),
            (0x11, b"\x21"),  # slots: 1 red, 2 infrared,
            (0x12, b"\x03"),  # 3 green
            (_FIFO_WR_PTR, b"\x00\x00\x00"),  # "it is recommended to first clear" all three
            (_MODE, b"\x07"),  # multi-LED
        )

    def _step(self, now: int) -> bool:
        if self._state == _RUN:
            return self._run(now)
        if self._state == _START:
            self._read_register(_REG_PART_ID, self._one)
            if self._one[0] != _PART_ID:
                raise SensorError("absent")
            self._write_register(_MODE, _RESET)
            self._at = now
            self._state = _RESETTING
        elif self._waited(now, _RESET_MS):
            self._read_register(_INT_STATUS_1, self._one)
            for register, value in self._set_up:
                self._write_register(register, value)
            self._state = _RUN
        return False

    def _run(self, now: int) -> bool:
        self._read_register(_INT_STATUS_1, self._one)
        status = self._one[0]
        if status & _PWR_RDY:
            raise SensorError("reset")
        if not self._newest():
            return False
        at = self._led_at
        counts = (self._sample[at] & 3) << 16 | self._sample[at + 1] << 8 | self._sample[at + 2]
        blinded = status & _ALC_OVF
        if counts < self._clean >> 1 and not blinded:
            raise SensorError("open")
        if (blinded or counts == _FULL_SCALE) and self._last < _RISEN_E4:
            raise SensorError("range")
        if not blinded:  # else the smoke of before stands
            self._moves(now, 0, counts)
            self._last = self._smoke(counts)
        self.values[0] = self._last
        return True

    def _newest(self) -> bool:
        """Read the newest sample of the FIFO; what is older is passed over. False: it is empty."""
        pointers = self._pointers
        self._read_register(_FIFO_WR_PTR, pointers)
        if pointers[0] == pointers[2] and not pointers[1]:
            return False
        newest = (pointers[0] - 1) & _DEPTH_MASK
        if pointers[2] != newest:
            # "Only the FIFO_RD_PTR register should be written to in operation."
            self._one[0] = newest
            self._write_register(_FIFO_RD_PTR, self._one)
        self._read_register(_FIFO_DATA, self._sample)
        return True

    def _smoke(self, counts: int) -> int:
        smoke = (counts - self._clean) // self._per_e4 if counts > self._clean else 0
        return smoke if smoke < _MOST_E4 else _MOST_E4


def make(hw, s) -> Max30105:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    led = _LEDS.index(entry.choice(s, "led", _LEDS, "ir"))
    pulse = entry.whole(s, "current_ua", 200, 50_000, 7_000) // 200
    clean_counts = entry.whole(s, "clean_counts", 100, _FULL_SCALE // 2)
    counts_per_e4 = entry.whole(s, "counts_per_e4", 1, 10_000)
    # The scale must reach beyond the alarm of every profile, 0.15/m.
    if clean_counts + 1_500 * counts_per_e4 > _FULL_SCALE:
        raise ValueError("counts_per_e4: the scale would end below 0.15/m")
    return Max30105(hw.i2c(), led, pulse, clean_counts, counts_per_e4, hw.ticks_diff, entry.stuck_min(s))
