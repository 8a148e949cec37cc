"""The rules that a board must keep: which pin may do what, what fits the flash, how images and USB ids are written.

Pins are judged one by one against a table. Some of its rows can be excused, by a reason in the board's [reasons], where
the maker's own wiring makes the rule void: a radio on a strapping pin, a button with a pull-up of its own.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bongsu.channels.address import url_problem
from bongsu.install.board_schema import UNKNOWN_KEY, BoardFile, Chip, ChipImage, Fault, Psram, Radio

Direction = Literal["in", "out", "adc"]

# What hangs on a pin, and what the pin must be able to do. I2C lines are driven low, so they count as outputs.
FUNCTIONS: dict[str, Direction] = {
    "i2c_sda": "out",
    "i2c_scl": "out",
    "smoke_adc": "adc",
    "siren": "out",
    "lamp": "out",
    "button": "in",
}
# The button is read with an internal pull-up.
NEEDS_PULL = ("pins.button",)
RADIO_LINES: dict[str, Direction] = {
    "sck": "out",
    "miso": "in",
    "mosi": "out",
    "cs": "out",
    "reset": "out",
    "dio0": "in",
    "dio1": "in",
    "busy": "in",
}
# Lines without which the driver cannot work, and lines and settings that the chip does not have.
_RADIO_NEEDS = {"sx1276": ("dio0",), "sx1262": ("dio1", "busy")}
_RADIO_LACKS = {"sx1276": ("busy", "tcxo_mv", "dio2_rf_switch"), "sx1262": ("dio0",)}
# What an SX1262 can give a TCXO, mV (its datasheet, SetDIO3AsTCXOCtrl).
_TCXO_MV = (1600, 1700, 1800, 2200, 2400, 2700, 3000, 3300)

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME_MAX = 32
_USB_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# As micropython.org names its images: ESP32_GENERIC_S3-SPIRAM_OCT-20250415-v1.25.0.bin
_IMAGE = re.compile(r"(?P<name>[A-Za-z0-9_]+(-[A-Za-z0-9_]+)?)-(?P<date>20\d{6})-v(?P<version>\d+\.\d+\.\d+)\.bin")
_GENERIC = "ESP32_GENERIC"
_MB = 1 << 20
SIZES_MB = (1, 2, 4, 8, 16, 32, 64, 128)  # of flash (esptool, flash_size) and of PSRAM
_SECTOR = 4096
# ESP-IDF: the partition table is a sector at 0x8000, and the first program begins at 0x10000 at the earliest.
_AFTER_TABLE, _FIRST_APP = 0x9000, 0x10000
_NVS_MIN = 3 * _SECTOR  # ESP-IDF, NVS: it needs three pages
_BAUD = (115_200, 3_000_000)
_STRAPPING = "is a strapping pin: what hangs on it can keep the board from starting"


class Wiring(Protocol):
    """What the pins of a board are judged by; a BoardFile and a Board both are one."""

    @property
    def header(self) -> Sequence[int]: ...
    @property
    def bearers(self) -> Sequence[str]: ...
    @property
    def flash_pins(self) -> Sequence[int]: ...
    @property
    def on_board(self) -> Mapping[str, Sequence[int]]: ...
    @property
    def psram(self) -> Psram: ...
    @property
    def radio(self) -> Radio | None: ...


@dataclass(frozen=True, slots=True)
class Use:
    """A pin in use. `makers`: its maker wired it, so it need not be on a header."""

    key: str
    pin: int
    direction: Direction
    makers: bool = False

    @property
    def name(self) -> str:
        """Its key as people say it."""
        return self.key.removeprefix("pins.")


def faults(file: BoardFile, chip: Chip, stem: str) -> list[Fault]:
    """All that is wrong with a board, in the order of its file; `stem`: of the file's name."""
    return [
        *_name_faults(file, stem),
        *_usb_faults(file),
        *_size_faults(file, chip),
        *_list_faults(file, chip),
        *_function_faults(file),
        *_radio_faults(file),
        *_use_faults(file, chip),
        *_image_faults(file, chip),
        *_flash_faults(file, chip),
    ]


