"""Boards are data: every file that ships is checked, and every rule has a board that breaks it."""

from pathlib import Path
from typing import Any

import pytest

from bongsu.install import boards
from bongsu.install.boards import BoardError, board_names, load_board
from bongsu.resources import resources

CHIP = (resources().boards / "chips" / "esp32.toml").read_text()
GOOD = (resources().boards / "esp32-devkitc.toml").read_text()


@pytest.mark.parametrize("name", board_names())
def test_every_board_that_ships_is_sound(name: str) -> None:
    board = load_board(name)
    assert set(board.pins) == set(boards.FUNCTIONS)
    assert board.title


def test_the_devkitc_as_the_firmware_expects_it() -> None:
    board = load_board("esp32-devkitc")
    assert board.pins == {"i2c_sda": 21, "i2c_scl": 22, "smoke_adc": 34, "siren": 25, "lamp": 26, "button": 27}
    assert (board.smoke_head.mv_clean, board.smoke_head.uv_per_e4) == (400, 1000)


def test_an_unknown_board_lists_those_that_there_are() -> None:
    with pytest.raises(BoardError, match="no board 'nodemcu'") as e:
        load_board("nodemcu")
    assert "esp32-devkitc" in e.value.next_step


@pytest.mark.parametrize("name", ["../esp32-devkitc", "chips/esp32", ""])
def test_a_board_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(BoardError, match="there is no board"):
        load_board(name)


FAULTS: list[tuple[str, str, str, str]] = [
    ("unknown key at the top", "flash_mb = 4", "flash_mb = 4\nflsh = 1", "flsh"),
    ("unknown pin function", "siren = 25", "siren = 25\nbuzzer = 33", "pins.buzzer: unknown key"),
    ("missing pin", "lamp = 26", "", "pins.lamp: missing"),
    ("duplicate pin", "lamp = 26", "lamp = 25", "pins.lamp: GPIO25 is also siren"),
    ("input-only pin as output", "siren = 25", "siren = 35", "pins.siren: GPIO35 is input-only"),
    ("input-only pin for I2C", "i2c_sda = 21", "i2c_sda = 36", "pins.i2c_sda: GPIO36 is input-only"),
    ("button without a pull-up", "button = 27", "button = 39", "pins.button: GPIO39 has no internal pull-up"),
    ("strapping pin", "siren = 25", "siren = 12", "pins.siren: GPIO12 is a strapping pin"),
    ("ADC2 with Wi-Fi", "smoke_adc = 34", "smoke_adc = 4", "pins.smoke_adc: GPIO4 is on ADC2"),
    ("no ADC at all", "smoke_adc = 34", "smoke_adc = 19", "pins.smoke_adc: GPIO19 has no ADC"),
    ("flash pin", "lamp = 26", "lamp = 7", "pins.lamp: GPIO7 belongs to the module's flash"),
    ("console pin", "lamp = 26", "lamp = 1", "pins.lamp: GPIO1 is the serial console"),
    ("no such pin", "lamp = 26", "lamp = 28", "pins.lamp: GPIO28 does not exist on esp32"),
    ("not on the header", "smoke_adc = 34", "smoke_adc = 37", "pins.smoke_adc: GPIO37 is not on this board's headers"),
    ("wrong type", "lamp = 26", 'lamp = "26"', "pins"),
    ("unknown bearer", '["wifi"]', '["zigbee"]', "bearers"),
    ("unknown chip", 'chip = "esp32"', 'chip = "esp99"', "chip: there is no esp99.toml"),
    ("another name than the file's", 'name = "esp32-devkitc"', 'name = "other"', "name: is 'other'"),
    ("no TOML", "[pins]", "[pins", "board.toml: "),
]


@pytest.mark.parametrize(("old", "new", "words"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_wrong_board_is_named_with_its_fault(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    _write(tmp_path, GOOD.replace('name = "esp32-devkitc"', 'name = "board"').replace(old, new, 1))
    if old.startswith("name"):
        _write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(BoardError) as e:
        load_board("board", tmp_path)
    assert words in e.value.message
    assert e.value.message.startswith("board.toml: ")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('name = "esp32-devkitc"', 'name = "board"').replace("lamp = 26", "lamp = 12")
    _write(tmp_path, text.replace("siren = 25", "siren = 34"))
    with pytest.raises(BoardError) as e:
        load_board("board", tmp_path)
    assert "pins.siren" in e.value.message
    assert "pins.lamp" in e.value.message


RADIO = """
[radio]
chip = "sx1276"
on_board = false
sck = 18
miso = 19
mosi = 23
cs = 16
reset = 17
dio0 = 35
"""


def test_adc2_is_no_fault_without_wifi(tmp_path: Path) -> None:
    text = GOOD.replace('name = "esp32-devkitc"', 'name = "board"').replace('["wifi"]', '["lora"]') + RADIO
    _write(tmp_path, text.replace("smoke_adc = 34", "smoke_adc = 4"))
    assert load_board("board", tmp_path).pins["smoke_adc"] == 4


def _write(folder: Path, board: str) -> None:
    (folder / "chips").mkdir(exist_ok=True)
    (folder / "chips" / "esp32.toml").write_text(CHIP)
    (folder / "board.toml").write_text(board)


def test_the_resources_of_a_broken_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import bongsu.resources as module

    patched: Any = module
    monkeypatch.setattr(patched, "_PACKAGE", tmp_path / "host" / "bongsu")
    with pytest.raises(module.ResourceError) as e:
        module.resources()
    assert "pip install" in e.value.next_step
