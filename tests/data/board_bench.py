"""Runs what it is sent, as a board's raw REPL does, on a littlefs image and an NVS in files; under MicroPython:
`board_bench.py <folder> <write after which the power fails, 0: none> <"plain": no hashlib.sha256>`.

In: a line with the length, then the code. Out: what it prints, 04, a traceback, 04; or 05 when the power has failed.
"""

import io
import json
import sys

import vfs

_BLOCK = 4096
_folder = sys.argv[1]
_left = [int(sys.argv[2])]  # writes until the power fails; below 0: those that were done
_host = vfs.VfsPosix()


def _counts():
    """Count a write; at the one in which the power fails, nothing happens any more."""
    _left[0] -= 1
    if _left[0] == 0:
        sys.stdout.write("\x05")
        sys.stdin.read(1)  # until the process is ended


class Flash:
    """The file system's block device."""

    def __init__(self, file):
        self._file = file
        file.seek(0, 2)
        self._blocks = file.tell() // _BLOCK

    def readblocks(self, block, buffer, offset=0):
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buffer)
        return 0

    def writeblocks(self, block, data, offset=0):
        self._file.seek(block * _BLOCK + offset)
        if _left[0] == 1:
            self._file.write(memoryview(data)[: len(data) // 2])
        _counts()
        self._file.write(data)
        return 0

    def ioctl(self, operation, argument):
        if operation == 4:
            return self._blocks
        if operation == 5:
            return _BLOCK
        if operation == 6:
            _counts()
            self._file.seek(argument * _BLOCK)
            self._file.write(b"\xff" * _BLOCK)
        return 0


class Nvs:
    """esp32.NVS: what is set is written at once, as ESP-IDF does."""

    def __init__(self, namespace):
        assert namespace == "bongsu"
        try:
            file = _host.open(_folder + "/nvs.json", "r")
            self._values = json.load(file)
            file.close()
        except OSError:
            self._values = {}

    def _write(self):
        _counts()
        file = _host.open(_folder + "/nvs.json", "w")
        json.dump(self._values, file)
        file.close()

    def get_blob(self, key, buffer):
        if key not in self._values:
            raise OSError(-0x1102, "ESP_ERR_NVS_NOT_FOUND")
        data = bytes.fromhex(self._values[key])
        if len(data) > len(buffer):
            raise OSError(-0x110C, "ESP_ERR_NVS_INVALID_LENGTH")
        buffer[: len(data)] = data
        return len(data)

    def set_blob(self, key, value):
        if not value:
            raise OSError(-0x110C, "ESP_ERR_NVS_INVALID_LENGTH")
        self._values[key] = bytes(value).hex()
        self._write()

    def erase_key(self, key):
        if key not in self._values:
            raise OSError(-0x1102, "ESP_ERR_NVS_NOT_FOUND")
        del self._values[key]
        self._write()

    def commit(self):
        pass


class Module:
    """A module of the chip."""

    def __init__(self, **names):
        for name, value in names.items():
            setattr(self, name, value)


def _modules(device):
    class Sys:
        platform = "esp32"
        implementation = Module(
            version=(1, 25, 0, ""), _machine="Generic ESP32 module with ESP32", _mpy=sys.implementation._mpy
        )

    sys.modules["sys"] = Sys
    sys.modules["esp32"] = Module(NVS=Nvs)
    sys.modules["machine"] = Module(unique_id=lambda: b"\xa0\xb1\xc2\xd3\xe4\xf5", WDT=None)
    if device is not None:
        sys.modules["flashbdev"] = Module(bdev=device)
    if sys.argv[3] == "plain":
        sys.modules["hashlib"] = Module()


def _boot():
    """Mount what is there, as the chip's start does."""
    try:
        device = Flash(_host.open(_folder + "/flash.img", "r+b"))
    except OSError:
        device = None
    _modules(device)
    vfs.umount("/")
    if device is not None:
        try:
            vfs.mount(device, "/")
        except OSError:
            pass


def _serve():
    names = {"__name__": "__main__", "writes": lambda: -_left[0]}
    while True:
        size = sys.stdin.readline()
        if not size:
            return
        code = sys.stdin.read(int(size))
        trace = io.StringIO()
        try:
            exec(compile(code, "<stdin>", "exec"), names)
        except Exception as e:
            sys.print_exception(e, trace)
        sys.stdout.write("\x04" + trace.getvalue() + "\x04")


_boot()
_serve()
