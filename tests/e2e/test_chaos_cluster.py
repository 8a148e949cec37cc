"""Receivers, broker nodes and the database killed, frozen and cut off while alarms flow; see tests/chaos_cluster.py."""

import os
from pathlib import Path

import pytest

from tests.chaos_cluster import storm
from tests.postgres_parts import Server

# In the suite a few blows; every kind falls once in ten. `make chaos` gives more.
POINTS = int(os.environ.get("BONGSU_CHAOS_KILLS", "30")) // 10
SEED = int(os.environ.get("BONGSU_CHAOS_SEED", "3"))


@pytest.mark.chaos
def test_each_alarm_counts_once_and_in_time_whatever_part_of_the_city_fails(tmp_path: Path, postgres: Server) -> None:
    found = storm(tmp_path, postgres, POINTS, SEED)
    assert not found.wrong, found
    assert len(found.blows) == POINTS and found.alarms > 0
