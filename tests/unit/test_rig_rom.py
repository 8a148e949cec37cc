"""The ROM loader and the stub, command by command: what esptool never sends, or only when something is wrong."""

import hashlib
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from bongsu.errors import BongsuError
from bongsu.sim.rig import slip
from bongsu.sim.rig.rom import Rom
from bongsu.sim.rig.rom_chip import SILICON, RomChip
from bongsu.sim.rig.rom_flash import SECTOR_BYTES, FlashChip
from tests.rom_parts import ask, block, send_block, start_stub

MAC = "a0b1c2d3e4f5"
SIZE = 64 * SECTOR_BYTES
SYNC = bytes((7, 7, 0x12, 0x20)) + b"\x55" * 32
ROM_OK, STUB_OK = bytes(4), bytes(2)
FLASH_BEGIN, FLASH_DATA, FLASH_END, DEFLATED_BEGIN, DEFLATED_DATA, MD5 = 0x02, 0x03, 0x04, 0x10, 0x11, 0x13


@pytest.fixture
def flash(tmp_path: Path) -> FlashChip:
    return FlashChip(tmp_path / "flash.bin", SIZE)


@pytest.fixture
def rom(flash: FlashChip) -> Rom:
    """A loader whose flash is connected, as a host does it first."""
    made = Rom(RomChip("esp32", MAC), flash)
    assert ask(made, 0x0D, bytes(8)).data == ROM_OK
    return made


@pytest.fixture
def stub(rom: Rom) -> Rom:
    start_stub(rom)
    return rom


def begin(size: int, blocks: int, block_size: int, offset: int) -> bytes:
    return struct.pack("<4I", size, blocks, block_size, offset)


def digest(rom: Rom, offset: int, size: int) -> bytes:
    return ask(rom, MD5, struct.pack("<4I", offset, size, 0, 0)).data


# -- the line


def test_a_synchronisation_is_answered_eight_times_and_tells_rom_from_stub(rom: Rom) -> None:
    frame = slip.encode(struct.pack("<BBHI", 0, 0x08, 36, 0) + SYNC)
    answers = slip.Decoder(1000).feed(rom.feed(b"\x55garbage" + frame))
    assert answers == [struct.pack("<BBHI", 1, 0x08, 4, 0x20120707) + ROM_OK] * 8
    start_stub(rom)
    assert slip.Decoder(1000).feed(rom.feed(frame)) == [struct.pack("<BBHI", 1, 0x08, 2, 0) + STUB_OK] * 8


def test_a_command_in_single_bytes_is_answered_once(rom: Rom) -> None:
    frame = slip.encode(struct.pack("<BBHI", 0, 0x0A, 4, 0) + struct.pack("<I", 0x40001000))
    answers = [rom.feed(bytes((byte,))) for byte in frame]
    assert answers[:-1] == [b""] * (len(frame) - 1)
    assert struct.pack("<I", 0x00F01D83) in answers[-1]


@pytest.mark.parametrize(
    "noise", [b"", b"\xc0\x00\xc0", b"\xc0\xdb\x00\xc0", b"\xc0\x01\x08\x00\x00\x00\x00\x00\x00\xc0"]
)
def test_what_is_no_command_is_not_answered(rom: Rom, noise: bytes) -> None:
    assert rom.feed(noise) == b""
    assert ask(rom, 0x08, SYNC).data == ROM_OK


def test_a_length_that_is_wrong_and_an_unknown_command_fail(rom: Rom) -> None:
    answer = rom.feed(slip.encode(struct.pack("<BBHI", 0, 0x0A, 5, 0) + bytes(4)))
    assert answer == slip.encode(struct.pack("<BBHI", 1, 0x0A, 4, 0) + bytes((1, 5, 0, 0)))
    assert ask(rom, 0x0A, bytes(5)).data == bytes((1, 5, 0, 0))
    assert ask(rom, 0xD0).data == bytes((1, 5, 0, 0)), "the stub's commands are not the ROM's"
    start_stub(rom)
    assert ask(rom, 0x77).data == bytes((0xFF, 0))
    assert ask(rom, 0x0A, bytes(5)).data == bytes((0xC0, 0))


# -- identity


