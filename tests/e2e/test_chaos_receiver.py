"""Promises 2 and 3 under fire: kill -9 of the receiver, its broker, at seeded random moments; see tests/chaos.py."""

import os
from pathlib import Path

import pytest

from tests.chaos import storm

POINTS = int(os.environ.get("BONGSU_CHAOS_KILLS", "20"))
SEED = int(os.environ.get("BONGSU_CHAOS_SEED", "20"))


@pytest.mark.chaos
def test_each_alarm_counts_exactly_once_whenever_the_receiver_dies(tmp_path: Path) -> None:
    found = storm(tmp_path / "town", POINTS, SEED)
    assert not found.wrong, found
    assert found.blows.total() == POINTS and found.alarms >= POINTS
