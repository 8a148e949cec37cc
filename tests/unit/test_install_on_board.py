"""Scripts that run on the board, under the real MicroPython: what it says of itself, its file system, its key."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from bongsu.install import on_board, settings_file
from bongsu.install.application import File, plan
from bongsu.install.on_board import AnswerError, BoardFacts
from bongsu.install.transfer import Files
from tests.board_bench import MAC, Bench, PowerCut, blank, formatted

OLD_KEY, KEY = b"an older key 16b", b"sixteen bytes :)"


def _facts(folder: Path) -> BoardFacts:
    with Bench(folder) as bench:
        return on_board.read_facts(bench)


def test_a_board_says_what_it_is(tmp_path: Path) -> None:
    facts = _facts(formatted(tmp_path / "board"))
    assert (facts.mac, facts.platform, facts.version, facts.fs) == (MAC, "esp32", "1.25.0", "ok")
    assert facts.chip == "esp32" and facts.mpy & 0xFF == 6 and facts.unpacks and facts.key_epoch is None
    assert 1_900_000 < facts.free_bytes < 2_097_152


@pytest.mark.parametrize(
    ("machine", "chip"),
    [
        ("Generic ESP32S3 module with Octal-SPIRAM with ESP32S3", "esp32s3"),
        ("ESP32C3 module with ESP32-C3", "esp32c3"),
        ("something else", ""),
    ],
)
def test_the_chip_as_esptool_calls_it(machine: str, chip: str) -> None:
    assert BoardFacts(MAC, "esp32", machine, "1.25.0", 6, "ok", 0, None, True).chip == chip


def test_file_systems(tmp_path: Path) -> None:
    """A blank one and a damaged one are made anew; a board without a place for one says so."""
    for name, content in (("blank", b"\xff" * 4096), ("damaged", b"\xa5" * 4096)):
        board = blank(tmp_path / name)
        with (board / "flash.img").open("r+b") as image:
            image.write(content * 8)
        assert _facts(board).fs == "corrupt"
        with Bench(board) as bench:
            assert on_board.make_file_system(bench)
            Files(bench, unpacks=True).put(File.of("/main.py", b"pass"))
        assert _facts(board).fs == "ok"
    (tmp_path / "none").mkdir()
    assert _facts(tmp_path / "none").fs == "none"


def test_a_start_that_was_interrupted_is_no_damage(tmp_path: Path) -> None:
    """The image's own start may have been stopped before it mounted a sound file system."""
    with Bench(formatted(tmp_path / "board")) as bench:
        bench.run("import vfs\nvfs.umount('/')")
        assert on_board.read_facts(bench).fs == "ok"


def test_the_key_is_proven_and_never_shown(tmp_path: Path) -> None:
    board = formatted(tmp_path / "board")
    with Bench(board) as bench:
        assert on_board.identity(bench) is None
        on_board.write_key(bench, 7, KEY)
        found = on_board.identity(bench)
        assert found and (found.epoch, found.counter) == (7, 1) and found.is_of(KEY) and not found.is_of(OLD_KEY)
        assert on_board.read_facts(bench).key_epoch == 7
        said = "".join(bench.said)
    assert KEY.hex() not in said and KEY.decode() not in said and repr(KEY) not in said
    with Bench(board, plain=True) as bench:
        found = on_board.identity(bench)  # it cannot compute a proof
        assert found and (found.epoch, found.counter, found.proof) == (7, 1, b"") and not found.is_of(KEY)


def test_the_counter_that_comes_next_is_said(tmp_path: Path) -> None:
    """Also one that an ESP32 has no small number for."""
    blobs = {"ident": struct.pack("<BB16s", 1, 3, KEY), "ctr": struct.pack("<BBII", 1, 3, 0xFFFFFF00, 70)}
    with Bench(_write(formatted(tmp_path / "board"), **blobs)) as bench:
        found = on_board.identity(bench)
    assert found and (found.epoch, found.counter) == (3, 0xFFFFFF00)


def _write(folder: Path, **blobs: bytes) -> Path:
    (folder / "nvs.json").write_text(json.dumps({name: value.hex() for name, value in blobs.items()}))
    return folder


