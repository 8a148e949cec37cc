"""Several receivers as processes on one PostgreSQL and one broker: killed, frozen, cut off and retired while alarms
flow. Each alarm is one incident and one report, under one key, whatever happens.
"""

import json
import time
from pathlib import Path

from bongsu.receiver.store import schema
from tests.broker_parts import await_true
from tests.cluster_parts import ring
from tests.postgres_parts import Server
from tests.registry_parts import bongsu

# A delivery is never later than this after the cure of whatever was broken.
CURE_S = 15.0


def test_each_alarm_counts_once_and_one_killed_in_mid_burst_costs_nothing(tmp_path: Path, postgres: Server) -> None:
    with ring(tmp_path, postgres, units=40, count=3) as r:
        numbers = r.alarms(range(20))
        r.receivers[0].kill()
        numbers |= r.alarms(range(20, 40))
        r.await_receipts(numbers)
        r.await_reports(40, CURE_S)
        r.start(0)
        await_true(
            lambda: all(d.state == "accepted" for d in r.rows(schema.delivery) if d.channel == "webhook"), r.said()
        )
        r.each_once(40)
        listed = json.loads(bongsu("--data", r.folders[1], "receiver", "list", "--json").out)
        assert {row["sender"] for row in listed} == set(r.senders)
        assert {row["state"] for row in listed} == {"running"}


def test_one_frozen_in_mid_work_holds_up_nobody(tmp_path: Path, postgres: Server) -> None:
    with ring(tmp_path, postgres, units=12) as r:
        numbers = r.alarms(range(6))
        r.freeze(0)
        try:
            numbers |= r.alarms(range(6, 12))
            r.await_receipts(numbers, CURE_S)
            r.await_reports(12, CURE_S)
        finally:
            r.thaw(0)
        await_true(
            lambda: all(d.state == "accepted" for d in r.rows(schema.delivery) if d.channel == "webhook"), r.said()
        )
        r.each_once(12)


def test_a_database_that_is_killed_frozen_or_cut_off_delays_and_loses_nothing(tmp_path: Path, postgres: Server) -> None:
    with ring(tmp_path, postgres, units=9) as r:
        postgres.kill()
        numbers = r.alarms(range(3))
        r.receivers[0].wait_for("store.failed")
        assert not any(r.nodes[i].receipts for i in numbers)  # nothing is acknowledged that is not stored
        postgres.start()
        cured = time.monotonic()
        r.await_receipts(numbers, CURE_S)
        r.await_reports(3, CURE_S)
        assert time.monotonic() - cured < CURE_S

        postgres.freeze()
        try:
            more = r.alarms(range(3, 6))
        finally:
            postgres.thaw()
        r.await_receipts(more, CURE_S)
        r.await_reports(6, CURE_S)

        r.links[0].cut()
        last = r.alarms(range(6, 9))
        r.await_receipts(last, CURE_S)  # the other one is there
        r.links[0].restore()
        r.await_reports(9, CURE_S)
        await_true(
            lambda: all(d.state == "accepted" for d in r.rows(schema.delivery) if d.channel == "webhook"), r.said()
        )
        r.each_once(9)
        assert all(child.process.poll() is None for child in r.receivers)


def test_an_acknowledgement_is_seen_by_all_and_a_retired_receiver_ends(tmp_path: Path, postgres: Server) -> None:
    with ring(tmp_path, postgres, units=2) as r:
        r.await_receipts(r.alarms([0]))
        assert bongsu("--data", r.folders[1], "incident", "ack", 1, "--seen", 1).code == 0
        r.await_receipts(r.alarms([1]))
        assert [i.ack_ms is not None for i in r.rows(schema.incident)] == [True, False]
        refused = bongsu("--data", r.folders[0], "receiver", "retire", r.senders[1])
        assert refused.code == 1 and "was seen" in refused.err
        done = bongsu("--data", r.folders[0], "receiver", "retire", r.senders[1], "--force")
        assert done.code == 0, done.err
        r.receivers[1].process.wait(20)
        assert any("retired" in line for line in r.receivers[1].lines)
        again = bongsu("--data", r.folders[0], "receiver", "retire", r.senders[1])
        assert again.code == 1 and "retired already" in again.err
