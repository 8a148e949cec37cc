"""An I2C bus with chips on it and faults in it. Runs on CPython and MicroPython.

    clock = Clock()
    bus = Bus(clock)
    chip = bus.attach(Sht4x(clock.ms), 0x44)
    chip.set(temp_c=21.5, rh_pct=40)
    bus.fail("bit_error", 0x44)         # FAULTS; bus.heal(0x44) ends it
    bus.dip(0x44)                       # the supply dips once: registers as after power-on
    bus.unplug(0x44); bus.plug(0x44)    # plugged in again, the chip starts from power-on

A chip is a `Chip`: it sees the bytes between start and stop, and knows the time of a clock that the test moves.
"""

import errno

# Fault by fault, what the driver sees:
#   nak         no answer at all (ENODEV), the chip keeps its state
#   bus         SDA or SCL held low: every transfer on the bus ends in ETIMEDOUT, whatever its address
#   bit_error   one bit of what is read is wrong: a check sum does not fit
#   frozen      the chip answers in good form, but what it measures stays as it was
FAULTS = ("nak", "bus", "bit_error", "frozen")

# As in board.py: a machine.I2C with timeout=50000 gives up after that long.
_TIMEOUT_US = 50_000


class Nak(Exception):
    """The chip does not acknowledge: raised by Chip.write and Chip.read, seen by the driver as OSError(ENODEV)."""


class Clock:
    """Time that stands until somebody moves it."""

    def __init__(self, now_ms=0):
        self.now_ms = now_ms

    def ms(self):
        """Milliseconds, never wrapping."""
        return self.now_ms

    def ticks(self):
        """The same as time.ticks_ms gives it on a chip: wrapped at 2^30."""
        return self.now_ms & 0x3FFFFFFF

    def advance(self, ms):
        self.now_ms += ms


class Chip:
    """Base of all models. `ms`: function that gives the time in ms; `defaults`: what it senses until set() says other.

    A model overrides power_on(), write(data), read(size), and takes what it measures from sense(name).
    """

    defaults = {}

    def __init__(self, ms):
        self.ms = ms
        self._real = dict(self.defaults)
        self._held = None
        self.power_on()

    def set(self, **values):
        """What there is to be sensed, e.g. temp_c=21.5; names that the model does not know are an error."""
        for name in values:
            if name not in self._real:
                raise ValueError("%s does not sense %s" % (type(self).__name__, name))
        self._real.update(values)

    def sense(self, name):
        """The present value of `name`; of a frozen chip: the one at the moment it froze."""
        return (self._real if self._held is None else self._held)[name]

    def freeze(self, on):
        """Hold what is sensed now, or let it follow again."""
        self._held = dict(self._real) if on else None

    def power_on(self):
        """All registers to the values after power-on."""

    def write(self, data):
        """Bytes written after the address (at least none). Raises Nak."""

    def read(self, size):
        """`size` bytes for the master; must not be shorter. Raises Nak."""
        return b"\xff" * size


