"""Did the demo go right? Judged by what the station and the phone say that they got, not by what the receiver says that
it sent. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bongsu.demo import market
from bongsu.demo.story import Facts, duration
from bongsu.receiver.phone import masked, normal

Fields = Mapping[str, Any]
_ALARM, _RESTORE = "bongsu.fire.alarm", "bongsu.fire.restore"


@dataclass(frozen=True)
class Check:
    """One condition of the demo's success."""

    ok: bool
    text: str


def checks(
    facts: Facts, reports: Sequence[Fields], texts: Sequence[Fields], incidents: Sequence[Fields]
) -> list[Check]:
    """`reports`, `texts`: as the peers list them; `incidents`: as `bongsu incident list --json` does."""
    lighter = facts.lighter_held_ms
    held = f"held {lighter / 1000:.1f} s" if lighter is not None else "was not seen at all"
    return [
        *(
            _dispatched_once(reports, path, name)
            for path, name in (("/station", "fire station"), ("/centre", "centre"))
        ),
        _nobody_else(reports),
        _owner_texted(texts),
        Check(
            lighter is not None and not facts.lighter_alarm,
            f"the lighter in {market.LIGHTER_UNIT} (3 s) {held} above the limit: no alarm",
        ),
        _one_incident(incidents),
        _restored(reports, incidents),
    ]


def _of(reports: Sequence[Fields], path: str, type_: str) -> list[Fields]:
    return [r for r in reports if r["path"] == path and r["body"]["type"] == type_]


def _shop_of(report: Fields) -> str:
    data = report["body"]["data"]
    market_, shop = data.get("market") or {}, data.get("shop") or {}
    return f"{market_.get('id')}/{shop.get('id')}"


def _dispatched_once(reports: Sequence[Fields], path: str, name: str) -> Check:
    alarms = [r for r in _of(reports, path, _ALARM) if _shop_of(r) == market.FIRE_UNIT]
    keys = {r["id"] for r in alarms}
    said = f"{len(keys)} idempotency key{'' if len(keys) == 1 else 's'}"
    return Check(len(keys) == 1, f"{market.FIRE_UNIT} was dispatched to the {name}: {said}")


def _nobody_else(reports: Sequence[Fields]) -> Check:
    others = sorted({_shop_of(r) for r in reports} - {market.FIRE_UNIT})
    return Check(not others, f"no other shop was dispatched{': ' + ', '.join(others) if others else ''}")


def _owner_texted(texts: Sequence[Fields]) -> Check:
    owner = normal(market.shop(market.FIRE_UNIT).phone)
    delivered = [t for t in texts if t["to"] == owner and t["status"] == "delivered"]
    others = [t for t in texts if t["to"] != owner]
    wrong = f", but {len(others)} to others" if others else ""
    return Check(
        bool(delivered) and not others, f"its owner was texted, and nobody else: {len(delivered)} delivered{wrong}"
    )


def _one_incident(incidents: Sequence[Fields]) -> Check:
    fires = [i for i in incidents if i["class"] == "fire"]
    subjects = ", ".join(str(i["subject"]) for i in fires) or "none"
    return Check(
        len(fires) == 1 and fires[0]["subject"] == f"unit:{market.FIRE_UNIT}", f"one fire incident: {subjects}"
    )


def _restored(reports: Sequence[Fields], incidents: Sequence[Fields]) -> Check:
    told = [p for p in ("/station", "/centre") if _of(reports, p, _RESTORE)]
    stands = [i for i in incidents if i["class"] == "fire" and i["restored_ms"] is None]
    return Check(len(told) == 2 and not stands, "the restore was seen, and reported to station and centre")


def table(facts: Facts) -> list[tuple[str, str, str]]:
    """(step, delay, clock) of what was seen; the clock says whose seconds they are."""
    alarm_s = facts.alarm_wall_s
    done = facts.done
    rows: list[tuple[str, float | None, float | None, str]] = [
        ("ignition -> above its limit for good", facts.ignition_board_s, facts.first_high_board_s, "board"),
        ("above its limit -> alarm (5 s of hold)", facts.first_high_board_s, facts.alarm_board_s, "board"),
        ("alarm -> receipt at the node", alarm_s, facts.receipt_wall_s, "wall"),
        ("alarm -> fire station accepted", alarm_s, done.get(("responder:station", "alarm")), "wall"),
        ("alarm -> control centre accepted", alarm_s, done.get(("responder:centre", "alarm")), "wall"),
        ("alarm -> owner's SMS delivered", alarm_s, _first_sms(facts, "alarm"), "wall"),
        ("restore -> fire station told", facts.restore_wall_s, done.get(("responder:station", "restore")), "wall"),
    ]
    return [
        (step, duration(end - start) if start is not None and end is not None else "not seen", clock)
        for step, start, end, clock in rows
    ]


def _first_sms(facts: Facts, purpose: str) -> float | None:
    return next((s for (who, why), s in facts.done.items() if who.startswith("contact:") and why == purpose), None)


def messages(reports: Sequence[Fields], texts: Sequence[Fields]) -> list[str]:
    """What the fire station and the owner got, for the terminal: phones masked."""
    lines = []
    for report in reports:
        if report["path"] == "/station":
            lines += _report_lines(report["body"])
    return lines + [f"SMS {masked(t['to'])}: {t['text']}" for t in texts]


_SHOWN = {"temperature": "{value:.1f} °C", "smoke_optical_density": "smoke {value:.3f}/m"}


def _report_lines(body: Fields) -> list[str]:
    data = body["data"]
    site, shop, owner = (data.get(k) or {} for k in ("market", "shop", "owner"))
    values = ", ".join(_SHOWN.get(v["name"], "{value:g} {unit}").format(**v) for v in data["values"])
    return [
        f"fire station: {body['type']} no. {data['incident']}, {data['event_time'] or data['received_time']}",
        f"    {site.get('name', '?')}, {site.get('address', '')}: {shop.get('name', '?')}, {shop.get('place', '')}",
        f"    {'+'.join(data['phenomena'])} by {data['criterion']}, {values};"
        f" owner {owner.get('name', '?')} {masked(owner.get('phone', ''))}",
    ]
