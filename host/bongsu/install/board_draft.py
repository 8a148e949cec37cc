"""A new board file: begun from its chip or from another board, judged as every board is, and written whole or not at
all.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bongsu.errors import BongsuError
from bongsu.install import board_rules, boards
from bongsu.install.board_schema import BoardFile, Chip, ChipImage, Fault, Psram

Raw = dict[str, Any]

_DOWNLOADS = "https://micropython.org/resources/firmware"
_BAUD = 460_800  # what esptool recommends for USB bridges that are no better than a CP2102
_HEX = ("offset", "vfs_offset", "vfs_size", "nvs_offset", "nvs_size")
_HEAD = {"mv_clean": 400, "uv_per_e4": 1000}


def begin(name: str, chip: Chip) -> Raw:
    """A board of which only its name and chip are known; what every such board has is there."""
    return {
        "name": name,
        "on_silicon": False,
        "chip": chip.name,
        "flash_mb": 4,
        "psram_mb": 0,
        "bearers": ["wifi"],
        "usb": list(chip.usb),
        "pins": {},
        "smoke_head": dict(_HEAD),
        "sensors": [{"type": "lm75"}, {"type": "smoke_head"}],
    }


def begin_like(name: str, other: Path) -> Raw:
    """A board that is as another one, whose file this is, so far. Raises BoardError."""
    raw, faults = boards.decode(other)
    if raw is None or faults:
        raise boards.wrong_file(other, faults)
    return {**raw, "name": name, "on_silicon": False}


def fit_image(raw: Raw, chip: Chip) -> None:
    """Give the draft the stock image that goes with its flash and PSRAM, with that image's layout; leave it without
    one if there is none.
    """
    name = _stock_for(chip, raw["flash_mb"], raw.get("psram", "none"))
    if name is None:
        return
    stock = chip.images[name]
    raw["image"] = {"url": f"{_DOWNLOADS}/{name}-{stock.date}-v{stock.version}.bin"}
    if stock.sha256 is not None:
        raw["image"]["sha256"] = stock.sha256
    raw["flash"] = _layout(chip, stock)


def _stock_for(chip: Chip, flash_mb: int, psram: Psram) -> str | None:
    """The image's name: one for just this PSRAM before one that leaves it alone, and the most flash that is there."""
    fitting = {
        name: stock
        for name, stock in chip.images.items()
        if stock.flash_mb <= flash_mb and board_rules.drives(stock.psram, psram)
    }
    return max(fitting, key=lambda name: (fitting[name].psram == psram, fitting[name].flash_mb), default=None)


def take_image(raw: Raw, chip: Chip, url: str, sha256: str | None) -> None:
    """Give the draft an image by name; its layout too, if that image is known."""
    raw["image"] = {"url": url, **({"sha256": sha256} if sha256 else {})}
    stock = board_rules.stock_image(url.rpartition("/")[2], chip)
    if stock is not None:
        raw["flash"] = _layout(chip, stock)


def _layout(chip: Chip, stock: ChipImage) -> Raw:
    sizes = {key: getattr(stock, key) for key in _HEX[1:]}
    return {"offset": chip.image_offset, "baud": _BAUD, **sizes}


# ---- the file


def text(raw: Raw) -> str:
    """The draft as TOML, keys in the order of the form."""
    order = [field.name for field in msgspec.structs.fields(BoardFile)]
    known = sorted(raw, key=lambda key: order.index(key) if key in order else len(order))
    plain = [f"{key} = {_value(key, raw[key])}" for key in known if not _is_table(raw[key])]
    tables = [_table(key, raw[key]) for key in known if _is_table(raw[key])]
    return "\n\n".join(["\n".join(plain), *tables]) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _table(key: str, value: Any) -> str:
    head, parts = (f"[{key}]", [value]) if isinstance(value, dict) else (f"[[{key}]]", value)
    blocks = (
        "\n".join([head, *(f"{_key(name)} = {_value(name, one)}" for name, one in part.items())]) for part in parts
    )
    return "\n\n".join(blocks)


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else _text(name)


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(_value('', one) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(name)} = {_value(name, one)}' for name, one in value.items())}}}"
    return f"{value:#x}" if key in _HEX and isinstance(value, int) else str(value)