@pytest.mark.parametrize(
    "blobs",
    [
        {"ident": struct.pack("<BB16s", 1, 3, OLD_KEY)},
        {"ctr": struct.pack("<BBII", 1, 3, 1, 1)},
        {"ident": struct.pack("<BB16s", 1, 3, OLD_KEY), "ctr": struct.pack("<BBII", 1, 2, 1, 1)},
        {"ident": struct.pack("<BB16s", 1, 0, OLD_KEY), "ctr": struct.pack("<BBII", 1, 0, 1, 1)},
        {"ident": struct.pack("<BB16s", 2, 3, OLD_KEY), "ctr": struct.pack("<BBII", 2, 3, 1, 1)},
        {"ident": b"short", "ctr": struct.pack("<BBII", 1, 3, 1, 1)},
        {
            "ident": struct.pack("<BB16s", 1, 3, OLD_KEY),
            "ctr": struct.pack("<BBII", 1, 3, 1, 1),
            "next": struct.pack("<BB16s", 1, 4, KEY),  # a rotation that the next start completes
        },
    ],
)
def test_an_identity_that_is_not_whole_is_none(tmp_path: Path, blobs: dict[str, bytes]) -> None:
    with Bench(_write(formatted(tmp_path / "board"), **blobs)) as bench:
        assert on_board.identity(bench) is None and on_board.read_facts(bench).key_epoch is None


def test_power_may_fail_while_the_key_is_written(tmp_path: Path) -> None:
    """The board has the old identity with its counters, none, or the new one: never a counter twice under one key."""
    old = {
        "ident": struct.pack("<BB16s", 1, 3, OLD_KEY),
        "ctr": struct.pack("<BBII", 1, 3, 900, 70),
        "down": bytes(6),
        "next": bytes(18),
    }
    board = _write(formatted(tmp_path / "board"), **old)
    found = []
    for write in range(1, 20):
        copy = _write(shutil.copytree(board, tmp_path / "cut", dirs_exist_ok=True), **old)
        try:
            with Bench(copy, cut_after=write) as bench:
                on_board.write_key(bench, 4, KEY)
                after = bench.nvs
                break
        except PowerCut:
            ident, ctr = bench.nvs.get("ident"), bench.nvs.get("ctr")
            found.append(ident)
            assert ident is None or (ident == old["ident"] and ctr == old["ctr"])
    assert write > 4 and None in found and old["ident"] in found
    assert after == {"ident": struct.pack("<BB16s", 1, 4, KEY), "ctr": struct.pack("<BBII", 1, 4, 1, 1)}


class Liar:
    """A board whose every answer is this one."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def run(self, code: str, *, secret: bool = False, timeout_s: float = 0.0) -> str:
        return str(self.answer)

    def value(self, code: str, *, secret: bool = False, timeout_s: float = 0.0) -> Any:
        return self.answer

    def tools(self, code: str) -> None:
        pass


TRUE = {
    "mac": MAC, "platform": "esp32", "machine": "x with ESP32", "version": "1.25.0", "mpy": 6, "fs": "ok",
    "free_bytes": 1, "key_epoch": None, "unpacks": True,
}  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [None, 7, "text", [], {}, {**TRUE, "mac": "../../../tmp/x"}, {**TRUE, "fs": "fine"}, {**TRUE, "mpy": "six"},
     {**TRUE, "key_epoch": []}, [0, 0], [1e999, 1], [[], {}, 1, 2], "/lib/x =odd"],
)  # fmt: skip
def test_an_answer_that_is_none_is_said_and_never_a_fault_of_this_program(answer: Any) -> None:
    liar = Liar(answer)
    with pytest.raises(AnswerError, match="makes no sense"):
        on_board.read_facts(liar)
    with pytest.raises(AnswerError):
        settings_file.read(liar)
    if answer:
        with pytest.raises(AnswerError):
            on_board.identity(liar)
    with pytest.raises(AnswerError):
        Files(liar, unpacks=True).need_room(plan((File.of("/lib/x", b"x"),), {}))
    if answer == "/lib/x =odd":
        with pytest.raises(AnswerError):
            Files(liar, unpacks=True).hashes("/lib")


def test_what_a_board_says_is_nothing_that_a_terminal_obeys() -> None:
    facts = on_board.read_facts(Liar({**TRUE, "machine": "\x1b]0;owned\x07 with ESP32", "later": 1}))
    assert facts.machine == "?]0;owned? with ESP32" and facts.chip == "esp32"
