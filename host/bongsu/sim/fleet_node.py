"""One node of a fleet, without a board, a connection or a clock of its own: frames up, frames down, the journal.

It keeps what DESIGN asks of a node: every frame has a fresh counter, an alarm stays in the journal until its receipt
and is sent again in a fresh frame until then, a heartbeat echoes the newest server time. Times are arguments: ms of one
monotonic clock.
"""

from dataclasses import dataclass
from enum import Enum

from bongsu_wire import frame, kinds, payload, topics
from bongsu_wire.ccm import CcmKey

# As the firmware's link has it (bongsu_node/link/receipts.py): pauses between the sendings of one event.
REPEAT_AFTER_MS = (5_000, 10_000, 20_000, 40_000, 60_000)
# A receipt gives the time only if it answers a frame sent less than this ago.
TIME_WITHIN_MS = 30_000
HEARTBEAT_MS = 45_000
_TEMP_DK, _FIRE_DK = 2952, 3402
_FIRMWARE = 0x0001
_SUSTAINED_MS = 5_000


@dataclass(slots=True)
class Entry:
    """An event in the journal. `raised_ms`: when it happened; `sent_ms`: newest sending; `sendings`: on all
    connections.
    """

    number: int
    kind: int
    plain: bytes
    raised_ms: float
    sent_ms: float = 0.0
    sendings: int = 0

    def repeat_ms(self) -> int:
        """The pause after the newest sending."""
        return REPEAT_AFTER_MS[min(max(self.sendings, 1), len(REPEAT_AFTER_MS)) - 1]


class Heard(Enum):
    """What a frame from the receiver was to the node."""

    REFUSED = "refused"
    RECEIPT = "receipt"
    TIME_AT_FIRST = "time at first"
    COMMAND = "command"


@dataclass(slots=True)
class Taken:
    """What came of a frame: the events that it receipted, and an answer to send up, if any."""

    heard: Heard
    receipted: tuple[Entry, ...] = ()
    answer: bytes | None = None


_REFUSED = Taken(Heard.REFUSED)


class FleetNode:
    """`node`: its id as text; `first`: the first counter and the first event number to use."""

    __slots__ = (
        "_active",
        "_ccm",
        "_counter",
        "_echo",
        "_epoch",
        "_key",
        "_mac",
        "_number",
        "_sent",
        "beat_slot",
        "beats_topic",
        "boot_ms",
        "boots",
        "down_topic",
        "events_topic",
        "id",
        "journal",
        "line",
        "site",
    )

    def __init__(self, node: str, site: str, key: bytes, epoch: int, first: tuple[int, int]) -> None:
        self.id, self.site = node, site
        self._mac = topics.node_bytes(node)
        self._key, self._epoch = key, epoch
        self._ccm: CcmKey | None = None
        self._counter, self._number = first[0] - 1, first[1] - 1
        self._echo: tuple[int, float] | None = None
        self._sent: tuple[int, float] = (0, 0.0)
        self._active = 0
        self.journal: dict[int, Entry] = {}
        self.events_topic = topics.up_events(node).encode()
        self.beats_topic = topics.up_beats(node).encode()
        self.down_topic = topics.down(node).encode()
        self.boot_ms = 0.0
        self.boots = 1
        self.beat_slot = -1  # when in the 45 s it sends its heartbeat; the fleet's
        self.line: object | None = None  # what carries it; the fleet's

    def boot(self, now_ms: float) -> None:
        """Power is back: the journal and the counters are on flash, the time is not."""
        self._echo = None
        self.boot_ms = now_ms
        self.boots += 1
        for entry in self.journal.values():
            entry.sendings = 0

    # ---- what happens

    def report(self, kind: int, phenomena: int, now_ms: float) -> Entry:
        """An event: it is in the journal until its receipt."""
        self._number += 1
        criterion = kinds.CRIT_HEAT_FIXED if kind == kinds.ALARM else kinds.CRIT_NONE
        self._active = phenomena if kind == kinds.ALARM else 0
        temp = _FIRE_DK if kind == kinds.ALARM else _TEMP_DK
        event = payload.Event(
            self._number, kind, phenomena, criterion, sustained_ms=_SUSTAINED_MS, temp_dk=temp, rssi_dbm=-61
        )
        entry = Entry(self._number, kind, payload.encode_event(event), now_ms)
        self.journal[self._number] = entry
        return entry

    # ---- up

    def event_frame(self, entry: Entry, now_ms: float) -> bytes:
        """The frame of an event, sent now."""
        entry.sent_ms = now_ms
        entry.sendings += 1
        return self._seal(kinds.UP_EVENT, payload.with_age(entry.plain, int(now_ms - entry.raised_ms)), now_ms)

    def heartbeat_frame(self, now_ms: float) -> bytes:
        """The frame of a heartbeat, sent now."""
        echo = self._echo
        beat = payload.Heartbeat(
            uptime_s=int(now_ms - self.boot_ms) // 1000,
            active=self._active,
            temp_dk=_TEMP_DK + self._mac[5] % 64,
            smoke_e4=self._mac[4] % 32,
            rssi_dbm=-61,
            heap_free_kb=48,
            idf_free_kb=112,
            echo_server_ms=echo[0] if echo else 0,
            echo_age_ms=int(now_ms - echo[1]) if echo else payload.AGE_UNKNOWN,
            journal_depth=len(self.journal),
            boot_count=self.boots,
            fw=_FIRMWARE,
        )
        return self._seal(kinds.UP_HEARTBEAT, payload.encode_heartbeat(beat), now_ms)

    def _seal(self, kind: int, plain: bytes, now_ms: float) -> bytes:
        self._counter += 1
        self._sent = (self._counter, now_ms)
        return frame.seal_up(self._cipher(), kind, self._epoch, self._mac, self._counter, plain)

    def _cipher(self) -> CcmKey:
        if self._ccm is None:  # at first use: most of a city's nodes are not the first to speak
            self._ccm = CcmKey(self._key)
        return self._ccm

    # ---- down

    def take(self, data: bytes, now_ms: float) -> Taken:
        """A frame from the receiver, or from somebody who would like to be one."""
        try:
            header = frame.parse(data)
            if not header.down or header.node != self._mac or header.epoch != self._epoch:
                return _REFUSED
            plain = frame.open_frame(self._cipher(), header)
            if header.kind == kinds.DOWN_RECEIPT:
                return self._receipt(payload.decode_receipt(plain), now_ms)
            return self._command(header, payload.decode_command(plain), now_ms)
        except (frame.FrameError, payload.PayloadError):
            return _REFUSED

    def _receipt(self, receipt: payload.Receipt, now_ms: float) -> Taken:
        counter, sent_ms = self._sent
        if receipt.answers > counter:
            return _REFUSED
        at_first = self._echo is None
        # An older frame's answer gives the time as well, if the newest is young: it was then sent before that one.
        if now_ms - sent_ms < TIME_WITHIN_MS:
            self._echo = (receipt.server_ms, now_ms)
        done = [self.journal.pop(number) for number in receipt.numbers if number in self.journal]
        heard = Heard.TIME_AT_FIRST if at_first and self._echo is not None else Heard.RECEIPT
        return Taken(heard, tuple(done))

    def _command(self, header: frame.Header, command: payload.Command, now_ms: float) -> Taken:
        known = command.code in kinds.COMMAND_NAMES
        result = kinds.ANSWER_DONE if known else kinds.ANSWER_UNSUPPORTED
        answer = payload.Answer(header.counter, header.sender, command.code, result)
        return Taken(Heard.COMMAND, (), self._seal(kinds.UP_ANSWER, payload.encode_answer(answer), now_ms))
