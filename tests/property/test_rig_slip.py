"""SLIP: any payload comes through however the stream is cut, and noise costs at most the frame it hits."""

from hypothesis import given
from hypothesis import strategies as st

from bongsu.sim.rig import slip

LONGEST = 4096
# Many of the bytes that SLIP treats in its own way.
_NOISY = st.lists(st.sampled_from((0xC0, 0xDB, 0xDC, 0xDD)) | st.integers(0, 255), max_size=60).map(bytes)
_PAYLOAD = _NOISY.filter(bool)


def _cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def _decode(pieces: list[bytes]) -> list[bytes]:
    decoder = slip.Decoder(LONGEST)
    return [frame for piece in pieces for frame in decoder.feed(piece)]


@given(st.data(), st.lists(_PAYLOAD, max_size=5))
def test_payloads_come_through_wherever_the_stream_is_cut(data: st.DataObject, payloads: list[bytes]) -> None:
    stream = b"".join(map(slip.encode, payloads))
    assert _decode(_cut(data.draw, stream)) == payloads


@given(st.data(), _NOISY, _PAYLOAD, _NOISY, _PAYLOAD)
def test_noise_never_raises_and_never_takes_a_whole_frame_with_it(
    data: st.DataObject, before: bytes, first: bytes, between: bytes, second: bytes
) -> None:
    stream = before + slip.encode(first) + between + slip.encode(second)
    frames = _decode(_cut(data.draw, stream))
    assert first in frames
    assert frames[-1] == second


@given(_PAYLOAD)
def test_an_end_stands_only_at_the_ends(payload: bytes) -> None:
    assert slip.encode(payload)[1:-1].count(0xC0) == 0


def test_a_frame_that_is_too_long_is_dropped_and_the_next_one_comes() -> None:
    long, short = b"x" * (LONGEST + 1), b"y" * LONGEST
    assert _decode([slip.encode(long) + slip.encode(short)]) == [short]
    assert _decode([b"\xc0", *[b"z" * 100] * 1000, slip.encode(short)]) == [short]


def test_a_frame_with_a_broken_escape_is_dropped() -> None:
    assert _decode([b"\xc0a\xdbb\xc0", b"\xc0a\xdb\xc0", b"\xc0\xdb\xdb\xdd\xc0", slip.encode(b"ok")]) == [b"ok"]
