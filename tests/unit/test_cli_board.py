"""`bongsu board`: what people and scripts see of boards, their own among them, and how a new one is made."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bongsu.cli.context import Installation
from bongsu.cli.main import cli
from bongsu.install.boards import BOARDS_ENV, BoardError, UnknownBoard, board_names, load_board
from bongsu.install.bundle import Bundle
from bongsu.resources import resources
from tests.registry_parts import NODE, bongsu, fill, new_store, on_this_engine

LIKE = ("--like", "esp32-devkitc")


@pytest.fixture(autouse=True)
def no_boards_but_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(BOARDS_ENV, raising=False)
    monkeypatch.setenv("BONGSU_DATA", str(tmp_path / "none"))


def _json(*args: object) -> Any:
    ran = bongsu(*args, "--json")
    assert ran.code in (0, 1), ran.err
    return json.loads(ran.out)


# ---- list, show, check


def test_list_names_every_board() -> None:
    rows = {row["name"]: row for row in _json("board", "list")}
    assert set(rows) == set(board_names())
    assert rows["esp32-devkitc"]["image_pinned"] and not rows["esp32-c3-devkitm-1"]["image_pinned"]
    assert not any(row["on_silicon"] for row in rows.values())
    shown = bongsu("board", "list").out
    assert all(name in shown for name in board_names())


@pytest.mark.parametrize("name", board_names())
def test_show_says_what_the_file_says(name: str) -> None:
    board = load_board(name)
    row = _json("board", "show", name)
    assert (row["pins"], row["usb"], row["header"]) == (board.pins, list(board.usb), list(board.header))
    assert row["image"] == {"url": board.image.url, "sha256": board.image.sha256, "file": board.image.file}
    assert row["flash"]["vfs_offset"] == board.flash.vfs_offset
    assert bool(row["radio"]) == ("lora" in board.bearers)
    text = bongsu("board", "show", name).out
    assert board.pinout in text and board.image.url in text
    assert all(why in text for why in board.reasons.values())


def test_show_of_a_board_that_is_not_there_lists_those_that_are() -> None:
    ran = bongsu("board", "show", "nodemcu")
    assert ran.code == 1
    assert "no board 'nodemcu'" in ran.err and "esp32-devkitc" in ran.err


def test_check_all_finds_them_well() -> None:
    ran = bongsu("board", "check", "--all")
    assert ran.code == 0
    assert f"{len(board_names())} well, 0 with faults" in ran.out


def test_check_names_every_fault_of_every_file(tmp_path: Path) -> None:
    good = (resources().boards / "esp32-devkitc.toml").read_text().replace('"esp32-devkitc"', '"one"')
    (tmp_path / "one.toml").write_text(good.replace("siren = 25", "siren = 34").replace("lamp = 26", "lamp = 12"))
    (tmp_path / "two.toml").write_text("chip = ")
    (tmp_path / "three.toml").write_bytes(b"\xff")
    files = [tmp_path / f"{name}.toml" for name in ("one", "two", "three")]
    ran = bongsu("board", "check", *files, "esp32-devkitc")
    assert ran.code == 1
    for words in (
        f"{files[0]}: pins.siren: GPIO34 is also smoke_adc",
        f"{files[0]}: pins.siren: GPIO34 is input-only",
        f"{files[0]}: pins.lamp: GPIO12 is a strapping pin",
        f"{files[1]}: is no TOML",
        f"{files[2]}: is no TOML",
        "1 well, 3 with faults",
    ):
        assert words in ran.out
    rows = _json("board", "check", *files)
    assert ("pins.lamp", 12) in [(fault["key"], fault["pin"]) for fault in rows[0]["faults"]]
    assert [row["board"] for row in rows] == ["one", "two", "three"]


HUGE = "0x" + "f" * 5000  # longer than Python will say in tens


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("siren = 25", f"siren = {HUGE}", "pins.siren: is no number that TOML has: it is beyond 64 bits"),
        ("flash_mb = 4", f"flash_mb = {HUGE}", "flash_mb: is no number"),
        ("header = [0,", f"header = [{HUGE},", "header[0]: is no number"),
        ('type = "lm75"', f'type = "lm75"\naddress = {HUGE}', "sensors[0].address: is no number"),
        ("siren = 25", f"siren = -{2**63 + 1}", "pins.siren: is no number"),
        ("siren = 25", f"siren = {2**63 - 1}", "does not exist on esp32"),
        ("siren = 25", "siren = " + "[" * 9999, "mine.toml: is nested deeper"),
        (
            'chip = "esp32"',
            'chip = "esp8266"',
            "chip: there is no esp8266.toml in chips/, and those of Bongsu are esp32, ",
        ),
        ('chip = "esp32"', 'chip = "other"', "chip: other.toml: psram.wide: Invalid enum value 'wide'"),
    ],
)
def test_check_of_an_odd_file_says_what_is_odd(tmp_path: Path, old: str, new: str, words: str) -> None:
    folder, path = resources().boards, tmp_path / "mine.toml"
    good = (folder / "esp32-devkitc.toml").read_text().replace('"esp32-devkitc"', '"mine"')
    assert old in good
    path.write_text(good.replace(old, new, 1))
    (tmp_path / "chips").mkdir()
    chip = (folder / "chips" / "esp32.toml").read_text()
    (tmp_path / "chips" / "other.toml").write_text(chip.replace("quad = [16", "wide = [16"))
    ran = bongsu("board", "check", path, "esp32-c3-devkitm-1")
    assert ran.code == 1 and words in ran.out, ran.err
    assert "1 well, 1 with faults" in ran.out and len(ran.out) < 1000


def test_check_reads_a_file_as_windows_editors_begin_it(tmp_path: Path) -> None:
    good = (resources().boards / "esp32-devkitc.toml").read_text().replace('"esp32-devkitc"', '"mine"')
    (tmp_path / "mine.toml").write_text(good.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    assert bongsu("board", "check", tmp_path / "mine.toml").code == 0


def test_check_of_a_file_that_cannot_be_read_is_a_fault_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("")
    before = Path.read_bytes

    def refused(self: Path) -> bytes:
        if self.name == "mine.toml":
            raise PermissionError(13, "Permission denied")
        return before(self)

    monkeypatch.setattr(Path, "read_bytes", refused)
    ran = bongsu("board", "check", path, "esp32-devkitc")
    assert ran.code == 1
    assert "mine.toml: Permission denied" in ran.out and "1 well, 1 with faults" in ran.out


def test_check_wants_to_know_what() -> None:
    assert bongsu("board", "check").code == 2
    assert bongsu("board", "check", "no-such.toml").code == 1


# ---- where boards are found


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with one board of one's own, "mine", whose siren is at GPIO32."""
    folder = tmp_path / "own"
    assert bongsu("board", "new", "mine", *LIKE, "--pin", "siren=32", "--folder", folder).code == 0
    return folder