# ---- pins


def uses(wiring: Wiring, pins: Mapping[str, int]) -> list[Use]:
    """Every pin that a board uses itself: for its functions, and for its radio."""
    found = [Use(f"pins.{name}", pin, FUNCTIONS[name]) for name, pin in pins.items() if name in FUNCTIONS]
    return found + _radio_uses(wiring.radio)


def _radio_uses(radio: Radio | None) -> list[Use]:
    if radio is None:
        return []
    lines = {name: getattr(radio, name) for name in RADIO_LINES}
    return [
        Use(f"radio.{name}", pin, RADIO_LINES[name], radio.on_board) for name, pin in lines.items() if pin is not None
    ]


def _function_faults(file: BoardFile) -> Iterator[Fault]:
    yield from (Fault(f"pins.{name}", UNKNOWN_KEY) for name in file.pins if name not in FUNCTIONS)
    yield from (Fault(f"pins.{name}", "missing") for name in FUNCTIONS if name not in file.pins)


def _use_faults(file: BoardFile, chip: Chip) -> Iterator[Fault]:
    users: dict[int, Use] = {}
    excused: set[str] = set()
    for use in uses(file, file.pins):
        other = users.setdefault(use.pin, use)
        if other is not use:
            yield Fault(use.key, f"is also {other.name}", use.pin)
        for why, excusable in objections(file, chip, use):
            if excusable and use.key in file.reasons:
                excused.add(use.key)
                continue
            hint = f'; if its maker wired it so, say why: [reasons] "{use.key}" = "..."' if excusable else ""
            yield Fault(use.key, why + hint, use.pin)
            break
    for key, reason in file.reasons.items():
        if key not in excused:
            yield Fault(f"reasons.{key}", "excuses nothing")
        elif not reason.strip():
            yield Fault(f"reasons.{key}", "says nothing")


def objections(wiring: Wiring, chip: Chip, use: Use) -> list[tuple[str, bool]]:
    """The rules that this use of a pin breaks, each with whether a reason can excuse it."""
    pin, direction = use.pin, use.direction
    device = next((name for name, pins in wiring.on_board.items() if pin in pins), "")
    away = pin not in wiring.header and not use.makers
    no_wifi_adc = direction == "adc" and pin in chip.adc2 and "wifi" in wiring.bearers
    rules = (
        (pin not in chip.gpio, f"does not exist on {chip.name}", False),
        (pin in [*chip.flash, *wiring.flash_pins], "belongs to the module's flash", False),
        (pin in chip.psram.get(wiring.psram, []), f"belongs to the {wiring.psram} PSRAM", False),
        (pin in chip.console, "is the serial console", False),
        (pin in chip.usb_pins, "is the chip's own USB", False),
        (away, "is not on this board's headers", bool(device)),
        (pin in chip.strapping, _STRAPPING, use.makers),
        (bool(device), f"is wired to this board's {device}", True),
        (direction == "out" and pin in chip.input_only, "is input-only, and this is an output", False),
        (use.key in NEEDS_PULL and pin in chip.input_only, "has no internal pull-up", bool(device)),
        (no_wifi_adc, "is on ADC2, which stops while Wi-Fi is on", False),
        (direction == "adc" and pin not in [*chip.adc1, *chip.adc2], "has no ADC", False),
    )
    return [(why, excusable) for broken, why, excusable in rules if broken]


def pin_fault(wiring: Wiring, chip: Chip, direction: Direction, pin: int) -> str:
    """What forbids a pin of this board for a sensor, or "". Nothing excuses a sensor."""
    radio = next((use.name for use in _radio_uses(wiring.radio) if use.pin == pin), "")
    if radio:
        return f"is {radio}"
    return next((why for why, _ in objections(wiring, chip, Use("sensor", pin, direction))), "")


# ---- the rest of the file


