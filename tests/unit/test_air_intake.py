"""Readings on their way in: only from who can prove it, only where they belong, each once, never in an alarm's way, and
never a sign of life.
"""

import random
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import select

from bongsu.receiver.air import intake, shelf
from bongsu.receiver.air.intake import NotTaken, Waiting, sample_of
from bongsu.receiver.air.pack import Sample
from bongsu.receiver.clock import SetClock
from bongsu.receiver.mqtt_edge import Arrived, BrokerLogin, MqttEdge
from bongsu.receiver.store import schema
from bongsu_wire import frame, kinds, measured, payload, topics
from tests.air_parts import GOOD, frame_of, reading
from tests.receiver_parts import Desk, FrameMaker, desk


def _kept(d: Desk, i: int = 0) -> list[Sample]:
    now_s = d.clock.now_ms() // 1000
    with d.store.read() as conn:
        return list(shelf.samples(conn, d.nodes[i].id, now_s - 90_000, now_s + 3600))


def _refused(d: Desk) -> dict[str, int]:
    return {reason: n for reason, n in d.writer.books.vitals.refused.items() if n}


def test_a_reading_is_stored_with_the_time_of_its_interval(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        came_s = d.clock.now_ms() // 1000
        reading(d, 0, GOOD | {0xC8: 7}, age_ms=90_000, interval_s=45)  # 0xC8: what this version does not know
        assert _kept(d) == []  # it waits for company
        d.pass_time(6_000)
        (kept,) = _kept(d)
        assert (kept.interval_s, dict(kept.values)) == (45, GOOD)
        assert kept.end_s in (came_s - 90, came_s - 91)
        assert d.edge.published == []  # nothing answers it
        (window,) = d.rows(schema.node_window)  # in the same transaction
        assert window.high == d.nodes[0].counter


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"age_ms": payload.AGE_UNKNOWN}, "time"),
        ({"age_ms": 86_400_001}, "time"),
        ({"interval_s": 0}, "time"),
        ({"interval_s": 3601}, "time"),
    ],
)
def test_what_cannot_be_placed_in_time_is_refused_and_counted(
    tmp_path: Path, more: dict[str, int], reason: str
) -> None:
    with desk(tmp_path) as d:
        reading(d, 0, GOOD, **more)
        reading(d, 0, GOOD, age_ms=86_400_000, interval_s=3600)
        d.pass_time(6_000)
        assert _refused(d) == {reason: 1} and len(_kept(d)) == 1


