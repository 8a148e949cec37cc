"""Runs under MicroPython: the journal on littlefs on a RAM block device whose power fails at a chosen write.

Prints one line per experiment; any broken promise raises. See tests/unit/test_node_journal.py.
"""

import os
import random
import sys

import vfs

from bongsu_node import flashfile
from bongsu_node.alarm.journal import Journal
from bongsu_wire import kinds, payload

BLOCK = 512
BLOCKS = 128


class Flash:
    """NOR flash in RAM. `left` writes succeed, the next one is torn, then nothing is written any more: it answers -5
    (EIO) and never raises, for littlefs would not survive an exception."""

    def __init__(self, data=None):
        self.data = data or bytearray(BLOCK * BLOCKS)
        self.left = -1
        self.dead = False

    def _powered(self):
        """False if the power fails at this write."""
        if self.dead:
            return False
        if self.left == 0:
            self.dead = True
            return False
        if self.left > 0:
            self.left -= 1
        return True

    def readblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        buffer[:] = self.data[at : at + len(buffer)]
        return 0

    def writeblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        was_dead = self.dead
        if not self._powered():
            if not was_dead:
                size = random.randrange(len(buffer))
                self.data[at : at + size] = buffer[:size]
            return -5
        self.data[at : at + len(buffer)] = buffer
        return 0

    def ioctl(self, operation, argument):
        if operation == 4:
            return BLOCKS
        if operation == 5:
            return BLOCK
        if operation == 6:
            was_dead = self.dead
            size = BLOCK if self._powered() else 0 if was_dead else random.randrange(BLOCK)
            self.data[argument * BLOCK : argument * BLOCK + size] = b"\xff" * size
            return -5 if self.dead else 0
        return 0


class Numbers:
    def __init__(self, first):
        self.next = first

    def __call__(self):
        self.next += 1
        return self.next - 1


def quiet(*args, **fields):
    pass


def journal(numbers, epoch=1, capacity=6):
    return Journal("/f/journal", epoch, numbers, lambda: 1000, quiet, capacity)


def event(number, kind, phenomena=0, detail=0):
    return payload.Event(number, kind, phenomena, temp_dk=3300 + number, detail=detail)


def mount(flash):
    vfs.mount(vfs.VfsLfs2(flash, readsize=32, progsize=32), "/f")


def image():
    """A journal with an alarm, a fault and a test of an earlier boot, and a saved alarm state."""
    flash = Flash()
    vfs.VfsLfs2.mkfs(flash, readsize=32, progsize=32)
    mount(flash)
    j = journal(Numbers(100))
    j.add(event(1, kinds.ALARM, kinds.HEAT))
    j.add(event(2, kinds.FAULT, detail=kinds.FAULT_SMOKE_SENSOR))
    j.add(event(3, kinds.TEST))
    flashfile.write("/f/state", b"old state")
    vfs.umount("/f")
    return flash.data


class Story:
    """What the node does while the power fails: adds, receipts, a full journal, a state. `must`: event number ->
    content that the flash has promised; `may`: contents that may be there."""

    def __init__(self):
        self.must = {}
        self.may = {}
        self.alarms = 0
        self.state = b"old state"

    def tell(self, j, e):
        before = dict(self.must)
        self.may[e.number] = payload.event_content(payload.encode_event(e))
        j.add(e)
        self.look(j, before)

    def look(self, j, before):
        """What is stored now must be found again; what gave way may."""
        self.must = {}
        for n in j.pending():
            content = payload.event_content(j.entry(n))
            self.may[n] = content
            if j._entries[n].stored:
                self.must[n] = content
        for n in before:
            if n not in self.must:
                self.may[n] = before[n]

    def run(self, flash):
        j = journal(Numbers(100))
        self.look(j, {})
        for e in (
            event(10, kinds.ALARM, kinds.HEAT),
            event(11, kinds.FAULT_CLEAR, detail=kinds.FAULT_SMOKE_SENSOR),
            event(12, kinds.ALARM, kinds.SMOKE),
        ):
            self.tell(j, e)
        if not flash.dead:
            flashfile.write("/f/state", b"new state, longer than the old one")
            self.state = b"new state, longer than the old one"
        # A receipt for the first alarm.
        self.may[1] = self.must.get(1, b"")
        self.must.pop(1, None)
        j.remove(1)
        for number in range(20, 26):  # more than fit: the test, a fault, then alarms are merged
            self.tell(j, event(number, kinds.ALARM, kinds.HEAT))


def cut_at(data, writes):
    """Cut the power at write `writes` of the story; True if the story ended before it."""
    flash = Flash(bytearray(data))
    mount(flash)
    flash.left = writes
    story = Story()
    promised = story
    try:
        story.run(flash)
    except OSError:
        pass
    ended = not flash.dead
    try:
        vfs.umount("/f")
    except OSError:
        pass
    flash.left = -1
    flash.dead = False
    mount(flash)
    j = journal(Numbers(200))
    found = {n: payload.event_content(j.entry(n)) for n in j.pending()}
    assert j.damaged == 0, (writes, "a file was torn")
    for n, content in promised.must.items():
        assert found.get(n) == content, (writes, n, "is lost")
    for n, content in found.items():
        assert promised.may.get(n) == content, (writes, n, "was never written so")
    leftover = [name for name in os.listdir("/f/journal") if name.endswith(".tmp")]
    assert not leftover, leftover
    state = flashfile.read("/f/state")
    assert state in (story.state, b"new state, longer than the old one"), (writes, state)
    vfs.umount("/f")
    return ended


def main():
    random.seed(int(sys.argv[1]))
    data = image()
    writes = 0
    while not cut_at(data, writes):
        writes += 1
    print("cuts=" + str(writes))


main()
