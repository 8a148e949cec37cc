"""Payloads inside the sealed frames: fixed layouts, little-endian, each with its version (DESIGN section 5).

Decoders accept exactly what encoders make: another length, version or code raises PayloadError, so nothing
half-understood reaches an incident. Units: temperature 0.1 K, smoke 1e-4/m (optical density, base 10), humidity 0.5 %,
battery mV, RSSI dBm, times ms.
"""

import struct

from bongsu_wire import kinds

PAYLOAD_VERSION = 1

AGE_UNKNOWN = 0xFFFFFFFF
U16_UNKNOWN = 0xFFFF
U8_UNKNOWN = 0xFF
RSSI_UNKNOWN = 0
# A receipt fits a LoRa frame: 233 bytes of payload less the fixed part, 4 bytes an event number.
RECEIPT_MAX_EVENTS = 54
COMMAND_MAX_ARGS = 200

_EVENT = "<IBBBIIHHHBHbBB"
_EVENT_LEN = 27
_AGE_AT = 7
_HEARTBEAT = "<BIBBIHHBHbHHQIBHBBHH"
_HEARTBEAT_LEN = 44
_RECEIPT = "<BQIB"
_RECEIPT_LEN = 14
_COMMAND = "<BBIB"
_COMMAND_LEN = 7
_ANSWER = "<BIHBB"
_ANSWER_LEN = 9


class PayloadError(Exception):
    """The payload is authentic but not understood (another version, length or code)."""


def clamp(value: int, limit: int) -> int:
    """`value` held in 0..limit: a reading beyond the field's range is sent as the nearest value that fits."""
    return 0 if value < 0 else limit if value > limit else value


class Event:
    """What a node reports. Readings are those of the decision, not of the sending, so that every sending carries the
    same content (age excepted).

    number: u32 >= 1; kind: kinds.ALARM..TEST; phenomena: bits; criterion: kinds.CRIT_*; age_ms: since the event,
    AGE_UNKNOWN after a restart; sustained_ms: how long the condition had held; temp_dk: 0.1 K; smoke_e4: 1e-4/m; gas:
    index; humidity_half: 0.5 %; battery_mv; rssi_dbm (0 unknown); detail: fault code, or for a merged alarm 0; count:
    how many events this one stands for (>= 1).
    """

    def __init__(
        self,
        number: int,
        kind: int,
        phenomena: int = 0,
        criterion: int = 0,
        age_ms: int = 0,
        sustained_ms: int = 0,
        temp_dk: int = U16_UNKNOWN,
        smoke_e4: int = U16_UNKNOWN,
        gas: int = U16_UNKNOWN,
        humidity_half: int = U8_UNKNOWN,
        battery_mv: int = U16_UNKNOWN,
        rssi_dbm: int = RSSI_UNKNOWN,
        detail: int = 0,
        count: int = 1,
    ) -> None:
        self.number = number
        self.kind = kind
        self.phenomena = phenomena
        self.criterion = criterion
        self.age_ms = age_ms
        self.sustained_ms = sustained_ms
        self.temp_dk = temp_dk
        self.smoke_e4 = smoke_e4
        self.gas = gas
        self.humidity_half = humidity_half
        self.battery_mv = battery_mv
        self.rssi_dbm = rssi_dbm
        self.detail = detail
        self.count = count


def _known(e: Event) -> bool:
    return kinds.ALARM <= e.kind <= kinds.TEST and 0 <= e.criterion <= kinds.CRIT_LAST


def encode_event(e: Event) -> bytes:
    """Return the 27 bytes of an event.

    Raises ValueError if number, kind, phenomena, criterion or count are not valid.
    """
    if not 1 <= e.number <= 0xFFFFFFFF or not 1 <= e.count <= 255:
        raise ValueError("event number or count out of range")
    if not _known(e) or e.phenomena & ~kinds.PHENOMENA_KNOWN:
        raise ValueError("unknown event kind, criterion or phenomenon")
    return struct.pack(
        _EVENT,
        e.number,
        PAYLOAD_VERSION << 4 | e.kind,
        e.phenomena,
        e.criterion,
        clamp(e.age_ms, AGE_UNKNOWN),
        clamp(e.sustained_ms, 0xFFFFFFFF),
        clamp(e.temp_dk, 0xFFFF),
        clamp(e.smoke_e4, 0xFFFF),
        clamp(e.gas, 0xFFFF),
        clamp(e.humidity_half, 0xFF),
        clamp(e.battery_mv, 0xFFFF),
        max(-128, min(127, e.rssi_dbm)),
        clamp(e.detail, 0xFF),
        e.count,
    )