def test_only_on_the_topic_of_heartbeats(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        node, other = d.nodes
        for topic in (topics.up_events(node.id), topics.up_beats(other.id), "bongsu/v1/up/x/h"):
            d.arrive((node.id, frame_of(node, GOOD)), topic=topic)
        assert _refused(d) == {"topic": 2, "node_mismatch": 1}
        d.pass_time(6_000)
        assert _kept(d) == []


def test_replays_and_repeats_count_once(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0]
        first = reading(d, 0)
        heard = [first, *(reading(d, 0) for _ in range(70))]
        d.pass_time(6_000)
        before = _kept(d)
        for data in heard:
            d.pass_time(1_000)
            d.arrive((node.id, data), topic=topics.up_beats(node.id))
        d.pass_time(6_000)
        assert _kept(d) == before and len(before) == 71
        assert _refused(d) == {"replay": 71 - 63}  # what the window no longer knows


def test_a_repeat_after_a_crash_counts_once_within_its_hour(tmp_path: Path) -> None:
    """Written, and then the window is lost with the memory: the store knows the frame by its counter."""
    with desk(tmp_path) as d:
        data = reading(d, 0)
        d.pass_time(6_000)
        d.writer.books.sightings._windows.clear()
        d.arrive((d.nodes[0].id, data), topic=topics.up_beats(d.nodes[0].id))
        d.pass_time(6_000)
        assert len(_kept(d)) == 1


def test_a_reading_is_no_sign_of_life(tmp_path: Path) -> None:
    """A node of which only readings are heard falls silent in time."""
    with desk(tmp_path) as d:
        node = d.nodes[0]
        d.arrive((node.id, node.heartbeat(d.clock.now_ms() - 1_000)), topic=topics.up_beats(node.id))
        seen_ms = d.writer.books.sightings.last_seen_ms[node.id]
        for _ in range(19):
            d.pass_time(10_000)
            reading(d, 0)
        assert d.writer.books.sightings.last_seen_ms[node.id] == seen_ms
        d.pass_time(120_000)
        assert node.id in d.writer.books.liveness.silent
        reading(d, 0)
        assert node.id in d.writer.books.liveness.silent


def test_frames_that_no_node_made_leave_nothing(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        chance = random.Random(4)
        node, stranger = d.nodes[0], FrameMaker(d.nodes[0].id, chance.randbytes(16), 1)
        topic = topics.up_beats(node.id)
        good = frame_of(node, GOOD)
        made: list[bytes] = []
        for _ in range(2_000):
            bent = bytearray(good)
            bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(8)
            made += [bytes(bent), good[: chance.randrange(len(good))], frame_of(stranger, GOOD)]
        d.arrive_on([(topic, data) for data in made])
        # Authentic, but no reading: any bytes, a cut off one, quantities out of order, an unknown version.
        plain = measured.encode_reading(measured.Reading(0, 60, GOOD))
        swapped = plain[:8] + plain[11:] + plain[8:11]
        bad = [b"", chance.randbytes(20), plain[:-1], plain + b"\0\0\0", b"\x02" + plain[1:], swapped]
        d.arrive_on([(topic, node.seal(kinds.UP_READING, content)) for content in bad])
        d.pass_time(6_000)
        assert _kept(d) == [] and d.rows(schema.air_pack) == []
        assert _refused(d)["payload"] == len(bad) and sum(_refused(d).values()) == len(made) + len(bad)


def test_a_pending_key_is_activated_by_a_reading(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        reading(d, 0)
        d.pass_time(6_000)
        assert [row.state for row in d.rows(schema.node_key)] == ["active"]


def test_nothing_is_written_in_the_turn_of_an_alarm(tmp_path: Path) -> None:
    with desk(tmp_path, units=30) as d:
        for i in range(30):
            reading(d, i)
        d.clock.advance(intake.WRITE_EVERY_MS)
        for number in range(1, 20):  # alarms in every turn, for less than the readings may be late
            d.event(0, number, phenomena=kinds.SMOKE)
            d.clock.advance(200)
            assert d.rows(schema.air_pack) == []
        d.clock.advance(intake.LATE_MS)
        d.event(0, 21, phenomena=kinds.SMOKE)  # they go on: now a slice
        written = len({row.node for row in d.rows(schema.air_pack)})
        assert 0 < written < 30
        d.pass_time(90_000)  # a slice takes as many nodes as this machine is fast
        assert len({row.node for row in d.rows(schema.air_pack)}) == 30


def test_a_failed_transaction_loses_no_reading(tmp_path: Path) -> None:
    with desk(tmp_path, units=3) as d:
        for i in range(3):
            reading(d, i)
        broken = mock.patch.object(d.writer.books.air._shelf, "put", side_effect=RuntimeError("no"))
        with broken, mock.patch.object(d.writer, "_pause"):
            d.pass_time(7_000)
            d.event(0, 1)
            assert [row.class_ for row in d.rows(schema.incident)] == ["fire"]  # alarms do not hang on it
        d.pass_time(30_000)
        assert [len(_kept(d, i)) for i in range(3)] == [1, 1, 1]


def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        reading(d, 0)
        reading(d, 1)
        d.writer._drain()
        assert [len(_kept(d, i)) for i in (0, 1)] == [1, 1]


def test_memory_is_bounded() -> None:
    waiting = Waiting(most_bytes=10_000)
    sample = Sample(1_800_000_000, 1, 60, tuple(GOOD.items()))
    taken = sum(waiting.add(f"{i:012x}", sample) for i in range(1_000))
    assert taken == 10_000 // (9 + 4 * 3 + 150) and len(waiting) == taken
    assert not waiting.add("a" * 12, sample)
    assert sum(len(some) for some in waiting.take(10_000).values()) == taken
    assert len(waiting) == 0 and waiting.add("a" * 12, sample)
    alone = Waiting()
    assert sum(alone.add("a" * 12, sample) for _ in range(1_000)) == intake.MOST_OF_NODE // (9 + 4 * 3)


def test_what_does_not_fit_is_dropped_and_counted(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        d.writer.books.air._waiting = Waiting(most_bytes=200)
        for i in (0, 1, 0, 1, 0):
            reading(d, i)
        vitals = d.writer.books.vitals
        assert (vitals.readings, vitals.readings_dropped) == (2, 3)
        assert vitals.counters(0, 4)["readings_dropped"] == 7


def _edge(put: list[object]) -> MqttEdge:
    login = BrokerLogin("127.0.0.1", 1, "", "", "c")
    return MqttEdge(login, put.append, SetClock(), mock.Mock())


def test_readings_neither_displace_heartbeats_nor_come_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bongsu.receiver.mqtt_edge._READINGS_MAX", 5)
    put: list[object] = []
    edge = _edge(put)
    beat, air = (bytes([frame.VERSION << 6 | kind]) + bytes(40) for kind in (kinds.UP_HEARTBEAT, kinds.UP_READING))

    def come(data: bytes) -> None:
        message = mock.Mock(topic=topics.up_beats("a0b1c2d3e4f5"), payload=data, qos=0, mid=0)
        edge._on_message(edge._client, None, message)

    for data in (air,) * 9 + (beat,) * 3:
        come(data)
    assert edge.readings_dropped == 4 and len(put) == 1  # announced once; no reading in the writer's own queue
    taken: list[Arrived] = edge.take_beats(4)
    assert [m.data for m in taken] == [beat] * 3 + [air]
    assert len(put) == 2  # what is left is announced again
    assert len(edge.take_beats(100)) == 4 and len(put) == 2


def test_age_and_interval_at_their_limits() -> None:
    made = sample_of(measured.Reading(86_400_000, 3600, GOOD), 1_800_000_000_000, 1, 0xFFFFFFFF)
    assert made.end_s == 1_800_000_000 - 86_400 and 0 <= made.tag <= 0xFFFF
    for age_ms, interval_s in ((86_400_001, 60), (payload.AGE_UNKNOWN, 60), (0, 0), (0, 3601)):
        with pytest.raises(NotTaken):
            sample_of(measured.Reading(age_ms, interval_s, GOOD), 1_800_000_000_000, 1, 1)


def test_a_second_receiver_adds_nothing(tmp_path: Path) -> None:
    """Both hear every reading, at slightly different times."""
    with desk(tmp_path) as d:
        reading(d, 0)
        d.pass_time(6_000)
        before = _kept(d)
        node, counter = d.writer.books.directory.nodes[d.nodes[0].id], d.nodes[0].counter
        later_ms = d.clock.now_ms() - 6_000 + 1_300
        d.writer.books.air.take(node, 1, counter, measured.Reading(0, 60, GOOD), later_ms)
        d.pass_time(6_000)
        assert _kept(d) == before and len(before) == 1


def test_nothing_of_a_reading_tells_others_anything(tmp_path: Path) -> None:
    """No change is noted: other receivers and consoles have nothing to read again."""
    with desk(tmp_path) as d:
        d.arrive((d.nodes[0].id, d.nodes[0].heartbeat(d.clock.now_ms() - 1_000)), topic=topics.up_beats(d.nodes[0].id))
        d.pass_time(6_000)
        with d.store.read() as conn:
            before = conn.execute(select(schema.change.c.id, schema.change.c.topic)).all()
        reading(d, 0)
        d.pass_time(6_000)
        with d.store.read() as conn:
            after = conn.execute(select(schema.change.c.id, schema.change.c.topic)).all()
        assert [row for row in after if row not in before and row.topic != "receiver"] == []


def test_levels_are_looked_at_while_readings_never_stop(tmp_path: Path) -> None:
    """As in a city: something always waits to be written; neither of the two starves the other."""
    with desk(tmp_path, units=3) as d:
        air = d.writer.books.air
        air._nodes, acts = 1, []
        with (
            mock.patch.object(air, "_write", side_effect=lambda *_: acts.append("write")),
            mock.patch.object(air._judge, "act", side_effect=lambda *_: acts.append("judge")),
        ):
            for i in range(3):
                reading(d, i)
                air._judge.measured(d.nodes[i].id)
            d.pass_time(30_000)
        assert abs(acts.count("write") - acts.count("judge")) < 8 and len(acts) > 20
