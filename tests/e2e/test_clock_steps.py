"""A real receiver whose clock is stepped by an hour while alarms flow: nothing is lost, nobody falls silent."""

import time
from pathlib import Path

import pytest

from bongsu.receiver.store import schema
from tests.e2e.test_supervision import own_faults, until
from tests.receiver_parts import hall
from tests.stepped_clock import SteppedClock

HOUR_MS = 3_600_000


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS], ids=["forward", "back"])
def test_alarms_before_and_after_a_step_are_dispatched_once(tmp_path: Path, step_ms: int) -> None:
    clock = SteppedClock(tmp_path / "clock")
    with hall(tmp_path / "hall", units=3) as h:
        h.stop_receiver()
        h.launch = clock.launch
        h.start_receiver()
        h.nodes[0].alarm()
        until(lambda: len(h.reports()) == 1, "the first dispatch")
        clock.step(step_ms)
        begun = time.monotonic()
        h.nodes[1].alarm()
        until(lambda: len(h.reports()) == 2, "a dispatch right after the step")
        assert time.monotonic() - begun < 10
        until(lambda: "clock_stepped" in own_faults(h), "the fault")
        h.receiver.wait_for("clock.stepped")
        clock.step(-step_ms)
        h.nodes[2].alarm()
        until(lambda: len(h.reports()) == 3, "a dispatch after the step back")
        fires = [i for i in h.rows(schema.incident) if i.class_ == "fire"]
        assert len(fires) == 3
        assert not [i for i in h.rows(schema.incident) if i.subject.startswith(("node:", "site:"))]


@pytest.mark.sqlite  # on PostgreSQL the database's time counts, and a step of this machine's moves nothing
def test_a_delivery_that_waits_keeps_its_place_in_time_over_a_step(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path / "clock")
    with hall(tmp_path / "hall", units=1) as h:
        h.stop_receiver()
        h.launch = clock.launch
        h.start_receiver()
        h.station.kill()
        h._stack.remove(h.station)
        h.nodes[0].alarm()
        h.receiver.wait_for("delivery.retry")
        clock.step(HOUR_MS)
        until(lambda: "clock_stepped" in own_faults(h), "the fault")
        now_ms = time.time_ns() // 1_000_000 + HOUR_MS
        waiting = [d for d in h.rows(schema.delivery) if d.state == "pending"]
        assert waiting
        for delivery in waiting:
            assert -10_000 < delivery.next_at_ms - now_ms < 70_000, "it waits for as long as before, by the new clock"
