"""Three NATS servers as one broker: whichever of them is killed, frozen or cut off while alarms flow, each alarm
becomes one incident and one dispatch, and none is later than 15 s after the cure.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bongsu.receiver.store import schema
from tests.broker_parts import Cluster, await_true
from tests.receiver_parts import Hall, hall

UNITS = 12
CURED_WITHIN_S = 15.0
# Between two alarms; half of them fall into the fault.
PAUSE_S = 0.4
# A board takes 5 s over a broker that has stopped answering (firmware/bongsu_node/link/mqtt.py).
PATIENCE_S = 3
LONG = (
    pytest.mark.chaos,
    pytest.mark.skipif("BONGSU_CHAOS_KILLS" not in os.environ, reason="a longer one of its kind: make chaos"),
)


def receivers_member(made: Hall, cluster: Cluster) -> str:
    """The member that the receiver is connected to."""
    pid = made.receiver.process.pid
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    ports = {c.raddr.port for p in family for c in p.net_connections("tcp") if c.raddr and c.status == "ESTABLISHED"}
    (name,) = [name for name, port in cluster.ports.items() if port in ports]
    return name


def leader(_made: Hall, cluster: Cluster) -> str:
    """The member that leads the cluster."""
    found = cluster.meta_leader()
    assert found is not None
    return found


def bystander(made: Hall, cluster: Cluster) -> str:
    """A member that is neither."""
    busy = (leader(made, cluster), receivers_member(made, cluster))
    return next(name for name in cluster.NAMES if name not in busy)


def fault(cluster: Cluster, name: str, kind: str) -> Callable[[], None]:
    """Do it; returns its cure."""
    member = cluster.members[name]
    if kind == "kill":
        member.kill()
        return member.start
    if kind == "freeze":
        member.freeze()
        return member.thaw
    cluster.cut(name)
    return lambda: cluster.mend(name)


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        pytest.param("kill", leader),
        pytest.param("freeze", receivers_member),
        pytest.param("cut", receivers_member),
        pytest.param("kill", receivers_member, marks=LONG),
        pytest.param("kill", bystander, marks=LONG),
        pytest.param("freeze", leader, marks=LONG),
        pytest.param("freeze", bystander, marks=LONG),
        pytest.param("cut", leader, marks=LONG),
        pytest.param("cut", bystander, marks=LONG),
    ],
)
def test_no_alarm_is_lost_or_doubled_when_a_member_fails(
    tmp_path: Path, kind: str, who: Callable[[Hall, Cluster], str]
) -> None:
    with (
        Cluster(tmp_path / "cluster") as cluster,
        hall(tmp_path / "hall", UNITS, external=cluster.start, patience_s=PATIENCE_S) as made,
    ):
        third = len(made.nodes) // 3
        events = [node.alarm() for node in made.nodes[:third]]
        for node, event in zip(made.nodes, events, strict=False):
            assert node.wait_receipt(event, 10)
        cure = fault(cluster, who(made, cluster), kind)
        for node in made.nodes[third:]:
            events.append(node.alarm())
            time.sleep(PAUSE_S)  # the alarms' own pace: they come while the fault lasts
        cure()
        end_s = time.monotonic() + CURED_WITHIN_S
        for node, event in zip(made.nodes, events, strict=True):
            assert node.wait_receipt(event, max(0.0, end_s - time.monotonic())), f"node {node.node}: no receipt"
        await_true(lambda: len(made.reports()) == UNITS, "not all were dispatched", max(1.0, end_s - time.monotonic()))
        assert len(made.rows(schema.incident)) == UNITS
        assert len(made.rows(schema.event)) == UNITS
        assert len({report["id"] for report in made.reports()}) == UNITS