@pytest.mark.parametrize(
    ("kind", "address"), [("esp32s3", 0x60007044), ("esp32c3", 0x60008844), ("esp32c6", 0x600B0844)]
)
def test_the_newer_chips_tell_their_id_and_their_mac(flash: FlashChip, kind: str, address: int) -> None:
    rom = Rom(RomChip(kind, MAC), flash)
    assert ask(rom, 0x14).data[12:16] == struct.pack("<I", SILICON[kind].image_id)
    low, high = (ask(rom, 0x0A, struct.pack("<I", address + at)).value for at in (0, 4))
    assert (high & 0xFFFF).to_bytes(2, "big") + low.to_bytes(4, "big") == bytes.fromhex(MAC)


def test_the_esp32_has_no_answer_about_security(rom: Rom) -> None:
    assert ask(rom, 0x14).data == bytes((1, 5, 0, 0))


def test_a_chip_or_a_mac_that_is_none_is_refused() -> None:
    with pytest.raises(BongsuError, match="no chip 'esp8266'"):
        RomChip("esp8266", MAC)
    with pytest.raises(BongsuError, match="no MAC"):
        RomChip("esp32", "A0:B1:C2:D3:E4:F5")


def test_the_flash_does_not_answer_until_it_is_attached(flash: FlashChip) -> None:
    rom = Rom(RomChip("esp32", MAC), flash)
    assert ask(rom, FLASH_BEGIN, begin(4, 1, 4, 0)).data == bytes((1, 8, 0, 0))
    assert digest(rom, 0, 4) == bytes((1, 8, 0, 0))
    rom.reset()
    assert ask(rom, 0x0D, bytes(8)).data == ROM_OK
    assert digest(rom, 0, 4)[:32] == hashlib.md5(b"\xff" * 4).hexdigest().encode()


# -- writing


def test_the_rom_erases_what_it_was_told_and_programs_the_rest_over_what_was_there(rom: Rom, flash: FlashChip) -> None:
    flash.program(0, b"\x0f" * 3 * SECTOR_BYTES)
    ask(rom, FLASH_BEGIN, begin(SECTOR_BYTES, 2, SECTOR_BYTES, 0))
    assert flash.read(0, SECTOR_BYTES) == b"\xff" * SECTOR_BYTES, "at once"
    assert flash.read(SECTOR_BYTES, SECTOR_BYTES) == b"\x0f" * SECTOR_BYTES
    assert send_block(rom, FLASH_DATA, b"\x3c" * SECTOR_BYTES) == ROM_OK
    assert send_block(rom, FLASH_DATA, b"\x3c" * SECTOR_BYTES) == ROM_OK
    assert flash.read(0, 3 * SECTOR_BYTES) == b"\x3c" * SECTOR_BYTES + b"\x0c" * SECTOR_BYTES + b"\x0f" * SECTOR_BYTES
    assert send_block(rom, FLASH_DATA, b"\x3c")[:2] == bytes((1, 6)), "more blocks than were begun"


def test_nothing_begun_is_nothing_erased(rom: Rom, flash: FlashChip) -> None:
    flash.program(0, b"\x0f")
    assert ask(rom, FLASH_BEGIN, begin(0, 0, 1024, 5)).data == ROM_OK
    assert flash.read(0, 1) == b"\x0f"


def test_the_stub_erases_as_it_goes_and_takes_no_more_than_the_size(stub: Rom, flash: FlashChip) -> None:
    flash.program(0, b"\x0f" * 3 * SECTOR_BYTES)
    ask(stub, FLASH_BEGIN, begin(SECTOR_BYTES + 2, 2, SECTOR_BYTES, 0))
    assert send_block(stub, FLASH_DATA, b"\x3c" * SECTOR_BYTES) == STUB_OK
    assert flash.read(SECTOR_BYTES, 1) == b"\x0f", "not erased before its turn"
    assert ask(stub, FLASH_END, struct.pack("<I", 1)).data == bytes((0xC0, 0)), "not all there"
    assert send_block(stub, FLASH_DATA, b"\x3c" * SECTOR_BYTES) == STUB_OK
    assert flash.read(SECTOR_BYTES, 4) == b"\x3c\x3c\xff\xff"
    assert flash.read(2 * SECTOR_BYTES, 1) == b"\x0f"
    assert ask(stub, FLASH_END, struct.pack("<I", 1)).data == STUB_OK
    assert not stub.rebooted


