"""What messages say: market, shop, what, time; both languages; every length."""

import dataclasses
import json

import msgspec
import pytest

from bongsu.channels import body, texts
from bongsu.channels.sms_length import form_of, gsm_septets, korean_bytes
from bongsu.receiver.store.schema import DELIVERY_PURPOSES
from bongsu_wire import kinds

SNAPSHOT = {
    "site": {"id": "hannae", "name": "한내시장", "address": "한내로 12", "tz": "Asia/Seoul"},
    "unit": {"id": "a-07", "name": "건어물", "place": "1층 가동"},
    "node": {"id": "02b0000000a7", "label": ""},
    "contacts": [
        {"name": "대리", "phone": "+821000000108", "role": "deputy", "lang": "en"},
        {"name": "점주", "phone": "+821000000107", "role": "owner", "lang": "ko"},
    ],
}
REPORT = texts.Report(
    purpose="alarm",
    incident_id=12,
    round=1,
    seq=2,
    class_="fire",
    snapshot=SNAPSHOT,
    names=("heat", "smoke"),
    received_ms=1772341509120,
    event_ms=1772341508900,
    criterion="fusion",
    sustained_ms=5000,
    readings={
        "temp_dk": 3312,
        "smoke_e4": 650,
        "gas": 0xFFFF,
        "humidity_half": 0xFF,
        "rssi_dbm": 0,
        "battery_mv": None,
    },
)


def changed(**values):
    return dataclasses.replace(REPORT, **values)


def test_body_carries_everything_and_decodes_as_documented():
    made = texts.dispatch_body(REPORT)
    read = body.decode(json.dumps(made).encode())
    data = read.data
    assert read.type == "bongsu.fire.alarm" and read.schema == "bongsu.report/1"
    assert (data.market.name, data.market.address, data.shop.name, data.shop.place) == (
        "한내시장", "한내로 12", "건어물", "1층 가동")  # fmt: skip
    assert (data.owner.name, data.owner.phone) == ("점주", "+821000000107")
    assert (data.criterion, data.phenomena, data.held_s) == ("fusion", ["heat", "smoke"], 5.0)
    assert [(v.name, v.value, v.unit) for v in data.values] == [
        ("temperature", 58.0, "degC"),
        ("smoke_optical_density", 0.065, "1/m"),
    ]
    assert data.event_time == "2026-03-01T14:05:08.900+09:00" and data.event_ms == 1772341508900
    assert data.received_time == "2026-03-01T14:05:09.120+09:00" and data.event_time_known
    assert (data.incident, data.round, data.sequence, data.verified) == (12, 1, 2, False)


def test_what_firefighters_need_to_find_the_shop():
    unit = SNAPSHOT["unit"] | {
        "floor": "B1",
        "stall": "가-12",
        "hours": "mon-sun 09:00-14:05",
        "lat": 37.5,
        "lon": 126.9,
    }
    shop = body.decode(json.dumps(texts.dispatch_body(changed(snapshot=SNAPSHOT | {"unit": unit}))).encode()).data.shop
    assert (shop.floor, shop.stall, shop.lat, shop.lon, shop.open) == ("B1", "가-12", 37.5, 126.9, False)
    earlier = changed(snapshot=SNAPSHOT | {"unit": unit}, received_ms=REPORT.received_ms - 10_000)  # 14:04:59
    assert texts.dispatch_body(earlier)["data"]["shop"]["open"] is True
    assert texts.dispatch_body(REPORT)["data"]["shop"]["open"] is None
    broken = changed(snapshot=SNAPSHOT | {"unit": unit | {"hours": "whenever"}})
    assert texts.dispatch_body(broken)["data"]["shop"]["open"] is None


def test_unknown_event_time_is_said_not_guessed():
    data = texts.dispatch_body(changed(event_ms=None))["data"]
    assert data["event_time"] is None and data["event_ms"] is None and not data["event_time_known"]
    assert "14:05:09 접수" in texts.sms_text(changed(event_ms=None), "ko")
    assert "received 14:05:09" in texts.sms_text(changed(event_ms=None), "en")


def test_unassigned_node_still_makes_a_report():
    snapshot = {"site": None, "unit": None, "contacts": [], "node": {"id": "02b0000000a7"}}
    data = texts.dispatch_body(changed(snapshot=snapshot))["data"]
    assert data["market"] is None and data["shop"] is None and data["owner"] is None
    assert data["node"] == "02b0000000a7" and "02b0000000a7" in data["text"]["en"]


@pytest.mark.parametrize("purpose", [*DELIVERY_PURPOSES, "update"])
@pytest.mark.parametrize("class_", ["fire", "co_gas"])
@pytest.mark.parametrize("lang", texts.LANGS)
def test_every_text_says_market_shop_what_and_time(purpose, class_, lang):
    said = texts.sms_text(changed(purpose=purpose, class_=class_), lang)
    assert "한내시장" in said and "A-07" in said and "14:05:08" in said
    assert "{" not in said and len(said.splitlines()) == 1
    assert ("열·연기" if lang == "ko" else "heat+smoke") in said


