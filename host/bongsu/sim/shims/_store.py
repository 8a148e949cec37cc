"""Works on a flash image offline: `_store.py <image> <orders.json>`.

Orders, one list each: ["format", blocks], ["put", host path, path], ["get", path, host path], ["remove", path],
["list", host path of the answer].
"""

import json
import sys

sys.path[:] = [".frozen"]

import os  # noqa: E402

import vfs  # noqa: E402

_BLOCK = 4096


class Image:
    """A block device over a file."""

    def __init__(self, file, start, blocks):
        self._file = file
        self._start = start
        self._blocks = blocks

    def readblocks(self, block, buffer, offset=0):
        self._file.seek(self._start + block * _BLOCK + offset)
        self._file.readinto(buffer)
        return 0

    def writeblocks(self, block, data, offset=0):
        self._file.seek(self._start + block * _BLOCK + offset)
        self._file.write(data)
        return 0

    def ioctl(self, operation, argument):
        if operation == 4:
            return self._blocks
        if operation == 5:
            return _BLOCK
        if operation == 6:
            self._file.seek(self._start + argument * _BLOCK)
            self._file.write(b"\xff" * _BLOCK)
        return 0


def _copy(source, target):
    with open(source, "rb") as read, open(target, "wb") as write:
        while True:
            chunk = read.read(4096)
            if not chunk:
                return
            write.write(chunk)


def _make_folders(path):
    parts = path.split("/")[2:-1]
    folder = "/flash"
    for part in parts:
        folder += "/" + part
        try:
            os.mkdir(folder)
        except OSError:
            pass


def _walk(folder, found):
    for entry in os.ilistdir(folder):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            _walk(path, found)
        else:
            found.append(path[len("/flash") :])
    return found


def _main():
    with open(sys.argv[2]) as file:
        orders = json.load(file)
    file = open(sys.argv[1], "r+b")  # noqa: SIM115  # until the process ends
    device = Image(file, orders["start"], orders["blocks"])
    if orders["format"]:
        vfs.VfsLfs2.mkfs(device)
    vfs.mount(vfs.VfsLfs2(device), "/flash")
    for order in orders["orders"]:
        verb = order[0]
        if verb == "put":
            _make_folders("/flash" + order[2])
            _copy(order[1], "/flash" + order[2])
        elif verb == "get":
            _copy("/flash" + order[1], order[2])
        elif verb == "remove":
            os.remove("/flash" + order[1])
        elif verb == "list":
            with open(order[1], "w") as answer:
                json.dump(_walk("/flash", []), answer)
    vfs.umount("/flash")


_main()
