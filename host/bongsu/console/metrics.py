"""GET /metrics: the receiver's state for Prometheus (text exposition format), by prometheus_client.

Nothing is counted here: each scrape is made of the receiver's newest state. Labels are kinds, reasons, channels and
names of parts, never nodes or people, so that the number of series does not grow with the city.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from starlette.requests import Request
from starlette.responses import Response

from bongsu.console.health import LatestState

_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Name, help, path in the state. A value that is not known is left out, true is 1.
_GAUGES: tuple[tuple[str, str, str], ...] = (
    ("ok", "1 if the receiver is fit to take in and to tell alarms.", "ok"),
    ("start_time_seconds", "When the receiver was started (UTC).", "started_ms/1000"),
    ("broker_connected", "1 while the broker can be heard.", "broker.connected"),
    ("canary_round_trip_seconds", "A message to ourselves through the broker.", "canary.round_trip_ms/1000"),
    ("canary_missing", "Canaries in a row that did not come back.", "canary.missing"),
    ("store_ok", "1 while the database can be used.", "store.ok"),
    ("store_last_commit_time_seconds", "When the last transaction was committed (UTC).", "store.last_commit_ms/1000"),
    ("writer_stuck_seconds", "How long the writer has stood still.", "store.writer_stuck_s"),
    ("queue_length", "What waits for the writer.", "backlog.queue"),
    ("deliveries_open", "Deliveries that are not done.", "backlog.deliveries"),
    ("deliveries_under_way", "Deliveries with the relay.", "backlog.under_way"),
    ("oldest_alarm_seconds", "The oldest alarm that nobody has accepted yet.", "backlog.oldest_alarm_s"),
    ("nodes_watched", "Nodes in service.", "nodes.watched"),
    ("nodes_silent", "Nodes that are silent.", "nodes.silent"),
    ("clock_last_step_seconds", "By how much the clock was last stepped.", "clock.last_step_ms/1000"),
)
# Name, help, label, path to a dict.
_COUNTERS: tuple[tuple[str, str, str, str], ...] = (
    ("events", "Events committed, by kind.", "kind", "counters.events"),
    ("frames_refused", "Frames refused, by reason.", "reason", "counters.refused"),
    ("incidents_begun", "Incidents opened or begun anew, by class.", "class", "counters.incidents"),
)
_PLAIN_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("heartbeats", "Heartbeats taken in.", "counters.heartbeats"),
    ("air_readings", "Readings of the air taken in.", "counters.readings"),
    ("air_readings_dropped", "Readings of the air for which there was no room.", "counters.readings_dropped"),
    ("receipts", "Receipts sent for events.", "counters.receipts"),
    ("log_lines_dropped", "Log lines dropped because nobody read them.", "counters.log_dropped"),
    ("clock_steps", "Steps of the clock.", "clock.steps"),
    ("sessions_renewed", "MQTT sessions begun anew because canaries were lost.", "canary.renewed"),
)
_HISTOGRAMS: tuple[tuple[str, str, str], ...] = (
    ("commit_seconds", "From an event's arrival to its commit.", "commit"),
    ("alarm_accepted_seconds", "From an alarm's commit to the other side's acceptance.", "accepted"),
)


def _at(state: dict[str, Any], path: str) -> Any:
    """The value at "a.b" or "a.b/1000"; None if it is not known."""
    path, _, divisor = path.partition("/")
    value: Any = state
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value / int(divisor) if divisor and value is not None else value


class StateCollector:
    """The state as Prometheus metrics; `bongsu_up` is 0 while there is none."""

    def __init__(self, latest_state: LatestState) -> None:
        self._latest_state = latest_state

    def collect(self) -> Iterator[Metric]:
        """One scrape."""
        state = self._latest_state()
        known = state is not None and "counters" in state
        yield GaugeMetricFamily("bongsu_up", "1 while the receiver says how it is.", value=int(known))
        if state is None or not known:
            return
        yield _labelled("info", "What runs.", ("version", "sender"), [((state["version"], str(state["sender"])), 1)])
        for name, text, path in _GAUGES:
            value = _at(state, path)
            if value is not None:
                yield GaugeMetricFamily(f"bongsu_{name}", text, value=float(value))
        yield from _counters(state)
        yield from _parts(state)
        for name, text, path in _HISTOGRAMS:
            yield _histogram(name, text, state[path])


def _labelled(name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(f"bongsu_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family


def _counters(state: dict[str, Any]) -> Iterator[Metric]:
    for name, text, path in _PLAIN_COUNTERS:
        yield CounterMetricFamily(f"bongsu_{name}", text, value=_at(state, path))
    for name, text, label, path in _COUNTERS:
        family = CounterMetricFamily(f"bongsu_{name}", text, labels=(label,))
        for key, count in _at(state, path).items():
            family.add_metric((key,), count)
        yield family
    deliveries = CounterMetricFamily("bongsu_delivery_results", "What became of tries.", labels=("channel", "state"))
    for channel, states in state["counters"]["deliveries"].items():
        for reached, count in states.items():
            deliveries.add_metric((channel, reached), count)
    yield deliveries


def _parts(state: dict[str, Any]) -> Iterator[Metric]:
    """What there are several of: incidents by class, faults and reasons by name, disks, certificates, sites."""
    incidents = [((class_,), count) for class_, count in state["incidents"].items()]
    yield _labelled("incidents_open", "Open incidents.", ("class",), incidents)
    yield _labelled("fault", "Faults of the receiver that stand.", ("name",), [((f,), 1) for f in state["faults"]])
    unfit = [((reason["name"],), 1) for reason in state["reasons"]]
    yield _labelled("unfit", "Why the receiver is not fit.", ("reason",), unfit)
    yield GaugeMetricFamily("bongsu_sites_silent", "Silent sites.", value=len(state["nodes"]["silent_sites"]))
    for name in ("free_bytes", "total_bytes", "free_inodes"):
        disks = [((d["what"],), d[name]) for d in state["disk"]]
        yield _labelled(f"disk_{name}", "The disk where the receiver writes.", ("what",), disks)
    ends = [((c["what"],), c["days"]) for c in state["certificates"] if c["days"] is not None]
    yield _labelled("certificate_days", "Days until a certificate ends.", ("what",), ends)


def _histogram(name: str, text: str, state: dict[str, Any]) -> Metric:
    buckets, total = [], 0
    for bound_ms, count in zip([*state["bounds_ms"], None], state["counts"], strict=True):
        total += count
        buckets.append(("+Inf" if bound_ms is None else str(bound_ms / 1000), total))
    return HistogramMetricFamily(f"bongsu_{name}", text, buckets=buckets, sum_value=state["sum_ms"] / 1000)


def metrics(latest_state: LatestState) -> Callable[[Request], Any]:
    """The handler."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StateCollector(latest_state))

    async def handler(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=_TYPE, headers={"cache-control": "no-store"})

    return handler
