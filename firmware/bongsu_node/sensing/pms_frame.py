"""The data frame of Plantower's particle sensors, the same on UART (PMS5003) and I2C (PMSA003I).

32 bytes (PMS5003 data manual 2.3, appendix I): 0x42 0x4d, length 28, thirteen 16-bit numbers, big-endian, the sum of
all bytes before it. Numbers 4-6: PM1.0, PM2.5, PM10 in ug/m3 "under atmospheric environment" (1-3 are for factory
use).
"""

FRAME_LEN = 32
_HEAD = b"\x42\x4d\x00\x1c"
_HEAD_LEN = 4
_SUM_AT = 30
_PM1_AT = 10
_MOST_UG = 6_553  # in 0.1 ug/m3 it must fit 16 bits below 0xFFFF; the sensor is good for 500, made for 1,000


def fits(frame) -> bool:
    """Whether 32 bytes are a frame: head, length, check sum."""
    for n in range(_HEAD_LEN):
        if frame[n] != _HEAD[n]:
            return False
    total = 0
    for n in range(_SUM_AT):
        total += frame[n]
    return total == check_sum(frame)


def check_sum(frame) -> int:
    """The sum that a frame carries: it moves when any of its numbers does."""
    return frame[_SUM_AT] << 8 | frame[_SUM_AT + 1]


def take(frame, values) -> None:
    """PM1, PM2.5, PM10 of a good frame to `values`, in 0.1 ug/m3."""
    for n in range(3):
        ug = frame[_PM1_AT + 2 * n] << 8 | frame[_PM1_AT + 2 * n + 1]
        values[n] = 10 * (ug if ug < _MOST_UG else _MOST_UG)


class Parser:
    """Finds frames in a stream of anything. Its memory is one frame.

    frame: the newest good one, until the next byte; bad: a frame with a wrong check sum was seen (for the caller to
    clear).
    """

    def __init__(self) -> None:
        self.frame = bytearray(FRAME_LEN)
        self.bad = False
        self._size = 0

    def clear(self) -> None:
        """Forget what has been read of a frame."""
        self._size = 0

    def feed(self, byte: int) -> bool:
        """Take a byte; True: `frame` is complete and good. A bad one is searched for the beginning of the next."""
        if self._size == FRAME_LEN:
            self._size = 0
        self.frame[self._size] = byte
        self._size += 1
        if self._size <= _HEAD_LEN:
            if byte != _HEAD[self._size - 1]:
                self._search()
        elif self._size == FRAME_LEN:
            if fits(self.frame):
                return True
            self.bad = True
            self._search()
        return False

    def _search(self) -> None:
        """Move the first later place where a frame may begin to the front."""
        frame = self.frame
        for start in range(1, self._size):
            n = 0
            while n < _HEAD_LEN and start + n < self._size and frame[start + n] == _HEAD[n]:
                n += 1
            if n == _HEAD_LEN or start + n == self._size:
                self._size -= start
                for k in range(self._size):
                    frame[k] = frame[start + k]
                return
        self._size = 0
