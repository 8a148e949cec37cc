"""The board's flash: a file as NOR flash of 4096-byte blocks, and NVS; both can lose power at any write.

`cut_after` = n tears the n-th write from now: a part of it reaches the flash, then the board is dead. littlefs never
sees an exception: the host ends the process while it is inside that write.
"""

import json
import random

import _board
import micropython

BLOCK = 4096
_ENOSPC = -28

nvs = {}  # namespace -> key -> ["i", int] or ["b", hex]
_host = None  # the host's file system, a VfsPosix that is not mounted
_folder = ""  # the board's own in it
_dirty = False


@micropython.native
def _counts():
    """Count one write; True if power fails during it."""
    state = _board.state
    state["flash_writes"] += 1
    if state["cut_after"]:
        state["cut_after"] -= 1
        return state["cut_after"] == 0
    return False


class Flash:
    """A block device for VfsLfs2 (extended interface): `blocks` of the file, from byte `start` on.

    Native code is where the interpreter does not look for a Ctrl-C: raised in here, it would jump out of littlefs.
    """

    def __init__(self, file, blocks, start=0):
        self._file = file
        self._blocks = blocks
        self._start = start

    @micropython.native
    def readblocks(self, block, buffer, offset=0):
        self._file.seek(self._start + block * BLOCK + offset)
        self._file.readinto(buffer)
        return 0

    @micropython.native
    def writeblocks(self, block, data, offset=None):
        if offset is None:  # the simple interface erases by itself
            offset = 0
        torn = _counts()
        self._file.seek(self._start + block * BLOCK + offset)
        if torn:
            self._tear(data)
        self._file.write(data)
        return 0

    def _tear(self, data):
        """A part of the bytes, the last of them half-programmed (bits only go from 1 to 0)."""
        size = random.randrange(len(data))
        self._file.write(memoryview(data)[:size])
        if random.randrange(2):
            self._file.write(bytes([data[size] | random.getrandbits(8)]))
        _board.die("x cut")

    @micropython.native
    def ioctl(self, operation, argument):
        if operation == 4:
            return self._blocks
        if operation == 5:
            return BLOCK
        if operation == 6:
            if _board.repl is not None:
                _board.pump()  # at the prompt nobody else listens to the host
            if _board.state["flash_full"]:
                return _ENOSPC
            torn = _counts()
            self._file.seek(self._start + argument * BLOCK)
            self._file.write(b"\xff" * (random.randrange(BLOCK) if torn else BLOCK))
            if torn:
                _board.die("x cut")
        return 0

    def info(self):
        """As esp32.Partition.info()."""
        return (1, 0x81, self._start, self._blocks * BLOCK, "vfs", False)


def open_nvs(host, folder):
    """Read the store from the board's folder; what an earlier life left pending is kept or lost."""
    global _host, _folder
    _host, _folder = host, folder
    nvs.update(_load("/nvs.bin") or {})
    pending = _load("/nvs.pending")
    if pending is not None:
        if random.randrange(2):
            nvs.clear()
            nvs.update(pending)
            _save("/nvs.bin")
        _host.remove(_folder + "/nvs.pending")


def _load(name):
    try:
        file = _host.open(_folder + name, "r")
    except OSError:
        return None
    text = file.read()
    file.close()
    try:
        return json.loads(text)
    except ValueError:  # the process died while it wrote this: as if nothing had been set
        return None


def _save(name):
    file = _host.open(_folder + name + ".tmp", "w")
    json.dump(nvs, file)
    file.close()
    _host.rename(_folder + name + ".tmp", _folder + name)


def nvs_pending():
    """A value was set and not yet committed."""
    global _dirty
    _dirty = True
    _save("/nvs.pending")


def nvs_commit():
    """Make what was set durable: one flash write."""
    global _dirty
    if not _dirty:
        return
    if _counts():
        if random.randrange(2):
            _save("/nvs.bin")
        _board.die("x cut")
    _save("/nvs.bin")
    _host.remove(_folder + "/nvs.pending")
    _dirty = False