def test_a_board_by_its_path(own: Path) -> None:
    assert load_board(str(own / "mine.toml")).pins["siren"] == 32
    assert _json("board", "show", own / "mine.toml")["pins"]["siren"] == 32
    with pytest.raises(UnknownBoard):
        load_board(str(own / "other.toml"))


def test_a_board_in_the_folder_of_the_environment(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BOARDS_ENV, str(own))
    assert load_board("mine").path == own / "mine.toml"
    assert "mine" in board_names()
    assert "mine" in bongsu("board", "list").out
    assert bongsu("board", "check", "--all").code == 0


def test_a_board_in_the_data_folder(own: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    own.rename(tmp_path / "data" / "boards")
    assert Installation(tmp_path / "data").board("mine").pins["siren"] == 32
    assert _json("board", "show", "mine", "--data", tmp_path / "data")["pins"]["siren"] == 32
    with pytest.raises(UnknownBoard):
        load_board("mine")


def test_one_name_for_two_boards_is_refused(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither silently stands for the other; each can still be named by its path."""
    text = (own / "mine.toml").read_text().replace('"mine"', '"esp32-devkitc"')
    (own / "esp32-devkitc.toml").write_text(text)
    monkeypatch.setenv(BOARDS_ENV, str(own))
    with pytest.raises(BoardError, match="two boards 'esp32-devkitc'"):
        load_board("esp32-devkitc")
    assert load_board(str(own / "esp32-devkitc.toml")).pins["siren"] == 32


def test_a_broken_board_hides_no_other(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "broken.toml").write_text("x = 1")
    monkeypatch.setenv(BOARDS_ENV, str(own))
    ran = bongsu("board", "list")
    assert ran.code == 0 and "mine" in ran.out
    assert "broken.toml: x: unknown key" in ran.err
    assert bongsu("board", "check", "--all").code == 1


def test_a_chip_of_ones_own_may_be_added_but_none_replaced(own: Path) -> None:
    chips = own / "chips"
    chips.mkdir()
    esp32 = (resources().boards / "chips" / "esp32.toml").read_text()
    (chips / "esp32.toml").write_text(esp32.replace("strapping = [0, 2, 5, 12, 15]", "strapping = []"))
    (chips / "esp32x.toml").write_text(esp32.replace('name = "esp32"', 'name = "esp32x"'))
    text = (own / "mine.toml").read_text()
    (own / "mine.toml").write_text(text.replace("siren = 32", "siren = 12"))
    ran = bongsu("board", "check", own / "mine.toml")
    assert ran.code == 1 and "GPIO12 is a strapping pin" in ran.out
    (own / "mine.toml").write_text(text.replace('chip = "esp32"', 'chip = "esp32x"'))
    assert bongsu("board", "check", own / "mine.toml").code == 0
    (chips / "esp32x.toml").write_text("nonsense = 1")
    ran = bongsu("board", "check", own / "mine.toml")
    assert ran.code == 1 and "chip: esp32x.toml: nonsense: unknown key" in ran.out


def test_a_node_is_provisioned_for_a_board_of_ones_own(own: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert bongsu("init", "--data", data, *on_this_engine(data)).code == 0
    with new_store(data) as store:
        fill(store)
    words = ("node", "provision", NODE, "--broker-ip", "127.0.0.1", "--data", data)
    assert bongsu(*words, "--out", tmp_path / "a", "--board", own / "mine.toml").code == 0
    node = Bundle.load(tmp_path / "a").node_json
    assert (node["board"], node["pins"]["siren"]) == ("mine", 32)
    ran = bongsu(*words, "--out", tmp_path / "b", "--board", "mine")
    assert ran.code == 1 and "no board 'mine'" in ran.err and not (tmp_path / "b").exists()
    own.rename(data / "boards")
    assert bongsu(*words, "--out", tmp_path / "b", "--board", "mine").code == 0


# ---- new


def test_new_by_options_alone(tmp_path: Path) -> None:
    words = [
        "board", "new", "my-c3", "--chip", "esp32c3", "--title", "My C3", "--pinout", "its manual", "--header", "0-10",
        "--usb", "1a86:7523", "--on-board", "led=8", "--sensor", "sht4x,address=0x45", "--folder", tmp_path,
    ]  # fmt: skip
    for pin in ("i2c_sda=6", "i2c_scl=7", "smoke_adc=3", "siren=4", "lamp=5", "button=10"):
        words += ["--pin", pin]
    assert _json(*words) == {"board": str(tmp_path / "my-c3.toml"), "file": str(tmp_path / "my-c3.toml")}
    board = load_board("my-c3", tmp_path)
    assert board.image.file == "ESP32_GENERIC_C3-20250415-v1.25.0.bin"
    assert board.pins == {"i2c_sda": 6, "i2c_scl": 7, "smoke_adc": 3, "siren": 4, "lamp": 5, "button": 10}
    assert (board.usb, board.on_board) == (("1a86:7523",), {"led": (8,)})
    assert board.sensors == ({"type": "sht4x", "address": 69},)
    assert (board.on_silicon, board.role, board.pinout) == (False, "node", "its manual")


def test_new_with_a_radio_on_a_strapping_pin_needs_a_reason(tmp_path: Path) -> None:
    words = ["board", "new", "mine", *LIKE, "--folder", tmp_path]
    for line in ("chip=sx1276", "on_board=true", "sck=5", "miso=19", "mosi=23", "cs=18", "reset=14", "dio0=36"):
        words += ["--radio", line]
    ran = bongsu(*words)
    assert ran.code == 1
    assert "radio.sck: GPIO5 is a strapping pin" in ran.err and '[reasons] "radio.sck"' in ran.err
    assert not list(tmp_path.iterdir())
    assert bongsu(*words, "--reason", "radio.sck=Its maker wired it so.").code == 0
    board = load_board("mine", tmp_path)
    assert board.radio is not None and board.bearers == ("wifi", "lora")
    assert board.reasons == {"radio.sck": "Its maker wired it so."}


def test_new_with_other_flash_takes_the_image_that_fits(tmp_path: Path) -> None:
    words = ["board", "new", "mine", "--like", "esp32-s3-devkitc-1", "--folder", tmp_path]
    assert bongsu(*words, "--flash-mb", 4, "--psram", "none").code == 0
    board = load_board("mine", tmp_path)
    assert board.image.file.startswith("ESP32_GENERIC_S3-FLASH_4M-")
    assert (board.psram_mb, board.flash.vfs_size) == (0, 0x200000)


def test_new_with_an_image_of_ones_own(tmp_path: Path) -> None:
    url = "https://example.org/images/MY_BOARD-20250101-v1.26.0.bin"
    words = ["board", "new", "mine", *LIKE, "--image", url, "--sha256", "ab" * 32, "--folder", tmp_path]
    assert bongsu(*words).code == 0
    board = load_board("mine", tmp_path)
    assert (board.image.url, board.image.sha256) == (url, "ab" * 32)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["x"], 2, "neither --chip nor --like"),
        (["x", "--chip", "esp8266"], 2, "no chip 'esp8266'"),
        (["x", "--chip", "esp32c3"], 2, "no title, pinout, header, pins.i2c_sda"),
        (["x", "--like", "nodemcu"], 1, "no board 'nodemcu'"),
        (["x", *LIKE, "--chip", "esp32c3"], 2, "is of esp32, and not of esp32c3"),
        (["../x", *LIKE], 2, "a board's name is of a-z"),
        (["X", *LIKE], 2, "a board's name is of a-z"),
        (["esp32-devkitc", *LIKE], 1, "there is a board 'esp32-devkitc' already"),
        (["x", *LIKE, "--pin", "siren"], 2, "'siren' is not KEY=VALUE"),
        (["x", *LIKE, "--pin", "siren=x"], 2, "'x' is no GPIO number"),
        (["x", *LIKE, "--pin", "buzzer=33"], 1, "pins.buzzer: unknown key"),
        (["x", *LIKE, "--header", "0-99999"], 2, "no range of pins"),
        (["x", *LIKE, "--header", "0-39,9-7"], 2, "'9-7' is no range of pins"),
        (["x", *LIKE, "--header", "0-" + "9" * 5000], 2, "is no GPIO number"),
        (["x", *LIKE, "--pin", "siren=" + "9" * 5000], 2, "is no GPIO number"),
        (["x", *LIKE, "--radio", "cs=" + "9" * 5000], 1, "radio.cs: Expected `int`"),
        (["x", *LIKE, "--sensor", "lm75,address=" + HUGE], 2, "is not one of 72"),
        (["x", *LIKE, "--title", "B\udcffrd"], 1, "x.toml was not written: '\\udcff' is no character"),
        (["x", *LIKE, "--sensor", "sht9x"], 2, "no type 'sht9x'"),
        (["x", *LIKE, "--role", "gateway"], 1, "radio: missing"),
        (["x", *LIKE, "--usb", "FFFF"], 1, "usb[0]"),
        (["x", *LIKE, "--sha256", "12"], 1, "image.sha256"),
    ],
)
def test_new_says_what_is_wrong_and_writes_nothing(tmp_path: Path, words: list[str], code: int, says: str) -> None:
    ran = bongsu("board", "new", *words, "--folder", tmp_path)
    assert (ran.code, says in ran.err) == (code, True), ran.err
    assert not list(tmp_path.iterdir())


def test_new_says_that_its_folder_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv(BOARDS_ENV, str(tmp_path / "file"))
    ran = bongsu("board", "new", "x", *LIKE)
    assert ran.code == 1 and f"{tmp_path / 'file'} is no folder" in ran.err and "--folder" in ran.err
    assert (tmp_path / "file").read_text() == "mine"


def test_new_overwrites_only_when_told(own: Path) -> None:
    words = ("board", "new", "mine", *LIKE, "--pin", "siren=33", "--folder", own)
    ran = bongsu(*words)
    assert ran.code == 1 and "was not overwritten" in ran.err
    assert load_board("mine", own).pins["siren"] == 32
    assert bongsu(*words, "--force").code == 0
    assert load_board("mine", own).pins["siren"] == 33


def test_new_goes_where_boards_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = bongsu("board", "new", "mine", *LIKE, "--data", tmp_path / "data")
    assert ran.code == 1 and "--folder" in ran.err
    (tmp_path / "data").mkdir()
    ran = bongsu("board", "new", "mine", *LIKE, "--data", tmp_path / "data")
    assert ran.code == 0 and str(tmp_path / "data" / "boards" / "mine.toml") in ran.out
    assert "bongsu board show mine" in ran.out
    monkeypatch.setenv(BOARDS_ENV, str(tmp_path / "env"))
    ran = bongsu("board", "new", "mine", *LIKE, "--data", tmp_path / "data")
    assert ran.code == 1 and "there is a board 'mine' already" in ran.err
    assert bongsu("board", "new", "mine", *LIKE).code == 0
    assert (tmp_path / "env" / "mine.toml").is_file()


# ---- new, by questions


def _asked(tmp_path: Path, answers: list[str], *words: str) -> click.testing.Result:
    """The wizard with these answers, a line each."""
    args = ["board", "new", "mine", "--ask", "--folder", str(tmp_path), *words]
    return CliRunner().invoke(cli, args, input="\n".join(answers) + "\n", standalone_mode=False)


def test_the_wizard_asks_for_all_and_judges_each_answer(tmp_path: Path) -> None:
    answers = [
        "esp32s3", "My S3", "its manual", "9", "8", "quad", "3", "2", "10c4", "10C4:EA60, 303a:1001",
        "0-16,x", "0-16,60", "0-16,35-42", "led", "38", "",
        "sx1262", "y",
        "5",  # sck
        "3", "Its maker wired it so.",  # miso, on a strapping pin
        "6", "7", "8", "14", "13",  # mosi, cs, reset, dio1, busy
        "41", "42",  # I2C
        "41", "4",  # the smoke head: first on a pin that is taken
        "43", "40",  # the siren: first on the console
        "38", "", "38", "Its own LED.",  # the lamp: first without a reason
        "39",
    ]  # fmt: skip
    ran = _asked(tmp_path, answers)
    assert ran.exception is None, ran.output
    board = load_board("mine", tmp_path)
    assert board.pins == {"i2c_sda": 41, "i2c_scl": 42, "smoke_adc": 4, "siren": 40, "lamp": 38, "button": 39}
    assert board.radio is not None and (board.radio.miso, board.radio.busy) == (3, 13)
    assert board.reasons == {"radio.miso": "Its maker wired it so.", "pins.lamp": "Its own LED."}
    assert (board.usb, board.on_board) == (("10c4:ea60", "303a:1001"), {"led": (38,)})
    assert (board.flash_mb, board.psram, board.psram_mb) == (8, "quad", 2)
    for words in (
        "GPIO41 is i2c_sda already",
        "GPIO43 is the serial console",
        "'x' is no GPIO number",
        "GPIO60 does not exist",
        "'9' is not one of",
        "'3' is not one of",
    ):
        assert words in ran.output


def test_the_wizard_offers_what_a_board_like_it_has(tmp_path: Path) -> None:
    """Every question answered with Enter: the same board."""
    ran = _asked(tmp_path, [""] * 20, "--like", "ttgo-lora32-v2-1")
    assert ran.exception is None, ran.output
    board, like = load_board("mine", tmp_path), load_board("ttgo-lora32-v2-1")
    assert (board.pins, board.radio, board.reasons) == (like.pins, like.radio, like.reasons)


def test_the_wizard_does_not_ask_what_options_said(tmp_path: Path) -> None:
    options = ["--chip", "esp32", "--title", "T", "--pinout", "P", "--flash-mb", "4", "--psram", "none",
               "--usb", "10c4:ea60", "--header", "4,18,19,21-23,25-27,32-36", "--on-board", "led=4"]  # fmt: skip
    for pin in ("i2c_sda=21", "i2c_scl=22", "smoke_adc=34", "siren=25", "lamp=26"):
        options += ["--pin", pin]
    ran = _asked(tmp_path, ["none", ""], *options)  # the radio, and the button: the first that is free
    assert ran.exception is None, ran.output
    assert load_board("mine", tmp_path).pins["button"] == 18


def test_a_wizard_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    ran = _asked(tmp_path, ["esp32", "T"])
    assert isinstance(ran.exception, click.Abort)
    assert not list(tmp_path.iterdir())
