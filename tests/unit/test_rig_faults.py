"""Faults that are switched on at the loader."""

import struct
from pathlib import Path

import pytest

from bongsu.errors import BongsuError
from bongsu.sim.rig import slip
from bongsu.sim.rig.faults import Faults
from bongsu.sim.rig.rom import Rom
from bongsu.sim.rig.rom_chip import SILICON, RomChip
from bongsu.sim.rig.rom_flash import SECTOR_BYTES, FlashChip
from tests.rom_parts import ask, send_block, start_stub

SYNC = bytes((7, 7, 0x12, 0x20)) + b"\x55" * 32
SYNC_FRAME = slip.encode(struct.pack("<BBHI", 0, 0x08, 36, 0) + SYNC)


@pytest.fixture
def rom(tmp_path: Path) -> Rom:
    made = Rom(RomChip("esp32", "a0b1c2d3e4f5"), FlashChip(tmp_path / "flash.bin", 16 * SECTOR_BYTES))
    ask(made, 0x0D, bytes(8))
    return made


def begin(rom: Rom, blocks: int) -> None:
    data = struct.pack("<4I", blocks * SECTOR_BYTES, blocks, SECTOR_BYTES, 0)
    assert not any(ask(rom, 0x02, data).data)


def test_a_silent_board_says_nothing_until_the_fault_is_taken_off(rom: Rom) -> None:
    rom.faults = Faults(silent=True)
    assert rom.feed(SYNC_FRAME) == b""
    rom.faults = Faults()
    assert rom.feed(SYNC_FRAME)


def test_another_chip_shows_after_the_next_reset(rom: Rom) -> None:
    rom.faults = Faults(wrong_chip="esp32c3")
    rom.reset()
    assert ask(rom, 0x14).data[12:16] == struct.pack("<I", SILICON["esp32c3"].image_id)
    rom.faults = Faults()
    rom.reset()
    assert ask(rom, 0x0A, struct.pack("<I", 0x40001000)).value == SILICON["esp32"].magic


def test_a_lost_byte_costs_the_frame_it_was_in(rom: Rom) -> None:
    rom.faults = Faults(drop_every=len(SYNC_FRAME) + 10)
    assert rom.feed(SYNC_FRAME)
    broken = slip.Decoder(1000).feed(rom.feed(SYNC_FRAME))
    assert [frame[8:] for frame in broken] == [bytes((1, 5, 0, 0))], "its length is wrong"
    assert rom.feed(SYNC_FRAME)


@pytest.mark.parametrize("size", [0, 1, len(SYNC_FRAME) - 1, len(SYNC_FRAME), len(SYNC_FRAME) + 1])
def test_the_cable_comes_off_after_so_many_bytes(rom: Rom, size: int) -> None:
    rom.faults = Faults(unplug_after_bytes=len(SYNC_FRAME) + size)
    assert rom.feed(SYNC_FRAME) if size else not rom.feed(SYNC_FRAME)
    assert rom.unplugged == (size == 0)
    assert rom.feed(SYNC_FRAME) if size > len(SYNC_FRAME) else not rom.feed(SYNC_FRAME)
    assert rom.unplugged == (size <= len(SYNC_FRAME))
    rom.feed(b"\xc0")
    assert rom.unplugged
    rom.reset()
    assert rom.unplugged, "a reset does not plug it in"
    rom.faults = Faults()
    assert not rom.unplugged
    assert rom.feed(SYNC_FRAME)


def test_the_cable_comes_off_after_so_many_blocks_and_what_was_written_stays(rom: Rom, tmp_path: Path) -> None:
    rom.faults = Faults(unplug_after_blocks=2)
    start_stub(rom)  # its own blocks go to RAM and do not count
    begin(rom, 4)
    assert send_block(rom, 0x03, b"\x01" * SECTOR_BYTES) == bytes(2)
    data = struct.pack("<4I", 4, 1, 0, 0) + b"\x02\x02\x02\x02"
    frame = slip.encode(struct.pack("<BBHI", 0, 0x03, len(data), 0xEF) + data)
    assert rom.feed(frame + frame) == b""
    assert rom.unplugged
    written = (tmp_path / "flash.bin").read_bytes()
    assert written[SECTOR_BYTES - 1 : SECTOR_BYTES + 6] == b"\x01\x02\x02\x02\x02\xff\xff"


def test_what_comes_after_the_cable_is_off_is_not_done(rom: Rom, tmp_path: Path) -> None:
    begin(rom, 1)
    data = struct.pack("<4I", 2, 0, 0, 0) + b"\x05\x05"
    frame = slip.encode(struct.pack("<BBHI", 0, 0x03, len(data), 0xEF) + data)
    rom.faults = Faults(unplug_after_bytes=len(frame) + 3)
    assert rom.feed(frame * 3) == b""
    assert (tmp_path / "flash.bin").read_bytes()[:6] == b"\x05\x05" + b"\xff" * 4


@pytest.mark.parametrize("as_stub", [False, True])
def test_flash_that_fails_takes_what_is_below_and_says_so(rom: Rom, tmp_path: Path, as_stub: bool) -> None:
    rom.faults = Faults(flash_fails_from=SECTOR_BYTES + 16)
    if as_stub:
        start_stub(rom)
    begin(rom, 3)
    assert not any(send_block(rom, 0x03, b"\x01" * SECTOR_BYTES))
    for _ in range(2):
        status = send_block(rom, 0x03, b"\x02" * SECTOR_BYTES)
        assert status == (bytes((0xC4, 0)) if as_stub else bytes((1, 8, 0, 0)))
    written = (tmp_path / "flash.bin").read_bytes()
    assert written[SECTOR_BYTES - 1 : SECTOR_BYTES + 18] == b"\x01" + b"\x02" * 16 + b"\xff" * 2


def test_a_wrong_digest_is_told(rom: Rom) -> None:
    right = ask(rom, 0x13, bytes(16)).data
    rom.faults = Faults(wrong_md5=True)
    wrong = ask(rom, 0x13, bytes(16)).data
    assert len(wrong) == len(right) == 36
    assert wrong[:32] != right[:32]
    assert wrong[32:] == bytes(4)


def test_faults_have_names_and_sense() -> None:
    assert Faults.named({"silent": True, "drop_every": 7}) == Faults(silent=True, drop_every=7)
    for values, said in (
        ({"smoke": 1}, "no fault smoke"),
        ({"drop_every": -1}, "drop_every is a number"),
        ({"unplug_after_bytes": "9"}, "unplug_after_bytes is a number"),
        ({"flash_fails_from": True}, "flash_fails_from is a number"),
        ({"silent": 1}, "silent is true or false"),
        ({"wrong_chip": "esp8266"}, "no chip 'esp8266'"),
    ):
        with pytest.raises(BongsuError, match=said):
            Faults.named(values)
