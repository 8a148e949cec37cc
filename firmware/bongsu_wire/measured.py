"""What a node measured: a reading (means over an interval) and the minute before an alarm. Apart from payload.py, since
a node needs it only when it has such a thing to say.

Values are whole numbers of 16 bits in the units of kinds.Q_*; UNKNOWN: there was none. Decoders accept exactly what
encoders make; a quantity that this version does not know is left to the caller, since its width is known.
"""

import struct

from bongsu_wire.payload import AGE_UNKNOWN, PayloadError, clamp

MEASURED_VERSION = 1
UNKNOWN = 0xFFFF
# A frame holds 235 bytes of payload (frame.MAX_FRAME_LEN).
MOST_QUANTITIES = 16
MOST_HISTORY_BYTES = 235

_READING = "<BIHB"  # version, age ms, interval s, number of quantities
_READING_LEN = 8
_HISTORY = "<BIHBBBB"  # version, event number, ms between rows, rows in all, first row here, rows here, columns
_HISTORY_LEN = 11


class Reading:
    """Means over an interval. age_ms: since its end (AGE_UNKNOWN after a restart); interval_s; values: {kinds.Q_*:
    mean}, without those of which there was none.
    """

    def __init__(self, age_ms: int, interval_s: int, values: dict[int, int]) -> None:
        self.age_ms = age_ms
        self.interval_s = interval_s
        self.values = values


def encode_reading(r: Reading) -> bytes:
    """Return 8 + 3 n bytes. Raises ValueError for more than MOST_QUANTITIES or a quantity that is no byte from 1."""
    if len(r.values) > MOST_QUANTITIES:
        raise ValueError("too many quantities for one reading")
    out = struct.pack(
        _READING, MEASURED_VERSION, clamp(r.age_ms, AGE_UNKNOWN), clamp(r.interval_s, 0xFFFF), len(r.values)
    )
    for quantity in sorted(r.values):
        if not 1 <= quantity <= 0xFF:
            raise ValueError("quantity out of range")
        out += struct.pack("<BH", quantity, clamp(r.values[quantity], UNKNOWN - 1))
    return out


def decode_reading(data: bytes) -> Reading:
    """The reading of an authentic payload. Raises PayloadError."""
    if len(data) < _READING_LEN:
        raise PayloadError("reading length")
    version, age_ms, interval_s, count = struct.unpack(_READING, data[:_READING_LEN])
    if version != MEASURED_VERSION:
        raise PayloadError("reading version")
    if count > MOST_QUANTITIES or len(data) != _READING_LEN + 3 * count:
        raise PayloadError("reading length")
    values = {}
    last = 0
    for at in range(_READING_LEN, len(data), 3):
        quantity, value = struct.unpack("<BH", data[at : at + 3])
        if quantity <= last or value == UNKNOWN:
            raise PayloadError("reading quantity")
        last = quantity
        values[quantity] = value
    return Reading(age_ms, interval_s, values)


class History:
    """A part of the minute before an alarm. number: of the alarm's event; step_ms: between two rows; rows: in all, the
    last of them is the alarm's own; first: which one the part begins with; quantities: kinds.Q_* of the columns;
    values: row by row, oldest first, UNKNOWN where there was none.
    """

    def __init__(
        self, number: int, step_ms: int, rows: int, first: int, quantities: list[int], values: list[int]
    ) -> None:
        self.number = number
        self.step_ms = step_ms
        self.rows = rows
        self.first = first
        self.quantities = quantities
        self.values = values


def history_rows(columns: int) -> int:
    """How many rows of so many columns one part holds."""
    return (MOST_HISTORY_BYTES - _HISTORY_LEN - columns) // (2 * columns)


def encode_history(h: History) -> bytes:
    """Return 11 + columns + 2 x columns x rows bytes. Raises ValueError for what does not fit or is no table."""
    columns = len(h.quantities)
    here = len(h.values) // columns if columns else 0
    if not 1 <= h.number <= 0xFFFFFFFF or not here or here * columns != len(h.values) or here > history_rows(columns):
        raise ValueError("history is no table that fits a frame")
    if not 1 <= h.rows <= 0xFF or not 0 <= h.first <= h.rows - here:
        raise ValueError("history rows out of range")
    head = struct.pack(_HISTORY, MEASURED_VERSION, h.number, clamp(h.step_ms, 0xFFFF), h.rows, h.first, here, columns)
    return head + bytes(h.quantities) + struct.pack("<%dH" % len(h.values), *h.values)


def decode_history(data: bytes) -> History:
    """The history of an authentic payload. Raises PayloadError."""
    if len(data) < _HISTORY_LEN:
        raise PayloadError("history length")
    version, number, step_ms, rows, first, here, columns = struct.unpack(_HISTORY, data[:_HISTORY_LEN])
    if version != MEASURED_VERSION:
        raise PayloadError("history version")
    if not number or not here or not columns or first + here > rows:
        raise PayloadError("history rows")
    if len(data) != _HISTORY_LEN + columns + 2 * here * columns or here > history_rows(columns):
        raise PayloadError("history length")
    quantities = list(data[_HISTORY_LEN : _HISTORY_LEN + columns])
    if 0 in quantities or len(set(quantities)) != columns:
        raise PayloadError("history quantity")
    values = list(struct.unpack("<%dH" % (here * columns), data[_HISTORY_LEN + columns :]))
    return History(number, step_ms, rows, first, quantities, values)
