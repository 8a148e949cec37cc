"""The questions of `bongsu board new`: each answer is judged at once, and asked again if it cannot be.

Only what no option said is asked; what a board like it has, or what would fit, is offered.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from bongsu.cli.board_new import gpios
from bongsu.install import board_draft, board_rules

if TYPE_CHECKING:
    from bongsu.install.board_draft import Raw
    from bongsu.install.boards import Chip

_RADIO_LINES = {
    "sx1276": ("sck", "miso", "mosi", "cs", "reset", "dio0"),
    "sx1262": ("sck", "miso", "mosi", "cs", "reset", "dio1", "busy"),
}
# A pin for each function, and what the person who wires it should know.
_FUNCTIONS = {
    "i2c_sda": "I2C data, for thermometers",
    "i2c_scl": "I2C clock",
    "smoke_adc": "analogue smoke head",
    "siren": "siren, high = sounding",
    "lamp": "lamp, high = lit",
    "button": "button to ground",
}


def ask_rest(raw: "Raw", chip: "Chip", said: Mapping[str, Any]) -> None:
    """Ask for what `said` (the options) leaves open, and put it into the draft."""
    _ask_board(raw, chip, said)
    _ask_lists(raw, chip, said)
    _ask_radio(raw, chip, said)
    named = {text.partition("=")[0] for text in said["pins"]}
    for function, meaning in _FUNCTIONS.items():
        if function not in named:
            _ask_pin(raw, chip, f"pins.{function}", meaning)


def _ask_board(raw: "Raw", chip: "Chip", said: Mapping[str, Any]) -> None:
    if said["title"] is None:
        raw["title"] = _ask("Maker, model and version", raw.get("title"))
    if said["pinout"] is None:
        raw["pinout"] = _ask("Where its pins are from (the maker's document)", raw.get("pinout"))
    if said["flash_mb"] is None:
        raw["flash_mb"] = _ask_mb("Flash in MB", raw["flash_mb"])
    if said["psram"] is None and chip.psram:
        raw["psram"] = _ask("PSRAM", raw.get("psram", "none"), click.Choice(["none", *chip.psram]))
        if raw["psram"] == "none":
            raw["psram_mb"] = 0
        elif said["psram_mb"] is None:
            raw["psram_mb"] = _ask_mb("PSRAM in MB", raw["psram_mb"] or 2)
    if said["image"] is None and not said["like"]:
        board_draft.fit_image(raw, chip)


def _ask_lists(raw: "Raw", chip: "Chip", said: Mapping[str, Any]) -> None:
    if not said["usb"]:
        raw["usb"] = _ask_usb(raw.get("usb", []))
    if said["header"] is None:
        raw["header"] = _ask_gpios("Pins that can be reached (0-5,12,13)", raw.get("header", []), chip)
    if said["on_board"] or said["like"]:
        return
    click.echo("What its maker wired to pins (LED, OLED, battery ...), one device a line; none: Enter", err=True)
    while device := click.prompt("Device", default="", show_default=False, err=True):
        raw.setdefault("on_board", {})[device] = _ask_gpios(f"Pins of {device}", [], chip)


def _ask_radio(raw: "Raw", chip: "Chip", said: Mapping[str, Any]) -> None:
    if said["radio"] or said["like"]:
        return
    kind = _ask("LoRa radio", "none", click.Choice(["none", *_RADIO_LINES]))
    if kind == "none":
        return
    on_board = click.confirm("Did its maker wire the radio (no: a module on the headers)?", default=True, err=True)
    raw["radio"] = {"chip": kind, "on_board": on_board}
    raw["bearers"] = ["wifi", "lora"]
    for line in _RADIO_LINES[kind]:
        _ask_pin(raw, chip, f"radio.{line}", f"radio's {line}")


def _ask_pin(raw: "Raw", chip: "Chip", key: str, meaning: str) -> None:
    """A pin that nothing speaks against, or only what its maker's wiring excuses, with the reason for it."""
    table, _, line = key.partition(".")
    offered = raw[table].get(line, board_draft.first_free(raw, chip, key))
    while True:
        pin = _ask(f"GPIO: {meaning}", offered, int)
        found = board_draft.objections(raw, chip, key, pin)
        for why, _ in found:
            click.echo(f"  GPIO{pin} {why}", err=True)
        if not found or _excused(raw, key, found):
            raw[table][line] = pin
            return


def _excused(raw: "Raw", key: str, found: Iterable[tuple[str, bool]]) -> bool:
    if not all(excusable for _, excusable in found):
        return False
    if key in raw.get("reasons", {}):
        return True
    reason = click.prompt("  Why it may, if its maker wired it so (Enter: another pin)", default="", err=True)
    if reason.strip():
        raw.setdefault("reasons", {})[key] = reason.strip()
    return bool(reason.strip())


def _ask(text: str, offered: Any, kind: Any = None) -> Any:
    return click.prompt(text, default=offered, type=kind, err=True)


def _ask_mb(text: str, offered: int) -> int:
    return int(_ask(text, str(offered), click.Choice([str(size) for size in board_rules.SIZES_MB])))


def _ask_usb(offered: list[str]) -> list[str]:
    while True:
        text = _ask("USB ids of its port (vid:pid, with commas)", ",".join(offered) or None)
        found = [word.strip().lower() for word in text.split(",") if word.strip()]
        wrong = [word for word in found if not board_rules.is_usb_id(word)]
        if found and not wrong:
            return found
        click.echo(f"  {', '.join(wrong) or 'this'} is not vid:pid, as 10c4:ea60", err=True)


def _ask_gpios(text: str, offered: list[int], chip: "Chip") -> list[int]:
    while True:
        words = _ask(text, ",".join(map(str, offered)) or None)
        try:
            found = gpios(words, "")
        except click.BadParameter as err:
            click.echo(f"  {err.message}", err=True)
            continue
        absent = [f"GPIO{pin}" for pin in found if pin not in chip.gpio]
        if not absent:
            return found
        click.echo(f"  {', '.join(absent)} does not exist on {chip.name}", err=True)