@pytest.mark.parametrize("command", [FLASH_DATA, 0x07, DEFLATED_DATA])
def test_a_wrong_checksum_fails_and_writes_nothing(rom: Rom, flash: FlashChip, command: int) -> None:
    for first, offset in ((FLASH_BEGIN, 0), (DEFLATED_BEGIN, 0), (0x05, 0x40080000)):
        ask(rom, first, begin(4, 1, 4, offset))
    assert ask(rom, command, block(b"\x00" * 4), checksum=0xEE).data == bytes((1, 7, 0, 0))
    start_stub(rom)
    assert ask(rom, command, block(b"\x00" * 4), checksum=0xEE).data == bytes((0xC1, 0))
    assert flash.read(0, 4) == b"\xff" * 4


def test_a_block_that_is_shorter_than_it_says_fails(rom: Rom) -> None:
    ask(rom, FLASH_BEGIN, begin(4, 1, 4, 0))
    assert ask(rom, FLASH_DATA, struct.pack("<4I", 4, 0, 0, 0) + b"abc", 0xEF).data == bytes((1, 5, 0, 0))
    assert ask(rom, FLASH_DATA, bytes(15)).data == bytes((1, 5, 0, 0))


def test_blocks_that_nobody_began_fail(rom: Rom) -> None:
    for command in (FLASH_DATA, DEFLATED_DATA, 0x07):
        assert send_block(rom, command, b"abcd")[:2] == bytes((1, 6))
    assert ask(rom, FLASH_END, bytes(4)).data[:2] == bytes((1, 6))
    assert ask(rom, 0x06, bytes(8)).data[:2] == bytes((1, 6))
    ask(rom, FLASH_BEGIN, begin(4, 1, 4, 0))
    assert send_block(rom, DEFLATED_DATA, b"abcd")[:2] == bytes((1, 6)), "plain was begun"


def test_deflated_data_is_inflated_over_blocks(stub: Rom, flash: FlashChip) -> None:
    data = bytes(range(256)) * 100
    packed = zlib.compress(data)
    ask(stub, DEFLATED_BEGIN, begin(len(data), len(packed), 1, SECTOR_BYTES + 3))
    for byte in packed:
        assert send_block(stub, DEFLATED_DATA, bytes((byte,))) == STUB_OK
    assert flash.read(SECTOR_BYTES, len(data) + 4) == b"\xff" * 3 + data + b"\xff"
    assert ask(stub, 0x12, struct.pack("<I", 1)).data == STUB_OK
    assert digest(stub, SECTOR_BYTES + 3, len(data)) == hashlib.md5(data).digest() + STUB_OK


def test_data_that_does_not_inflate_fails(rom: Rom) -> None:
    ask(rom, DEFLATED_BEGIN, begin(SECTOR_BYTES, 1, 64, 0))
    assert send_block(rom, DEFLATED_DATA, b"no zlib stream") == bytes((1, 0x0B, 0, 0))


# -- leaving


def test_the_rom_leaves_at_the_end_of_flashing_and_says_no_more_until_reset(rom: Rom) -> None:
    ask(rom, FLASH_BEGIN, begin(0, 0, 1024, 0))
    assert ask(rom, FLASH_END, struct.pack("<I", 1)).data == ROM_OK
    assert rom.rebooted
    frame = slip.encode(struct.pack("<BBHI", 0, 0x08, 36, 0) + SYNC)
    assert rom.feed(frame) == b""
    rom.reset()
    assert not rom.rebooted
    assert ask(rom, 0x08, SYNC).data == ROM_OK


@pytest.mark.parametrize("as_stub", [False, True])
def test_a_reboot_at_the_end_of_flashing_is_the_roms_loader_again(rom: Rom, as_stub: bool) -> None:
    if as_stub:
        start_stub(rom)
    ask(rom, FLASH_BEGIN, begin(0, 0, 1024, 0))
    assert ask(rom, FLASH_END, bytes(4)).data == (STUB_OK if as_stub else ROM_OK)
    assert not rom.rebooted
    assert ask(rom, 0x08, SYNC) == (0x08, 0x20120707, ROM_OK)


def test_the_stub_leaves_without_a_word_when_it_is_told_to_run_and_a_reset_ends_it(stub: Rom) -> None:
    assert stub.feed(slip.encode(struct.pack("<BBHI", 0, 0xD3, 0, 0))) == b""
    assert stub.rebooted
    stub.reset()
    assert ask(stub, 0x08, SYNC) == (0x08, 0x20120707, ROM_OK), "the ROM again"