def _name_faults(file: BoardFile, stem: str) -> Iterator[Fault]:
    if file.name != stem:
        yield Fault("name", f"is {file.name!r}, and the file is called {stem!r}")
    if not is_name(file.name):
        yield Fault("name", f"{file.name!r} is not of a-z, 0-9 and -, at most {_NAME_MAX} characters")
    for key in ("title", "pinout"):
        if not getattr(file, key).strip():
            yield Fault(key, "says nothing")


def is_name(text: str) -> bool:
    """Whether a board may be called so."""
    return len(text) <= _NAME_MAX and _NAME.fullmatch(text) is not None


def is_usb_id(text: str) -> bool:
    """Whether this is a USB id as boards write it: "10c4:ea60"."""
    return _USB_ID.fullmatch(text) is not None


def _usb_faults(file: BoardFile) -> Iterator[Fault]:
    if not file.usb:
        yield Fault("usb", "names no id, so the board's port cannot be found")
    for at, text in enumerate(file.usb):
        if not is_usb_id(text):
            yield Fault(f"usb[{at}]", f'{text!r} is not vid:pid in lower case, as "10c4:ea60"')
        elif text in file.usb[:at]:
            yield Fault(f"usb[{at}]", f"{text} is there twice")


def _size_faults(file: BoardFile, chip: Chip) -> Iterator[Fault]:
    for key, sizes in (("flash_mb", SIZES_MB), ("psram_mb", (0, *SIZES_MB))):
        if getattr(file, key) not in sizes:
            yield Fault(key, f"{getattr(file, key)} is none of {', '.join(map(str, sizes))}")
    if (file.psram == "none") != (file.psram_mb == 0):
        yield Fault("psram", f"is {file.psram!r}, and psram_mb is {file.psram_mb}")
    if file.psram != "none" and file.psram not in chip.psram:
        yield Fault("psram", f"{chip.name} takes no {file.psram} PSRAM")


def _list_faults(file: BoardFile, chip: Chip) -> Iterator[Fault]:
    lists = {"header": file.header, "flash_pins": file.flash_pins}
    lists |= {f"on_board.{name}": pins for name, pins in file.on_board.items()}
    for key, pins in lists.items():
        for at, pin in enumerate(pins):
            if pin not in chip.gpio:
                yield Fault(key, f"does not exist on {chip.name}", pin)
            if pin in pins[:at]:
                yield Fault(key, "is there twice", pin)
    if not file.bearers or len(set(file.bearers)) < len(file.bearers):
        yield Fault("bearers", "must name each bearer once, and at least one")


def _radio_faults(file: BoardFile) -> Iterator[Fault]:
    radio = file.radio
    if radio is None:
        if "lora" in file.bearers:
            yield Fault("radio", "missing, and lora is among the bearers")
        if file.role == "gateway":
            yield Fault("radio", "missing: a gateway hears its nodes by radio")
        return
    if "lora" not in file.bearers:
        yield Fault("bearers", "lora is missing, and there is a radio")
    for name in _RADIO_NEEDS[radio.chip]:
        if getattr(radio, name) is None:
            yield Fault(f"radio.{name}", f"missing: {radio.chip} needs it")
    for name in _RADIO_LACKS[radio.chip]:
        if getattr(radio, name) not in (None, False):
            yield Fault(f"radio.{name}", f"{radio.chip} has none")
    if radio.chip == "sx1262" and radio.tcxo_mv not in (None, *_TCXO_MV):
        yield Fault("radio.tcxo_mv", f"{radio.tcxo_mv} is none of {', '.join(map(str, _TCXO_MV))}")


# ---- image and flash


