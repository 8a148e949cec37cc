"""What the air and the way to the receiver are worth where a node hangs: Wi-Fi signal, and how long an order takes to
be answered (receiver -> broker -> node -> broker -> receiver, committed).
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median_low

from bongsu.errors import BongsuError
from bongsu.install.waiting import Waiting
from bongsu.receiver.commissioning_desk import CommissioningDesk, OrderState

# An order of which nothing is seen or heard but the lamp.
_ORDER = "identify"
_TIMES = 3
# An order goes out once the node was heard, which is every 45 s.
_ANSWER_WITHIN_S = 75.0
# Below these, people say of a receiver's signal what `_verdict` says: from there on Wi-Fi falls back to its slow rates,
# and then loses frames.
_GOOD_DBM, _FAIR_DBM = -67, -75


class NoAnswer(BongsuError):
    """The node is heard, and does not answer."""


@dataclass(frozen=True, slots=True)
class Measured:
    """rssi_dbm: of the Wi-Fi signal at the node, None: it did not say; round_trip_ms: the median of three orders."""

    rssi_dbm: int | None
    round_trip_ms: int

    def words(self) -> str:
        """For people."""
        rssi = "no RSSI told" if self.rssi_dbm is None else f"RSSI {self.rssi_dbm} dBm ({_verdict(self.rssi_dbm)})"
        return f"{rssi}, round trip {self.round_trip_ms} ms"


def _verdict(rssi_dbm: int) -> str:
    if rssi_dbm >= _GOOD_DBM:
        return "good"
    return "fair" if rssi_dbm >= _FAIR_DBM else "weak: move the node or its access point"


def measure(desk: CommissioningDesk, node_id: str, tell: Callable[[str, int, int], None], waiting: Waiting) -> Measured:
    """Measure a node that is in service. Raises NoAnswer, RegistryError."""
    trips = []
    for i in range(_TIMES):
        tell("the lamp flashes while the way there and back is timed", i, _TIMES)
        trips.append(_round_trip(desk, node_id, waiting))
    return Measured(desk.rssi_dbm(node_id), median_low(trips))


def _round_trip(desk: CommissioningDesk, node_id: str, waiting: Waiting) -> int:
    number = desk.order(node_id, _ORDER)

    def answer() -> OrderState | None:
        state = desk.order_state(number)
        return state if state.result is not None else None

    found = waiting.until(answer, _ANSWER_WITHIN_S)
    if found is None or found.sent_ms is None or found.answered_ms is None:
        raise NoAnswer(
            f"node {node_id} has not answered an order within {_ANSWER_WITHIN_S:g} s",
            f"Is the receiver running, and the Wi-Fi strong there? bongsu node show {node_id}. Then run it again.",
        )
    if found.result != "done":
        raise NoAnswer(f"node {node_id} answers: {found.result}", f"Look at it: bongsu node show {node_id}")
    return max(0, found.answered_ms - found.sent_ms)
