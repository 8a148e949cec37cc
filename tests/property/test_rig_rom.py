"""The loader takes whatever comes: it never raises, and it always finds its way back."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.sim.rig import slip
from bongsu.sim.rig.faults import Faults, FaultyLine
from bongsu.sim.rig.rom import Rom
from bongsu.sim.rig.rom_chip import SILICON, RomChip
from bongsu.sim.rig.rom_flash import SECTOR_BYTES, FlashChip
from tests.rom_parts import ask, start_stub

SYNC = bytes((7, 7, 0x12, 0x20)) + b"\x55" * 32


@pytest.fixture(scope="module")
def flash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlashChip]:
    folder: Path = tmp_path_factory.mktemp("chip")
    yield FlashChip(folder / "flash.bin", 16 * SECTOR_BYTES)


_WORD = st.sampled_from((0, 1, 4, 16, SECTOR_BYTES, 16 * SECTOR_BYTES, 0x3FF42000, 0x40080000, 0x60008090, 0xFFFFFFFF))
_WORDS = st.lists(_WORD | st.integers(0, 0xFFFFFFFF), max_size=6).map(
    lambda words: struct.pack(f"<{len(words)}I", *words)
)
_OPCODE = st.sampled_from((*range(0x02, 0x15), *range(0xD0, 0xD5))) | st.integers(0, 255)


@st.composite
def _frames(draw: st.DrawFn) -> bytes:
    """A command that may be one, or noise."""
    data = draw(_WORDS) + draw(st.binary(max_size=20))
    size = draw(st.just(len(data)) | st.integers(0, 0xFFFF))
    head = struct.pack("<BBHI", draw(st.sampled_from((0, 0, 0, 1))), draw(_OPCODE), size, draw(st.integers(0, 255)))
    return draw(st.just(slip.encode(head + data)) | st.binary(max_size=30))


@settings(max_examples=300)
@given(st.sampled_from(sorted(SILICON)), st.booleans(), st.lists(_frames(), max_size=12))
def test_no_command_and_no_noise_harms_it(flash: FlashChip, kind: str, as_stub: bool, frames: list[bytes]) -> None:
    rom = Rom(RomChip(kind, "a0b1c2d3e4f5"), flash)
    if as_stub:
        start_stub(rom)
    for frame in frames:
        rom.feed(frame)
    rom.reset()
    assert ask(rom, 0x08, SYNC).data == bytes(4)
    assert flash.path.stat().st_size == flash.size


@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(1, 9))
def test_every_nth_byte_is_lost_however_they_come(pieces: list[bytes], every: int) -> None:
    whole = b"".join(pieces)
    expected = bytes(byte for number, byte in enumerate(whole, 1) if number % every)
    line = FaultyLine(Faults(drop_every=every))
    assert b"".join(map(line.carry, pieces)) == expected
