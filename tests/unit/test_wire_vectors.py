"""The wire format is bound to vectors that other hands made: RFC 3610's, and our own, laid out by hand byte by byte."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu_wire import ccm, frame, kinds, payload, topics
from tests import wire_both
from tests.wire_both import Handle

VECTORS = Path(__file__).parents[1] / "vectors"
RFC: list[dict[str, Any]] = json.loads((VECTORS / "rfc3610.json").read_text())["vectors"]
OWN: dict[str, Any] = json.loads((VECTORS / "wire.json").read_text())
KEY = OWN["key"]
PAYLOAD_KINDS = {
    kinds.UP_EVENT: "Event",
    kinds.UP_HEARTBEAT: "Heartbeat",
    kinds.UP_ANSWER: "Answer",
    kinds.DOWN_RECEIPT: "Receipt",
    kinds.DOWN_COMMAND: "Command",
}


@pytest.fixture(scope="module", params=["cpython", "micropython"])
def handle(request: pytest.FixtureRequest) -> Iterator[Handle]:
    if request.param == "cpython":
        yield wire_both.on_cpython()
        return
    with wire_both.on_micropython() as server:
        yield server.call


def _vector(name: str) -> dict[str, Any]:
    return next(v for v in OWN["vectors"] if v["name"] == name)


def test_rfc3610_is_whole() -> None:
    assert [v["number"] for v in RFC] == list(range(1, 25))


@pytest.mark.parametrize("v", RFC, ids=lambda v: f"packet-{v['number']}")
def test_rfc3610(handle: Handle, v: dict[str, Any]) -> None:
    settings = [v["key"], v["tag_len"], v["nonce"], v["header"]]
    assert handle(["ccm_seal", [*settings, v["plain"]]]) == v["sealed"]
    assert handle(["ccm_open", [*settings, v["sealed"]]]) == v["plain"]
    damaged = v["sealed"][:-1] + ("0" if v["sealed"][-1] != "0" else "1")
    assert handle(["ccm_open", [*settings, damaged]]) == "AuthError"


@pytest.mark.parametrize("v", OWN["vectors"], ids=lambda v: v["name"])
def test_own_frames(handle: Handle, v: dict[str, Any]) -> None:
    sealed = handle(
        ["seal", [KEY, v["down"], v["kind"], v["epoch"], v["node"], v["counter"], v["sender"], v["payload"]]]
    )
    assert sealed == v["frame"]
    opened = handle(["open_frame", [KEY, v["frame"]]])
    assert opened == [v["kind"], v["down"], v["epoch"], v["node"], v["counter"], v["sender"], v["payload"]]


@pytest.mark.parametrize("v", OWN["vectors"], ids=lambda v: v["name"])
def test_own_payloads_decode_and_encode(handle: Handle, v: dict[str, Any]) -> None:
    kind = PAYLOAD_KINDS[v["kind"]]
    fields = dict(handle(["decode", [kind, v["payload"]]]))
    for name, data in v["fields"]:
        if name in fields and name != "args":
            raw = bytes.fromhex(data)
            assert fields[name] == int.from_bytes(raw, "little", signed=name == "rssi_dbm"), name
    assert handle(["encode", [kind, fields]]) == v["payload"]


def test_meaning_of_an_alarm(handle: Handle) -> None:
    e = dict(handle(["decode", ["Event", _vector("alarm")["payload"]]]))
    assert (e["kind"], e["phenomena"], e["criterion"]) == (kinds.ALARM, kinds.HEAT | kinds.SMOKE, kinds.CRIT_HEAT_FIXED)
    assert (e["humidity_half"], e["gas"], e["detail"]) == (90, payload.U16_UNKNOWN, 0)


def test_an_alarm_fits_lora() -> None:
    longest = payload.encode_event(
        payload.Event(0xFFFFFFFF, kinds.ALARM, kinds.PHENOMENA_KNOWN, kinds.CRIT_FUSION, age_ms=0xFFFFFFFF, count=255)
    )
    sealed = frame.seal_up(ccm.CcmKey(bytes(16)), kinds.UP_EVENT, 255, bytes(6), frame.COUNTER_MAX, longest)
    assert len(sealed) == 47 <= 48


def test_the_fullest_receipt_fits_a_frame(handle: Handle) -> None:
    numbers = list(range(0xFFFFFFFF, 0xFFFFFFFF - payload.RECEIPT_MAX_EVENTS, -1))
    fields = {"server_ms": 2**64 - 1, "answers": 0xFFFFFFFF, "numbers": numbers}
    encoded = handle(["encode", ["Receipt", fields]])
    sealed = handle(["seal", [KEY, True, kinds.DOWN_RECEIPT, 1, "00" * 6, 1, 1, encoded]])
    assert len(sealed) // 2 <= frame.MAX_FRAME_LEN
    assert dict(handle(["decode", ["Receipt", encoded]]))["numbers"] == numbers
    assert handle(["encode", ["Receipt", {**fields, "numbers": [*numbers, 1]}]]) == "ValueError"


# What a stranger, or a mix-up, may change about a good frame: none of it may open, each with its own reason.
ALARM = _vector("alarm")["frame"]
RECEIPT = _vector("receipt of two events")["frame"]
HEADER_CHANGES = [
    ("other version", ALARM, 0, 0x81, "version"),
    ("unknown kind", ALARM, 0, 0x4F, "kind"),
    ("other kind of the same direction", ALARM, 0, 0x42, "auth"),
    ("uplink kind marked as downlink", ALARM, 0, 0x61, "kind"),
    ("downlink kind marked as uplink", RECEIPT, 0, 0x50, "kind"),
    ("receipt as command", RECEIPT, 0, 0x71, "auth"),
    ("other epoch", ALARM, 1, 2, "auth"),
    ("no epoch", ALARM, 1, 0, "epoch"),
    ("other node", ALARM, 7, 0xF6, "auth"),
    ("other counter", ALARM, 11, 2, "auth"),
    ("no counter", ALARM, 11, 0, "counter"),
    ("other sender", RECEIPT, 13, 2, "auth"),
    ("no sender", RECEIPT, 13, 0, "direction"),
]


@pytest.mark.parametrize(
    ("data", "at", "value", "reason"), [c[1:] for c in HEADER_CHANGES], ids=[c[0] for c in HEADER_CHANGES]
)
def test_a_changed_header_never_opens(handle: Handle, data: str, at: int, value: int, reason: str) -> None:
    changed = bytearray.fromhex(data)
    changed[at] = value
    assert handle(["open_frame", [KEY, changed.hex()]]) == reason


def test_another_nodes_key_never_opens(handle: Handle) -> None:
    assert handle(["open_frame", ["ff" * 16, ALARM]]) == "auth"


@pytest.mark.parametrize("size", [0, 1, 11, 12, 19, 256, 300])
def test_impossible_lengths(handle: Handle, size: int) -> None:
    assert handle(["open_frame", [KEY, (bytes.fromhex(ALARM) * 8)[:size].hex()]]) == "length"


def test_a_short_downlink_is_refused_for_its_length(handle: Handle) -> None:
    assert handle(["open_frame", [KEY, RECEIPT[: 2 * 21]]]) == "length"


SEAL_FAULTS = [
    ([False, kinds.UP_EVENT, 0, "00" * 6, 1, 0, ""], "a key epoch is 1..255"),
    ([False, kinds.UP_EVENT, 256, "00" * 6, 1, 0, ""], "a key epoch is 1..255"),
    ([False, kinds.UP_EVENT, 1, "00" * 5, 1, 0, ""], "a node id has 6 bytes"),
    ([False, kinds.UP_EVENT, 1, "00" * 6, 0, 0, ""], "a counter is 1..2^32-1"),
    ([False, kinds.UP_EVENT, 1, "00" * 6, 2**32, 0, ""], "a counter is 1..2^32-1"),
    ([False, kinds.DOWN_RECEIPT, 1, "00" * 6, 1, 0, ""], "not an uplink kind"),
    ([True, kinds.UP_EVENT, 1, "00" * 6, 1, 1, ""], "not a downlink kind"),
    ([True, kinds.DOWN_COMMAND, 1, "00" * 6, 1, 0, ""], "a sender number is 1..65535"),
    ([True, kinds.DOWN_COMMAND, 1, "00" * 6, 1, 65536, ""], "a sender number is 1..65535"),
    ([False, kinds.UP_EVENT, 1, "00" * 6, 1, 0, "00" * 236], "payload too long"),
    ([True, kinds.DOWN_COMMAND, 1, "00" * 6, 1, 1, "00" * 234], "payload too long"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), SEAL_FAULTS, ids=[f"{i}-{f[1][:20]}" for i, f in enumerate(SEAL_FAULTS)]
)
def test_sealing_refuses(handle: Handle, arguments: list[Any], words: str) -> None:
    assert handle(["seal", [KEY, *arguments]]) == f"ValueError: {words}"


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_has_16_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        ccm.CcmKey(bytes(size))


PAYLOAD_FAULTS = [
    ("Event", "alarm", 4, 0x21, "event version"),
    ("Event", "alarm", 4, 0x1F, "event code"),
    ("Event", "alarm", 4, 0x10, "event code"),
    ("Event", "alarm", 5, 0x83, "event phenomena"),
    ("Event", "alarm", 6, 0x55, "event code"),
    ("Event", "alarm", 26, 0x00, "event code"),
    ("Heartbeat", "heartbeat", 0, 2, "heartbeat version"),
    ("Receipt", "receipt of two events", 0, 2, "receipt version"),
    ("Receipt", "receipt of two events", 13, 3, "receipt length"),
    ("Receipt", "receipt of two events", 13, 255, "receipt length"),
    ("Command", "command", 0, 0, "command version"),
    ("Command", "command", 6, 1, "command length"),
    ("Answer", "answer", 0, 0, "answer version"),
    ("Answer", "answer", 8, 9, "answer code"),
]


@pytest.mark.parametrize(("kind", "name", "at", "value", "words"), PAYLOAD_FAULTS)
def test_a_payload_not_understood(handle: Handle, kind: str, name: str, at: int, value: int, words: str) -> None:
    data = bytearray.fromhex(_vector(name)["payload"])
    data[at] = value
    assert handle(["decode", [kind, data.hex()]]) == words


def test_a_command_from_a_newer_receiver_can_be_answered(handle: Handle) -> None:
    data = bytearray.fromhex(_vector("command")["payload"])
    data[1] = 200
    assert dict(handle(["decode", ["Command", data.hex()]]))["code"] == 200


def test_the_age_is_all_that_may_differ_between_two_sendings() -> None:
    first, again = (bytes.fromhex(_vector(n)["payload"]) for n in ("alarm", "alarm again, age unknown"))
    assert payload.with_age(first, payload.AGE_UNKNOWN) == again
    assert payload.event_content(first) == payload.event_content(again)
    other = payload.decode_event(first)
    other.temp_dk += 1
    assert payload.event_content(payload.encode_event(other)) != payload.event_content(first)


def test_topics() -> None:
    node = topics.node_text(bytes.fromhex("a0b1c2d3e4f5"))
    assert node == "a0b1c2d3e4f5"
    assert topics.node_bytes(node) == bytes.fromhex("a0b1c2d3e4f5")
    assert topics.parse_up(topics.up_events(node)) == (node, "e")
    assert topics.parse_up(topics.up_beats(node)) == (node, "h")
    assert topics.down(node) == "bongsu/v1/down/a0b1c2d3e4f5"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "bongsu/v1/up/a0b1c2d3e4f5",
        "bongsu/v1/up/a0b1c2d3e4f5/x",
        "bongsu/v1/up/a0b1c2d3e4f5/e/e",
        "bongsu/v1/up/A0B1C2D3E4F5/e",
        "bongsu/v1/up/a0b1c2d3e4f/e",
        "bongsu/v1/up/a0b1c2d3e4f5 /e",
        "bongsu/v1/down/a0b1c2d3e4f5",
        "bongsu/v2/up/a0b1c2d3e4f5/e",
        "bongsu/v1/up//e",
        "bongsu/v1/up/+1b1c2d3e4f5/e",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="topic|node id"):
        topics.parse_up(topic)


def test_names_of_phenomena() -> None:
    assert kinds.phenomena_text(kinds.SMOKE | kinds.HEAT) == "heat+smoke"
    assert kinds.phenomena_text(0) == "none"
    assert kinds.phenomena_text(0x80) == "none"


# The codes by name, one by one: the texts of kinds.py must not slip against the numbers.
NAMES = {
    "EVENT": {
        "alarm": kinds.ALARM,
        "prealarm": kinds.PREALARM,
        "restore": kinds.RESTORE,
        "fault": kinds.FAULT,
        "fault_clear": kinds.FAULT_CLEAR,
        "tamper": kinds.TAMPER,
        "test": kinds.TEST,
    },
    "PHENOMENON": {"heat": kinds.HEAT, "smoke": kinds.SMOKE, "co": kinds.CO, "gas": kinds.GAS, "air": kinds.AIR},
    "CRITERION": {
        "none": kinds.CRIT_NONE,
        "heat_fixed": kinds.CRIT_HEAT_FIXED,
        "smoke_fixed": kinds.CRIT_SMOKE_FIXED,
        "heat_rise": kinds.CRIT_HEAT_RISE,
        "smoke_rise": kinds.CRIT_SMOKE_RISE,
        "fusion": kinds.CRIT_FUSION,
        "co": kinds.CRIT_CO,
        "gas": kinds.CRIT_GAS,
        "button": kinds.CRIT_BUTTON,
        "detector_head": kinds.CRIT_HEAD,
        "small_change": kinds.CRIT_SMALL,
        "heat_alone": kinds.CRIT_HEAT_ALONE,
        "smoke_alone": kinds.CRIT_SMOKE_ALONE,
        "smoke_long": kinds.CRIT_SMOKE_LONG,
    },
    "FAULT": {
        "heat_sensor": kinds.FAULT_HEAT_SENSOR,
        "smoke_sensor": kinds.FAULT_SMOKE_SENSOR,
        "drift_limit": kinds.FAULT_DRIFT,
        "battery_low": kinds.FAULT_BATTERY,
        "tamper": kinds.FAULT_TAMPER,
        "clock": kinds.FAULT_CLOCK,
        "certificate": kinds.FAULT_CERTIFICATE,
        "storage": kinds.FAULT_STORAGE,
        "task_crash": kinds.FAULT_TASK,
        "unprovisioned": kinds.FAULT_UNPROVISIONED,
        "safe_mode": kinds.FAULT_SAFE_MODE,
        "co_sensor": kinds.FAULT_CO_SENSOR,
        "gas_sensor": kinds.FAULT_GAS_SENSOR,
        "humidity_sensor": kinds.FAULT_HUMIDITY_SENSOR,
        "air_sensor": kinds.FAULT_AIR_SENSOR,
    },
    "COMMAND": {
        "test": kinds.CMD_TEST,
        "reset": kinds.CMD_RESET,
        "silence": kinds.CMD_SILENCE,
        "identify": kinds.CMD_IDENTIFY,
        "set_parameter": kinds.CMD_SET_PARAMETER,
        "evacuate": kinds.CMD_EVACUATE,
        "rotate_key": kinds.CMD_ROTATE_KEY,
        "update": kinds.CMD_UPDATE,
    },
    "ANSWER": {
        "done": kinds.ANSWER_DONE,
        "unsupported": kinds.ANSWER_UNSUPPORTED,
        "refused": kinds.ANSWER_REFUSED,
        "failed": kinds.ANSWER_FAILED,
    },
    "QUANTITY": {
        "temp_dk": kinds.Q_TEMP_DK,
        "smoke_e4": kinds.Q_SMOKE_E4,
        "humidity_half": kinds.Q_HUMIDITY_HALF,
        "co_dppm": kinds.Q_CO_DPPM,
        "gas_index": kinds.Q_GAS_INDEX,
        "pm25_dug": kinds.Q_PM25_DUG,
        "pm10_dug": kinds.Q_PM10_DUG,
        "co2_ppm": kinds.Q_CO2_PPM,
        "voc_index": kinds.Q_VOC_INDEX,
        "pressure_dhpa": kinds.Q_PRESSURE_DHPA,
        "gas_hohm": kinds.Q_GAS_HOHM,
        "head": kinds.Q_HEAD,
        "pm1_dug": kinds.Q_PM1_DUG,
    },
}


@pytest.mark.parametrize("what", NAMES)
def test_each_code_has_its_name(what: str) -> None:
    table = getattr(kinds, f"{what}_NAMES")
    assert {name: code for code, name in table.items()} == NAMES[what]
    plural = {"PHENOMENON": "PHENOMENA", "CRITERION": "CRITERIA", "QUANTITY": "QUANTITIES"}.get(what, f"{what}S")
    if what != "PHENOMENON":
        for code in range(-2, 260):
            assert kinds.name(getattr(kinds, plural), code) == table.get(code, str(code))


def test_what_is_known_ends_with_the_tables() -> None:
    assert set(kinds.EVENT_NAMES) == set(range(kinds.ALARM, kinds.TEST + 1))
    assert set(kinds.CRITERION_NAMES) == set(range(kinds.CRIT_LAST + 1))
    assert set(kinds.COMMAND_NAMES) == set(range(kinds.CMD_TEST, kinds.CMD_UPDATE + 1))
    assert sum(kinds.PHENOMENON_NAMES) == kinds.PHENOMENA_KNOWN
