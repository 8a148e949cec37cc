"""What messages say: the report to stations and centres (a JSON object) and the text to owners. Pure: the incident as
it was, in; words out.

The words are data (data/messages.toml), in Korean and English.
"""

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from bongsu.channels import body as wire
from bongsu.receiver import opening_hours
from bongsu_wire import kinds, payload

LANGS = ("ko", "en")
DEFAULT_ZONE = "Asia/Seoul"
# What a text has room for of a name; the whole name stands in the report.
NAME_SHOWN = 14
_PLACEHOLDERS = {"market", "shop", "what", "time"}
_FIELD = re.compile(r"\{(\w*)\}")
_WHAT_MAX = 2
# Messages that say how much CO there is; a restore tells of less.
_SAY_HOW_MUCH = ("alarm", "update", "escalation")

Words = dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a message about an incident can say.

    `purpose`: why it is sent (store.schema.DELIVERY_PURPOSES, or "update"). `class_`: fire, co_gas, fault, ...
    `seq`: order of the messages to this recipient. `snapshot`: as stored with the incident: {"site": {id, name,
    address, tz}, "unit": {id, name, place}, "node": {id}, "contacts": [{name, phone, role, lang}]}; what is missing or
    None is left out. `names`: phenomena or faults. `criterion`: a name of kinds.CRITERION_NAMES. `readings`: fields of
    payload.Event (temp_dk, smoke_e4, ...); unknown values may stand in it. Times: ms since 1970; `event_ms` None if the
    node did not know. `exercise`: the unit takes part in one that is running.
    """

    purpose: str
    incident_id: int
    round: int
    seq: int
    class_: str
    snapshot: Mapping[str, Any] = field(repr=False)  # holds phone numbers
    names: tuple[str, ...]
    received_ms: int
    event_ms: int | None = None
    criterion: str = "none"
    sustained_ms: int = 0
    readings: Mapping[str, int | None] = field(default_factory=dict)
    verified: bool = False
    exercise: bool = False


class Messages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """data/messages.toml."""

    sms: dict[str, Words]
    time: dict[str, Words]
    unassigned: Words
    phenomena: dict[str, Words]
    criteria: dict[str, Words]
    faults: dict[str, Words]


@cache
def load_messages() -> Messages:
    """The table of messages, checked whole. Raises ValueError naming what is wrong in it."""
    text = files("bongsu.channels").joinpath("data/messages.toml").read_text(encoding="utf-8")
    messages = msgspec.convert(tomllib.loads(text), Messages)
    check_messages(messages)
    return messages


def check_messages(messages: Messages) -> None:
    """Raises ValueError if a language, a name of the wire tables, or a placeholder is missing or unknown."""
    groups = {"sms": messages.sms, "time": messages.time, "phenomena": messages.phenomena}
    groups |= {"criteria": messages.criteria, "faults": messages.faults, "": {"unassigned": messages.unassigned}}
    for group, entries in groups.items():
        for name, words in entries.items():
            if set(words) != set(LANGS) or not all(words.values()):
                raise ValueError(f"messages: [{group}] {name} must have ko and en")
    for name, words in messages.sms.items():
        for lang in LANGS:
            if set(_FIELD.findall(words[lang])) != _PLACEHOLDERS:
                raise ValueError(f"messages: [sms] {name}.{lang} must use {sorted(_PLACEHOLDERS)}")
    for group, needed in (
        ("phenomena", kinds.PHENOMENON_NAMES),
        ("criteria", kinds.CRITERION_NAMES),
        ("faults", kinds.FAULT_NAMES),
    ):
        if missing := set(needed.values()) - set(groups[group]):
            raise ValueError(f"messages: [{group}] lacks {sorted(missing)}")


def dispatch_body(report: Report) -> dict[str, Any]:
    """The JSON object posted to a station or centre (channels/body.py documents it)."""
    snapshot = report.snapshot
    site, unit, node = (snapshot.get(k) or {} for k in ("site", "unit", "node"))
    zone = _zone(report)
    known = report.event_ms is not None
    data = wire.Data(
        incident=report.incident_id,
        round=report.round,
        sequence=report.seq,
        class_=report.class_,
        verified=report.verified,
        exercise=report.exercise,
        market=wire.Market(site["id"], site["name"], site.get("address", "")) if site else None,
        shop=_report_shop(unit, site, report.received_ms) if unit else None,
        node=node.get("id"),
        owner=_owner(snapshot),
        contacts=[_person(c) for c in snapshot.get("contacts") or ()],
        phenomena=list(report.names),
        criterion=report.criterion,
        criterion_text=load_messages().criteria.get(report.criterion, {}),
        held_s=report.sustained_ms / 1000,
        values=_values(report.readings, report.criterion),
        event_time_known=known,
        event_time=_iso(report.event_ms, zone) if report.event_ms is not None else None,
        event_ms=report.event_ms,
        received_time=_iso(report.received_ms, zone),
        received_ms=report.received_ms,
        text={lang: sms_text(report, lang) for lang in LANGS},
    )
    word = "alarm" if report.purpose == "escalation" else report.purpose
    body = wire.Body(type=f"bongsu.{report.class_}.{word}", timestamp=data.received_time, data=data)
    built: dict[str, Any] = msgspec.to_builtins(body)
    return built


def _report_shop(unit: Mapping[str, Any], site: Mapping[str, Any], at_ms: int) -> wire.Shop:
    hours, tz = unit.get("hours") or "", site.get("tz") or DEFAULT_ZONE
    return wire.Shop(
        id=unit["id"],
        name=unit["name"],
        place=unit.get("place", ""),
        floor=unit.get("floor", ""),
        stall=unit.get("stall", ""),
        lat=unit.get("lat"),
        lon=unit.get("lon"),
        open=opening_hours.is_open(hours, tz, at_ms),
    )


def sms_text(report: Report, lang: str) -> str:
    """The text to an owner or deputy: market, shop, what, time. `lang`: ko or en."""
    messages = load_messages()
    template = _template(report, messages)[lang]
    site, unit, node = (report.snapshot.get(k) or {} for k in ("site", "unit", "node"))
    shop = _shop(unit) if unit else f"{messages.unassigned[lang]} {node.get('id', '')}".strip()
    values = {
        "market": _short(site.get("name", "")),
        "shop": shop,
        "what": _what(report, lang),
        "time": _time(report, lang),
    }
    return " ".join(_FIELD.sub(lambda m: values[m[1]], template).split())


def _template(report: Report, messages: Messages) -> Words:
    purpose = "alarm" if report.purpose == "update" else report.purpose
    if purpose in ("alarm", "escalation") and report.exercise:
        purpose = "exercise_alarm"
    elif purpose in ("alarm", "escalation") and report.class_ == "co_gas":
        purpose = "co_alarm" if "co" in report.names else "co_gas_alarm"
    return messages.sms[purpose]


def _shop(unit: Mapping[str, Any]) -> str:
    """ "A-07 (행복건어물)"; the name alone if it says the number already."""
    number, name = str(unit["id"]).upper(), str(unit.get("name", ""))
    return _short(name) if number in name.upper() else f"{number} {_short(name)}".strip()


def _short(name: str) -> str:
    return name if len(name) <= NAME_SHOWN else name[: NAME_SHOWN - 1] + "…"


def _what(report: Report, lang: str) -> str:
    messages = load_messages()
    known = messages.faults if report.purpose.startswith("fault") or report.class_ == "fault" else messages.phenomena
    shown = [known.get(n, messages.phenomena.get(n, {})).get(lang, n) for n in report.names]
    if "co" in report.names and report.purpose in _SAY_HOW_MUCH and (ppm := _co_ppm(report)) is not None:
        at = report.names.index("co")
        shown[at] = f"{shown[at]} {ppm}ppm"
        shown.insert(0, shown.pop(at))  # what is cut off is not this
    more = f" +{len(shown) - _WHAT_MAX}" if len(shown) > _WHAT_MAX else ""
    return ("·" if lang == "ko" else "+").join(shown[:_WHAT_MAX]) + more


def _co_ppm(report: Report) -> int | None:
    """How much CO the decision was about; None if it was about something else, or is not known."""
    ppm = report.readings.get("gas")
    return ppm if report.criterion == _CO and ppm != payload.U16_UNKNOWN else None


def _time(report: Report, lang: str) -> str:
    known = report.event_ms is not None
    at = report.event_ms if report.event_ms is not None else report.received_ms
    clock = dt.datetime.fromtimestamp(at / 1000, _zone(report)).strftime("%H:%M:%S")
    return load_messages().time["known" if known else "unknown"][lang].format(clock=clock)


def _zone(report: Report) -> ZoneInfo:
    return ZoneInfo((report.snapshot.get("site") or {}).get("tz") or DEFAULT_ZONE)


def _iso(time_ms: int, zone: ZoneInfo) -> str:
    """ "2026-03-01T14:05:09.120+09:00"."""
    seconds, ms = divmod(time_ms, 1000)
    at = dt.datetime.fromtimestamp(seconds, zone)
    return at.replace(microsecond=ms * 1000).isoformat(timespec="milliseconds")


def _person(contact: Mapping[str, Any]) -> wire.Person:
    return wire.Person(contact["name"], contact["phone"], contact.get("role", "owner"))


def _owner(snapshot: Mapping[str, Any]) -> wire.Person | None:
    """The owner; without one, whoever is called first."""
    contacts = snapshot.get("contacts") or ()
    first = next((c for c in contacts if c.get("role") == "owner"), contacts[0] if contacts else None)
    return _person(first) if first is not None else None


# Field of payload.Event -> name, unit, how many of its steps make one unit, value that means unknown.
_READINGS = {
    "temp_dk": ("temperature", "degC", 10, payload.U16_UNKNOWN),
    "smoke_e4": ("smoke_optical_density", "1/m", 10_000, payload.U16_UNKNOWN),
    "gas": ("gas_index", "1", 1, payload.U16_UNKNOWN),
    "humidity_half": ("relative_humidity", "%", 2, payload.U8_UNKNOWN),
    "battery_mv": ("battery", "V", 1000, payload.U16_UNKNOWN),
}
# An event by this criterion carries ppm of CO where others carry the gas index.
_CO = kinds.CRITERION_NAMES[kinds.CRIT_CO]
_CO_PPM = ("co", "ppm", 1, payload.U16_UNKNOWN)
_KELVIN_DK = 2732  # 0 degC in the wire's 0.1 K, as the node rounds it


def readings_shown(readings: Mapping[str, int | None], criterion: str) -> dict[str, str]:
    """The known readings by name, each with its unit, as a person reads them: {"temperature": "67.0 degC"}.
    `criterion`: of the event whose they are (kinds.CRITERION_NAMES).
    """
    return {v.name: f"{v.value:.10g} {v.unit}".removesuffix(" 1") for v in _values(readings, criterion)}


def _values(readings: Mapping[str, int | None], criterion: str) -> list[wire.Value]:
    found = []
    fields = {**_READINGS, "gas": _CO_PPM} if criterion == _CO else _READINGS
    for name, (shown, unit, steps, unknown) in fields.items():
        raw = readings.get(name)
        if raw is None or raw == unknown:
            continue
        value = raw - _KELVIN_DK if name == "temp_dk" else raw
        found.append(wire.Value(shown, value / steps, unit))
    return found
