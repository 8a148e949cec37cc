"""The form of a board's and a chip's file (boards/*.toml, boards/chips/*.toml). What they may say: board_rules.py."""

import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

# A sensor as node.json names it: "type", and the fields of that type (sensors.TYPES).
Entry = dict[str, Any]
Bearer = Literal["wifi", "lora"]
Role = Literal["node", "gateway"]
Psram = Literal["none", "quad", "octal"]

UNKNOWN_KEY = "unknown key"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a board file: at which key (dotted), with which GPIO if it is about one, and why."""

    key: str
    why: str
    pin: int | None = None

    def __str__(self) -> str:
        what = self.why if self.pin is None else f"GPIO{self.pin} {self.why}"
        return f"{self.key}: {what}" if self.key else what


class ChipImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stock MicroPython image for a chip. `version`, date (YYYYMMDD): of which the rest holds; flash_mb: the flash
    that it is made for; psram: the kind that it drives; offsets and sizes in bytes: its partition table; sha256: only
    if somebody computed it from the file itself.
    """

    version: str
    date: str
    flash_mb: int
    psram: Psram
    vfs_offset: int
    vfs_size: int
    nvs_offset: int
    nvs_size: int
    sha256: str | None = None


class Chip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chip's pins by what they may be used for (GPIO numbers), from boards/chips/<name>.toml.

    `esptool`: its name there; image_id: in an image's extended header; image_offset: where an image begins in flash;
    usb: ids ("vid:pid") under which the chip's own USB shows up; psram: pins by kind of PSRAM; uart, uart_tx: the
    serial port for sensors, and the pin that it drives where none is named; images: stock images by name, without
    date and version.
    """

    name: str
    esptool: str
    image_id: int
    image_offset: int
    usb: list[str]
    gpio: list[int]
    input_only: list[int]
    strapping: list[int]
    flash: list[int]
    psram: dict[Psram, list[int]]
    console: list[int]
    usb_pins: list[int]
    adc1: list[int]
    adc2: list[int]
    uart: int
    uart_tx: int
    images: dict[str, ChipImage]


class SmokeHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An analogue smoke head: output in clean air in mV, and microvolt per 1e-4/m of optical density."""

    mv_clean: int
    uv_per_e4: int


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The official MicroPython image. `sha256`: 64 hex digits, only if somebody computed it from the file itself."""

    url: str
    sha256: str | None = None

    @property
    def file(self) -> str:
        """The image's file name."""
        return self.url.rpartition("/")[2]


class FlashLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where things lie in flash, bytes: the image, MicroPython's file system, the key store; `baud`: to write it by."""

    offset: int
    baud: int
    vfs_offset: int
    vfs_size: int
    nvs_offset: int
    nvs_size: int


class Radio(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A LoRa radio on SPI. `on_board`: its maker soldered and wired it; else it is a module on the headers.

    tcxo_mv: supply of a TCXO by DIO3 in mV; dio2_rf_switch: DIO2 turns the antenna switch (SX1262 both).
    """

    chip: Literal["sx1276", "sx1262"]
    on_board: bool
    sck: int
    miso: int
    mosi: int
    cs: int
    reset: int
    dio0: int | None = None
    dio1: int | None = None
    busy: int | None = None
    tcxo_mv: int | None = None
    dio2_rf_switch: bool = False


class BoardFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A board's file as it is. `flash_pins`: beyond the chip's own, those that this board's module takes for flash;
    on_board: what else its maker wired, GPIO by device; reasons: why a key may do what a rule forbids.
    """

    name: str
    title: str
    pinout: str
    chip: str
    flash_mb: int
    psram_mb: int
    bearers: list[Bearer]
    usb: list[str]
    header: list[int]
    pins: dict[str, int]
    image: Image
    flash: FlashLayout
    smoke_head: SmokeHead
    sensors: list[Entry]
    role: Role = "node"
    on_silicon: bool = False
    psram: Psram = "none"
    flash_pins: list[int] = []
    on_board: dict[str, list[int]] = {}
    radio: Radio | None = None
    reasons: dict[str, str] = {}


def form_faults(kind: type[msgspec.Struct], raw: Mapping[str, Any], where: str = "") -> Iterator[Fault]:
    """Everything in a decoded file that is not of this form: unknown and missing keys, values of a wrong type."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    yield from (Fault(where + key, UNKNOWN_KEY) for key in raw if key not in fields)
    for name, field in fields.items():
        if name in raw:
            yield from _value_faults(field.type, raw[name], where + name)
        elif field.required:
            yield Fault(where + name, "missing")


def _value_faults(kind: Any, value: Any, key: str) -> Iterator[Fault]:
    inner = next((a for a in _choices(kind) if isinstance(a, type) and issubclass(a, msgspec.Struct)), None)
    if inner is not None and isinstance(value, dict):
        yield from form_faults(inner, value, f"{key}.")
    elif typing.get_origin(kind) is dict and isinstance(value, dict):
        named, of = typing.get_args(kind)
        for name, one in value.items():
            yield from _value_faults(named, name, f"{key}.{name}")
            yield from _value_faults(of, one, f"{key}.{name}")
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as err:
            yield Fault(key, str(err))


def _choices(kind: Any) -> tuple[Any, ...]:
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def without(raw: Mapping[str, Any], faults: Iterable[Fault]) -> dict[str, Any]:
    """A decoded board file without unknown keys, so that the rest can be judged all the same."""
    unknown = {fault.key for fault in faults if fault.why == UNKNOWN_KEY}
    return {key: _inner(key, value, unknown) for key, value in raw.items() if key not in unknown}


def _inner(where: str, value: Any, unknown: Collection[str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: one for key, one in value.items() if f"{where}.{key}" not in unknown}
