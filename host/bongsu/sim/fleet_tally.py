"""What a fleet counted, and its report."""

import resource
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bongsu_wire import kinds


def at_share(values: list[float], share: float) -> float | None:
    """The value below which `share` of them lie; None of none."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3) if ordered else None


def spread(values: list[float]) -> dict[str, float | None]:
    """p50, p99 and max."""
    return {
        "p50": round(statistics.median(values), 3) if values else None,
        "p99": at_share(values, 0.99),
        "max": round(max(values), 3) if values else None,
    }


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass
class Tally:
    """Counters; times in s of the monotonic clock, latencies in ms."""

    beats: int = 0
    answered: int = 0
    raised: Counter[int] = field(default_factory=Counter)
    sendings: int = 0
    receipted: Counter[int] = field(default_factory=Counter)
    receipt_ms: list[float] = field(default_factory=list)
    connects: int = 0
    lost: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    back_s: list[float] = field(default_factory=list)
    refused: int = 0
    commands: int = 0
    misbehaved: Counter[str] = field(default_factory=Counter)
    _shown: tuple[int, int] = (0, 0)
    started_s: float = field(default_factory=time.monotonic)
    started_cpu_s: float = field(default_factory=cpu_s)

    def waiting(self) -> int:
        """Events that have no receipt yet."""
        return self.raised.total() - self.receipted.total()

    def line(self, seconds: float) -> str:
        """One line of what came in the `seconds` since the last line."""
        beats, answered = self.beats - self._shown[0], self.answered - self._shown[1]
        self._shown = (self.beats, self.answered)
        return (
            f"beats={beats / seconds:.0f}/s answered={answered / seconds:.0f}/s alarms={self.raised[kinds.ALARM]} "
            f"receipted={self.receipted[kinds.ALARM]} waiting={self.waiting()}"
        )

    def report(self) -> dict[str, Any]:
        """The figures so far."""
        seconds = time.monotonic() - self.started_s
        used_s = cpu_s() - self.started_cpu_s
        return {
            "seconds": round(seconds, 1),
            "heartbeats": {"sent": self.beats, "answered": self.answered},
            "events": {
                "raised": {kinds.EVENT_NAMES[kind]: count for kind, count in sorted(self.raised.items())},
                "sendings": self.sendings,
                "receipted": {kinds.EVENT_NAMES[kind]: count for kind, count in sorted(self.receipted.items())},
                "waiting": self.waiting(),
            },
            "alarm_receipt_ms": spread(self.receipt_ms),
            "connections": {"made": self.connects, "lost": self.lost, "failed": dict(self.failed)},
            "reconnect_s": spread(self.back_s),
            "refused_downlinks": self.refused,
            "commands_answered": self.commands,
            "misbehaved": dict(self.misbehaved),
            "cpu_s": round(used_s, 2),
            "cpu_percent": round(100 * used_s / seconds, 1) if seconds else 0.0,
            "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }
