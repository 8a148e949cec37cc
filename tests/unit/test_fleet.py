"""The fleet's parts: a node's journal and echo, packets in any pieces, plans as they are typed, who carries whom."""

import asyncio
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bongsu.errors import BongsuError, UsageFault
from bongsu.sim import fleet_plan, fleet_roll
from bongsu.sim.fleet_line import Line, length_bytes, publish_packet, subscribe_packet
from bongsu.sim.fleet_node import FleetNode, Heard
from bongsu.sim.fleet_roll import Login, Member
from bongsu_node.link import packets
from bongsu_wire import frame, kinds, payload
from bongsu_wire.ccm import CcmKey

NODE, KEY = "a0b1c2d3e4f5", bytes(range(16))
MAC = bytes.fromhex(NODE)


def node() -> FleetNode:
    return FleetNode(NODE, "hannae", KEY, 1, (1001, 501))


def opened(data: bytes) -> tuple[frame.Header, bytes]:
    header = frame.parse(data)
    return header, frame.open_frame(CcmKey(KEY), header)


def receipt(answers: int, numbers: list[int], counter: int = 1, server_ms: int = 5_000_000) -> bytes:
    body = payload.encode_receipt(payload.Receipt(server_ms, answers, numbers))
    return frame.seal_down(CcmKey(KEY), kinds.DOWN_RECEIPT, 1, MAC, counter, 7, body)


def test_an_alarm_stays_in_the_journal_until_its_receipt_and_each_sending_has_a_fresh_counter() -> None:
    made = node()
    entry = made.report(kinds.ALARM, kinds.HEAT, 1000.0)
    first, plain = opened(made.event_frame(entry, 1000.0))
    again, later = opened(made.event_frame(entry, 6000.0))
    assert (first.counter, again.counter) == (1001, 1002)
    assert (payload.decode_event(plain).age_ms, payload.decode_event(later).age_ms) == (0, 5000)
    assert payload.event_content(plain) == payload.event_content(later)
    assert made.take(receipt(1002, [502]), 6010.0).receipted == ()
    assert list(made.journal) == [501]
    assert made.take(receipt(1002, [501]), 6010.0).receipted == (entry,)
    assert not made.journal


def test_a_heartbeat_echoes_the_newest_server_time_and_how_old_it_is() -> None:
    made = node()
    _, plain = opened(made.heartbeat_frame(1000.0))
    assert payload.decode_heartbeat(plain).echo_age_ms == payload.AGE_UNKNOWN
    assert made.take(receipt(1001, []), 1050.0).heard is Heard.TIME_AT_FIRST
    _, plain = opened(made.heartbeat_frame(46_050.0))
    beat = payload.decode_heartbeat(plain)
    assert (beat.echo_server_ms, beat.echo_age_ms) == (5_000_000, 45_000)
    made.boot(50_000.0)
    _, plain = opened(made.heartbeat_frame(51_000.0))
    assert payload.decode_heartbeat(plain).echo_server_ms == 0


def test_a_time_that_answers_an_old_frame_is_not_taken() -> None:
    made = node()
    made.heartbeat_frame(1000.0)
    made.take(receipt(1001, []), 31_001.0)
    _, plain = opened(made.heartbeat_frame(32_000.0))
    assert payload.decode_heartbeat(plain).echo_server_ms == 0


def test_frames_that_are_not_for_the_node_change_nothing() -> None:
    made = node()
    entry = made.report(kinds.ALARM, kinds.HEAT, 0.0)
    good = receipt(1003, [501])  # answers a frame not sent yet
    other = frame.seal_down(
        CcmKey(bytes(16)), kinds.DOWN_RECEIPT, 1, MAC, 1, 7, payload.encode_receipt(payload.Receipt(1, 1, [501]))
    )
    for data in (good, other, b"", good[:-1], made.event_frame(entry, 0.0)):
        assert made.take(data, 10.0).heard is Heard.REFUSED
    assert list(made.journal) == [501]


def test_a_command_is_answered() -> None:
    made = node()
    order = payload.encode_command(payload.Command(kinds.CMD_TEST, 1))
    taken = made.take(frame.seal_down(CcmKey(KEY), kinds.DOWN_COMMAND, 1, MAC, 9, 7, order), 10.0)
    assert taken.heard is Heard.COMMAND and taken.answer is not None
    answer = payload.decode_answer(opened(taken.answer)[1])
    assert (answer.counter, answer.sender, answer.result) == (9, 7, kinds.ANSWER_DONE)


# ---- the connection


class Told:
    """Keeps what a connection tells."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.up = 0
        self.why: list[str] = []

    def line_up(self, line: Line) -> None:
        self.up += 1

    def line_down(self, line: Line, why: str) -> None:
        self.why.append(why)

    def line_heard(self, line: Line, topic: bytes, data: bytes) -> None:
        self.heard.append((topic, data))


def feed(data: bytes, sizes: list[int]) -> Told:
    """What a connection with two filters tells of a broker's bytes that come in pieces of these sizes."""

    async def run() -> Told:
        told = Told()
        line = Line(told, ("c", "u", "p"), [b"bongsu/v1/down/x", b"bongsu/v1/down/y"])
        at = 0
        for size in sizes:
            line.data_received(data[at : at + size])
            at += size
        line.data_received(data[at:])
        await asyncio.sleep(0)
        return told

    return asyncio.run(run())