class Bus:
    """machine.I2C over models. `clock`: see Clock; `hz`: of SCL.

    transfers: so many so far; busy_us: time that they took on the wire, or in waiting for the time-out;
    spent_bytes: heap that bus and models took, if `mem_alloc` (MicroPython's gc.mem_alloc) is given, so that a test can
    tell a driver's allocations from theirs.
    """

    def __init__(self, clock, hz=100_000, mem_alloc=None):
        self.clock = clock
        self.transfers = 0
        self.busy_us = 0
        self.spent_bytes = 0
        self._bit_us = 1_000_000 // hz
        self._mem_alloc = mem_alloc if mem_alloc is not None else lambda: 0
        self._chips = {}
        self._faults = {}
        self._unplugged = set()
        self._wrong_bit = 0

    # Wiring and faults

    def attach(self, chip, address):
        """Solder a chip to the bus; returns it."""
        self._chips[address] = chip
        return chip

    def fail(self, fault, address=None):
        """Begin one of FAULTS, at one address or at all."""
        if fault not in FAULTS:
            raise ValueError(fault)
        for each in self._addresses(address):
            self._faults[each] = fault
            if fault == "frozen":
                self._chips[each].freeze(True)

    def heal(self, address=None):
        """End the fault at one address, or at all."""
        for each in self._addresses(address):
            if self._faults.pop(each, None) == "frozen":
                self._chips[each].freeze(False)

    def unplug(self, address):
        """Nothing is at `address` any more."""
        self._unplugged.add(address)

    def plug(self, address):
        """The chip is back, and comes from power-on."""
        self._unplugged.discard(address)
        self.dip(address)

    def dip(self, address):
        """The chip's supply dips for a moment."""
        self._chips[address].power_on()

    def _addresses(self, address):
        return list(self._chips) if address is None else [address]

    # machine.I2C

    def scan(self):
        """Addresses that acknowledge."""
        return [a for a in sorted(self._chips) if a not in self._unplugged and self._faults.get(a) != "nak"]

    def writeto(self, address, data, stop=True):
        before = self._mem_alloc()
        try:
            self._chip(address, 1 + len(data))
            self._write(address, bytes(data))
        finally:
            self.spent_bytes += self._mem_alloc() - before
        return len(data)

    def readfrom_into(self, address, buffer, stop=True):
        before = self._mem_alloc()
        try:
            self._chip(address, 1 + len(buffer))
            self._read(address, buffer)
        finally:
            self.spent_bytes += self._mem_alloc() - before

    def readfrom(self, address, size, stop=True):
        buffer = bytearray(size)
        self.readfrom_into(address, buffer, stop)
        return bytes(buffer)

    def writeto_mem(self, address, register, data, *, addrsize=8):
        before = self._mem_alloc()
        try:
            self._chip(address, 1 + addrsize // 8 + len(data))
            self._write(address, _register(register, addrsize) + bytes(data))
        finally:
            self.spent_bytes += self._mem_alloc() - before

    def readfrom_mem_into(self, address, register, buffer, *, addrsize=8):
        before = self._mem_alloc()
        try:
            self._chip(address, 2 + addrsize // 8 + len(buffer))
            self._write(address, _register(register, addrsize))
            self._read(address, buffer)
        finally:
            self.spent_bytes += self._mem_alloc() - before

    def readfrom_mem(self, address, register, size, *, addrsize=8):
        buffer = bytearray(size)
        self.readfrom_mem_into(address, register, buffer, addrsize=addrsize)
        return bytes(buffer)

    def _chip(self, address, size):
        """Begin a transfer of `size` bytes, the address included. Raises OSError as an ESP32 does."""
        self.transfers += 1
        # A short circuit anywhere is one everywhere.
        if "bus" in self._faults.values():
            self.busy_us += _TIMEOUT_US
            raise OSError(errno.ETIMEDOUT, "bus held")
        # Nine clocks a byte, and a start and a stop.
        self.busy_us += (9 * size + 2) * self._bit_us
        if address not in self._chips or address in self._unplugged or self._faults.get(address) == "nak":
            raise OSError(errno.ENODEV, "no answer")

    def _write(self, address, data):
        try:
            self._chips[address].write(data)
        except Nak:
            raise OSError(errno.ENODEV, "not acknowledged")  # noqa: B904 - the model is no part of the story

    def _read(self, address, buffer):
        size = len(buffer)
        try:
            data = self._chips[address].read(size)
        except Nak:
            raise OSError(errno.ENODEV, "not acknowledged")  # noqa: B904
        if len(data) != size:
            raise ValueError("the model gave %d bytes for %d" % (len(data), size))
        for n in range(size):
            buffer[n] = data[n]
        if self._faults.get(address) == "bit_error" and size:
            # Another bit each time, so that no driver is right by luck.
            self._wrong_bit = (self._wrong_bit + 11) % (8 * size)
            buffer[self._wrong_bit >> 3] ^= 1 << (self._wrong_bit & 7)


def _register(register, addrsize):
    return bytes([register]) if addrsize == 8 else bytes([register >> 8, register & 0xFF])
