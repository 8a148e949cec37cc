"""Readings of the air for tests of the receiver: frames as nodes make them, and a day of them at once."""

from zoneinfo import ZoneInfo

from bongsu.receiver.air.pack import Sample
from bongsu.receiver.air.shelf import Shelf
from bongsu_wire import kinds, measured, topics
from tests.receiver_parts import Desk, FrameMaker

# 20 degC, 50 %, PM2.5 12.0 ug/m3, CO2 600 ppm: good air.
GOOD = {kinds.Q_TEMP_DK: 2932, kinds.Q_HUMIDITY_HALF: 100, kinds.Q_PM25_DUG: 120, kinds.Q_CO2_PPM: 600}


def frame_of(node: FrameMaker, values: dict[int, int], *, age_ms: int = 0, interval_s: int = 60) -> bytes:
    """A reading's frame under a fresh counter."""
    return node.seal(kinds.UP_READING, measured.encode_reading(measured.Reading(age_ms, interval_s, values)))


def reading(d: Desk, i: int, values: dict[int, int] = GOOD, **more: int) -> bytes:
    """Node i's reading arrives; returns its frame."""
    node = d.nodes[i]
    data = frame_of(node, values, **more)
    d.arrive((node.id, data), topic=topics.up_beats(node.id))
    return data


def minutes(d: Desk, count: int, values: dict[int, int] = GOOD, nodes: tuple[int, ...] = (0,), step: int = 1) -> None:
    """A reading a minute of these nodes, for so many minutes; `step` of them at once."""
    for _ in range(0, count, step):
        d.clock.advance(60_000 * step - 8_000)
        d.pass_time(8_000)  # second by second only as long as something is written
        for i in nodes:
            for past in reversed(range(step)):
                reading(d, i, values, age_ms=past * 60_000)
    d.pass_time(6_000)


def put(d: Desk, node_id: str, from_s: int, count: int, values: dict[int, int], step_s: int = 60) -> None:
    """Straight into the store: readings that end at from_s, from_s + step_s, ..."""
    made = [Sample(from_s + i * step_s, i & 0xFFFF, step_s, tuple(sorted(values.items()))) for i in range(count)]
    with d.store.write() as conn:
        Shelf(conn).put(conn, {node_id: made}, {node_id: ZoneInfo("Asia/Seoul")})