GREETING = b"\x20\x02\x00\x00" + b"\x90\x04\x00\x01\x00\x00" + b"\xd0\x00" + b"\x40\x02\x00\x05"


@given(st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 1)), max_size=6), st.lists(st.integers(1, 9)))
def test_packets_are_cut_right_in_whatever_pieces_they_come(
    messages: list[tuple[bytes, int]], sizes: list[int]
) -> None:
    data = GREETING + b"".join(publish_packet(b"bongsu/v1/down/x", body, qos) for body, qos in messages)
    told = feed(data, sizes)
    assert told.up == 1 and not told.why
    assert told.heard == [(b"bongsu/v1/down/x", body) for body, _ in messages]


@pytest.mark.parametrize(
    "data", [b"\x20\x02\x00\x05", b"\x20\x02\x00\x00\x90\x04\x00\x01\x00\x80", b"\x10\x00", b"\x30\xff\xff\xff\x7f"]
)
def test_what_is_refused_or_no_mqtt_ends_the_connection_once(data: bytes) -> None:
    told = feed(data, [])
    assert len(told.why) == 1 and not told.up


def test_packets_are_those_of_the_firmwares_own_codec() -> None:
    topic, data = "bongsu/v1/up/x/e", random.Random(1).randbytes(200)
    assert publish_packet(topic.encode(), data) == packets.publish(topic, data, 0, 0, False)
    assert publish_packet(topic.encode(), data, 9, dup=True) == packets.publish(topic, data, 1, 9, True)
    assert subscribe_packet(3, [b"abc"]) == packets.subscribe(3, "abc", 0)
    assert length_bytes(16_384) == b"\x80\x80\x01"
    assert struct.unpack(">H", publish_packet(b"t", b"", 7)[5:7]) == (7,)


# ---- plans and places


def test_plans_as_they_are_typed() -> None:
    assert fleet_plan.fires("120") == fleet_plan.Fires(120)
    assert fleet_plan.fires("120@60+30.5") == fleet_plan.Fires(120, 60, 30.5)
    assert fleet_plan.storm("500@30") == fleet_plan.Storm(500, 30)
    assert fleet_plan.cut("hannae-2@30+10") == fleet_plan.Cut("hannae-2", 30, 10)
    assert fleet_plan.misbehaviour("garbage:0.25") == ("garbage", 0.25)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (fleet_plan.fires, "0"),
        (fleet_plan.fires, "5+3"),
        (fleet_plan.storm, "0@3"),
        (fleet_plan.storm, "5"),
        (fleet_plan.cut, "hannae@3"),
        (fleet_plan.misbehaviour, "garbage:2"),
        (fleet_plan.misbehaviour, "rude:0.5"),
    ],
)
def test_what_is_typed_wrong_is_wrong_usage(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(UsageFault, match="not") as caught:
        read(text)
    assert "example" in caught.value.next_step


def members(count: int) -> list[Member]:
    return [
        Member(f"{i:012x}", f"site-{i // 10}", 1, KEY, Login(f"n-{i}", "p", f"c-{i}") if i < 20 else None)
        for i in range(count)
    ]


def test_nodes_beyond_the_connections_are_carried_by_gateways_that_stay_in_one_site() -> None:
    made = fleet_roll.carriers(members(50), 12, Login("bench", "p", "gw-"), (1, 1), gateways=4)
    own, behind = [c for c in made if not c.gateway], [c for c in made if c.gateway]
    assert len(own) == 8 and sum(len(c.nodes) for c in behind) == 42
    assert all(len({node.site for node in c.nodes}) == 1 for c in behind)
    assert len({c.hello[0] for c in made}) == len(made)
    assert len({node.id for c in made for node in c.nodes}) == 50


def test_without_a_gateways_login_nobody_is_left_without_a_connection() -> None:
    assert len(fleet_roll.carriers(members(12), 12, None, (1, 1))) == 12
    with pytest.raises(BongsuError, match="no gateway") as caught:
        fleet_roll.carriers(members(12), 5, None, (1, 1))
    assert "--gateway-user" in caught.value.next_step
    with pytest.raises(BongsuError, match="no login"):
        fleet_roll.carriers(members(25), 25, None, (1, 1))


def test_each_run_has_counters_and_event_numbers_of_its_own(tmp_path: Path) -> None:
    first, second = fleet_roll.next_run(tmp_path), fleet_roll.next_run(tmp_path)
    assert second[0] - first[0] >= 1 << 20 and second[1] - first[1] >= 1 << 16
    (tmp_path / fleet_roll.RUNS_FILE).write_text("99999")
    with pytest.raises(BongsuError, match="used up"):
        fleet_roll.next_run(tmp_path)
    (tmp_path / fleet_roll.RUNS_FILE).write_text("?")
    with pytest.raises(BongsuError, match="cannot read"):
        fleet_roll.next_run(tmp_path)


def test_secrets_are_not_in_what_is_printed() -> None:
    made = fleet_roll.carriers(members(1), 1, None, (1, 1))
    shown = repr((members(1), made, Login("u", "hidden", "secret")))
    assert "hidden" not in shown and "secret" not in shown and "c-0" not in shown and repr(KEY) not in shown
