"""The MQTT parser under random bytes and random cuts: on CPython with Hypothesis, and again on MicroPython."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bongsu_node.link import packets
from tests import mpy

CAP = 256

WELL_FORMED = st.one_of(
    st.builds(lambda present, code: bytes([0x20, 2, present, code]), st.integers(0, 1), st.integers(0, 5)),
    st.builds(packets.puback, st.integers(1, 0xFFFF)),
    st.builds(
        lambda i, c: b"\x90\x03" + bytes([i >> 8, i & 0xFF, c]), st.integers(1, 0xFFFF), st.sampled_from([0, 1, 0x80])
    ),
    st.just(b"\xd0\x00"),
    st.builds(
        lambda t, p, q, i, d: packets.publish(t, p, q, i, bool(d and q)),
        st.text(max_size=20),
        st.binary(max_size=120),
        st.integers(0, 1),
        st.integers(1, 0xFFFF),
        st.booleans(),
    ),
)


def cut(data: bytes, seed: int) -> list[bytes]:
    """`data` in random pieces, many of them single bytes."""
    chance = random.Random(seed)
    pieces = []
    while data:
        size = chance.choice([1, 1, 1, 2, 7, 300])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@given(st.lists(WELL_FORMED, max_size=8), st.integers(0, 2**32))
def test_any_cutting_gives_the_same_packets(sent: list[bytes], seed: int) -> None:
    parser = packets.Parser(CAP)
    got = [p for piece in cut(b"".join(sent), seed) for p in parser.feed(piece)]
    assert [first for first, _ in got] == [p[0] for p in sent]
    assert b"".join(body for _, body in got) == b"".join(p[2 if p[1] < 128 else 3 :] for p in sent)
    assert not parser.mid_packet


def check_garbage(data: bytes) -> str:
    """Feed bytes to a parser until it refuses; "ok" or the refusal. Anything else than ProtocolError escapes."""
    parser = packets.Parser(CAP)
    try:
        for piece in cut(data, len(data)):
            for first, body in parser.feed(piece):
                assert len(body) <= CAP
                if first & 0xF0 == packets.PUBLISH:
                    packets.split_publish(first, body)
    except packets.ProtocolError:
        return "refused"
    return "ok"


@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(lambda a, b: b"".join(a)[:-1] + b, st.lists(WELL_FORMED, min_size=1), st.binary(max_size=40)),
    )
)
def test_garbage_is_refused_or_waits_for_more(data: bytes) -> None:
    assert check_garbage(data) in ("ok", "refused")


@pytest.fixture(scope="module")
def device() -> Iterator[mpy.Server]:
    source = f"""
from bongsu_node.link import packets

def handle(pieces):
    parser = packets.Parser({CAP})
    got = []
    try:
        for piece in pieces:
            for first, body in parser.feed(bytes(piece)):
                if first & 0xF0 == packets.PUBLISH:
                    packets.split_publish(first, body)
                got.append([first, list(body)])
    except packets.ProtocolError as e:
        got.append(str(e))
    return got
"""
    with mpy.Server(source) as server:
        yield server


def test_micropython_cuts_and_refuses_as_cpython_does(device: mpy.Server) -> None:
    chance = random.Random(7)
    heads = (0x20, 0x30, 0x32, 0x3A, 0x40, 0x90, 0xD0)
    for _ in range(1_500):
        body = chance.randbytes(chance.randrange(40))
        data = bytes([chance.choice(heads), len(body) if chance.randrange(3) else chance.randrange(256)]) + body
        data = data * chance.randrange(1, 3) if chance.randrange(5) else chance.randbytes(60)
        pieces = cut(data, chance.randrange(1000))
        parser = packets.Parser(CAP)
        got: list[object] = []
        try:
            for piece in pieces:
                for first, content in parser.feed(piece):
                    if first & 0xF0 == packets.PUBLISH:
                        packets.split_publish(first, content)
                    got.append([first, list(content)])
        except packets.ProtocolError as e:
            got.append(str(e))
        assert device.call([list(p) for p in pieces]) == got