def decode_event(data: bytes) -> Event:
    """The event of an authentic payload. Raises PayloadError."""
    if len(data) != _EVENT_LEN:
        raise PayloadError("event length")
    f = struct.unpack(_EVENT, data)
    if f[1] >> 4 != PAYLOAD_VERSION:
        raise PayloadError("event version")
    e = Event(f[0], f[1] & 0x0F, *f[2:])
    if not e.number or not e.count or not _known(e):
        raise PayloadError("event code")
    if e.phenomena & ~kinds.PHENOMENA_KNOWN:
        raise PayloadError("event phenomena")
    return e


def event_kind(event_bytes: bytes) -> int:
    """Kind of an encoded event, which it does not check."""
    return event_bytes[4] & 0x0F


def with_age(event_bytes: bytes, age_ms: int) -> bytes:
    """The same encoded event with another age: what a node sends again later."""
    return event_bytes[:_AGE_AT] + struct.pack("<I", clamp(age_ms, AGE_UNKNOWN)) + event_bytes[_AGE_AT + 4 :]


def event_content(event_bytes: bytes) -> bytes:
    """An encoded event without its age: two sendings of one event are equal here, another event under the same number
    is not."""
    return with_age(event_bytes, 0)


class Heartbeat:
    """A node's sign of life. echo_server_ms: newest server time received (ms since 1970; 0 none), echo_age_ms: ms since
    (AGE_UNKNOWN if none).

    uptime_s; flags: kinds.FLAG_*; active: phenomena in alarm; active_event: number of the newest active alarm (0 none);
    readings as in Event; heap_free_kb: MicroPython heap; idf_free_kb: IDF heap (0xFFFF unknown); journal_depth: events
    that await a receipt; boot_count; reset_cause: of kinds.RESETS; task_restarts; faults: bit (code - 1) per active
    fault; fw: firmware version major << 8 | minor.
    """

    def __init__(
        self,
        uptime_s: int = 0,
        flags: int = 0,
        active: int = 0,
        active_event: int = 0,
        temp_dk: int = U16_UNKNOWN,
        smoke_e4: int = U16_UNKNOWN,
        humidity_half: int = U8_UNKNOWN,
        battery_mv: int = U16_UNKNOWN,
        rssi_dbm: int = RSSI_UNKNOWN,
        heap_free_kb: int = 0,
        idf_free_kb: int = U16_UNKNOWN,
        echo_server_ms: int = 0,
        echo_age_ms: int = AGE_UNKNOWN,
        journal_depth: int = 0,
        boot_count: int = 0,
        reset_cause: int = 0,
        task_restarts: int = 0,
        faults: int = 0,
        fw: int = 0,
    ) -> None:
        self.uptime_s = uptime_s
        self.flags = flags
        self.active = active
        self.active_event = active_event
        self.temp_dk = temp_dk
        self.smoke_e4 = smoke_e4
        self.humidity_half = humidity_half
        self.battery_mv = battery_mv
        self.rssi_dbm = rssi_dbm
        self.heap_free_kb = heap_free_kb
        self.idf_free_kb = idf_free_kb
        self.echo_server_ms = echo_server_ms
        self.echo_age_ms = echo_age_ms
        self.journal_depth = journal_depth
        self.boot_count = boot_count
        self.reset_cause = reset_cause
        self.task_restarts = task_restarts
        self.faults = faults
        self.fw = fw


def encode_heartbeat(h: Heartbeat) -> bytes:
    """Return the 44 bytes of a heartbeat; numbers beyond a field are sent as the nearest that fits."""
    return struct.pack(
        _HEARTBEAT,
        PAYLOAD_VERSION,
        clamp(h.uptime_s, 0xFFFFFFFF),
        h.flags & 0xFF,
        h.active & 0xFF,
        clamp(h.active_event, 0xFFFFFFFF),
        clamp(h.temp_dk, 0xFFFF),
        clamp(h.smoke_e4, 0xFFFF),
        clamp(h.humidity_half, 0xFF),
        clamp(h.battery_mv, 0xFFFF),
        max(-128, min(127, h.rssi_dbm)),
        clamp(h.heap_free_kb, 0xFFFF),
        clamp(h.idf_free_kb, 0xFFFF),
        h.echo_server_ms,
        clamp(h.echo_age_ms, AGE_UNKNOWN),
        clamp(h.journal_depth, 0xFF),
        h.boot_count & 0xFFFF,
        clamp(h.reset_cause, 0xFF),
        clamp(h.task_restarts, 0xFF),
        h.faults & 0xFFFF,
        clamp(h.fw, 0xFFFF),
    )


