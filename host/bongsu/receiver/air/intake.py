"""Readings on their way into the store: kept in memory for a moment, written a few nodes at a time, beside the alarms.

Nobody waits for a reading and nothing answers it. It is written in the writer's own transactions (there is one writer),
but not in those of an alarm, and only for so long that an alarm which comes meanwhile waits a few milliseconds. What
does not fit into memory is dropped and counted. The counters of the frames are stored in the same transaction.
"""

import struct
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from bongsu.receiver.air.advisories import Judge
from bongsu.receiver.air.pack import Sample
from bongsu.receiver.air.quantities import BY_CODE
from bongsu.receiver.air.shelf import Shelf
from bongsu_wire import measured, payload

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.directory import NodeEntry
    from bongsu.receiver.turn import Turn

AGE_MAX_MS = 86_400_000
INTERVAL_MAX_S = 3600
# A reading waits so long for company: in a small market there is one transaction every few seconds.
WRITE_EVERY_MS = 5_000
# A slice may take so long; afterwards others have nine times as long.
SLICE_S, REST_SHARE, PAUSE_MIN_MS = 0.003, 9, 20
# In the turn of an alarm nothing is written, unless alarms have come in every turn for so long.
LATE_MS = 5_000
# A city's 86,221 homes send that in half an hour (some 30 bytes each), and a node in two hours.
MOST_BYTES, MOST_OF_NODE = 96 << 20, 4096
_NODES_FIRST, _NODES_MAX = 4, 64
_HEAD = struct.Struct("<IHHB")
_VALUE = struct.Struct("<BH")
# What a node's buffer costs beside its readings.
_BUFFER_BYTES = 150


class NotTaken(Exception):
    """A reading that cannot be placed in time: its age is unknown, or nobody would wait so long; or it says nothing of
    how long it stands for.
    """


