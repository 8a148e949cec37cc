"""Wrapping: what was wrapped opens under the same key and purpose, and under no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bongsu.receiver.keys import KeyFault, MasterKey

MASTERS = st.binary(min_size=32, max_size=32)


@given(MASTERS, st.binary(max_size=100), st.text(max_size=40))
def test_round_trip(raw: bytes, secret: bytes, purpose: str) -> None:
    master = MasterKey(raw)
    assert master.unwrap(master.wrap(secret, purpose), purpose) == secret


@given(MASTERS, st.binary(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_bound_to_the_purpose(raw: bytes, secret: bytes, purpose: str, other: str) -> None:
    master = MasterKey(raw)
    if purpose != other:
        with pytest.raises(KeyFault):
            master.unwrap(master.wrap(secret, purpose), other)


@given(MASTERS, MASTERS, st.binary(max_size=40))
def test_bound_to_the_key(raw: bytes, other: bytes, secret: bytes) -> None:
    if raw != other:
        with pytest.raises(KeyFault):
            MasterKey(other).unwrap(MasterKey(raw).wrap(secret, "p"), "p")


@given(MASTERS, st.binary(max_size=40), st.data())
def test_every_changed_bit_is_noticed(raw: bytes, secret: bytes, data: st.DataObject) -> None:
    wrapped = bytearray(MasterKey(raw).wrap(secret, "p"))
    bit = data.draw(st.integers(0, len(wrapped) * 8 - 1))
    wrapped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(KeyFault):
        MasterKey(raw).unwrap(bytes(wrapped), "p")


@given(MASTERS, st.binary(max_size=60))
def test_any_bytes_are_refused_cleanly(raw: bytes, junk: bytes) -> None:
    with pytest.raises(KeyFault):
        MasterKey(raw).unwrap(junk, "p")
