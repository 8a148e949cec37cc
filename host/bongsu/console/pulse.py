"""Is what the pages show true this very second? Made of what the receiver tells each second; pure.

`live` False: the picture may be old; pages say so loudly and let nobody act on it. `trouble`: the receiver itself says
that something keeps it from its work; pages say so loudly too.
"""

from dataclasses import dataclass
from typing import Any

from bongsu.receiver.backlog import WRITER_STUCK
from bongsu.receiver.reasons import STORE_FAILED

SILENT_S = 3.0
# The receiver's own picture of itself; the thread that makes it may be busy with a broker for a while.
STALE_S = 5.0
# What keeps alarms from being committed: then what is shown is not what there is.
_STANDSTILL = (STORE_FAILED, WRITER_STUCK)


@dataclass
class Pulse:
    """What was heard last. Times in seconds, monotonic, as the caller has them."""

    state: dict[str, Any] | None = None
    _heard_s: float = 0.0
    _moved_s: float = 0.0

    def heard(self, state: dict[str, Any], now_s: float) -> None:
        """The receiver's state came."""
        if self.state is None or state.get("at_ms") != self.state.get("at_ms"):
            self._moved_s = now_s
        self.state, self._heard_s = state, now_s

    def is_fresh(self, now_s: float) -> bool:
        """Whether the receiver was heard of just now."""
        return self.state is not None and now_s - self._heard_s <= SILENT_S and now_s - self._moved_s <= STALE_S

    def shown(self, now_s: float, own_fault: dict[str, str] | None) -> dict[str, Any]:
        """What pages are told: live, state_ms (UTC of the receiver's state) and trouble."""
        state = self.state or {}
        fresh = self.is_fresh(now_s)
        trouble = [own_fault] if own_fault is not None else []
        if not fresh:
            trouble.append({"name": "receiver_silent", "what": "the receiver is not heard", "next": ""})
        else:
            trouble += [_short(reason) for reason in state.get("reasons", [])]
        standing_still = any(reason["name"] in _STANDSTILL for reason in trouble)
        return {
            "live": fresh and own_fault is None and not standing_still,
            "state_ms": state.get("at_ms"),
            "trouble": trouble,
            "nodes": state.get("nodes", {}).get("watched"),
            "silent": state.get("nodes", {}).get("silent"),
        }


def _short(reason: dict[str, Any]) -> dict[str, str]:
    return {name: str(reason.get(name, ""))[:300] for name in ("name", "what", "next")}
