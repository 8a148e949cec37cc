"""The receiver's log: one line on stderr per happening, as text or JSON, written by a thread of its own.

The threads that carry alarms only put a tuple into a queue: neither formatting nor a slow reader of stderr delays an
alarm. Phone numbers are masked here, at the last moment, wherever they stand in a line; secrets are never given to it.
"""

import queue
import re
import sys
import threading
import time
from typing import Any, TextIO

import msgspec

from bongsu.channels import numbers

# A reader of stderr that stopped reading costs log lines, not memory and not alarms.
_MAX_WAITING = 20_000
# Company for a line: the log thread stays out of the way of the alarm that it tells of.
_GATHER_S = 0.01
_PHONE = re.compile(r"\+\d{8,15}")

Fields = dict[str, Any]


def masked_text(text: str) -> str:
    """The text with every phone number in it masked: +821012345678 -> +8210****5678, and in other forms ****5678."""
    if "+" in text:
        text = _PHONE.sub(lambda m: m[0][:5] + "****" + m[0][-4:], text)
    return numbers.masked(text)


def _text_line(t_ms: int, level: str, event: str, fields: Fields) -> str:
    stamp = time.strftime("%H:%M:%S", time.gmtime(t_ms // 1000))
    rest = " ".join(f"{name}={_plain(value)}" for name, value in fields.items() if value is not None)
    return f"{stamp}.{t_ms % 1000:03d}Z {level:<5} {event} {rest}".rstrip()


def _plain(value: Any) -> str:
    text = str(value)
    return text if text and " " not in text else msgspec.json.encode(text).decode()


def _json_line(t_ms: int, level: str, event: str, fields: Fields) -> str:
    # An event's number is also called "event": the line keeps both.
    if "event" in fields:
        fields = {("number" if name == "event" else name): value for name, value in fields.items()}
    return msgspec.json.encode({"t_ms": t_ms, "level": level, "event": event, **fields}).decode()


class Log:
    """The log. `form`: "text" or "json"."""

    def __init__(self, form: str = "text", stream: TextIO | None = None) -> None:
        self.form = form
        self._format = _json_line if form == "json" else _text_line
        self._stream = stream if stream is not None else sys.stderr
        self._lines: queue.SimpleQueue[tuple[int, str, str, Fields] | None] = queue.SimpleQueue()
        self._dropped = 0
        self.dropped = 0  # lines, since the start
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def info(self, event: str, /, **fields: Any) -> None:
        """Something that belongs to normal work."""
        self._put("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Something that somebody should look at."""
        self._put("warn", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Something that keeps the receiver from its work."""
        self._put("error", event, fields)

    def _put(self, level: str, event: str, fields: Fields) -> None:
        if self._lines.qsize() >= _MAX_WAITING:
            self._dropped += 1
            self.dropped += 1
            return
        self._lines.put((time.time_ns() // 1_000_000, level, event, fields))

    def close(self) -> None:
        """Write what waits, then stop."""
        self._lines.put(None)
        self._thread.join(5.0)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._lines.get()]
            if batch[0] is not None:
                time.sleep(_GATHER_S)
            while not self._lines.empty():
                batch.append(self._lines.get())
            ended = None in batch
            if self._dropped:
                batch.append((time.time_ns() // 1_000_000, "warn", "log.dropped", {"lines": self._dropped}))
                self._dropped = 0
            self._write([masked_text(self._format(*line)) for line in batch if line is not None])

    def _write(self, lines: list[str]) -> None:
        try:
            self._stream.write("".join(line + "\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError):  # stderr is gone: an alarm receiver goes on without its log
            pass


class Seldom:
    """Lets one of many equal lines through: the first at once, then one a minute with the count between."""

    def __init__(self, every_ms: int = 60_000) -> None:
        self._every_ms = every_ms
        self._last: dict[str, tuple[int, int]] = {}

    def due(self, key: str, now_ms: int) -> int:
        """How many of this kind to report now (0: keep quiet). `now_ms`: monotonic."""
        last_ms, held = self._last.get(key, (None, 0))
        if last_ms is None or now_ms - last_ms >= self._every_ms:
            self._last[key] = (now_ms, 0)
            return held + 1
        self._last[key] = (last_ms, held + 1)
        return 0
