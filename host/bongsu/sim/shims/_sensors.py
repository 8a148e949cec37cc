"""What the sensors of the board see and answer: the scenario, an LM75-compatible thermometer, an analogue smoke
head."""

import errno

import _board

# Bits of the temperature register by type; all are left-aligned in 16 bits, 1/256 degC each (LM75B and TMP102 data
# sheets).
_BITS = {"lm75": 9, "lm75b": 11, "tmp102": 12}
# What an ESP32's ADC reads at 11 dB: it never goes below or above these (ESP-IDF, ADC calibration).
_ADC_MIN_MV = 142
_ADC_MAX_MV = 3300
_OD_PER_E4 = 10000

points = []  # (ms of board time, temperature degC, smoke optical density /m), in time order


def load(lines):
    """Take a scenario: CSV lines `t_s,temp_c,smoke_od_per_m`."""
    points.clear()
    for line in lines:
        fields = line.split(",")
        if len(fields) == 3:
            points.append((int(float(fields[0]) * 1000), float(fields[1]), float(fields[2])))


def _seen(column):
    """The scenario's value now, between its points by a straight line; two points at one time are a step."""
    now = _board.vt_us() // 1000
    low, high = 0, len(points)
    while low < high:
        middle = (low + high) // 2
        if points[middle][0] <= now:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return points[0][column]
    if low == len(points):
        return points[-1][column]
    before, after = points[low - 1], points[low]
    share = (now - before[0]) / (after[0] - before[0])
    return before[column] + (after[column] - before[column]) * share


def temp_c():
    """Air temperature at the node, degC."""
    fixed = _board.state["temp_c"]
    return fixed if fixed is not None or not points else _seen(1)


def smoke_od():
    """Optical density at the node, 1/m."""
    fixed = _board.state["smoke_od"]
    return fixed if fixed is not None or not points else _seen(2)


def smoke_uv():
    """What the ADC reads at the smoke head's output, uV, in steps of 1 mV as the calibrated driver gives."""
    fault = _board.state["smoke_fault"]
    if fault == "open":
        return _ADC_MIN_MV * 1000
    if fault == "short":
        return _ADC_MAX_MV * 1000
    clean_mv, uv_per_e4 = _board.state["smoke_head"]
    mv = (clean_mv * 1000 + int(uv_per_e4 * (smoke_od() or 0) * _OD_PER_E4 + 0.5)) // 1000
    return max(_ADC_MIN_MV, min(_ADC_MAX_MV, mv)) * 1000


class Thermometer:
    """Registers: 0 temperature, 1 configuration (1 byte; bit 0 = shutdown), 2 hysteresis, 3 over-temperature."""

    def __init__(self):
        self._pointer = 0
        self._registers = {1: bytearray(1), 2: bytearray(b"\x4b\x00"), 3: bytearray(b"\x50\x00")}
        self._last = bytes(2)

    def answers(self):
        """False while the fault "nak" is set."""
        fault = _board.state["lm75_fault"]
        if fault == "bus":  # SDA held low by a broken part
            raise OSError(errno.ETIMEDOUT)
        return fault != "nak"

    def write(self, data):
        if data:
            self._pointer = data[0] & 3
            register = self._registers.get(self._pointer)
            if register is not None and len(data) > 1:
                size = min(len(data) - 1, len(register))
                register[:size] = data[1 : 1 + size]

    def read(self, size):
        content = self._temperature() if self._pointer == 0 else bytes(self._registers[self._pointer])
        # The chip repeats the register while the master goes on clocking.
        return (content * (size // len(content) + 1))[:size]

    def _temperature(self):
        if _board.state["lm75_fault"] != "stuck" and not self._registers[1][0] & 1:
            shift = 16 - _BITS[_board.state["thermometer"]]
            raw = int((temp_c() or 0) * 256 // (1 << shift)) << shift
            raw = max(-55 * 256, min(128 * 256 - 1, raw)) & 0xFFFF
            self._last = bytes([raw >> 8, raw & 0xFF])
        return self._last
