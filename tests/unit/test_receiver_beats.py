"""Heartbeats are many and in no hurry: gathered, answered when it is needed, and never in the way of an alarm."""

import random
import time
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from bongsu.receiver import sightings
from bongsu.receiver.inbox import Inbox
from bongsu.receiver.liveness import ANSWER_AFTER_MS, ANSWER_EARLY_MS, ECHO_MAX_AGE_MS, wants_answer
from bongsu.receiver.mqtt_edge import Arrived, BeatsWait
from bongsu.receiver.store import schema
from bongsu_wire import topics
from tests.receiver_parts import Desk, desk


def _beats(d: Desk, count: int) -> list[Arrived]:
    now_ms = d.clock.now_ms()
    node = d.nodes[0]
    topic = topics.up_beats(node.id)
    return [Arrived(topic, node.heartbeat(now_ms - 1_000), now_ms, 0, 0, 1) for _ in range(count)]


def _answers(d: Desk) -> int:
    return len(d.edge.published)


def test_heartbeats_are_gathered_until_their_time_is_over(tmp_path: Path) -> None:
    with desk(tmp_path, units=1) as d:
        waiting = _beats(d, 5)
        d.edge.take_beats = lambda most: waiting  # type: ignore[method-assign]
        d.writer.put(BeatsWait())
        begun_s = time.monotonic()
        assert d.writer._gather(1.0) == waiting
        assert time.monotonic() - begun_s >= 0.04  # it did wait for company


def test_an_alarm_does_not_wait_for_heartbeats(tmp_path: Path) -> None:
    with desk(tmp_path, units=1) as d:
        waiting = _beats(d, 5)
        d.edge.take_beats = lambda most: waiting  # type: ignore[method-assign]
        node = d.nodes[0]
        alarm = Arrived(topics.up_events(node.id), node.event(1, 1, 1), d.clock.now_ms(), 1, 1, 1)
        d.writer.put(BeatsWait())
        d.writer.put(alarm)
        assert d.writer._gather(1.0)[0] is alarm  # before the heartbeats, too


def test_heartbeats_do_not_starve_beside_alarms_that_go_on(tmp_path: Path) -> None:
    """Alarms in every turn; nevertheless 1,000 heartbeats are taken within a second or two."""
    waiting, taken, turns = [Arrived("h", b"", 0, 0, 0, 1)] * 1_000, 0, 0
    inbox = Inbox()

    def take(most: int) -> list[Arrived]:
        nonlocal waiting
        some, waiting = waiting[:most], waiting[most:]
        if waiting:
            inbox.put(BeatsWait(at_once=True))
        return some

    inbox.put(BeatsWait())
    end_s = time.monotonic() + 20
    while waiting and time.monotonic() < end_s:
        inbox.put(Arrived("e", b"", 0, 1, 1, 1))
        items = inbox.gather(1.0, take)
        assert items[0].topic == "e", "alarms come first"
        beats = len(items) - 1
        assert beats <= 128
        turns, taken = turns + 1, taken + beats
    assert taken == 1_000
    assert turns > 8 * 4, "most turns are the alarms' alone"


def test_a_heartbeat_is_answered_when_the_server_time_that_it_echoes_gets_old(tmp_path: Path) -> None:
    with desk(tmp_path, units=1) as d:
        node, topic = d.nodes[0], topics.up_beats(d.nodes[0].id)
        d.arrive((node.id, node.heartbeat()), topic=topic)  # knows no server time
        assert _answers(d) == 1
        for age_ms, answers in (
            (1_000, 1),
            (ANSWER_EARLY_MS - 1, 1),
            (ANSWER_AFTER_MS + 1, 2),
            (ECHO_MAX_AGE_MS + 9, 3),
        ):
            d.arrive((node.id, node.heartbeat(d.clock.now_ms() - age_ms, age_ms)), topic=topic)
            assert _answers(d) == answers


@given(st.integers(0, 2**32), st.sampled_from([1, 4, 0x10001]), st.floats(0.99, 1.01))
@settings(max_examples=30, deadline=None)
def test_answers_to_a_city_that_came_back_together_spread_out_and_none_goes_without(
    seed: int, step: int, pace: float
) -> None:
    """2,000 nodes, all without a server time at first; ids in steps as makers give them."""
    chance, span_ms = random.Random(seed), 45_000
    nodes = [f"{0xA0B1C2000000 + i * step:012x}" for i in range(2_000)]
    at_ms = [chance.randrange(span_ms) for _ in nodes]
    answered_ms: list[int | None] = [None] * len(nodes)
    counts: Counter[int] = Counter()
    for beat in range(12):
        for i, node in enumerate(nodes):
            now_ms = 1_800_000_000_000 + at_ms[i] + round(beat * span_ms * pace)
            since_ms = answered_ms[i]
            age_ms = None if since_ms is None else now_ms - since_ms
            assert age_ms is None or age_ms < ECHO_MAX_AGE_MS - 10_000
            if age_ms is None or wants_answer(node, age_ms, now_ms):
                answered_ms[i] = now_ms
                counts[beat] += 1
    assert counts[0] == len(nodes)
    assert all(0.35 * len(nodes) < counts[beat] < 0.65 * len(nodes) for beat in range(4, 12)), counts


def test_the_news_of_many_nodes_is_written_in_slices_and_whole(tmp_path: Path) -> None:
    with desk(tmp_path, units=2 * sightings.SLICE + 5) as d:
        now_ms = d.clock.now_ms()
        arrived = [(topics.up_beats(n.id), n.heartbeat(now_ms - 1_000)) for n in d.nodes]
        d.arrive_on(arrived)
        d.pass_time(sightings.WRITE_EVERY_MS)
        seen = select(func.count()).select_from(schema.node_live).where(schema.node_live.c.last_seen_ms == now_ms)
        counts = []
        for _ in range(4):
            with d.store.read() as conn:
                counts.append(conn.execute(seen).scalar_one())
                windows = conn.execute(select(func.count()).select_from(schema.node_window)).scalar_one()
            assert windows == counts[-1]  # a window goes with the heartbeats that it guards
            d.pass_time(sightings.SLICE_PAUSE_MS)
        assert counts == [sightings.SLICE, 2 * sightings.SLICE, 2 * sightings.SLICE + 5, 2 * sightings.SLICE + 5]
