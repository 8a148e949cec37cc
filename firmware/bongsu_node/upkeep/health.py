"""What the node says about itself: the memory it has left, and what goes into the heartbeat."""

import gc

from bongsu_wire import kinds, payload

# A TLS session has buffers of 16 and 4 KB in the IDF heap, and its handshake needs 15 KB more for a moment
# (micropython issue 8940). A stock ESP32 has little more: its Python heap doubles once, from 56 KB, "and still has
# enough internal RAM to start WiFi and make a HTTPS request" (ports/esp32/mpconfigport.h).
TLS_NEEDS_KB = 36
_HEAP_DATA = 4  # esp32.HEAP_DATA
_LOOK_EVERY_MS = 5_000
# After this long without the memory a handshake is tried all the same: if it fails, no more is lost.
_PATIENCE_MS = 20_000
_TRY_MS = 12_000  # dialling asks again, after up to 10 s of TCP (link/mqtt.py): it is still allowed then


def idf_free_kb() -> int:
    """Free heap of ESP-IDF in KB; payload.U16_UNKNOWN where there is none."""
    try:
        import esp32

        return sum([region[1] for region in esp32.idf_heap_info(_HEAP_DATA)]) // 1024
    except (ImportError, AttributeError):
        return payload.U16_UNKNOWN


class TlsRoom:
    """Whether a TLS handshake has the memory that it needs. `free_kb`: idf_free_kb or alike."""

    def __init__(self, free_kb, ticks_ms, ticks_diff, log) -> None:
        self._free_kb = free_kb
        self._ticks_ms = ticks_ms
        self._diff = ticks_diff
        self._log = log
        self._short = False
        self._tries = False  # without the memory, after a long wait
        self._looked = 0
        self._waited_ms = 0

    def enough(self) -> bool:
        """True if there is room, or has not been for so long that trying is better than waiting."""
        now = self._ticks_ms()
        passed = self._diff(now, self._looked)
        if self._short and 0 <= passed < (_TRY_MS if self._tries else _LOOK_EVERY_MS):
            return self._tries
        waited = 0 if self._tries else max(0, min(passed, 2 * _LOOK_EVERY_MS))
        self._tries = False
        self._looked = now
        gc.collect()  # sockets and sessions that nobody holds any more
        free = self._free_kb()
        if free >= TLS_NEEDS_KB:
            self._short = False
            self._waited_ms = 0
            return True
        if not self._short:
            self._log("W", "memory", "idf_kb=%d needs_kb=%d" % (free, TLS_NEEDS_KB))
            self._short = True
            return False
        self._waited_ms += waited
        if self._waited_ms < _PATIENCE_MS:
            return False
        self._waited_ms = 0
        self._tries = True
        return True


def flags(alarm: bool, silenced: bool, safe_mode: bool, centre_knows: bool) -> int:
    """kinds.FLAG_* of a heartbeat."""
    return (
        (kinds.FLAG_SIREN if alarm and not silenced else 0)
        | (kinds.FLAG_SILENCED if silenced else 0)
        | (kinds.FLAG_SAFE_MODE if safe_mode else 0)
        | (kinds.FLAG_CENTRE_KNOWS if centre_knows else 0)
    )