def _image_faults(file: BoardFile, chip: Chip) -> Iterator[Fault]:
    image = file.image
    if not image.url.startswith("https://"):
        yield Fault("image.url", "is not https")
    elif problem := url_problem(image.url):
        yield Fault("image.url", f"cannot be fetched: {problem}")
    if image.sha256 is not None and not _SHA256.fullmatch(image.sha256):
        yield Fault("image.sha256", "is not 64 hex digits in lower case")
    named = _IMAGE.fullmatch(image.file)
    if named is None:
        form = "BOARD[-VARIANT]-YYYYMMDD-vX.Y.Z.bin"
        yield Fault("image.url", f"{image.file!r} is not named as micropython.org names images: {form}")
        return
    board = named["name"].partition("-")[0]
    own = {name.partition("-")[0] for name in chip.images}
    if board.startswith(_GENERIC) and board not in own:
        yield Fault("image.url", f"{board} is for another chip than {chip.name}, which takes {', '.join(sorted(own))}")
    stock = stock_image(image.file, chip)
    if stock is not None and stock.date != named["date"]:
        yield Fault("image.url", f"is of {named['date']}, and v{stock.version} is of {stock.date}")


def stock_image(file: str, chip: Chip) -> ChipImage | None:
    """What is known of an image by its file name; None: it is not one that boards/chips describes."""
    named = _IMAGE.fullmatch(file)
    known = chip.images.get(named["name"]) if named else None
    return known if known and named and known.version == named["version"] else None


def _flash_faults(file: BoardFile, chip: Chip) -> Iterator[Fault]:
    flash, size = file.flash, file.flash_mb * _MB
    if flash.offset != chip.image_offset:
        yield Fault("flash.offset", f"is {flash.offset:#x}; images of {chip.name} begin at {chip.image_offset:#x}")
    if not _BAUD[0] <= flash.baud <= _BAUD[1]:
        yield Fault("flash.baud", f"{flash.baud} is not from {_BAUD[0]} to {_BAUD[1]}")
    for key in ("vfs_offset", "vfs_size", "nvs_offset", "nvs_size"):
        if getattr(flash, key) % _SECTOR:
            yield Fault(f"flash.{key}", f"{getattr(flash, key):#x} is no multiple of {_SECTOR:#x}")
    if flash.vfs_size <= 0 or flash.vfs_offset + flash.vfs_size > size:
        yield Fault("flash.vfs_size", f"the file system ends beyond the {file.flash_mb} MB of flash, or is empty")
    if flash.nvs_offset < _AFTER_TABLE or flash.nvs_offset + flash.nvs_size > _FIRST_APP:
        yield Fault("flash.nvs_offset", f"NVS is not between {_AFTER_TABLE:#x} and {_FIRST_APP:#x}")
    if flash.nvs_size < _NVS_MIN:
        yield Fault("flash.nvs_size", f"is less than {_NVS_MIN:#x}")
    if flash.vfs_offset <= _FIRST_APP:
        yield Fault("flash.vfs_offset", "leaves no room for the image")
    yield from _stock_faults(file, stock_image(file.image.file, chip))


def _stock_faults(file: BoardFile, stock: ChipImage | None) -> Iterator[Fault]:
    """Board and image do not go together."""
    if stock is None:
        return
    if stock.flash_mb > file.flash_mb:
        yield Fault("image.url", f"is made for {stock.flash_mb} MB of flash, and the board has {file.flash_mb}")
    if not drives(stock.psram, file.psram):
        yield Fault("image.url", f"drives {stock.psram} PSRAM, and the board's is {file.psram}")
    if None not in (stock.sha256, file.image.sha256) and stock.sha256 != file.image.sha256:
        yield Fault("image.sha256", f"is not the one that is known of this image: {stock.sha256}")
    for key in ("vfs_offset", "vfs_size", "nvs_offset", "nvs_size"):
        has, says = getattr(stock, key), getattr(file.flash, key)
        if has != says:
            yield Fault(f"flash.{key}", f"is {says:#x}, and the image's partition table says {has:#x}")


def drives(image: Psram, board: Psram) -> bool:
    """Whether an image for one kind of PSRAM goes with a board that has the other. Octal PSRAM is a bus of its own."""
    return image == board or "octal" not in (image, board)