@pytest.mark.parametrize("purpose", ["alarm", "escalation", "update"])
def test_a_co_alarm_says_co_and_how_much(purpose):
    """Event.gas is ppm of CO for this criterion, and the index of a gas sensor for every other."""
    report = changed(purpose=purpose, class_="co_gas", names=("co",), criterion="co", readings={"gas": 312})
    korean, english = (texts.sms_text(report, lang) for lang in texts.LANGS)
    assert "일산화탄소 312ppm" in korean and "CO 312ppm" in english
    assert korean.startswith("[CO경보]") and english.startswith("CO ALARM") and korean_bytes(korean) <= 90
    data = texts.dispatch_body(report)["data"]
    assert [(v["name"], v["value"], v["unit"]) for v in data["values"]] == [("co", 312.0, "ppm")]
    assert data["class"] == "co_gas" and "312ppm" in data["text"]["ko"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"readings": {"gas": 0xFFFF}}, "CO,"),
        ({"purpose": "restore"}, "CO,"),
        ({"names": ("co", "gas"), "criterion": "gas"}, "CO+gas,"),
        ({"names": ("heat", "smoke", "co"), "class_": "fire"}, "CO 90ppm+heat +1,"),
    ],
)
def test_a_number_that_is_no_ppm_of_co_is_not_said(values, said):
    report = changed(**{"class_": "co_gas", "names": ("co",), "criterion": "co", "readings": {"gas": 90}, **values})
    assert said in texts.sms_text(report, "en")


def test_korean_text_with_ordinary_names_is_one_short_message():
    for purpose in DELIVERY_PURPOSES:
        said = texts.sms_text(changed(purpose=purpose), "ko")
        assert korean_bytes(said) <= 90, (purpose, said, korean_bytes(said))


def test_long_names_are_cut_in_the_text_and_whole_in_the_report():
    long = SNAPSHOT | {"unit": {"id": "a-07", "name": "아주" * 40, "place": ""}}
    assert len(texts.sms_text(changed(snapshot=long), "ko")) < 90
    assert texts.dispatch_body(changed(snapshot=long))["data"]["shop"]["name"] == "아주" * 40


def test_number_in_the_name_is_not_said_twice():
    named = SNAPSHOT | {"unit": {"id": "a-07", "name": "A-07 건어물", "place": ""}}
    assert texts.sms_text(changed(snapshot=named), "ko").count("A-07") == 1


def test_placeholders_in_names_are_only_text():
    odd = SNAPSHOT | {"unit": {"id": "a-07", "name": "{time} {0} %s", "place": ""}}
    assert "{time} {0} %s" in texts.sms_text(changed(snapshot=odd), "en")


def test_message_table_is_checked_whole():
    good = texts.load_messages()
    sms = {**good.sms, "alarm": {"ko": "{market} {shop} {what} {time}", "en": "{market} {shop} {what}"}}
    with pytest.raises(ValueError, match=r"alarm\.en"):
        texts.check_messages(msgspec.structs.replace(good, sms=sms))
    with pytest.raises(ValueError, match="heat must have ko and en"):
        texts.check_messages(msgspec.structs.replace(good, phenomena={**good.phenomena, "heat": {"ko": "열"}}))
    fewer = {k: v for k, v in good.faults.items() if k != "clock"}
    with pytest.raises(ValueError, match="clock"):
        texts.check_messages(msgspec.structs.replace(good, faults=fewer))


def test_table_names_all_of_the_wire_tables():
    messages = texts.load_messages()
    assert set(kinds.PHENOMENON_NAMES.values()) <= set(messages.phenomena)
    assert set(kinds.CRITERION_NAMES.values()) <= set(messages.criteria)


def test_fault_report_speaks_of_the_fault():
    report = changed(purpose="fault", class_="fault", names=("battery_low",))
    assert "배터리 부족" in texts.sms_text(report, "ko") and "battery low" in texts.sms_text(report, "en")


@pytest.mark.parametrize(
    ("text", "phone", "form", "parts"),
    [
        ("가" * 45, "+821000000107", "SMS", 1),
        ("가" * 45 + "a", "+821000000107", "LMS", 1),
        ("a" * 90, "+821000000107", "SMS", 1),
        ("😀" * 46, "+821000000107", "LMS", 1),
        ("a" * 160, "+12025550123", "SMS", 1),
        ("a" * 161, "+12025550123", "LMS", 2),
        ("a" * 307, "+12025550123", "LMS", 3),
        ("가" * 70, "+12025550123", "SMS", 1),
        ("가" * 71, "+12025550123", "LMS", 2),
        ("€" * 80, "+12025550123", "SMS", 1),
    ],
)
def test_length_rules(text, phone, form, parts):
    found = form_of(text, phone)
    assert (found.form, found.parts) == (form, parts)


def test_gsm_alphabet_has_127_letters_and_korean_is_none_of_them():
    assert gsm_septets("^") == 2 and gsm_septets("가") is None
