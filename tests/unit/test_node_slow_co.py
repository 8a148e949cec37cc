"""A CO sensor that gives one value in 150 s (an MQ-7 by its heater's cycle) alarms in time (EN 50291-1)."""

import pytest

from bongsu_node.sensing.channel_co import CoChannel
from tests.sensing_parts import VALUES, ticks_diff

PERIOD_MS = 150_000
SETTLED_MS = 25_000  # gas that came later before the reading is not seen in full
LIMIT_MS = 180_000


@pytest.mark.parametrize("phase_ms", range(0, PERIOD_MS, 10_000))
@pytest.mark.parametrize("dppm", [3300, 6000])
def test_from_whichever_moment_the_gas_comes(phase_ms: int, dppm: int) -> None:
    channel = CoChannel(VALUES, ticks_diff, PERIOD_MS)
    begun_ms = 3 * PERIOD_MS + phase_ms
    for now in range(0, 10 * PERIOD_MS, PERIOD_MS):
        channel.sample(now & 0x3FFFFFFF, dppm if now >= begun_ms + SETTLED_MS else 0)
        if channel.fulfilled:
            assert now - begun_ms <= LIMIT_MS
            return
        assert now - begun_ms <= LIMIT_MS, "too late"


def test_one_value_of_less_is_no_alarm() -> None:
    """50 ppm in one value of 150 s: nothing before 60 min."""
    channel = CoChannel(VALUES, ticks_diff, PERIOD_MS)
    for n in range(3600 // 150):
        channel.sample(n * PERIOD_MS, 500)
        assert not channel.fulfilled
