"""DS18B20, a thermometer on a 1-Wire line, fed by three wires.

Entry: pin, and rom (16 hex digits as printed by a scan, family code first) where several share the line.

Uses the `onewire` module that ESP32 images carry, but not `ds18x20` beside it: that one gives floats, takes a shorted
line for 0 degC (nine zero bytes have the check sum zero) and the power-on value for a temperature.

On the wire by the timings of MicroPython's onewire module: reset 1.0 ms, a byte out 0.6 ms, in 0.4 ms; the longest
poll, reading with a rom, takes 10.2 ms.

85.0 degC is what the temperature register holds after power-on (data sheet, "Memory"), so a chip whose supply dipped,
or that never converted, reports 85.0 in good form; a fire passes through 85.0 as well. It is a temperature if the chip
  - still holds the alarm bytes that were written to it (power-on recalls others from its EEPROM), and showed after
    Convert T that it was converting, or has byte 6 other than 0x0C, which it is after power-on; or
  - measured something within 10 K of it just before: then the air is that hot, whatever the chip did.
Else it is "reset", and the chip is set up again.
"""

from bongsu_node.sensing import SensorError, entry
from bongsu_node.sensing.channel import UNKNOWN
from bongsu_node.sensing.stuck import LIMIT_MIN, Stuck
from bongsu_wire import kinds

_MATCH_ROM = 0x55
_SKIP_ROM = 0xCC
_CONVERT_T = 0x44
_READ_SCRATCHPAD = 0xBE
_WRITE_SCRATCHPAD = 0x4E
_FAMILY = 0x28
# Alarm bytes, which nothing here uses as such: a mark that the chip has kept its memory. Factory: 0x4B, 0x46.
_MARK_HIGH = 0x62
_MARK_LOW = 0x73
_CONFIG_12_BITS = 0x7F  # R1 = R0 = 1; bits 0-4 read 1 and bit 7 reads 0, always (data sheet, figure 10)
_CONFIG_FIXED = 0x9F
_CONFIG_ALWAYS = 0x1F
_CONVERSION_MS = 750  # t_CONV at 12 bits, maximum
_POWER_ON_RAW = 0x0550  # 85.0 degC
_POWER_ON_BYTE_6 = 0x0C
_COLDEST_RAW = -55 * 16
_HOTTEST_RAW = 125 * 16
_NEAR_RAW = 10 * 16
_ZERO_C = 43_704  # 273.15 K in 1/160 K

_SET_UP, _CONVERT, _WAIT = range(3)


class Ds18b20:
    """`line`: an onewire.OneWire or alike; `rom`: eight bytes, or None for the only chip on its line.

    Fails as "absent" (no presence pulse), "short" (the line is held low), "crc", "range", "reset", "stuck", "bus".
    """

    quantities = (kinds.Q_TEMP_DK,)
    period_ms = 1_000
    warming = False

    def __init__(self, line, rom, ticks_diff, stuck_min: int = LIMIT_MIN) -> None:
        self.values = [UNKNOWN]
        self._line = line
        self._rom = rom
        self._diff = ticks_diff
        self._watch = Stuck(ticks_diff, stuck_min)
        self._step = _SET_UP
        self._since = 0
        self._converting = False
        self._scratch = bytearray(9)
        self._last_raw = _HOTTEST_RAW * 2  # of the newest good value; at first far from everything

    def poll(self, now: int) -> bool:
        """Call it every 250 ms with ticks `now`: one step of set-up, conversion, reading. True: 0.1 K in `values`.

        Raises SensorError: at once, and about once a second (an absent chip: every 250 ms) while it lasts.
        """
        if self._step == _WAIT and self._diff(now, self._since) < _CONVERSION_MS:
            return False
        step = self._step
        # Whatever goes wrong below, the next poll sets the chip up anew.
        self._step = _SET_UP
        try:
            if step == _WAIT:
                self._read(now)
                self._step = _CONVERT
                return True
            if step == _SET_UP:
                self._mark()
                self._step = _CONVERT
            else:
                self._convert(now)
                self._step = _WAIT
        except OSError:
            self._lose()
            raise SensorError("bus") from None
        except SensorError:
            self._lose()
            raise
        return False

    def _lose(self) -> None:
        self.values[0] = UNKNOWN
        self._watch.pause()

    def _mark(self) -> None:
        self._address(_WRITE_SCRATCHPAD)
        self._line.writebyte(_MARK_HIGH)
        self._line.writebyte(_MARK_LOW)
        self._line.writebyte(_CONFIG_12_BITS)

    def _convert(self, now: int) -> None:
        self._address(_CONVERT_T)
        # Data sheet, "Convert T": 0 while it is in progress, if the chip is fed by its own wire.
        self._converting = not self._line.readbit()
        self._since = now

    def _address(self, command: int) -> None:
        line = self._line
        if not line.reset():
            raise SensorError("absent")
        if self._rom is None:
            line.writebyte(_SKIP_ROM)
        else:
            line.writebyte(_MATCH_ROM)
            line.write(self._rom)
        line.writebyte(command)

    def _read(self, now: int) -> None:
        self._address(_READ_SCRATCHPAD)
        scratch = self._scratch
        self._line.readinto(scratch)
        if self._line.crc8(scratch):
            raise SensorError("crc")
        config = scratch[4]
        if config & _CONFIG_FIXED != _CONFIG_ALWAYS:
            raise SensorError("short" if config == 0 else "range")
        raw = scratch[1] << 8 | scratch[0]
        if raw & 0x8000:
            raw -= 0x10000
        if not _COLDEST_RAW <= raw <= _HOTTEST_RAW:
            raise SensorError("range")
        if raw == _POWER_ON_RAW and not self._measured():
            raise SensorError("reset")
        if self._watch.sample(now, raw):
            raise SensorError("stuck")
        self._last_raw = raw
        self.values[0] = (raw * 10 + _ZERO_C + 8) >> 4

    def _measured(self) -> bool:
        """Whether 85.0 degC is a temperature: see the module."""
        if -_NEAR_RAW <= self._last_raw - _POWER_ON_RAW <= _NEAR_RAW:
            return True
        scratch = self._scratch
        marked = scratch[2] == _MARK_HIGH and scratch[3] == _MARK_LOW
        return marked and (self._converting or scratch[6] != _POWER_ON_BYTE_6)


def _rom(s):
    text = s.get("rom")
    if text is None:
        return None
    try:
        rom = bytes([int(text[n : n + 2], 16) for n in range(0, 16, 2)])
    except (TypeError, ValueError):
        raise ValueError("rom: 16 hex digits are needed") from None
    if len(text) != 16 or rom[0] != _FAMILY:
        raise ValueError("rom: 16 hex digits that begin with 28 are needed")
    return rom


def make(hw, s) -> Ds18b20:
    """The driver of an entry. Raises ValueError that begins with the field's name."""
    rom = _rom(s)
    line = hw.onewire(entry.pin(s))
    if rom is not None and line.crc8(rom):
        raise ValueError("rom: its check sum does not fit")
    return Ds18b20(line, rom, hw.ticks_diff, entry.stuck_min(s))
