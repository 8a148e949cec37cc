"""Whatever reaches which receiver in which order, and whoever of them dies: the incidents are those of one alone."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bongsu.receiver.store import schema
from bongsu_wire import kinds
from tests.cluster_parts import Desks, desks
from tests.postgres_parts import Server
from tests.receiver_parts import Desk

_KINDS = ((kinds.ALARM, kinds.HEAT), (kinds.ALARM, kinds.SMOKE), (kinds.RESTORE, 0))
# (node, what it reports), in the order in which each node reports it.
_HAPPENINGS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(_KINDS)), min_size=1, max_size=6)
# What happens between: which receiver hears the next frame first, whether the others hear it too, who is killed after.
_WAYS = st.lists(
    st.tuples(st.integers(0, 1), st.booleans(), st.sampled_from((None, None, 0, 1))), min_size=6, max_size=6
)


def outcome(d: Desk) -> list[tuple[Any, ...]]:
    """What became of it all: incidents with their rounds and what stands, and who was told what how often."""
    incidents = {
        i.id: (i.subject, i.class_, i.round, i.restored_ms is None, _standing(i)) for i in d.rows(schema.incident)
    }
    told = [(incidents[r.incident_id][0], r.round, r.purpose, r.recipient) for r in d.rows(schema.delivery)]
    events = [(e.node_id, e.number, e.kind) for e in d.rows(schema.event)]
    return [sorted(incidents.values()), sorted(told), sorted(events)]  # type: ignore[list-item]


def _standing(row: Any) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted((source, *sorted(names)) for source, names in row.snapshot.get("active", {}).items()))


def finish(c: Desks) -> None:
    """Everything that is to go out goes out."""
    for _ in range(8):
        for d in c.desks:
            d.end_all()
            d.pass_time(1_000)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happened=_HAPPENINGS, ways=_WAYS)
def test_several_end_up_as_one_alone(postgres: Server, happened: list[Any], ways: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with desks(Path(folder) / "one", postgres, count=1) as c:
            _play(c, happened, ways)
            alone = outcome(c.desks[0])
        with desks(Path(folder) / "two", postgres, count=2) as c:
            _play(c, happened, ways)
            assert outcome(c.desks[0]) == alone
            deliveries = c.desks[0].rows(schema.delivery)
            assert {d.state for d in deliveries} <= {"accepted", "delivered", "cancelled"}
            assert len({d.idempotency_key for d in deliveries}) == len(deliveries)
    postgres.drop_all()


def _play(c: Desks, happened: list[Any], ways: list[Any]) -> None:
    number = [0, 0]
    for (i, (kind, phenomena)), (first, heard_by_all, killed) in zip(happened, ways, strict=False):
        number[i] += 1
        node = c.desks[0].nodes[i]
        data = node.event(number[i], kind, phenomena)
        order = c.desks if first == 0 else c.desks[::-1]
        for d in order if heard_by_all else order[:1]:
            d.arrive((node.id, data))
        for d in c.desks:
            d.end_all()
        if killed is not None and killed < len(c.desks) and len(c.desks) > 1:
            c.kill(killed)
            c.restart(killed)
        c.clock.advance(500)
    finish(c)