def decode_heartbeat(data: bytes) -> Heartbeat:
    """The heartbeat of an authentic payload. Raises PayloadError."""
    if len(data) != _HEARTBEAT_LEN:
        raise PayloadError("heartbeat length")
    f = struct.unpack(_HEARTBEAT, data)
    if f[0] != PAYLOAD_VERSION:
        raise PayloadError("heartbeat version")
    return Heartbeat(*f[1:])


class Receipt:
    """The receiver's proof that events are committed. server_ms: UTC ms since 1970; answers: the uplink counter of the
    frame that it answers; numbers: event numbers (may be empty: a heartbeat's answer, which carries the time only)."""

    def __init__(self, server_ms: int, answers: int, numbers: list[int]) -> None:
        self.server_ms = server_ms
        self.answers = answers
        self.numbers = numbers


def encode_receipt(r: Receipt) -> bytes:
    """Return 14 + 4 n bytes. Raises ValueError for more than RECEIPT_MAX_EVENTS numbers."""
    if len(r.numbers) > RECEIPT_MAX_EVENTS:
        raise ValueError("too many event numbers for one receipt")
    out = struct.pack(_RECEIPT, PAYLOAD_VERSION, r.server_ms, r.answers, len(r.numbers))
    for number in r.numbers:
        out += struct.pack("<I", number)
    return out


def decode_receipt(data: bytes) -> Receipt:
    """The receipt of an authentic payload. Raises PayloadError."""
    if len(data) < _RECEIPT_LEN:
        raise PayloadError("receipt length")
    version, server_ms, answers, count = struct.unpack(_RECEIPT, data[:_RECEIPT_LEN])
    if version != PAYLOAD_VERSION:
        raise PayloadError("receipt version")
    if count > RECEIPT_MAX_EVENTS or len(data) != _RECEIPT_LEN + 4 * count:
        raise PayloadError("receipt length")
    return Receipt(server_ms, answers, list(struct.unpack("<%dI" % count, data[_RECEIPT_LEN:])))


class Command:
    """An order to a node. code: kinds.CMD_*; quotes: an uplink counter that the node sent < 60 s ago, which proves that
    the command is fresh; args: up to 200 bytes, their meaning belongs to the code."""

    def __init__(self, code: int, quotes: int, args: bytes = b"") -> None:
        self.code = code
        self.quotes = quotes
        self.args = args


def encode_command(c: Command) -> bytes:
    """Return 7 + n bytes. Raises ValueError for an unknown code or too long arguments."""
    if c.code not in kinds.COMMAND_NAMES or len(c.args) > COMMAND_MAX_ARGS:
        raise ValueError("unknown command code or arguments too long")
    return struct.pack(_COMMAND, PAYLOAD_VERSION, c.code, c.quotes, len(c.args)) + c.args


def decode_command(data: bytes) -> Command:
    """The command of an authentic payload.

    An unknown code is returned as it is: the node answers "unsupported". Raises PayloadError.
    """
    if len(data) < _COMMAND_LEN:
        raise PayloadError("command length")
    version, code, quotes, size = struct.unpack(_COMMAND, data[:_COMMAND_LEN])
    if version != PAYLOAD_VERSION:
        raise PayloadError("command version")
    if size > COMMAND_MAX_ARGS or len(data) != _COMMAND_LEN + size:
        raise PayloadError("command length")
    return Command(code, quotes, bytes(data[_COMMAND_LEN:]))


class Answer:
    """A node's answer to a command: the command's down counter and sender, its code, and kinds.ANSWER_*."""

    def __init__(self, counter: int, sender: int, code: int, result: int) -> None:
        self.counter = counter
        self.sender = sender
        self.code = code
        self.result = result


def encode_answer(a: Answer) -> bytes:
    """Return the 9 bytes of an answer."""
    return struct.pack(_ANSWER, PAYLOAD_VERSION, a.counter, a.sender, a.code, a.result)


def decode_answer(data: bytes) -> Answer:
    """The answer of an authentic payload. Raises PayloadError."""
    if len(data) != _ANSWER_LEN:
        raise PayloadError("answer length")
    version, counter, sender, code, result = struct.unpack(_ANSWER, data)
    if version != PAYLOAD_VERSION:
        raise PayloadError("answer version")
    if result not in kinds.ANSWER_NAMES:
        raise PayloadError("answer code")
    return Answer(counter, sender, code, result)
