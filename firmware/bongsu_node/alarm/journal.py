"""The journal: every event from its report to its receipt, on flash, over restarts and power cuts (DESIGN section 6).

One small file an event, written whole (see flashfile.py). A write that fails costs nothing at once: the event stays
in RAM, is sent all the same, and is written again by retry().

An event that can have no number now (NVS refuses, or it is of an earlier key epoch) waits for one, on flash too; it is
not sent before.
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
_NO_EPOCH = 0  # of an event that waits for its first number; key epochs begin at 1


class _Entry:
    """data: the encoded event, decoded when asked for: a full journal would hold 6 KB more; epoch: the key epoch of its
    number; at_ms: uptime at the event, None if of an earlier boot; stored: on flash.
    """

    def __init__(self, data: bytes, epoch: int, at_ms) -> None:
        self.data = data
        self.epoch = epoch
        self.at_ms = at_ms
        self.stored = False

    @property
    def event(self) -> payload.Event:
        """Raises PayloadError."""
        return payload.decode_event(self.data)

    def is_kind(self, kind: int) -> bool:
        """Whether it is an event of `kind`."""
        return payload.event_kind(self.data) == kind


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
        self._waiting = []  # for a number of this epoch
        self._load()
        self._number_waiting()

    # -- what the link uses

    @property
    def depth(self) -> int:
        """Events that await their receipt."""
        return len(self._entries) + len(self._waiting)

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
        if entry is not None:
            self._delete(entry)

    # -- what the node uses

    def add(self, event) -> bytes:
        """Keep an event that happens now; number 0: it waits for one. Returns its 27 bytes. Raises ValueError for an
        event that is not valid.
        """
        if not event.number:
            return self._add_waiting(event)
        data = payload.encode_event(event)
        entry = self._entries[event.number] = _Entry(data, self._epoch, self._uptime_ms())
        self._shrink()
        if event.number in self._entries and self._store(entry):
            self._log("I", "journal", "event=%d stored" % event.number)
        return data

    def events(self):
        """The pending events by number."""
        return [self._entries[n].event for n in sorted(self._entries)]

    def holds_alarm(self) -> bool:
        """True while the centre has not receipted every alarm."""
        return any([entry.is_kind(kinds.ALARM) for entry in self._all()])

    def retry(self):
        """Write again what could not be written, number what waits; returns the events that have their number now."""
        if not self.failed:
            return ()
        self.failed = False
        for entry in self._all():
            if not entry.stored:
                self._store(entry)
        return self._number_waiting()

    def _all(self):
        return list(self._entries.values()) + self._waiting

    # -- flash

    def _path(self, entry) -> str:
        # The epoch keeps an event of an earlier one from being overwritten before it has its fresh number.
        return "%s/%02x-%08x" % (self._folder, entry.epoch, entry.event.number)

    def _fail(self, number: int, error) -> None:
        self.failed = True
        self._log("E", "journal", "event=%d err=%r" % (number, error))

    def _store(self, entry) -> bool:
        try:
            flashfile.make_folder(self._folder)
            flashfile.write(self._path(entry), struct.pack(_FILE, _VERSION, entry.epoch, entry.data))
        except Exception as e:
            self._fail(entry.event.number, e)
            return False
        entry.stored = True
        return True

    def _delete(self, entry) -> None:
        if not entry.stored:
            return
        try:
            os.remove(self._path(entry))
        except Exception as e:  # it comes back at the next boot, is sent again, and receipted again
            self._fail(entry.event.number, e)

    def _load(self) -> None:
        try:
            names = sorted(os.listdir(self._folder))
        except Exception:  # the first boot, or a file system that is gone: the first write will tell
            return
        for name in names:
            path = self._folder + "/" + name
            try:
                if name.endswith(flashfile.TEMPORARY) or not self._take(path):
                    os.remove(path)
            except Exception as e:
                self._fail(0, e)

    def _take(self, path: str) -> bool:
        """Take one file over from before the restart; False if it is to be deleted."""
        content = flashfile.read(path)
        try:
            if content is None or len(content) != _FILE_LEN or content[0] != _VERSION:
                raise payload.PayloadError("file")
            entry = _Entry(content[2:], content[1], None)
            number = entry.event.number
        except payload.PayloadError:
            self.damaged += 1
            self._log("E", "journal", "damaged=%s" % path)
            return False
        entry.stored = True
        if entry.epoch == self._epoch:
            self._entries[number] = entry
        else:  # provisioned anew: under the new key its old number may come up again for another event
            self._waiting.append(entry)
        return True

    # -- waiting for a number

    def _add_waiting(self, event) -> bytes:
        # Of its own, behind all that wait: it orders them and names the file.
        event.number = 1 + max([entry.event.number for entry in self._waiting], default=0)
        same = self._same(event) if len(self._waiting) >= self._capacity else None
        if same is not None and event.kind == kinds.ALARM:
            event.count = min(same.event.count + 1, _COUNT_MAX)
        data = payload.encode_event(event)
        entry = _Entry(data, _NO_EPOCH, self._uptime_ms())
        self._waiting.append(entry)
        self.failed = True  # so that retry() looks at it
        self._store(entry)
        if same is not None:
            self._waiting.remove(same)
            self._delete(same)
        return data

    def _same(self, event):
        """The oldest that waits and says what `event` says, None without one."""
        for entry in self._waiting:
            e = entry.event
            if (e.kind, e.phenomena, e.detail) == (event.kind, event.phenomena, event.detail):
                return entry
        return None

    def _number_waiting(self):
        """Give those that wait a fresh number, as long as there is one; returns their events.

        Each is on flash under its new number before the old file goes: a power cut between them counts it twice rather
        than not at all.
        """
        done = []
        try:
            while self._waiting:
                old = self._waiting[0]
                event = old.event
                event.number = self._next_number()
                entry = self._entries[event.number] = _Entry(payload.encode_event(event), self._epoch, old.at_ms)
                self._waiting.pop(0)
                done.append(event)
                self._log("I", "journal", "event=%d late" % event.number)
                if self._store(entry):
                    self._delete(old)
        except Exception as e:  # NVS has none to give: retry() asks again
            self._fail(0, e)
        return done

    # -- full

    def _is(self, number: int, kind: int) -> bool:
        return self._entries[number].is_kind(kind)

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
            if self._is(n, kinds.ALARM):
                groups.setdefault(self._entries[n].event.phenomena, []).append(n)
        largest = max(groups.values(), key=len) if groups else []
        if len(largest) < 2:
            return False
        newest = self._entries[largest[-1]]
        count = sum([self._entries[n].event.count for n in largest])
        merged = newest.event
        try:
            merged.number = self._next_number()
        except Exception as e:  # then one more is held
            self._fail(0, e)
            return False
        merged.count = min(count, _COUNT_MAX)
        entry = self._entries[merged.number] = _Entry(payload.encode_event(merged), self._epoch, newest.at_ms)
        self._store(entry)
        self._log("W", "journal", "event=%d merges=%d" % (merged.number, count))
        for n in largest:
            self.remove(n)
        return True