def _text(words: str) -> str:
    """A basic string; JSON's escapes are TOML's, except that TOML wants DEL escaped too."""
    return json.dumps(words, ensure_ascii=False).replace("\x7f", "\\u007f")


def save(raw: Raw, folder: Path, *, force: bool) -> Path:
    """Judge the draft and write it into `folder` as NAME.toml; `force`: over a file that is there. Returns its path.

    Raises BoardError with every fault, and BongsuError if it cannot be written; then nothing is.
    """
    path = folder / f"{raw['name']}.toml"
    board, faults = boards.judge(raw, path)
    if board is None or faults:
        raise boards.BoardError(
            f"{path.name} was not written: {'; '.join(map(str, faults))}", "Correct these.", tuple(faults)
        )
    if path.exists() and not force:
        raise _there_already(path)
    content = _bytes(path, raw)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, content, force)
    except OSError as err:
        raise _not_written(path, err) from None
    return path


def _bytes(path: Path, raw: Raw) -> bytes:
    try:
        return text(raw).encode()
    except UnicodeEncodeError as err:  # from a terminal that speaks another encoding
        wrong = err.object[err.start : err.end]
        raise boards.BoardError(
            f"{path.name} was not written: {wrong!r} is no character", "Say it again in UTF-8, or in plain letters."
        ) from None


def _not_written(path: Path, err: OSError) -> BongsuError:
    no_folder = path.parent.exists() and not path.parent.is_dir()
    if isinstance(err, FileExistsError) and not no_folder:
        return _there_already(path)
    why = f"{path.parent} is no folder" if no_folder else err.strerror
    return BongsuError(f"cannot write {path}: {why}", "Name another folder: --folder DIR")


def _there_already(path: Path) -> BongsuError:
    return BongsuError(f"{path} is there already; it was not overwritten", "Name another board, or say --force.")


def _write(path: Path, content: bytes, force: bool) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(part, path)
        else:
            os.link(part, path)  # unlike a renaming this never replaces a file that came meanwhile
    finally:
        part.unlink(missing_ok=True)


# ---- pins, while they are chosen


class Wired(msgspec.Struct):
    """What a draft's pins are judged by so far (board_rules.Wiring)."""

    header: list[int]
    bearers: list[str]
    flash_pins: list[int]
    on_board: dict[str, list[int]]
    psram: Psram
    radio: None = None


def objections(raw: Mapping[str, Any], chip: Chip, key: str, pin: int) -> list[tuple[str, bool]]:
    """What speaks against a pin for a key ("pins.siren", "radio.cs"), each with whether a reason can excuse it."""
    table, _, line = key.partition(".")
    radio = raw.get("radio", {})
    makers = table == "radio" and bool(radio.get("on_board"))
    direction = (board_rules.RADIO_LINES if table == "radio" else board_rules.FUNCTIONS)[line]
    found = board_rules.objections(_wired(raw), chip, board_rules.Use(key, pin, direction, makers))
    for other_table in ("pins", "radio"):
        for other, number in raw.get(other_table, {}).items():
            taken = number == pin and f"{other_table}.{other}" != key
            if taken and other in {**board_rules.FUNCTIONS, **board_rules.RADIO_LINES}:
                found.insert(0, (f"is {other} already", False))
    return found


def _wired(raw: Mapping[str, Any]) -> Wired:
    return Wired(
        header=raw.get("header", []),
        bearers=raw.get("bearers", []),
        flash_pins=raw.get("flash_pins", []),
        on_board=raw.get("on_board", {}),
        psram=raw.get("psram", "none"),
    )


def first_free(raw: Mapping[str, Any], chip: Chip, key: str) -> int | None:
    """The first pin on the headers that nothing speaks against."""
    return next((pin for pin in raw.get("header", []) if not objections(raw, chip, key, pin)), None)


def missing(raw: Mapping[str, Any]) -> list[Fault]:
    """What a draft lacks of what only people know."""
    keys = ["title", "pinout", "usb", "header"]
    found = [Fault(key, "missing") for key in keys if not raw.get(key)]
    return found + [Fault(f"pins.{name}", "missing") for name in board_rules.FUNCTIONS if name not in raw["pins"]]
