"""Sent counters, the time rule and the repeat schedule, over a wrap of the ticks."""

import pytest

from bongsu_node.link.receipts import RepeatSchedule, SentCounters

WRAP = 1 << 30


@pytest.fixture(params=[0, WRAP - 10_000, WRAP - 40_000], ids=["from 0", "wraps early", "wraps late"])
def start(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_a_counter_gives_the_time_once_within_30_s(start: int) -> None:
    sent = SentCounters()
    sent.add(5, start)
    sent.add(6, start)
    at = (start + 29_999) % WRAP
    assert sent.gives_time(5, at)
    assert not sent.gives_time(5, at)
    assert not sent.gives_time(6, (start + 30_000) % WRAP)
    assert not sent.gives_time(7, at)


def test_a_counter_may_be_quoted_for_60_s(start: int) -> None:
    sent = SentCounters()
    sent.add(5, start)
    assert sent.fresh(5, (start + 59_999) % WRAP)
    assert not sent.fresh(5, (start + 60_000) % WRAP)
    assert sent.newest == 5


def test_the_table_is_bounded_and_keeps_the_newest() -> None:
    sent = SentCounters(capacity=4)
    for counter in range(1, 100):
        sent.add(counter, counter)
    assert [c for c in range(1, 101) if sent.fresh(c, 100)] == [96, 97, 98, 99]


def test_repeats_are_due_after_5_10_20_40_60_60_s(start: int) -> None:
    schedule = RepeatSchedule()
    now = start
    assert schedule.due_in_ms(1, now) <= 0
    for pause in (5, 10, 20, 40, 60, 60):
        schedule.sent(1, now)
        assert schedule.due_in_ms(1, now) == pause * 1000
        now = (now + pause * 1000) % WRAP
        assert schedule.due_in_ms(1, now) == 0
    assert schedule.done(1, now) == 195_000
    assert schedule.done(1, now) is None


def test_a_new_connection_makes_everything_due() -> None:
    schedule = RepeatSchedule()
    schedule.sent(1, 0)
    schedule.restart()
    assert schedule.due_in_ms(1, 1) <= 0
