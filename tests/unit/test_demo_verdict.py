"""The demo's judgement: each thing that can go wrong fails it, and the terminal's lines are aligned and discreet."""

import pytest

from bongsu.cli.output import width
from bongsu.demo import market, verdict
from bongsu.demo.processes import Line
from bongsu.demo.story import Facts, Story, duration, in_order
from bongsu.receiver.phone import normal

OWNER = normal(market.shop(market.FIRE_UNIT).phone)


def report(type_, path="/station", key="k1", unit=market.FIRE_UNIT):
    site, shop = unit.split("/")
    return {
        "path": path,
        "id": key,
        "body": {
            "type": f"bongsu.fire.{type_}",
            "data": {
                "incident": 1, "event_time": "2026-03-01T14:05:09.120+09:00", "received_time": "", "criterion": "x",
                "market": {"id": site, "name": "시장", "address": "길 1"},
                "shop": {"id": shop, "name": "점포", "place": "1층"},
                "owner": {"name": "점주", "phone": OWNER}, "phenomena": ["smoke"],
                "values": [{"name": "temperature", "value": 38.62, "unit": "degC"}],
            },
        },
    }  # fmt: skip


def good():
    reports = [report(t, p, f"{t}{p}") for t in ("alarm", "restore") for p in ("/station", "/centre")]
    texts = [{"to": OWNER, "status": "delivered", "text": "[화재경보]"}]
    incidents = [{"class": "fire", "subject": f"unit:{market.FIRE_UNIT}", "restored_ms": 1}]
    return Facts(lighter_held_ms=2750), reports, texts, incidents


def failed(facts, reports, texts, incidents):
    return [c.text for c in verdict.checks(facts, reports, texts, incidents) if not c.ok]


def test_good_is_good():
    assert failed(*good()) == []


SPOILT = {
    "not dispatched to the fire station": lambda f, r, t, i: r.pop(0),
    "dispatched twice under two keys": lambda f, r, t, i: r.append(report("alarm", key="k2")),
    "another shop dispatched": lambda f, r, t, i: r.append(report("alarm", key="k3", unit=market.LIGHTER_UNIT)),
    "owner not texted": lambda f, r, t, i: t.clear(),
    "text not delivered": lambda f, r, t, i: t[0].update(status="pending"),
    "somebody else texted": lambda f, r, t, i: t.append({"to": "+821000000108", "status": "delivered", "text": ""}),
    "lighter raised an alarm": lambda f, r, t, i: setattr(f, "lighter_alarm", True),
    "lighter not seen": lambda f, r, t, i: setattr(f, "lighter_held_ms", None),
    "second incident": lambda f, r, t, i: i.append({"class": "fire", "subject": "unit:dongbu/d-01", "restored_ms": 1}),
    "restore not reported": lambda f, r, t, i: r.pop(),
    "incident not restored": lambda f, r, t, i: i[0].update(restored_ms=None),
}


@pytest.mark.parametrize("name", SPOILT)
def test_each_fault_fails_the_demo(name):
    what = good()
    SPOILT[name](*what)
    assert len(failed(*what)) == 1, name


def test_messages_mask_the_phone():
    shown = "\n".join(verdict.messages(good()[1], good()[2]))
    assert "010-****-0107" in shown and OWNER not in shown and "38.6 °C" in shown


def test_missing_steps_are_said():
    assert {delay for _, delay, _ in verdict.table(Facts())} == {"not seen"}


def test_shops_are_what_the_registry_accepts():
    assert len(market.SHOPS) == 8 and len({s.node for s in market.SHOPS}) == 8
    assert len({normal(s.phone) for s in market.SHOPS}) == 8
    # Locally administered, unicast.
    assert all(int(s.node[:2], 16) & 3 == 2 for s in market.SHOPS)


OPENED = {"incident": 1, "class": "fire", "subject": f"unit:{market.FIRE_UNIT}"}


def lines_of(story, *lines):
    return [text for line in lines for text in story.take(line)]


def test_a_fire_is_told_in_aligned_lines():
    story = Story(1000.0)
    story.burning = True
    told = lines_of(
        story,
        Line(market.FIRE_UNIT, 1001.0, "hold", {"phen": "smoke", "state": "start", "held_ms": "0", "ticks_ms": 4000}),
        Line(market.FIRE_UNIT, 1002.0, "alarm",
             {"phen": "smoke", "held_ms": "5000", "temp_dk": "3118", "smoke_e4": "1024", "ticks_ms": 9000}),
        Line("receiver", 1002.02, "incident.opened", OPENED),
        Line("receiver", 1002.03, "delivery.accepted",
             {"recipient": "responder:station", "purpose": "alarm", "channel": "webhook"}),
        Line("receiver", 1003.0, "delivery.delivered",
             {"recipient": "contact:c1", "purpose": "alarm", "channel": "sms"}),
    )  # fmt: skip
    assert len(told) == 5 and "38.6 °C, smoke 0.102/m" in told[1]
    assert "+30 ms after the alarm" in told[3] and "+1.0 s after the alarm" in told[4]
    heads = ("hold begins", "ALARM", "incident", "dispatch", "SMS")
    assert len({width(text[: text.index(head)]) for text, head in zip(told, heads, strict=True)}) == 1


def test_lines_of_one_moment_are_told_in_the_order_of_the_path():
    names = ["delivery.accepted", "receipt", "incident.opened", "event.committed", "alarm", "sample"]
    told = [line.name for line in in_order(Line("x", 0, name) for name in names)]
    assert told == ["sample", "alarm", "event.committed", "incident.opened", "receipt", "delivery.accepted"]


def test_unknown_lines_are_not_told():
    story = Story(0.0)
    assert (
        lines_of(story, Line("receiver", 1, "canary", {}), Line("x", 1, "alarm", {}), Line("receiver", 1, "", {})) == []
    )


@pytest.mark.parametrize(("seconds", "text"), [(0.0184, "18 ms"), (0.9, "900 ms"), (1.04, "1.0 s"), (61.2, "61.2 s")])
def test_durations(seconds, text):
    assert duration(seconds) == text
