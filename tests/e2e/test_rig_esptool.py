"""The real esptool, as a program of its own, against the loader of each chip.

Over a plain socket there are no control lines, so nothing resets the chip but the test (`rom.reset`).
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bongsu.sim.rig.faults import Faults
from bongsu.sim.rig.rom import Rom
from bongsu.sim.rig.rom_chip import SILICON, RomChip
from bongsu.sim.rig.rom_flash import SECTOR_BYTES, FlashChip
from tests.image_parts import real_image
from tests.rom_parts import LoaderSocket, esptool

MAC = "a0b1c2d3e4f5"
MAC_SAID = "a0:b1:c2:d3:e4:f5"
FLASH_MB = {"esp32": 4, "esp32s3": 8, "esp32c3": 4, "esp32c6": 8}
CHIP_SAID = {
    "esp32": "ESP32-D0WD-V3 (revision v3.1)",
    "esp32s3": "ESP32-S3 (QFN56) (revision v0.2)",
    "esp32c3": "ESP32-C3 (QFN32) (revision v0.4)",
    "esp32c6": "ESP32-C6 (QFN40) (revision v0.1)",
}
STUB = pytest.mark.parametrize("stub", [(), ("--no-stub",)], ids=["stub", "rom"])
KINDS = pytest.mark.parametrize("board", sorted(SILICON), indirect=True)


class Board(NamedTuple):
    """A loader that listens."""

    rom: Rom
    flash: FlashChip
    url: str

    def does(self, *words: str | Path) -> str:
        """What esptool says as it does something that must work, from a reset on."""
        code, said = self.tries(*words)
        assert code == 0, said
        return said

    def tries(self, *words: str | Path) -> tuple[int, str]:
        """Its exit code and what it says."""
        self.rom.reset()
        done = esptool(self.url, *words)
        return done.returncode, done.stdout


@pytest.fixture
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Board]:
    kind: str = getattr(request, "param", "esp32")
    flash = FlashChip(tmp_path / "flash.bin", FLASH_MB[kind] << 20)
    rom = Rom(RomChip(kind, MAC), flash)
    with LoaderSocket(rom) as loader:
        yield Board(rom, flash, loader.url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Data that compresses a little, not a whole number of blocks or sectors."""
    seeded = random.Random(4)
    made = tmp_path / "data.bin"
    made.write_bytes(b"".join(seeded.randbytes(700) + bytes(300) for _ in range(70)) + b"end")
    return made


def lines(said: str) -> list[str]:
    return [" ".join(line.split()) for line in said.splitlines()]


@KINDS
@STUB
def test_it_says_what_board_this_is(board: Board, stub: tuple[str, ...]) -> None:
    said = lines(board.does(*stub, "flash-id"))
    kind = board.rom.chip.kind
    assert f"Chip type: {CHIP_SAID[kind]}" in said
    assert "Crystal frequency: 40MHz" in said
    assert f"{'BASE MAC' if kind == 'esp32c6' else 'MAC'}: {MAC_SAID}" in said
    assert "Manufacturer: c8" in said
    assert f"Detected flash size: {FLASH_MB[kind]}MB" in said
    assert not [line for line in said if line.startswith("WARNING")]
    assert board.rom.stub == (not stub)


@KINDS
def test_mac_chip_and_security_are_told(board: Board) -> None:
    kind = board.rom.chip.kind
    assert MAC_SAID in board.does("chip-id" if kind == "esp32s3" else "read-mac")
    code, said = board.tries("get-security-info")
    if kind == "esp32":
        assert code != 0
        assert "not implemented" in said
    else:
        assert f"Chip ID: {SILICON[kind].image_id}" in said


# Every way of writing on one chip, the two that differ most on the others.
WAYS = [(kind, stub, packed) for kind in sorted(SILICON) for stub in ((), ("--no-stub",)) for packed in (True, False)]