def test_a_start_where_nothing_was_loaded_is_a_crash(rom: Rom) -> None:
    ask(rom, 0x05, begin(8, 1, 8, 0x40080000))
    send_block(rom, 0x07, bytes(8))
    ask(rom, 0x06, struct.pack("<II", 0, 0x40090000))
    assert rom.rebooted
    assert not rom.stub


def test_the_watchdog_resets_the_chip_after_one_more_answer(flash: FlashChip) -> None:
    rom = Rom(RomChip("esp32c3", MAC), flash)
    ask(rom, 0x09, struct.pack("<4I", 0x60008090, 0xD0000102, 0xFFFFFFFF, 0))
    assert not rom.rebooted
    assert ask(rom, 0x09, struct.pack("<4I", 0x600080A8, 0, 0xFFFFFFFF, 0)).data == ROM_OK
    assert rom.rebooted


# -- hosts that mean no good


@pytest.mark.parametrize("as_stub", [False, True])
def test_four_gigabytes_are_refused_in_every_command_and_cost_no_memory(rom: Rom, as_stub: bool) -> None:
    if as_stub:
        start_stub(rom)
    huge = 0xFFFFF000
    tracemalloc.start()
    try:
        for data in (begin(huge, huge, huge, 0), begin(SECTOR_BYTES, 1, huge, huge), begin(0, huge, huge, huge)):
            assert any(ask(rom, FLASH_BEGIN, data).data)
            assert any(ask(rom, DEFLATED_BEGIN, data).data)
            assert any(ask(rom, 0x05, data).data)
        for offset, size in ((0, huge), (huge, huge), (huge, SECTOR_BYTES)):
            assert len(digest(rom, offset, size)) <= 4, "no digest"
            for command in (0x0E, 0xD1):
                assert any(ask(rom, command, struct.pack("<2I", offset, size)).data)
            assert any(ask(rom, 0xD2, begin(offset, size, 1, 1)).data)
        assert any(ask(rom, 0xD2, begin(0, SIZE, huge, 1)).data)
        assert any(ask(rom, FLASH_DATA, struct.pack("<4I", huge, 0, 0, 0) + bytes(9)).data)
        for _ in range(300):
            rom.feed(b"\x00" * 65536)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_of_very_many_words_written_to_memory_the_first_are_forgotten(rom: Rom) -> None:
    for address in range(0, 8000, 4):
        ask(rom, 0x09, struct.pack("<4I", address, 7, 0xFFFFFFFF, 0))
    kept = sum(ask(rom, 0x0A, struct.pack("<I", address)).value == 7 for address in range(0, 8000, 4))
    assert kept == 1024
    assert ask(rom, 0x0A, struct.pack("<I", 7996)).value == 7


def test_a_little_data_that_inflates_to_very_much_is_refused(stub: Rom, flash: FlashChip) -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)[:65_000]
    ask(stub, DEFLATED_BEGIN, begin(SIZE, 1, len(bomb), 0))
    tracemalloc.start()
    try:
        assert send_block(stub, DEFLATED_DATA, bomb) == bytes((0xC9, 0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert flash.path.stat().st_size == SIZE


def test_reading_is_acknowledged_packet_by_packet_and_ends_with_the_digest(stub: Rom, flash: FlashChip) -> None:
    flash.program(0, bytes(range(200)))
    frame = slip.encode(struct.pack("<BBHI", 0, 0xD2, 16, 0) + struct.pack("<4I", 0, 200, 150, 64))
    answer, first = slip.Decoder(1000).feed(stub.feed(frame))
    assert (answer[8:], first) == (STUB_OK, bytes(range(150)))
    assert stub.feed(slip.encode(struct.pack("<I", 150))) == slip.encode(bytes(range(150, 200)))
    assert stub.feed(slip.encode(struct.pack("<I", 200))) == slip.encode(hashlib.md5(bytes(range(200))).digest())
    assert ask(stub, 0x08, SYNC).data == STUB_OK


def test_a_host_that_breaks_off_reading_gets_the_digest_of_what_it_had(stub: Rom) -> None:
    stub.feed(slip.encode(struct.pack("<BBHI", 0, 0xD2, 16, 0) + struct.pack("<4I", 0, 200, 150, 64)))
    assert stub.feed(slip.encode(b"enough")) == slip.encode(hashlib.md5(b"\xff" * 150).digest())
    assert ask(stub, 0x08, SYNC).data == STUB_OK
