"""The database's clock is set back by an hour: nothing waits for that hour to come again."""

from pathlib import Path

from bongsu.receiver.store import schema
from bongsu_wire import kinds, payload, topics
from tests.cluster_parts import desks
from tests.postgres_parts import Server
from tests.receiver_parts import Desk

_HOUR_MS = 3_600_000


def _beat(d: Desk, i: int) -> None:
    node, now_ms = d.nodes[i], d.clock.now_ms()
    beat = payload.Heartbeat(temp_dk=3402, echo_server_ms=now_ms - 5, echo_age_ms=5)
    d.arrive_on([(topics.up_beats(node.id), node.seal(kinds.UP_HEARTBEAT, payload.encode_heartbeat(beat)))])


def test_what_a_dead_receiver_had_under_way_is_taken_over(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        a, b = c.desks
        a.event(1, 1)
        c.clock._now_ms -= _HOUR_MS
        b._turn([])
        for _ in range(20):
            c.clock.advance(1000)
            b._turn([])
        assert len(b.jobs) == len(a.jobs) == 2


def test_a_node_that_falls_silent_is_told_of(tmp_path: Path, postgres: Server) -> None:
    with desks(tmp_path, postgres) as c:
        for d in c.desks:
            _beat(d, 0)
        for _ in range(8):
            c.clock.advance(1000)
            for d in c.desks:
                d._turn([])
        c.clock._now_ms -= _HOUR_MS
        for _ in range(30):
            c.clock.advance(10_000)
            for d in c.desks:
                d._turn([])
        assert c.desks[0].rows(schema.incident)