def sample_of(reading: measured.Reading, received_ms: int, epoch: int, counter: int) -> Sample:
    """A reading as it is kept; what it measures that this version does not know is left out. Raises NotTaken."""
    if reading.age_ms == payload.AGE_UNKNOWN or reading.age_ms > AGE_MAX_MS:
        raise NotTaken("its age")
    if not 1 <= reading.interval_s <= INTERVAL_MAX_S:
        raise NotTaken("its interval")
    values = tuple((code, value) for code, value in sorted(reading.values.items()) if code in BY_CODE)
    # The low bits of the counter name the frame within an hour; another key's counter begins elsewhere.
    tag = (counter + epoch * 0x3F1) & 0xFFFF
    return Sample(max(1, (received_ms - reading.age_ms) // 1000), tag, reading.interval_s, values)


class Waiting:
    """Readings in memory, by node, as bytes: tuples of numbers would take ten times as much."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._by_node: dict[str, bytearray] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """How many nodes have something waiting."""
        return len(self._by_node)

    def add(self, node_id: str, sample: Sample) -> bool:
        """Keep one; False if there is no room."""
        buffer = self._by_node.get(node_id)
        size = _HEAD.size + _VALUE.size * len(sample.values) + (_BUFFER_BYTES if buffer is None else 0)
        if self._bytes + size > self._most or (buffer is not None and len(buffer) + size > MOST_OF_NODE):
            return False
        if buffer is None:
            buffer = self._by_node[node_id] = bytearray()
        buffer += _HEAD.pack(sample.end_s, sample.tag, sample.interval_s, len(sample.values))
        for code, value in sample.values:
            buffer += _VALUE.pack(code, value)
        self._bytes += size
        return True

    def take(self, most: int) -> dict[str, list[Sample]]:
        """The readings of so many nodes, those that have waited longest; they are not kept here any more."""
        names = list(islice(self._by_node, most))
        return {name: self._opened(name) for name in names}

    def _opened(self, name: str) -> list[Sample]:
        data = self._by_node.pop(name)
        self._bytes -= len(data) + _BUFFER_BYTES
        found, at = [], 0
        while at < len(data):
            end_s, tag, interval_s, count = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            values = tuple(_VALUE.unpack_from(data, at + i * _VALUE.size) for i in range(count))
            at += count * _VALUE.size
            found.append(Sample(end_s, tag, interval_s, values))
        return found


class Intake:
    """The chore. `take` is called by the turn, the rest as chores are; `committed` after each commit."""

    def __init__(self, books: "Books", conn: Connection) -> None:
        self._books = books
        self._shelf, self._judge = Shelf(conn), Judge(books)
        self._waiting = Waiting()
        self._writing: dict[str, list[Sample]] = {}
        self._at_ms: int | None = None
        self._nodes = _NODES_FIRST
        self._zones: dict[str, ZoneInfo] = {}
        self._put_off_ms = 0
        self._wrote_last = False

    def take(self, node: "NodeEntry", epoch: int, counter: int, reading: measured.Reading, received_ms: int) -> None:
        """A new reading of a node. Raises NotTaken."""
        sample = sample_of(reading, received_ms, epoch, counter)
        vitals = self._books.vitals
        if not sample.values:
            return
        if not self._waiting.add(node.id, sample):
            vitals.readings_dropped += 1
            return
        vitals.readings += 1
        if self._at_ms is None:
            self._at_ms = self._books.clock.mono_ms() + WRITE_EVERY_MS

    def load(self, conn: Connection) -> None:
        """What a failed transaction was to write waits again; to write it twice would change nothing."""
        writing, self._writing = self._writing, {}
        for node_id, samples in writing.items():
            for sample in samples:
                self._waiting.add(node_id, sample)
        if self._waiting and self._at_ms is None:
            self._at_ms = self._books.clock.mono_ms() + WRITE_EVERY_MS
        self._judge.load(conn)

    def note(self, item: object) -> None:
        """Nothing is meant for it."""

    def due_ms(self) -> int | None:
        """The next slice of readings, or of levels."""
        return max(self._put_off_ms, self._wanted_ms())

    def _wanted_ms(self) -> int:
        judge_ms = self._judge.due_ms()
        return judge_ms if self._at_ms is None else min(self._at_ms, judge_ms)

    def act(self, conn: Connection, turn: "Turn") -> None:
        """One slice."""
        now_ms = self._books.clock.mono_ms()
        if turn.has_events and now_ms < self._wanted_ms() + LATE_MS:
            self._put_off_ms = now_ms + PAUSE_MIN_MS
            return
        begun_s = perf_counter()
        writes = self._at_ms is not None and now_ms >= self._at_ms
        if writes and not (self._wrote_last and self._judge.due_ms() <= now_ms):  # in a city both are always due
            self._write(conn, begun_s)
            self._wrote_last = True
        else:
            self._judge.act(conn, turn)
            self._wrote_last = False
        again_ms = now_ms + self._pause_ms(begun_s)
        self._judge.not_before(again_ms)
        if self._at_ms is not None:
            self._at_ms = max(self._at_ms, again_ms)

    def _pause_ms(self, begun_s: float) -> int:
        return max(PAUSE_MIN_MS, round((perf_counter() - begun_s) * 1000 * REST_SHARE))

    def _write(self, conn: Connection, begun_s: float) -> None:
        directory = self._books.directory
        taken = self._waiting.take(self._nodes)
        self._writing = taken
        zones = {node_id: self._zone(directory.zone_of(node_id)) for node_id in taken}
        self._books.vitals.readings_kept += self._shelf.put(conn, taken, zones)
        self._books.sightings.write_windows(conn, list(taken))
        for node_id in taken:
            self._judge.measured(node_id)
        took_s = perf_counter() - begun_s
        if len(taken) == self._nodes:  # a full slice tells how many fit
            fits = max(1, round(self._nodes * SLICE_S / max(took_s, 1e-6)))
            self._nodes = min(_NODES_MAX, (self._nodes + fits + 1) // 2)

    def _zone(self, name: str) -> ZoneInfo:
        if name not in self._zones:
            self._zones[name] = ZoneInfo(name)
        return self._zones[name]

    def committed(self) -> None:
        """What was being written is stored."""
        if self._writing:
            self._books.sightings.windows_written(list(self._writing))
            self._writing = {}
        if self._at_ms is not None and not self._waiting:
            self._at_ms = None

    def write_all(self, conn: Connection) -> None:
        """The receiver stops: everything that waits."""
        while self._waiting:
            self._nodes = _NODES_MAX
            self._write(conn, perf_counter())
