"""Plantower's particle sensors: the frame, a PMS5003 on a UART, a PMSA003I on I2C. Runs on CPython and MicroPython."""

from .bus import Chip

_BUFFER = 256  # bytes that machine.UART keeps by default
_BYTE_US = 1042  # at 9600 baud, 8N1


def frame(pm1, pm25, pm10, counts=(900, 250, 40, 4, 1, 0)):
    """32 bytes (data manual of the PMS5003, appendix I). pm*: ug/m3 under atmospheric environment; counts: particles
    beyond 0.3, 0.5, 1, 2.5, 5, 10 um in 0.1 l.
    """
    words = [28, pm1, pm25, pm10, pm1, pm25, pm10, counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]]
    out = bytearray(b"\x42\x4d")
    for word in words:
        out += bytes([word >> 8 & 0xFF, word & 0xFF])
    out += b"\x97\x00"  # version, error code
    total = 0
    for byte in out:
        total += byte
    return bytes(out) + bytes([total >> 8, total & 0xFF])


class Pms5003:
    """A PMS5003 and the UART that hears it: any() and readinto() as of machine.UART without a time-out.

    pm: (PM1, PM2.5, PM10) in ug/m3; interval_ms: between frames (2,300 in calm air, 200-800 while it changes);
    fault: "", "silent" (fan or wire), "check" (a wrong check sum in each frame), "bus" (the driver is gone);
    push(data): whatever else comes over the wire.
    """

    def __init__(self, ms, interval_ms=1000, mem_alloc=None):
        self.pm = (8, 12, 15)
        self.fault = ""
        self.interval_ms = interval_ms
        self.busy_us = 0
        self.spent_bytes = 0
        self.lost = 0
        self._ms = ms
        self._mem_alloc = mem_alloc if mem_alloc is not None else lambda: 0
        self._next = ms() + interval_ms
        self._waiting = bytearray()
        self._n = 0

    def push(self, data):
        room = _BUFFER - len(self._waiting)
        self.lost += max(0, len(data) - room)
        self._waiting += bytes(data)[:room]

    def _send(self):
        while self._ms() >= self._next:
            self._next += self.interval_ms
            if self.fault == "silent":
                continue
            self._n = (self._n + 1) % 50
            data = bytearray(frame(*self.pm, counts=(900 + self._n, 250, 40, 4, 1, 0)))
            if self.fault == "check":
                data[5 + self._n % 24] ^= 0x10
            self.push(data)

    def any(self):
        before = self._mem_alloc()
        self._send()
        self.spent_bytes += self._mem_alloc() - before
        return len(self._waiting)

    def readinto(self, buffer, size=None):
        before = self._mem_alloc()
        try:
            if self.fault == "bus":
                raise OSError(5)
            size = min(len(buffer) if size is None else size, len(self._waiting))
            if not size:
                return None
            buffer[:size] = self._waiting[:size]
            self._waiting = self._waiting[size:]
            return size
        finally:
            self.spent_bytes += self._mem_alloc() - before


class Pmsa003i(Chip):
    """Senses pm1, pm25, pm10 (ug/m3); it gives its frame from the first byte on, whenever it is read."""

    defaults = {"pm1": 8, "pm25": 12, "pm10": 15}

    def read(self, size):
        count = 900 if self._held is not None else 900 + self.ms() // 1000 % 50
        data = frame(self.sense("pm1"), self.sense("pm25"), self.sense("pm10"), (count, 250, 40, 4, 1, 0))
        return (data + b"\xff" * size)[:size]
