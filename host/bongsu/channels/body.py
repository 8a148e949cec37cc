"""The report that stations and centres receive: its fields, version 1 (DESIGN section 5: no personal data goes
anywhere else).

Posted as JSON with the headers of Standard Webhooks. `webhook-id` and `idempotency-key` name the report: a second post
with the same one is the same report. A later version only adds fields; a change of meaning gets another `schema`.
`python -m bongsu.channels.body` prints the JSON Schema.
"""

import json
from typing import Final, Literal

import msgspec

SCHEMA: Final = "bongsu.report/1"


class Market(msgspec.Struct, frozen=True):
    """The site: a market or a block of homes."""

    id: str
    name: str
    address: str


class Shop(msgspec.Struct, frozen=True):
    """The unit: a shop or a home. place: where in the market; floor, stall: as people there call them, "" if not known;
    lat, lon: degrees, WGS 84; open: whether it was open when the receiver took the event in; null if not known.
    """

    id: str
    name: str
    place: str
    floor: str = ""
    stall: str = ""
    lat: float | None = None
    lon: float | None = None
    open: bool | None = None


class Person(msgspec.Struct, frozen=True):
    """Whom to call. phone: E.164."""

    name: str
    phone: str
    role: str


class Value(msgspec.Struct, frozen=True):
    """One reading at the moment of the decision."""

    name: str
    value: float
    unit: str


class Data(msgspec.Struct, frozen=True, rename={"class_": "class"}):
    """What happened.

    incident: its number at this receiver; round: 2 and more after a restore; sequence: order of the reports of one
    incident to one recipient; verified: a second phenomenon, node or person confirms it; exercise: the shop takes part
    in an exercise, and nobody said in time whether this belongs to it; market, shop: null for a node
    that is not assigned; criterion: which rule fired; held_s: how long the condition had held; event_time: in the
    site's zone, null (and event_time_known false) if the node lost its age, then received_time is the nearest known.
    """

    incident: int
    round: int
    sequence: int
    class_: str
    verified: bool
    market: Market | None
    shop: Shop | None
    node: str | None
    owner: Person | None
    contacts: list[Person]
    phenomena: list[str]
    criterion: str
    criterion_text: dict[str, str]
    held_s: float
    values: list[Value]
    event_time_known: bool
    event_time: str | None
    event_ms: int | None
    received_time: str
    received_ms: int
    text: dict[str, str]
    exercise: bool = False


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """type: bongsu.<class>.<alarm|update|restore|fault|fault_clear|prealarm|test|closed>; an update says of an alarm
    that went out as unverified that it is verified now, and says all of it once more; timestamp: when the receiver took
    the event in.
    """

    schema: Literal["bongsu.report/1"] = SCHEMA
    type: str
    timestamp: str
    data: Data


def decode(raw: bytes) -> Body:
    """The report of a posted body. Raises msgspec.DecodeError (its subclass ValidationError names the field)."""
    return msgspec.json.decode(raw, type=Body)


if __name__ == "__main__":
    print(json.dumps(msgspec.json.schema(Body), indent=2))
