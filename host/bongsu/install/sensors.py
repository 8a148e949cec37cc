"""What may be fitted to a node: each type of sensor with the fields of its entry in node.json, as a table.

An entry is checked in three steps, all before anything is written: fields and ranges by this table, pins by the board
(boards.pin_fault), and what several fields are together by the driver's own make(), the one that the node will call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bongsu.errors import BongsuError
from bongsu.install.boards import Board, Direction, Entry, pin_fault

Bus = Literal["i2c", "adc", "onewire", "uart"]

MOST = 8  # entries (bongsu_node.config)
# What hangs on these pins of every board, whatever is fitted; the smoke head's input is free if there is no such head.
_TAKEN = ("i2c_sda", "i2c_scl", "siren", "lamp", "button")


class SensorError(BongsuError):
    """An entry cannot be fitted; the message names entry and field, and what is possible."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an entry. `kind`: of its value; low, high: of a whole number, both included; names: of a choice;
    direction: what a pin must be able to do; needed: there is no default.
    """

    kind: Literal["whole", "choice", "flag", "pin", "rom", "table"]
    low: int = 0
    high: int = 0
    names: tuple[str, ...] = ()
    direction: Direction = "adc"
    needed: bool = False

    @property
    def allowed(self) -> str:
        """The values that it may have, for people."""
        if self.kind == "whole":
            return f"a whole number from {self.low} to {self.high}"
        if self.kind == "choice":
            return f"one of {', '.join(self.names)}"
        if self.kind == "pin":
            return "the number of a pin"
        if self.kind == "flag":
            return "true or false"
        if self.kind == "rom":
            return "16 hex digits that begin with 28"
        return "degC:ohm/degC:ohm/..., 2 to 64 of them"


@dataclass(frozen=True, slots=True)
class Type:
    """A type of sensor: how it is connected, the fields of its entry, and the I2C addresses that it may have."""

    bus: Bus
    fields: Mapping[str, Field]
    addresses: tuple[int, ...] = ()


def _whole(low: int, high: int, *, needed: bool = False) -> Field:
    return Field("whole", low, high, needed=needed)


def _pin(direction: Direction, *, needed: bool = True) -> Field:
    return Field("pin", direction=direction, needed=needed)


_STUCK = {"stuck_h": _whole(0, 8760)}
_ADC = {"pin": _pin("adc"), **_STUCK}
_MQ = {
    **_ADC,
    "load_ohm": _whole(1_000, 100_000, needed=True),
    "supply_mv": _whole(3_000, 5_500),
    "adc_permille": _whole(100, 1_000),
    "clean_ohm": _whole(1_000, 1_000_000),
    "new": Field("flag"),
}


def _i2c(addresses: Sequence[int], fields: Mapping[str, Field] | None = None) -> Type:
    named = {"address": Field("choice", names=tuple(str(a) for a in addresses))} if len(addresses) > 1 else {}
    return Type("i2c", {**named, **(fields or {})}, tuple(addresses))


TYPES: Mapping[str, Type] = {
    "lm75": _i2c(range(0x48, 0x50), _STUCK),
    "sht3x": _i2c((0x44, 0x45)),
    "sht4x": _i2c((0x44, 0x45, 0x46)),
    "bme280": _i2c((0x76, 0x77)),
    "bme680": _i2c((0x76, 0x77)),
    "sgp40": _i2c((0x59,)),
    "scd4x": _i2c((0x62,)),
    "pmsa003i": _i2c((0x12,), _STUCK),
    "max30105": _i2c(
        (0x57,),
        {
            **_STUCK,
            "clean_counts": _whole(100, 131_071, needed=True),
            "counts_per_e4": _whole(1, 10_000, needed=True),
            "current_ua": _whole(200, 50_000),
            "led": Field("choice", names=("red", "ir", "green")),
        },
    ),
    "ntc": Type(
        "adc",
        {
            **_ADC,
            "divider_ohm": _whole(100, 1_000_000, needed=True),
            "supply_mv": _whole(1_000, 3_600, needed=True),
            "r25_ohm": _whole(100, 1_000_000),
            "beta": _whole(1_000, 10_000),
            "table": Field("table"),
            "to": Field("choice", names=("ground", "supply")),
        },
    ),
    "smoke_head": Type(
        "adc",
        {**_ADC, "mv_clean": _whole(320, 2_000, needed=True), "uv_per_e4": _whole(1, 100_000, needed=True)},
    ),
    "head": Type(
        "adc",
        {
            "pin": _pin("adc"),
            "supply_mv": _whole(1_000, 30_000, needed=True),
            "series_ohm": _whole(100, 100_000, needed=True),
            "eol_ohm": _whole(100, 100_000, needed=True),
            "alarm_ohm": _whole(1, 100_000, needed=True),
            "adc_permille": _whole(10, 1_000),
            "detects": Field("choice", names=("smoke", "heat")),
        },
    ),
    "mq2": Type("adc", _MQ),
    "mq7": Type("adc", {**_MQ, "heater_pin": _pin("out", needed=False)}),
    "ds18b20": Type("onewire", {"pin": _pin("out"), "rom": Field("rom"), **_STUCK}),
    "pms5003": Type("uart", {"rx": _pin("in"), "tx": _pin("out", needed=False), **_STUCK}),
}


def parse(text: str) -> Entry:
    """An entry of TYPE[,KEY=VALUE...], as an option has it; numbers also as 0x44. Raises SensorError."""
    name, *settings = text.split(",")
    fields = _type_of(name, repr(text)).fields
    entry: Entry = {"type": name}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign or key not in fields or key in entry:
            why = "is there twice" if key in entry else "is no field of it" if sign else "is not KEY=VALUE"
            raise SensorError(f"sensor {name}: {setting!r} {why}", _known_fields(name))
        entry[key] = _value(f"sensor {name}, {key}", fields[key], value)
    return entry


def _type_of(name: str, what: str) -> Type:
    if name not in TYPES:
        raise SensorError(f"sensor {what}: there is no type {name!r}", f"Known types: {', '.join(TYPES)}")
    return TYPES[name]


def _known_fields(name: str) -> str:
    fields = TYPES[name].fields
    return f"Fields of {name}: " + ("; ".join(f"{key}: {f.allowed}" for key, f in fields.items()) or "none")


def _value(what: str, field: Field, text: str) -> Any:
    """The value of a field from its text. Raises SensorError."""
    try:
        if field.kind in ("whole", "pin") or (field.kind == "choice" and field.names[0].isdigit()):
            return _number(text)
        if field.kind == "flag":
            return {"true": True, "false": False}[text]
        if field.kind == "table":
            pairs = [pair.split(":") for pair in text.split("/")]
            return [[float(c), float(ohm)] for c, ohm in pairs]
    except (ValueError, KeyError):
        raise SensorError(f"{what}: {text!r} is not {field.allowed}", "Correct it.") from None
    return text


def _number(text: str) -> int:
    number = int(text, 16 if text.lower().startswith("0x") else 10)
    if number.bit_length() > 63:
        raise ValueError("beyond what a board's file can hold")
    return number


def fit(board: Board, told: Sequence[Entry]) -> list[Entry]:
    """The entries as node.json has them: with what the board gives by itself (the smoke head's input). Raises
    SensorError.
    """
    entries = [_with_board(board, entry) for entry in told]
    if not 1 <= len(entries) <= MOST:
        raise SensorError(f"{len(entries)} sensors: a node has 1 to {MOST}", "Name others.")
    for at, entry in enumerate(entries):
        _check_fields(_name(at, entry), entry)
    _check_pins(board, entries)
    _check_addresses(entries)
    for at, entry in enumerate(entries):
        _check_by_driver(_name(at, entry), entry)
    return entries


def _with_board(board: Board, entry: Entry) -> Entry:
    """An analogue smoke head of which no more is said is the board's own."""
    if entry.get("type") != "smoke_head" or len(entry) > 1:
        return dict(entry)
    head = board.smoke_head
    own = {"pin": board.pins["smoke_adc"], "mv_clean": head.mv_clean, "uv_per_e4": head.uv_per_e4}
    return {"type": "smoke_head", **own}


def _name(at: int, entry: Entry) -> str:
    return f"sensors[{at}] ({entry.get('type')})"


def _check_fields(what: str, entry: Entry) -> None:
    name = str(entry.get("type"))
    fields = _type_of(name, what).fields
    for key, value in entry.items():
        if key == "type":
            continue
        if key not in fields:
            raise SensorError(f"{what}, {key}: is no field of it", _known_fields(name))
        if not _fits(fields[key], value):
            raise SensorError(f"{what}, {key}: {value!r} is not {fields[key].allowed}", "Correct it.")
    for key, field in fields.items():
        if field.needed and key not in entry:
            raise SensorError(f"{what}, {key}: is missing, {field.allowed}", f"For example: --sensor {name},{key}=...")


def _fits(field: Field, value: Any) -> bool:
    if field.kind == "flag":
        return isinstance(value, bool)
    if field.kind in ("whole", "pin"):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and (field.kind == "pin" or field.low <= value <= field.high)
    if field.kind == "choice":
        return str(value) in field.names
    return isinstance(value, str if field.kind == "rom" else list)


def _check_pins(board: Board, entries: Sequence[Entry]) -> None:
    """Each pin must be there, able, and nobody else's. DS18B20 with a rom may share a line."""
    users: dict[int, str] = {board.pins[function]: function for function in _TAKEN}
    for at, entry in enumerate(entries):
        kind, shared = TYPES[entry["type"]], entry.get("rom") is not None
        for key, pin in _pins_of(board, entry, kind):
            what = f"{_name(at, entry)}, {key}: GPIO{pin}"
            user = users.setdefault(pin, "a line of DS18B20 with roms" if shared else _name(at, entry))
            if user not in (_name(at, entry), "a line of DS18B20 with roms" if shared else ""):
                raise SensorError(f"{what} is also {user}", _free_pins(board, kind.fields[key].direction, users))
            if fault := pin_fault(board, kind.fields[key].direction, pin):
                raise SensorError(f"{what} {fault}", _free_pins(board, kind.fields[key].direction, users))
        pins = [pin for _, pin in _pins_of(board, entry, kind)]
        if len(set(pins)) < len(pins):
            raise SensorError(f"{_name(at, entry)}: has one pin for two things", "Name others.")


def _pins_of(board: Board, entry: Entry, kind: Type) -> list[tuple[str, int]]:
    found = [(key, entry[key]) for key, field in kind.fields.items() if field.kind == "pin" and key in entry]
    if kind.bus == "uart" and "tx" not in entry:
        found.append(("tx", board.chip.uart_tx))  # the serial port drives this one where no other is named
    return found


def _free_pins(board: Board, direction: Direction, users: Mapping[int, str]) -> str:
    free = [pin for pin in board.header if pin not in users and not pin_fault(board, direction, pin)]
    return f"Free for it on {board.name}: {', '.join(f'GPIO{pin}' for pin in free) or 'none'}"


def _check_addresses(entries: Sequence[Entry]) -> None:
    users: dict[int, str] = {}
    for at, entry in enumerate(entries):
        addresses = TYPES[entry["type"]].addresses
        if not addresses:
            continue
        address = entry.get("address", addresses[0])
        if address in users:
            others = [str(a) for a in addresses if a not in users]
            step = f"Set its address: {', '.join(others)}" if others else "Only one of them fits on the bus."
            raise SensorError(f"{_name(at, entry)}, address: {address} is also {users[address]}", step)
        users[address] = _name(at, entry)
    uarts = [_name(at, entry) for at, entry in enumerate(entries) if TYPES[entry["type"]].bus == "uart"]
    if len(uarts) > 1:
        raise SensorError(f"{uarts[1]}: the serial port is {uarts[0]}'s", "A node has one serial port for sensors.")


class _Nothing:
    """Stands for the chip's parts while a driver is made only to hear whether it takes its entry."""

    @staticmethod
    def ticks_diff(a: int, b: int) -> int:
        return a - b

    ticks_add = ticks_diff

    def i2c(self) -> None: ...

    def adc(self, pin: int) -> None: ...

    def pin_out(self, pin: int) -> "_Level":
        return _Level()

    def onewire(self, pin: int) -> "_Line":
        return _Line()

    def uart(self, rx: int, tx: int | None, baud: int) -> None: ...


class _Level:
    def __call__(self, level: int) -> None: ...


class _Line:
    @staticmethod
    def crc8(data: bytes) -> int:
        """Of a 1-Wire rom: 0 if the check sum fits (Maxim, application note 27)."""
        crc = 0
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
        return crc


def _check_by_driver(what: str, entry: Entry) -> None:
    from importlib import import_module

    driver = import_module(f"bongsu_node.sensing.{entry['type']}")
    try:
        driver.make(_Nothing(), entry)
    except ValueError as err:
        raise SensorError(f"{what}, {err}", "Correct it, or another field that goes with it.") from None


def said(entry: Entry) -> str:
    """An entry as an option has it: "sht4x,address=68"."""
    return ",".join([entry["type"], *(f"{key}={_text(value)}" for key, value in entry.items() if key != "type")])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "/".join(f"{c:g}:{ohm:g}" for c, ohm in value)
    return str(value)
