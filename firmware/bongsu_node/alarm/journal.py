"""The journal: every event from its report to its receipt, on flash, over restarts and power cuts (DESIGN section 6).

One small file an event, written whole (see flashfile.py). A write that fails costs nothing at once: the event stays
in RAM, is sent all the same, and is written again by retry().
"""

import os
import struct

from bongsu_node import flashfile
from bongsu_wire import kinds, payload

# More than any backlog that says something new: by then outdated faults are dropped, alarms of a phenomenon merged.
CAPACITY = 32
_FILE = "<BB27s"  # version, key epoch, event
_FILE_LEN = 29
_VERSION = 1
# What a full journal gives up, in this order; then outdated faults; alarms never.
_EXPENDABLE = (kinds.TEST, kinds.PREALARM, kinds.RESTORE)
_FAULTS = (kinds.FAULT, kinds.FAULT_CLEAR)
_COUNT_MAX = 255


class _Entry:
    """at_ms: uptime at the event, None if it is of an earlier boot; stored: it is on flash."""

    def __init__(self, data: bytes, at_ms) -> None:
        self.data = data
        self.at_ms = at_ms
        self.stored = False
        self.event = payload.decode_event(data)


class Journal:
    """`folder` on flash; `epoch`: the key epoch of this node's events; `next_number()`: a fresh event number;
    `uptime_ms()` never wraps.

    failed: something could not be written; damaged: files that were not whole at boot. Nothing here raises for the
    flash's sake.
    """

    def __init__(self, folder: str, epoch: int, next_number, uptime_ms, log, capacity: int = CAPACITY) -> None:
        self.failed = False
        self.damaged = 0
        self._folder = folder
        self._epoch = epoch
        self._next_number = next_number
        self._uptime_ms = uptime_ms
        self._log = log
        self._capacity = capacity
        self._entries = {}
        self._load()

    # -- what the link uses

    @property
    def depth(self) -> int:
        """Events that await their receipt."""
        return len(self._entries)

    def pending(self):
        """Their numbers in sending order: alarms first, then by number."""
        numbers = sorted(self._entries)
        return [n for n in numbers if self._is(n, kinds.ALARM)] + [n for n in numbers if not self._is(n, kinds.ALARM)]

    def entry(self, number: int) -> bytes:
        """The encoded event with its present age. Raises KeyError if it is not here (any more)."""
        entry = self._entries[number]
        if entry.at_ms is None:
            return payload.with_age(entry.data, payload.AGE_UNKNOWN)
        age = self._uptime_ms() - entry.at_ms
        return payload.with_age(entry.data, min(age, payload.AGE_UNKNOWN - 1))

    def remove(self, number: int) -> None:
        """The receipt came (or the entry gave way)."""
        entry = self._entries.pop(number, None)
        if entry is None or not entry.stored:
            return
        try:
            os.remove(self._path(number))
        except OSError as e:  # it comes back at the next boot, is sent again, and receipted again
            self.failed = True
            self._log("E", "journal", "event=%d err=%r" % (number, e))

    # -- what the node uses

    def add(self, event) -> bytes:
        """Keep an event that happens now; returns its 27 bytes. Raises ValueError for an event that is not valid."""
        data = payload.encode_event(event)
        self._entries[event.number] = _Entry(data, self._uptime_ms())
        self._shrink()
        if event.number in self._entries and self._store(event.number):
            self._log("I", "journal", "event=%d stored" % event.number)
        return data

    def events(self):
        """The pending events by number."""
        return [self._entries[n].event for n in sorted(self._entries)]

    def holds_alarm(self) -> bool:
        """True while the centre has not receipted every alarm."""
        return any([entry.event.kind == kinds.ALARM for entry in self._entries.values()])

    def retry(self) -> None:
        """Write again what could not be written."""
        if not self.failed:
            return
        self.failed = False
        for number in sorted(self._entries):
            if not self._entries[number].stored:
                self._store(number)

    # -- flash

    def _path(self, number: int) -> str:
        # The epoch keeps an event of an earlier one from being overwritten before it has its fresh number.
        return "%s/%02x-%08x" % (self._folder, self._epoch, number)

    def _store(self, number: int) -> bool:
        entry = self._entries[number]
        try:
            flashfile.make_folder(self._folder)
            flashfile.write(self._path(number), struct.pack(_FILE, _VERSION, self._epoch, entry.data))
        except OSError as e:
            self.failed = True
            self._log("E", "journal", "event=%d err=%r" % (number, e))
            return False
        entry.stored = True
        return True

    def _load(self) -> None:
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:  # the first boot, or a file system that is gone: the first write will tell
            return
        for name in names:
            path = self._folder + "/" + name
            try:
                if name.endswith(flashfile.TEMPORARY) or not self._take(path):
                    os.remove(path)
            except OSError:
                self.failed = True

    def _take(self, path: str) -> bool:
        """Take one file over from before the restart; False if it is to be deleted."""
        content = flashfile.read(path)
        try:
            if content is None or len(content) != _FILE_LEN or content[0] != _VERSION:
                raise payload.PayloadError("file")
            entry = _Entry(content[2:], None)
        except payload.PayloadError:
            self.damaged += 1
            self._log("E", "journal", "damaged=%s" % path)
            return False
        if content[1] == self._epoch:
            entry.stored = True
            self._entries[entry.event.number] = entry
            return True
        # Provisioned anew: under the new key its old number may come up again for another event.
        return not self._renumber(entry)

    def _renumber(self, entry) -> bool:
        """Keep an event under a fresh number; True if that is on flash, so that the old file may go."""
        event = entry.event
        event.number = self._next_number()
        self._entries[event.number] = _Entry(payload.encode_event(event), entry.at_ms)
        return self._store(event.number)

    # -- full

    def _is(self, number: int, kind: int) -> bool:
        return self._entries[number].event.kind == kind

    def _shrink(self) -> None:
        while len(self._entries) > self._capacity:
            victim = self._first_to_go()
            if victim:
                self._log("W", "journal", "event=%d dropped" % victim)
                self.remove(victim)
            elif not self._merge_alarms():
                return  # one entry a phenomenon and a fault: that few more are held

    def _first_to_go(self) -> int:
        """Number of the entry that a full journal gives up first; 0 if there is none."""
        numbers = sorted(self._entries)
        for kind in _EXPENDABLE:
            for n in numbers:
                if self._is(n, kind):
                    return n
        newer = set()
        for n in reversed(numbers):
            event = self._entries[n].event
            if event.kind in _FAULTS or event.kind == kinds.TAMPER:
                what = (event.kind == kinds.TAMPER, event.detail)
                if what in newer:
                    return n
                newer.add(what)
        return 0

    def _merge_alarms(self) -> bool:
        """Make one event, under a fresh number, of all alarms of the phenomenon that has most of them; False if none
        has two.

        The number must be fresh: an event that was sent may not change its content. The merged one is on flash before
        the others go: a power cut between them counts one twice rather than none.
        """
        groups = {}
        for n in sorted(self._entries):
            event = self._entries[n].event
            if event.kind == kinds.ALARM:
                groups.setdefault(event.phenomena, []).append(n)
        largest = max(groups.values(), key=len) if groups else []
        if len(largest) < 2:
            return False
        newest = self._entries[largest[-1]]
        count = sum([self._entries[n].event.count for n in largest])
        merged = payload.decode_event(newest.data)
        merged.number = self._next_number()
        merged.count = min(count, _COUNT_MAX)
        self._entries[merged.number] = _Entry(payload.encode_event(merged), newest.at_ms)
        self._store(merged.number)
        self._log("W", "journal", "event=%d merges=%d" % (merged.number, count))
        for n in largest:
            self.remove(n)
        return True
