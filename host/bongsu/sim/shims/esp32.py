"""esp32: NVS with i32 and blobs only, and the heap figures.

A value set is pending until commit(). The whole store is replaced on the host by one rename, since the real one is
log-structured and survives a cut at any byte; what was pending at a cut may or may not be there afterwards (the
host's seed decides). Each commit counts as a flash write.
"""

import _board
import _flash

HEAP_DATA = 4
HEAP_EXEC = 1

_NOT_FOUND = -0x1102
_INVALID_LENGTH = -0x110C
_INVALID_NAME = -0x1103
_VALUE_TOO_LONG = -0x110E
_BLOB_MAX = 4000
_IDF_TOTAL = 290000


def _check_name(name):
    if not 1 <= len(name) <= 15:
        raise OSError(_INVALID_NAME, "ESP_ERR_NVS_INVALID_NAME")


class NVS:
    def __init__(self, namespace):
        _check_name(namespace)
        self._values = _flash.nvs.setdefault(namespace, {})

    def _set(self, key, value):
        _check_name(key)
        if self._values.get(key) != value:
            self._values[key] = value
            _flash.nvs_pending()

    def _get(self, key, kind):
        value = self._values.get(key)
        if value is None or value[0] != kind:
            raise OSError(_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")
        return value[1]

    def set_i32(self, key, value):
        if not -0x80000000 <= value <= 0x7FFFFFFF:
            raise OverflowError("overflow converting long int to machine word")
        self._set(key, ["i", value])

    def get_i32(self, key):
        return self._get(key, "i")

    def set_blob(self, key, value):
        data = bytes(value)
        if len(data) > _BLOB_MAX:
            raise OSError(_VALUE_TOO_LONG, "ESP_ERR_NVS_VALUE_TOO_LONG")
        self._set(key, ["b", _board.hex(data)])

    def get_blob(self, key, buffer):
        data = _board.unhex(self._get(key, "b"))
        size = len(data)
        if size > len(buffer):
            raise OSError(_INVALID_LENGTH, "ESP_ERR_NVS_INVALID_LENGTH")
        buffer[:size] = data
        return size

    def erase_key(self, key):
        if key not in self._values:
            raise OSError(_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")
        del self._values[key]
        _flash.nvs_pending()

    def commit(self):
        _flash.nvs_commit()


class Partition:
    """The table of a board with a REPL; of the partitions only the file system's can be read and written."""

    TYPE_APP = 0
    TYPE_DATA = 1
    BOOT = 0
    RUNNING = 1
    vfs = None  # a block device

    @classmethod
    def find(cls, type=TYPE_APP, subtype=0xFF, label=None, block_size=4096):
        fits = type == cls.TYPE_DATA and label in (None, "vfs") and subtype in (0xFF, 0x81)
        return [cls.vfs] if cls.vfs is not None and fits else []


def idf_heap_info(capabilities):
    """[(total, free, largest free block, lowest free ever)]; the free bytes are set by the host."""
    free = _board.state["idf_free"]
    return [(_IDF_TOTAL, free, free * 3 // 4, free * 3 // 4)]


def mcu_temperature():
    return int(_board.state["temp_c"] or 25) + 20