@pytest.mark.parametrize(
    ("board", "stub", "packed"),
    [way for way in WAYS if way[0] == "esp32" or bool(way[1]) != way[2]],
    indirect=["board"],
)
def test_what_is_written_is_on_the_flash(board: Board, file: Path, stub: tuple[str, ...], packed: bool) -> None:
    data = file.read_bytes()
    board.flash.program(0x10000, bytes(len(data) + SECTOR_BYTES))  # what was there, all bits cleared
    how = () if packed else ("--no-compress",)
    said = board.does("--baud", "460800", *stub, "write-flash", *how, "0x10000", file)
    assert "Hash of data verified." in said
    end = 0x10000 + -(-len(data) // SECTOR_BYTES) * SECTOR_BYTES
    assert board.flash.read(0x10000, len(data)) == data
    assert set(board.flash.read(0x10000 + len(data), end - 0x10000 - len(data))) == {0xFF}
    assert board.flash.read(end, 4) == bytes(4), "nothing beyond the last sector is touched"
    assert board.rom.baud == 460800


@STUB
def test_verifying_tells_same_from_other(board: Board, file: Path, stub: tuple[str, ...]) -> None:
    board.flash.program(0x1000, file.read_bytes())
    assert "digest matched" in board.does(*stub, "verify-flash", "0x1000", file)
    board.flash.program(0x1100, b"\x00")
    code, said = board.tries(*stub, "verify-flash", "0x1000", file)
    assert code != 0
    assert "Verification failed" in said


@STUB
def test_reading_gives_what_is_there(board: Board, file: Path, tmp_path: Path, stub: tuple[str, ...]) -> None:
    data = file.read_bytes()
    board.flash.program(0x1000, data)
    size = 10_000 if not stub else 1000  # the ROM reads 64 bytes a command
    board.does(*stub, "read-flash", "0x1000", str(size), tmp_path / "read.bin")
    assert (tmp_path / "read.bin").read_bytes() == data[:size]


@KINDS
def test_erasing_sets_all_bits(board: Board) -> None:
    size = board.flash.size
    board.flash.program(0, bytes(0x8000))
    board.flash.program(size - 1, b"\x00")
    board.does("erase-region", "0x1000", "0x2000")
    assert board.flash.read(0xFFF, 1) + board.flash.read(0x3000, 1) == b"\x00\x00"
    assert set(board.flash.read(0x1000, 0x2000)) == {0xFF}
    board.does("erase-flash")
    assert board.flash.md5(0, size) == FlashChip(board.flash.path.with_name("new.bin"), size).md5(0, size)


def test_it_finds_the_stub_that_still_runs(board: Board) -> None:
    board.does("flash-id")
    again = esptool(board.url, "flash-id")
    assert again.returncode == 0
    assert "already running" in again.stdout


@pytest.mark.parametrize(("after", "stub"), [("no-reset", False), ("no-reset-stub", True)])
def test_it_stays_in_the_loader_for_the_next_command(board: Board, file: Path, after: str, stub: bool) -> None:
    board.does("--baud", "921600", "--after", after, "write-flash", "0x10000", file)
    assert (board.rom.stub, board.rom.rebooted) == (stub, False)
    assert esptool(board.url, "verify-flash", "0x10000", file).returncode == 0


def test_a_real_image_is_written_verified_and_run(board: Board) -> None:
    image = real_image()
    said = board.does("--after", "hard-reset", "write-flash", "--erase-all", "0x1000", image)
    assert "Hash of data verified." in said
    assert board.flash.read(0x1000, image.stat().st_size) == image.read_bytes()
    assert board.flash.read(0, 0x1000) == b"\xff" * 0x1000
    assert "digest matched" in board.does("verify-flash", "0x1000", image)
    assert not board.rom.rebooted
    board.does("--no-stub", "run")
    assert board.rom.rebooted


@pytest.mark.parametrize("board", ["esp32s3", "esp32c3"], indirect=True)
def test_the_watchdog_reset_leaves_the_loader(board: Board) -> None:
    board.does("--after", "watchdog-reset", "chip-id")
    assert board.rom.rebooted


# -- faults


def test_a_silent_board_is_not_found(board: Board) -> None:
    board.rom.faults = Faults(silent=True)
    code, said = board.tries("--connect-attempts", "1", "flash-id")
    assert code != 0
    assert "Failed to connect" in said


def test_a_wrong_chip_is_named(board: Board) -> None:
    board.rom.faults = Faults(wrong_chip="esp32s3")
    code, said = board.tries("--chip", "esp32", "flash-id")
    assert code != 0
    assert "ESP32-S3" in said


@STUB
def test_flash_that_fails_is_told(board: Board, file: Path, stub: tuple[str, ...]) -> None:
    board.rom.faults = Faults(flash_fails_from=0x14000)
    code, said = board.tries(*stub, "write-flash", "0x10000", file)
    assert code != 0
    assert ("Failed SPI operation" if not stub else "Flash write error") in said
    assert board.flash.read(0x10000, 0x4000) == file.read_bytes()[:0x4000]


def test_a_wrong_digest_is_told(board: Board, file: Path) -> None:
    board.rom.faults = Faults(wrong_md5=True)
    code, said = board.tries("write-flash", "0x10000", file)
    assert code != 0
    assert "MD5 of file does not match" in said


def test_a_cable_pulled_in_the_middle_leaves_what_was_written_and_the_next_run_mends_it(
    board: Board, file: Path
) -> None:
    board.rom.faults = Faults(unplug_after_blocks=2)
    code, _said = board.tries("write-flash", "--no-compress", "0x10000", file)
    assert code != 0
    written = board.flash.read(0x10000, file.stat().st_size)
    assert written.startswith(file.read_bytes()[:0x8000])
    assert not any(byte != 0xFF for byte in written[0x8000:])
    board.rom.faults = Faults()
    board.does("write-flash", "0x10000", file)
    assert board.flash.read(0x10000, file.stat().st_size) == file.read_bytes()


def test_a_cable_pulled_while_the_stub_is_loaded_ends_it(board: Board, file: Path) -> None:
    board.rom.faults = Faults(unplug_after_bytes=5000)
    code, said = board.tries("write-flash", "0x10000", file)
    assert code != 0
    assert "socket disconnected" in said
    assert not board.rom.stub


@pytest.mark.parametrize("every", [50_000, 9_973])
def test_lost_bytes_never_pass_for_a_good_flash(board: Board, file: Path, every: int) -> None:
    """A block is sent again, and if that is not enough esptool says so."""
    board.rom.faults = Faults(drop_every=every)
    code, said = board.tries("write-flash", "--no-compress", "0x10000", file)
    if every > 0x8000:  # at most one byte of the whole run, in the third block
        assert code == 0, said
        assert board.flash.read(0x10000, file.stat().st_size) == file.read_bytes()
    else:
        assert code != 0
        assert "Bad data length" in said
