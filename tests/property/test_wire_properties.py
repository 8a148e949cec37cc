"""What holds for every payload and frame, on CPython and on MicroPython, bit for bit."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu_wire import ccm, frame, kinds, payload
from tests import wire_both
from tests.wire_both import Handle

u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
counters = st.integers(1, 2**32 - 1)
hex_bytes = st.binary(max_size=233).map(bytes.hex)

EVENTS = st.fixed_dictionaries(
    {
        "number": counters,
        "kind": st.sampled_from(sorted(kinds.EVENT_NAMES)),
        "phenomena": st.integers(0, kinds.PHENOMENA_KNOWN),
        "criterion": st.sampled_from(sorted(kinds.CRITERION_NAMES)),
        "age_ms": u32,
        "sustained_ms": u32,
        "temp_dk": u16,
        "smoke_e4": u16,
        "gas": u16,
        "humidity_half": u8,
        "battery_mv": u16,
        "rssi_dbm": st.integers(-128, 127),
        "detail": u8,
        "count": st.integers(1, 255),
    }
)
HEARTBEATS = st.fixed_dictionaries(
    {
        "uptime_s": u32,
        "flags": u8,
        "active": u8,
        "active_event": u32,
        "temp_dk": u16,
        "smoke_e4": u16,
        "humidity_half": u8,
        "battery_mv": u16,
        "rssi_dbm": st.integers(-128, 127),
        "heap_free_kb": u16,
        "idf_free_kb": u16,
        "echo_server_ms": st.integers(0, 2**64 - 1),
        "echo_age_ms": u32,
        "journal_depth": u8,
        "boot_count": u16,
        "reset_cause": u8,
        "task_restarts": u8,
        "faults": u16,
        "fw": u16,
    }
)
RECEIPTS = st.fixed_dictionaries(
    {
        "server_ms": st.integers(0, 2**64 - 1),
        "answers": u32,
        "numbers": st.lists(u32, max_size=payload.RECEIPT_MAX_EVENTS),
    }
)
COMMANDS = st.fixed_dictionaries(
    {
        "code": st.sampled_from(sorted(kinds.COMMAND_NAMES)),
        "quotes": u32,
        "args": st.binary(max_size=payload.COMMAND_MAX_ARGS).map(bytes.hex),
    }
)
ANSWERS = st.fixed_dictionaries(
    {"counter": u32, "sender": u16, "code": u8, "result": st.sampled_from(sorted(kinds.ANSWER_NAMES))}
)
PAYLOADS = st.one_of(
    st.tuples(st.just("Event"), EVENTS),
    st.tuples(st.just("Heartbeat"), HEARTBEATS),
    st.tuples(st.just("Receipt"), RECEIPTS),
    st.tuples(st.just("Command"), COMMANDS),
    st.tuples(st.just("Answer"), ANSWERS),
)


@pytest.fixture(scope="module")
def cpython() -> Handle:
    return wire_both.on_cpython()


@pytest.fixture(scope="module")
def micropython() -> Iterator[Handle]:
    with wire_both.on_micropython() as server:
        yield server.call


@settings(max_examples=300, deadline=None)
@given(case=PAYLOADS)
def test_every_payload_comes_back(cpython: Handle, micropython: Handle, case: tuple[str, dict[str, Any]]) -> None:
    kind, fields = case
    encoded = cpython(["encode", [kind, fields]])
    assert micropython(["encode", [kind, fields]]) == encoded
    for handle in (cpython, micropython):
        assert dict(handle(["decode", [kind, encoded]])) == fields


@settings(max_examples=300, deadline=None)
@given(
    key=st.binary(min_size=16, max_size=16).map(bytes.hex),
    down=st.booleans(),
    epoch=st.integers(1, 255),
    node=st.binary(min_size=6, max_size=6).map(bytes.hex),
    counter=counters,
    sender=st.integers(1, 0xFFFF),
    data=hex_bytes,
    choice=st.integers(0, 2),
)
def test_every_frame_comes_back(
    cpython: Handle,
    micropython: Handle,
    key: str,
    down: bool,
    epoch: int,
    node: str,
    counter: int,
    sender: int,
    data: str,
    choice: int,
) -> None:
    down_kind = (kinds.DOWN_RECEIPT, kinds.DOWN_COMMAND)[choice % 2]
    kind = down_kind if down else (kinds.UP_EVENT, kinds.UP_HEARTBEAT, kinds.UP_ANSWER)[choice]
    sender = sender if down else 0
    request = ["seal", [key, down, kind, epoch, node, counter, sender, data]]
    sealed = cpython(request)
    assert micropython(request) == sealed
    for handle in (cpython, micropython):
        assert handle(["open_frame", [key, sealed]]) == [kind, down, epoch, node, counter, sender, data]


@settings(max_examples=200, deadline=None)
@given(number=counters, extra=st.integers(-(2**40), 2**40))
def test_readings_beyond_their_field_are_sent_as_the_nearest_that_fits(number: int, extra: int) -> None:
    e = payload.Event(number, kinds.ALARM, temp_dk=extra, smoke_e4=extra, rssi_dbm=extra, age_ms=extra)
    back = payload.decode_event(payload.encode_event(e))
    assert back.temp_dk == max(0, min(0xFFFF, extra))
    assert back.rssi_dbm == max(-128, min(127, extra))
    assert back.age_ms == max(0, min(payload.AGE_UNKNOWN, extra))


def _good() -> tuple[str, list[str], list[str]]:
    """A key, frames made with it, and payloads, of every kind."""
    key = bytes(range(16))
    payloads = [
        payload.encode_event(payload.Event(7, kinds.ALARM, kinds.HEAT, kinds.CRIT_HEAT_FIXED)),
        payload.encode_heartbeat(payload.Heartbeat(uptime_s=5)),
        payload.encode_answer(payload.Answer(3, 1, kinds.CMD_TEST, kinds.ANSWER_DONE)),
        payload.encode_receipt(payload.Receipt(1_790_000_000_000, 9, [7, 8])),
        payload.encode_command(payload.Command(kinds.CMD_SILENCE, 9, b"\x05")),
    ]
    up = (kinds.UP_EVENT, kinds.UP_HEARTBEAT, kinds.UP_ANSWER)
    down = (kinds.DOWN_RECEIPT, kinds.DOWN_COMMAND)
    ccm_key = ccm.CcmKey(key)
    frames = [frame.seal_up(ccm_key, k, 1, bytes(6), 4, p) for k, p in zip(up, payloads, strict=False)]
    frames += [frame.seal_down(ccm_key, k, 1, bytes(6), 4, 1, p) for k, p in zip(down, payloads[3:], strict=True)]
    return key.hex(), [f.hex() for f in frames], [p.hex() for p in payloads]


REASONS = {"length", "version", "kind", "direction", "epoch", "counter", "auth"}


def _check(outcomes: dict[str, int], least: int) -> None:
    """Every reason came up, so the damage reached every check; nothing but those reasons did."""
    frames = {k: n for k, n in outcomes.items() if "understood" not in k}
    assert set(frames) == REASONS
    assert sum(frames.values()) >= least
    assert outcomes["not understood"] > outcomes.get("understood", 0)


def test_100_000_damaged_frames_on_cpython(cpython: Handle) -> None:
    key, frames, payloads = _good()
    _check(cpython(["fuzz", [1, 101_000, key, frames, payloads]]), 100_000)


def test_10_000_damaged_frames_on_micropython(micropython: Handle) -> None:
    key, frames, payloads = _good()
    outcomes: dict[str, int] = {}
    for seed in range(10):
        for name, n in micropython(["fuzz", [seed, 1_020, key, frames, payloads]]).items():
            outcomes[name] = outcomes.get(name, 0) + n
    _check(outcomes, 10_000)


@settings(max_examples=2_000, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_or_parsed(data: bytes) -> None:
    try:
        head = frame.parse(data)
    except frame.FrameError as err:
        assert err.reason in REASONS - {"auth"}
    else:
        assert head.raw + head.sealed == data
